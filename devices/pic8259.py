"""The two interrupt controllers of a PC: 8259A in cascade, with the edge/level registers of EISA and ICH chip sets.

Intel 8259A data sheet, order 231468-003 (its command words' names); Intel ICH9 datasheet, order 316972-004, 5.8 "8259 interrupt controllers" and 13.4
"Interrupt controller I/O registers" (ports 0x20, 0xA0, 0x4D0). As in ICH9 the trigger mode comes from ELCR and not from ICW1.LTIM.

An edge stays latched when its line falls before it was acknowledged, where a 8259A would answer with its level 7: virtual chips pulse their lines in no
time. A level request that is withdrawn, or masked, takes INTR with it at once; so the spurious level 7 is only seen by who acknowledges without INTR.
Not modelled: MCS-80/85 vectors (ICW4.UPM = 0), the buffered mode's pins.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from devices.core.irq import IrqLine
from devices.core.log import AccessLog
from devices.core.registers import RO, RW, TODO, WO, Chip, Field, Layout, Register

CASCADE = 2                                # level of the master that the slave's INT is wired to
SPURIOUS = 7
MASTER_LEVELS, SLAVE_LEVELS = 0xF8, 0xDE   # ICH9 13.4.10, 13.4.11: IRQ 0, 1, 2, 8 and 13 are edges always

ICW1 = Register("ICW1", 0, 1, fields=(
    Field("IC4", 0, doc="ICW4 follows"),
    Field("SNGL", 1, doc="no ICW3 follows"),
    Field("ADI", 2, doc="call interval, MCS-80/85"),
    Field("LTIM", 3, doc="ignored, ELCR instead"),
    Field("INIT", 4, doc="1: this is ICW1"),
    Field("ADDRESS", (7, 5), doc="MCS-80/85 vector"),
), doc="begins initialization")
ICW4 = Register("ICW4", 3, 1, reset=1, fields=(
    Field("UPM", 0, TODO, doc="1: 8086 mode"),
    Field("AEOI", 1, doc="automatic end of interrupt"),
    Field("BUF", (3, 2), doc="buffered mode"),
    Field("SFNM", 4, doc="special fully nested mode"),
), doc="mode")
OCW2 = Register("OCW2", 5, 1, fields=(
    Field("LEVEL", (2, 0), doc="that SL speaks of"),
    Field("WORD", (4, 3), doc="0: this is OCW2"),
    Field("EOI", 5, doc="end of interrupt"),
    Field("SL", 6, doc="of the given level"),
    Field("R", 7, doc="rotate priorities"),
), doc="end of interrupt, rotation")
OCW3 = Register("OCW3", 6, 1, fields=(
    Field("RIS", 0, doc="read ISR, not IRR"),
    Field("RR", 1, doc="RIS holds"),
    Field("P", 2, doc="the next read polls"),
    Field("WORD", (4, 3), doc="1: this is OCW3"),
    Field("SMM", 5, doc="special mask mode"),
    Field("ESMM", 6, doc="SMM holds"),
), doc="reading, special mask")

IC4, SNGL, IS_ICW1 = ICW1["IC4"].mask, ICW1["SNGL"].mask, ICW1["INIT"].mask
UPM, AEOI, SFNM = ICW4["UPM"].mask, ICW4["AEOI"].mask, ICW4["SFNM"].mask
EOI, SL, ROTATE = OCW2["EOI"].mask, OCW2["SL"].mask, OCW2["R"].mask
RIS, RR, POLL, IS_OCW3, SMM, ESMM = OCW3["RIS"].mask, OCW3["RR"].mask, OCW3["P"].mask, 0x08, OCW3["SMM"].mask, OCW3["ESMM"].mask


@dataclass
class State:
    """One 8259A. `awaited` is the number of the ICW that comes next, 0 in operation, 1 before the first initialization."""

    icw1: int = 0
    icw2: int = 0
    icw3: int = 0
    icw4: int = UPM
    ocw1: int = 0                          # the interrupt mask register
    ocw2: int = 0
    ocw3: int = 0
    elcr: int = 0
    awaited: int = 1
    lines: int = 0                         # levels of the inputs
    edges: int = 0                         # edges not acknowledged yet
    in_service: int = 0
    lowest: int = 7                        # the level of the lowest priority; the one after it has the highest
    rotate_on_aeoi: bool = False
    special_mask: bool = False
    read_isr: bool = False
    poll: bool = False


class Pic8259(Chip[State]):
    """One 8259A.

    Args:
        log: told of a guest's mistakes.
        name: what it is called.
        level_capable: inputs that ELCR can make level triggered.
        follows: inputs that are neither, but another controller's INT.
        settle: called before anything is looked at or changed: has the processor acknowledged meanwhile?
        changed: called after what it asks of the processor may have changed.

    Attributes:
        lines: its eight inputs.
    """

    NAME = "pic"
    BLOCKS = (
        Layout("ports", 2, (
            Register("STATUS", 0, 1, RO, doc="IRR, ISR or the poll word, as OCW3 says"),
            Register("COMMAND", 0, 1, WO, doc="ICW1, OCW2 or OCW3, as bits 4 and 3 say"),
            Register("MASK", 1, 1, RO, doc="IMR"),
            Register("DATA", 1, 1, WO, doc="ICW2, ICW3, ICW4 in turn after ICW1, OCW1 otherwise"),
        )),
        Layout("elcr", 1, (Register("ELCR", 0, 1, RW, doc="1: the input is level triggered"),)),
        Layout("words", 8, (                # not mapped: what the ports lead to
            ICW1,
            Register("ICW2", 1, 1, fields=(Field("BASE", (7, 3), doc="vector of level 0"), Field("LOW", (2, 0), doc="ignored")), doc="vectors"),
            Register("ICW3", 2, 1, doc="master: inputs with slaves; slave: its identity"),
            ICW4,
            Register("OCW1", 4, 1, doc="the interrupt mask register"),
            OCW2,
            OCW3,
        )),
    )

    def __init__(self, log: AccessLog, name: str, level_capable: int, follows: int, settle: Callable[[], None], changed: Callable[[], None]) -> None:
        super().__init__(log, name)
        self._level_capable = level_capable
        self._follows = follows
        self._settle = settle
        self._changed = changed
        self._words = self.blocks["words"]
        self.lines = tuple(IrqLine(functools.partial(self._line, level), f"{name} IR{level}") for level in range(8))

    def on_reset(self) -> None:
        """The wires keep their levels; what was latched from them is gone."""
        self.state.lines = sum(line.level << level for level, line in enumerate(self.lines))
        self._changed()

    def on_restore(self) -> None:
        """The wires had these levels."""
        for level, line in enumerate(self.lines):
            line.level = bool(self.state.lines >> level & 1)
        self._changed()

    def save(self) -> dict[str, Any]:
        """All state, after what the processor has taken is accounted for."""
        self._settle()
        return super().save()

    # --- requests ----------------------------------------------------------------------------------------------------------------
    def _line(self, level: int, high: bool) -> None:
        """An input has changed."""
        self._settle()
        state, bit = self.state, 1 << level
        if high:
            state.lines |= bit
            if not (state.elcr | self._follows) & bit:
                state.edges |= bit
        else:
            state.lines &= ~bit
        self._changed()

    def requests(self) -> int:
        """IRR."""
        state = self.state
        direct = state.elcr | self._follows
        return state.edges & ~direct | state.lines & direct

    def level(self) -> int | None:
        """The level that INT stands for, None while INT is low."""
        state = self.state
        requests = self.requests() & ~state.ocw1
        if not requests or state.awaited:
            return None
        asking, serving = self._rank(requests), self._rank(self._serving())
        level = state.lowest + 1 + asking & 7
        if asking < serving or (asking == serving and self._follows >> level & 1 and state.icw4 & SFNM):
            return level
        return None

    def acknowledge(self) -> int:
        """INTA: the level that is served now; level 7 without serving it if nothing is requested."""
        level = self.level()
        if level is None:
            return SPURIOUS
        state, bit = self.state, 1 << level
        state.edges &= ~bit
        if not state.icw4 & AEOI:
            state.in_service |= bit
        elif state.rotate_on_aeoi:
            state.lowest = level
        return level

    def vector(self, level: int) -> int:
        """The vector of a level in 8086 mode."""
        return self.state.icw2 & 0xF8 | level

    def _serving(self) -> int:
        """The levels in service that keep others out."""
        state = self.state
        return state.in_service & ~state.ocw1 if state.special_mask else state.in_service

    def _rank(self, levels: int) -> int:
        """How many priorities are above the highest of these levels; 8 if there are none."""
        first = self.state.lowest + 1 & 7
        turned = (levels >> first | levels << 8 - first) & 0xFF
        return (turned & -turned).bit_length() - 1 if turned else 8

    # --- port 0 --------------------------------------------------------------------------------------------------------------------
    def peek_STATUS(self) -> int:
        """ISR, IRR, or what a poll would answer."""
        self._settle()
        state = self.state
        if state.poll:
            level = self.level()
            return SPURIOUS if level is None else 0x80 | level
        return state.in_service if state.read_isr else self.requests()

    def read_STATUS(self) -> int:
        """As `peek_STATUS`; a poll acknowledges (data sheet, "Poll command")."""
        value = self.peek_STATUS()
        if self.state.poll:
            self.state.poll = False
            if value & 0x80:
                self.acknowledge()
                self._changed()
        return value

    def on_COMMAND(self, value: int) -> None:
        """Port 0 is three registers, told apart by bits 4 and 3 of what is written."""
        self._settle()
        self._words.write(0 if value & IS_ICW1 else 6 if value & IS_OCW3 else 5, 1, value)
        self._changed()

    def on_ICW1(self, value: int) -> None:
        """Data sheet, "Initialization command words 1 and 2": edge sense, mask, priorities and modes start over."""
        state = self.state
        state.edges = state.in_service = state.ocw1 = 0
        state.lowest = 7
        state.special_mask = state.read_isr = state.poll = state.rotate_on_aeoi = False
        state.awaited = 2
        if not value & IC4:
            state.icw4 = UPM               # "all functions selected in ICW4 are set to zero", the impossible 8085 mode aside

    def on_OCW2(self, value: int) -> None:
        """Data sheet, "Operation control word 2"."""
        state = self.state
        if value & EOI:
            level = value & 7
            if not value & SL:
                serving = self._serving()
                if not serving:
                    return
                level = state.lowest + 1 + self._rank(serving) & 7
            state.in_service &= ~(1 << level)
            if value & ROTATE:
                state.lowest = level
        elif value & SL:
            if value & ROTATE:
                state.lowest = value & 7
        else:
            state.rotate_on_aeoi = bool(value & ROTATE)

    def on_OCW3(self, value: int) -> None:
        """Data sheet, "Operation control word 3"."""
        state = self.state
        if value & ESMM:
            state.special_mask = bool(value & SMM)
        if value & RR:
            state.read_isr = bool(value & RIS)
        if value & POLL:
            state.poll = True

    # --- port 1 --------------------------------------------------------------------------------------------------------------------
    def peek_MASK(self) -> int:
        """IMR."""
        return self.state.ocw1

    def on_DATA(self, value: int) -> None:
        """The next word of the initialization, or OCW1."""
        self._settle()
        state = self.state
        awaited = state.awaited
        if awaited in (0, 1):
            self._words.write(4, 1, value)
        else:
            following = 3 if awaited == 2 and not state.icw1 & SNGL else 4 if awaited < 4 and state.icw1 & IC4 else 0
            self._words.write(awaited - 1, 1, value)
            state.awaited = following
        self._changed()

    def on_ELCR(self, value: int) -> None:
        """ICH9 13.4.10: some inputs stay edges. What was latched as an edge of an input that is a level now is forgotten."""
        self._settle()
        self.state.elcr = value & self._level_capable
        self.state.edges &= ~self.state.elcr
        self._changed()


class Pic8259Pair:
    """Master and slave, wired as in a PC.

    Attributes:
        master, slave: the chips; each has the blocks `ports` (0x20, 0xA0) and `elcr` (0x4D0, 0x4D1).
        lines: inputs IRQ 0..15; 2 belongs to the cascade.
        intr: INTR, to LINT0 of every local APIC.
    """

    def __init__(self, log: AccessLog) -> None:
        self._attached: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self._vector: int | None = None
        self._settling = False
        self.intr = IrqLine(name="INTR")
        self.master = Pic8259(log, "pic-master", MASTER_LEVELS, 1 << CASCADE, self._settle, self._update)
        self.slave = Pic8259(log, "pic-slave", SLAVE_LEVELS, 0, self._settle, self._update)
        self.lines = self.master.lines + self.slave.lines

    @property
    def chips(self) -> tuple[Pic8259, Pic8259]:
        """Both, to reset, save, restore and describe."""
        return self.master, self.slave

    def attach(self, settle: Callable[[], None], update: Callable[[], None]) -> None:
        """A processor's interrupt input.

        Args:
            settle: acknowledges now what the processor has taken already.
            update: `vector()` has changed.
        """
        self._attached.append((settle, update))

    def vector(self) -> int | None:
        """What `acknowledge` would return, None while INTR is low."""
        return self._vector

    def acknowledge(self) -> int:
        """INTA: the vector of the highest request, which is in service now; the spurious IRQ 7 or 15 if there is none."""
        master, slave = self.master, self.slave
        level = master.acknowledge()
        vector = slave.vector(slave.acknowledge()) if level == CASCADE and self._cascaded() else master.vector(level)
        self._update()
        return vector

    def _cascaded(self) -> bool:
        state = self.master.state
        return not state.icw1 & SNGL and bool(state.icw3 >> CASCADE & 1)

    def _settle(self) -> None:
        """The state is about to be looked at: processors that have taken INTR's vector acknowledge first."""
        if self._vector is not None and not self._settling:
            self._settling = True
            for settle, _ in self._attached:
                settle()
            self._settling = False

    def _update(self) -> None:
        """Drives the cascade and INTR, and tells the processors when the vector is another."""
        master, slave = self.master, self.slave
        served = slave.level()
        if served is None:
            master.state.lines &= ~(1 << CASCADE)
        else:
            master.state.lines |= 1 << CASCADE
        level = master.level()
        if level is None:
            vector = None
        elif level == CASCADE and self._cascaded():
            vector = slave.vector(SPURIOUS if served is None else served)
        else:
            vector = master.vector(level)
        if vector != self._vector:
            self._vector = vector
            self.intr.set(vector is not None)
            for _, update in self._attached:
                update()
