"""Registers as data: what a chip's data sheet says, checked when the chip's class is created.

Nothing here runs when a guest touches a register; `dispatch.py` turns declarations into functions, `registers.py` into a device.
"""

from __future__ import annotations

import enum
import itertools
from dataclasses import dataclass, field

WIDTHS = (1, 2, 4, 8)                      # bytes a register can have


class RegisterError(Exception):
    """A declaration that no chip can have: our own mistake, found when the class is created."""


class Access(enum.Enum):
    """What a guest can do with a field (or with a whole register)."""

    RO = "read only"                       # writes change nothing
    RW = "read, write"
    W1C = "write 1 to clear"
    WO = "write only"                      # kept like RW, read as 0
    RC = "read to clear"
    RSVD = "reserved"                      # reads its reset value; other values written are noted
    TODO = "not modelled"                  # kept like RW; a value other than the reset value is told to the access log by name


RO, RW, W1C, WO, RC, RSVD, TODO = Access.RO, Access.RW, Access.W1C, Access.WO, Access.RC, Access.RSVD, Access.TODO
READABLE = frozenset({RO, RW, W1C, RC, TODO})
WRITABLE = frozenset({RW, W1C, WO, TODO})


@dataclass(frozen=True)
class Field:
    """Some bits of a register.

    Args:
        name: as in the data sheet.
        bits: one bit's number, or (msb, lsb).
        access: None takes the register's.
        enum: what its values mean.
        doc: one line.
    """

    name: str
    bits: int | tuple[int, int]
    access: Access | None = None
    enum: type[enum.IntEnum] | None = None
    doc: str = ""

    @property
    def msb(self) -> int:
        """Number of its highest bit."""
        return self.bits if isinstance(self.bits, int) else self.bits[0]

    @property
    def lsb(self) -> int:
        """Number of its lowest bit."""
        return self.bits if isinstance(self.bits, int) else self.bits[1]

    @property
    def mask(self) -> int:
        """Its bits, in place."""
        return (1 << self.msb + 1) - (1 << self.lsb)

    def get(self, value: int) -> int:
        """This field of a register's value."""
        return (value & self.mask) >> self.lsb

    def put(self, content: int, value: int = 0) -> int:
        """`value` with this field set to `content`."""
        return value & ~self.mask | content << self.lsb & self.mask

    def text(self, value: int) -> str:
        """This field of a register's value, for people."""
        content = self.get(value)
        if self.enum is not None:
            try:
                return self.enum(content).name
            except ValueError:
                return f"{content:#x} (undefined)"
        return str(content) if self.msb == self.lsb else f"{content:#x}"


