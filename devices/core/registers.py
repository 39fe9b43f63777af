"""A chip on declared registers.

    @dataclass
    class State:
        control: int = 0                                     # kept here because a register has this name
        count: int = 0

    class Counter(Chip[State]):
        NAME = "counter"
        BLOCKS = (Layout("registers", 8, (
            Register("CONTROL", 0x0, 4, RW, 0, (Field("RUN", 0, doc="counts"), Field("SPEED", (2, 1), TODO)), doc="what it does"),
            Register("COUNT", 0x4, 4, RO, doc="how far it is"),
        )),)
        def on_CONTROL(self, value: int, old: int) -> None:  # after a write; `old` may be left out
            self.state.count += value & ~old & 1

    counter = Counter(log); counter.blocks["registers"].write(0, 4, 1)

Hooks, all optional, found by name; those of an array of registers get the index first:

- `on_X(value)` or `on_X(value, old)`: after a write, with what the register now holds. For a register that the state does not keep: with the bits written.
- `peek_X()`: what is read, where it is computed; must change nothing that a guest could notice.
- `read_X()`: what is read, where reading does something; then `peek_X` is needed too, unless the state keeps the register.
- `initial()`: the state after a reset, where it depends on the constructor's arguments. `on_reset()`, `on_restore()`: the state has been replaced as a
  whole; set deadlines and drive lines accordingly.

What a guest does wrong never raises: writes to read-only registers, reads of write-only ones, reserved bits and offsets where nothing is go to
`AccessLog.note`, fields declared TODO to `AccessLog.unmodelled` (which raises in strict mode only). docs/chips.md says how to write a chip.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

from devices.core import state as plain
from devices.core import views
from devices.core.declare import RC, RO, RSVD, RW, TODO, W1C, WO, Access, Field, Layout, Partial, Register, RegisterError, places
from devices.core.dispatch import Compiler, Entry
from devices.core.log import AccessLog
from devices.core.state import StateError
from devices.core.views import Coverage, RegisterView, Touch

__all__ = ["RC", "RO", "RSVD", "RW", "TODO", "W1C", "WO", "Access", "Block", "Chip", "Coverage", "Field", "Layout", "Partial", "Register", "RegisterError",
           "RegisterView", "StateError", "Touch"]

KEPT_WIDTHS = 8                            # accesses of more bytes are answered too, but worked out each time
KEPT_PLACES = 4096                         # accesses kept a block and direction


Trace = Callable[[Touch], None]


class Block:
    """A chip's registers as a `BusDevice`. Any offset and any size is answered.

    An access is worked out when it is first seen, which also is how coverage costs nothing afterwards.
    """

    def __init__(self, chip: Chip[Any], layout: Layout, entries: dict[int, Entry], touched: set[tuple[str, str]]) -> None:
        self.chip = chip
        self.layout = layout
        self.name = layout.name
        self.length = layout.length
        self.entries = entries
        self._touched = touched
        self._at = {offset + lane: entry for offset, entry in entries.items() for lane in range(entry.place.width)}
        self._reads: dict[tuple[int, int], Callable[[], int]] = {}
        self._writes: dict[tuple[int, int], Callable[[int], None]] = {}

    def read(self, offset: int, size: int) -> int:
        """`size` bytes at `offset`, with side effects."""
        try:
            function = self._reads[offset, size]
        except KeyError:
            function = self._find_read(offset, size)
        return function()

    def write(self, offset: int, size: int, value: int) -> None:
        """The low `size` bytes of `value` to `offset`."""
        try:
            function = self._writes[offset, size]
        except KeyError:
            function = self._find_write(offset, size)
        function(value)

    def peek(self, offset: int, size: int) -> int:
        """As `read`, without side effects."""
        entry = self.entries.get(offset)
        if entry is not None and entry.place.width == size:
            return entry.peek() & (1 << 8 * size) - 1
        value = 0
        for found, at, length in self._pieces(offset, size):
            content = self._empty(length) if found is None else self._part(found.peek(), found, at, length)
            value |= content << 8 * (at - offset)
        return value

    def forget(self) -> None:
        """Work every access out anew, because tracing began or ended."""
        self._reads.clear()
        self._writes.clear()

    # --- working out -----------------------------------------------------------------------------------------------------------------
    def _pieces(self, offset: int, size: int) -> list[tuple[Entry | None, int, int]]:
        """The places that an access reaches: (entry or None, first byte, bytes), ascending."""
        pieces: list[tuple[Entry | None, int, int]] = []
        at, end = offset, offset + size
        while at < end:
            entry = self._at.get(at)
            start = at
            at += 1
            while at < end and self._at.get(at) is entry:
                at += 1
            pieces.append((entry, start, at - start))
        return pieces

    def _empty(self, length: int) -> int:
        return int.from_bytes(bytes([self.layout.hole]) * length, "little")

    @staticmethod
    def _part(value: int, entry: Entry, at: int, length: int) -> int:
        return value >> 8 * (at - entry.place.offset) & (1 << 8 * length) - 1

    def _touch(self, entry: Entry, how: str) -> None:
        place = entry.place
        candidates = place.readers if how == "read" else place.writers
        if not entry.banked:
            self._touched.update((register.title(index), how) for register, index in candidates)

    def _find_read(self, offset: int, size: int) -> Callable[[], int]:
        pieces = self._pieces(offset, size)
        for entry, _, _ in pieces:
            if entry is not None:
                self._touch(entry, "read")
        only = pieces[0][0] if len(pieces) == 1 else None
        whole = only is not None and only.place.offset == offset and only.place.width == size
        function = only.read if only is not None and whole else self._spread_read(offset, pieces)
        function = self._traced_read(function, offset, size, pieces)
        if size <= KEPT_WIDTHS:
            if len(self._reads) >= KEPT_PLACES:
                self._reads.clear()
            self._reads[offset, size] = function
        return function

    def _find_write(self, offset: int, size: int) -> Callable[[int], None]:
        pieces = self._pieces(offset, size)
        for entry, _, _ in pieces:
            if entry is not None:
                self._touch(entry, "written")
        only = pieces[0][0] if len(pieces) == 1 else None
        whole = only is not None and only.place.offset == offset and only.place.width == size
        function = only.write if only is not None and whole else self._spread_write(offset, pieces)
        function = self._traced_write(function, offset, size, pieces)
        if size <= KEPT_WIDTHS:
            if len(self._writes) >= KEPT_PLACES:
                self._writes.clear()
            self._writes[offset, size] = function
        return function

    def _spread_read(self, offset: int, pieces: list[tuple[Entry | None, int, int]]) -> Callable[[], int]:
        """A read that is not just one whole register."""
        chip, part, empty = self.chip, self._part, self._empty

        def read() -> int:
            value = 0
            for entry, at, length in pieces:
                if entry is None:
                    chip.no_register(self.name, at, length, None)
                    content = empty(length)
                else:
                    content = part(entry.read(), entry, at, length)
                value |= content << 8 * (at - offset)
            return value

        return read

    def _spread_write(self, offset: int, pieces: list[tuple[Entry | None, int, int]]) -> Callable[[int], None]:
        """A write that is not just one whole register."""
        chip, whole_only = self.chip, self.layout.partial is Partial.WHOLE

        def write(value: int) -> None:
            for entry, at, length in pieces:
                bits = (1 << 8 * length) - 1
                content = value >> 8 * (at - offset) & bits
                if entry is None:
                    chip.no_register(self.name, at, length, content)
                elif length == entry.place.width:
                    entry.write(content)
                elif whole_only:
                    chip.partly_written(entry.place.name, length, content)
                else:
                    lane = 8 * (at - entry.place.offset)
                    entry.merge(content << lane, bits << lane)

        return write

    def _traced_read(self, function: Callable[[], int], offset: int, size: int, pieces: list[tuple[Entry | None, int, int]]) -> Callable[[], int]:
        trace = self.chip.trace
        if trace is None:
            return function
        tell, chip, names = trace, self.chip.name, _names(pieces)

        def read() -> int:
            value = function()
            tell(Touch(chip, self.name, names, offset, size, False, value))
            return value

        return read

    def _traced_write(self, function: Callable[[int], None], offset: int, size: int,
                      pieces: list[tuple[Entry | None, int, int]]) -> Callable[[int], None]:
        trace = self.chip.trace
        if trace is None:
            return function
        tell, chip, names = trace, self.chip.name, _names(pieces)

        def write(value: int) -> None:
            tell(Touch(chip, self.name, names, offset, size, True, value))
            function(value)

        return write


def _names(pieces: list[tuple[Entry | None, int, int]]) -> str:
    return " ".join(entry.place.name for entry, _, _ in pieces if entry is not None) or "(none)"


S = TypeVar("S")


class Chip(Generic[S]):
    """What every chip derives from, as `class Pit(Chip[State])`.

    Args:
        log: told of a guest's mistakes.
        name: what logs, traces and snapshots call this one; the class's `NAME` by default.

    Attributes:
        NAME, BLOCKS: the declaration; a class without `BLOCKS` is a base for others. A chip that says `BLOCKS = ()` has no registers of its own.
        blocks: by name, each a `BusDevice`.
        state: everything that changes, a dataclass of plain values; the same object for the chip's whole life.

    Raises:
        RegisterError: when the class is created: a declaration no chip can have.
    """

    NAME: ClassVar[str] = ""
    BLOCKS: ClassVar[tuple[Layout, ...]] = ()
    STATE: ClassVar[type[Any]]
    _bind: ClassVar[Callable[..., dict[tuple[str, int], tuple[Any, ...]]]]

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        for base in getattr(cls, "__orig_bases__", ()):
            given = typing.get_args(base)
            if given and isinstance(given[0], type) and isinstance(typing.get_origin(base), type) and issubclass(typing.get_origin(base), Chip):
                cls.STATE = given[0]
        if not cls.BLOCKS and "BLOCKS" not in vars(cls):
            return
        if not dataclasses.is_dataclass(getattr(cls, "STATE", None)):
            raise RegisterError(f"{cls.__name__} does not say which dataclass its state is: class {cls.__name__}(Chip[State])")
        start = cls.STATE()
        compiler = Compiler(cls, cls.BLOCKS, {item.name: getattr(start, item.name) for item in dataclasses.fields(start)})
        cls._bind = staticmethod(compiler.compile())

    def __init__(self, log: AccessLog, name: str = "") -> None:
        self.name = name or self.NAME
        self.log = log
        self.state: S = self.initial()
        self._trace: Trace | None = None
        self._touched: set[tuple[str, str]] = set()
        table = type(self)._bind(self, self.state, log, self._touched)
        self.blocks: dict[str, Block] = {}
        for layout in self.BLOCKS:
            found = {place.offset: Entry(place, *table[layout.name, place.offset]) for place in places(layout)}
            self.blocks[layout.name] = Block(self, layout, found, self._touched)

    # --- for the chip to override --------------------------------------------------------------------------------------------------
    def initial(self) -> S:
        """The state after a reset. Called by the constructor, too."""
        state: S = self.STATE()
        return state

    def on_reset(self) -> None:
        """The state has just been reset."""

    def on_restore(self) -> None:
        """The state has just been restored."""

    def no_register(self, block: str, offset: int, size: int, written: int | None) -> None:
        """A guest read (`written` is None) or wrote where no register is. Noted; a chip that also flags it overrides this."""
        place = f"{block}+{offset:#x}"
        if written is None:
            self.log.note(self.name, place, "read, no register there", size=size)
        else:
            self.log.note(self.name, place, "written, no register there", size=size, value=written)

    def partly_written(self, register: str, size: int, written: int) -> None:
        """A guest wrote some bytes of a register of a block with `Partial.WHOLE`; nothing has changed. Noted, unless the chip knows better."""
        self.log.note(self.name, register, "written in part, dropped", size=size, value=written)

    # --- state ---------------------------------------------------------------------------------------------------------------------
    def reset(self) -> None:
        """As after power-on."""
        plain.replace(self.state, self.initial())
        self.on_reset()

    def save(self) -> dict[str, Any]:
        """All state as plain values."""
        return plain.save(self.state)

    def restore(self, saved: dict[str, Any]) -> None:
        """Back to what `save` gave.

        Raises:
            StateError: it does not fit this chip; nothing has changed then.
        """
        plain.restore(self.state, saved, self.initial(), self.name)
        self.on_restore()

    # --- views ---------------------------------------------------------------------------------------------------------------------
    @property
    def trace(self) -> Trace | None:
        """Told of every access; None, as it is at first, costs nothing."""
        return self._trace

    @trace.setter
    def trace(self, trace: Trace | None) -> None:
        self._trace = trace
        for block in self.blocks.values():
            block.forget()

    def describe(self) -> list[RegisterView]:
        """Every register with its present value and fields decoded, without side effects, whichever bank is selected."""
        return views.describe(self)

    def coverage(self) -> Coverage:
        """Which registers have been touched since the chip was made."""
        return views.coverage(self, self._touched)

    def explain(self, touch: Touch) -> str:
        """An access of a trace as one line for people."""
        return views.explain(self, touch)