@dataclass(frozen=True)
class Register:
    """One register, or `count` equal ones `stride` bytes apart.

    It is kept in the attribute of the chip's state that has its name in small letters (a list of `count` integers for an array); without
    such an attribute, the chip's hooks are all there is of it.

    Args:
        name: as in the data sheet, an identifier in capitals.
        offset: bytes from the block's base.
        width: bytes.
        access: of all its bits, or of the fields that do not say their own.
        reset: value after a reset.
        fields: its bits; those that no field names are reserved. None: one field, the whole register.
        doc: one line.
        when: a method of the chip without arguments; the register is there only while it answers True (a bank, a mode).
        count, stride: for arrays.
    """

    name: str
    offset: int
    width: int
    access: Access = RW
    reset: int = 0
    fields: tuple[Field, ...] = ()
    doc: str = ""
    when: str = ""
    count: int = 1
    stride: int = 0

    def __getitem__(self, name: str) -> Field:
        for candidate in self.fields:
            if candidate.name == name:
                return candidate
        raise KeyError(f"{self.name} has no field {name}")

    @property
    def bits(self) -> int:
        """All its bits."""
        return (1 << 8 * self.width) - 1

    @property
    def array(self) -> bool:
        """Whether it is an array, also of one."""
        return self.stride > 0

    def mask(self, *accesses: Access) -> int:
        """The bits that have one of these accesses."""
        if not self.fields:
            return self.bits if self.access in accesses else 0
        found = 0
        named = 0
        for part in self.fields:
            named |= part.mask
            if (part.access or self.access) in accesses:
                found |= part.mask
        return found | (self.bits & ~named if RSVD in accesses else 0)

    @property
    def readable(self) -> bool:
        """Whether a read leads here."""
        return self.access is RSVD or self.mask(*READABLE) != 0

    @property
    def writable(self) -> bool:
        """Whether a write leads here."""
        return self.access is RSVD or self.mask(*WRITABLE) != 0

    def title(self, index: int) -> str:
        """Its name, with the index if it is one of many."""
        return f"{self.name}{index}" if self.array else self.name

    def field_names(self, bits: int) -> str:
        """The fields that hold some of `bits`, by name; the register's name if it has none."""
        names = [part.name for part in self.fields if part.mask & bits]
        return ", ".join(names) or self.name

    def decode(self, value: int) -> dict[str, str]:
        """Each field of `value`, for people."""
        return {part.name: part.text(value) for part in self.fields}

    def check(self) -> None:
        """Raises RegisterError if no chip can have this register."""
        if not (self.name.isidentifier() and self.name.upper() == self.name):
            raise RegisterError(f"{self.name!r} is no register name: an identifier in capitals is wanted")
        if self.width not in WIDTHS:
            raise RegisterError(f"{self.name}: width {self.width}, not one of {WIDTHS}")
        if self.offset < 0 or self.count < 1 or (self.count > 1 and self.stride < self.width):
            raise RegisterError(f"{self.name}: {self.count} x {self.width} bytes at {self.offset:#x}, stride {self.stride}, is no layout")
        if not 0 <= self.reset <= self.bits:
            raise RegisterError(f"{self.name}: reset value {self.reset:#x} does not fit {self.width} bytes")
        named = 0
        names = set()
        for part in self.fields:
            if not 0 <= part.lsb <= part.msb < 8 * self.width:
                raise RegisterError(f"{self.name}.{part.name}: bits {part.msb}..{part.lsb} are not in {8 * self.width} bits")
            if named & part.mask:
                raise RegisterError(f"{self.name}.{part.name} overlaps another field")
            if part.name in names:
                raise RegisterError(f"{self.name} has two fields {part.name}")
            named |= part.mask
            names.add(part.name)
        if self.fields and self.access is RSVD:
            raise RegisterError(f"{self.name}: a reserved register has no fields")
        if self.mask(RC) and self.mask(W1C):
            raise RegisterError(f"{self.name}: cleared by reads and by writes")


class Partial(enum.Enum):
    """What an access that covers a register in part does."""

    LANES = "byte lanes"                   # reads and writes just those bytes; writes keep the others
    WHOLE = "whole registers only"         # reads give the bytes asked for; writes are dropped and noted


@dataclass(frozen=True)
class Layout:
    """One block of registers, mapped as a whole.

    Args:
        name: key in `Chip.blocks`.
        length: bytes.
        registers: in any order.
        partial: what partial accesses do. Accesses that cover several registers reach each, lowest address first, whatever this says.
        hole: the byte that is read where no register is.
    """

    name: str
    length: int
    registers: tuple[Register, ...]
    partial: Partial = Partial.LANES
    hole: int = 0


@dataclass
class Place:
    """One offset and width, and all registers that can be found there.

    Attributes:
        readers, writers: (register, index), those with a condition first.
    """

    offset: int
    width: int
    readers: list[tuple[Register, int]] = field(default_factory=list)
    writers: list[tuple[Register, int]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its registers' names."""
        return "/".join(dict.fromkeys(register.title(index) for register, index in (*self.readers, *self.writers)))


def places(layout: Layout) -> list[Place]:
    """The block's places by offset.

    Raises:
        RegisterError: registers overlap, are not within the block, or cannot be told apart.
    """
    found: dict[int, Place] = {}
    for register in layout.registers:
        for index in range(register.count):
            offset = register.offset + index * register.stride
            if offset + register.width > layout.length:
                raise RegisterError(f"{layout.name}: {register.title(index)} at {offset:#x} is not within {layout.length:#x} bytes")
            place = found.setdefault(offset, Place(offset, register.width))
            if place.width != register.width:
                raise RegisterError(f"{layout.name}: {register.title(index)} and {place.name} share {offset:#x} with different widths")
            for candidates, wanted in ((place.readers, register.readable), (place.writers, register.writable)):
                if not wanted:
                    continue
                if any(other.when == register.when for other, _ in candidates):
                    raise RegisterError(f"{layout.name}: {register.title(index)} and {place.name} cannot be told apart at {offset:#x}")
                candidates.append((register, index))
    result = sorted(found.values(), key=lambda place: place.offset)
    for place, following in itertools.pairwise(result):
        if place.offset + place.width > following.offset:
            raise RegisterError(f"{layout.name}: {place.name} and {following.name} overlap")
    for place in result:
        for candidates in (place.readers, place.writers):
            candidates.sort(key=lambda candidate: not candidate[0].when)
    return result
