"""8042 keyboard controller of a PC, with a PS/2 keyboard and a PS/2 mouse on its two ports.

Specification: IBM Personal System/2 Hardware Interface Technical Reference (1991), "Keyboard and Auxiliary Device Controller". Port 0x60 is data, port
0x64 status and command.

The controller's output buffer holds one byte. Its own answers come first, then the keyboard's bytes, then the mouse's; the next byte follows as soon as one
has been read, with an edge of its interrupt line.

Not modelled: time-out and parity errors of the two serial lines, and the time that bytes take on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from devices.core.clock import VirtualClock
from devices.core.irq import IrqLine
from devices.core.log import AccessLog
from devices.core.registers import RO, RW, WO, Chip, Field, Layout, Register
from devices.core.reset import ResetKind
from devices.ps2_keyboard import RELEASE, TRANSLATION, Keyboard, KeyboardState
from devices.ps2_mouse import Mouse, MouseState

OBF, SYS, CMD, UNLOCKED, AUX = 0x01, 0x04, 0x08, 0x10, 0x20                            # status register
KEYBOARD_IRQ, MOUSE_IRQ, SELF_TESTED, NO_KEYBOARD, NO_MOUSE, TRANSLATE = 0x01, 0x02, 0x04, 0x10, 0x20, 0x40      # controller command byte
READ_RAM, WRITE_RAM = 0x20, 0x60                                                       # 32 addresses each; address 0 is the command byte
MOUSE_OFF, MOUSE_ON, TEST_MOUSE, SELF_TEST, TEST_KEYBOARD, KEYBOARD_OFF, KEYBOARD_ON = 0xA7, 0xA8, 0xA9, 0xAA, 0xAB, 0xAD, 0xAE
READ_INPUT, READ_OUTPUT, WRITE_OUTPUT, AS_KEYBOARD, AS_MOUSE, TO_MOUSE, READ_TEST, PULSE = 0xC0, 0xD0, 0xD1, 0xD2, 0xD3, 0xD4, 0xE0, 0xF0
TAKE_DATA = frozenset({*range(WRITE_RAM, WRITE_RAM + 0x20), WRITE_OUTPUT, AS_KEYBOARD, AS_MOUSE, TO_MOUSE})
PASSED, NO_FAULT = 0x55, 0x00
NOT_RESET, A20, LINES = 0x01, 0x02, 0xCC     # output port; LINES are clock and data of the two serial lines, which idle high
INTERRUPTS = 0x30                    # the output port's bits that follow the output buffer
INPUT_PORT = 0xA0                    # not locked, colour display jumper


@dataclass
class State:
    """The controller, and behind it keyboard and mouse.

    Attributes:
        ram: 32 bytes; the first is the command byte.
        buffer: the output buffer; what was read last stays in it.
        full, from_mouse: it holds a byte, of the mouse.
        answers: the controller's own bytes, oldest first, each with bit 8 set if it passes for the mouse's.
        awaits: the command whose data byte comes next at port 0x60, 0 for none.
        to_command: the last write went to port 0x64.
        released: translation has seen a release prefix.
        output: the output port.
    """

    ram: list[int] = field(default_factory=lambda: [TRANSLATE | KEYBOARD_IRQ | SELF_TESTED] + [0] * 31)
    buffer: int = 0
    full: bool = False
    from_mouse: bool = False
    answers: list[int] = field(default_factory=list)
    awaits: int = 0
    to_command: bool = True
    released: bool = False
    output: int = NOT_RESET | A20 | LINES
    keyboard: KeyboardState = field(default_factory=KeyboardState)
    mouse: MouseState = field(default_factory=MouseState)


class I8042(Chip[State]):
    """The controller. `blocks["data"]` is port 0x60, `blocks["command"]` port 0x64.

    Args:
        clock: for keys that repeat.
        keyboard_irq, mouse_irq: IRQ 1 and IRQ 12.
        log: told of a guest's mistakes.
        reset: called when the guest pulses the processors' reset line.

    Attributes:
        a20: high while the output port lets address line 20 through.
        keyboard, mouse: for who presses keys and moves; their `key` and `move` are called on the machine's thread.
    """

    NAME = "i8042"
    BLOCKS = (
        Layout("data", 1, (Register("DATA", 0, 1, RW, doc="from keyboard, mouse or controller; to the keyboard, or a command's data"),)),
        Layout("command", 1, (
            Register("STATUS", 0, 1, RO, SYS | CMD | UNLOCKED, doc="state of the buffers", fields=(
                Field("OBF", 0, doc="port 0x60 has a byte"), Field("IBF", 1, doc="the controller has not taken a byte yet"), Field("SYS", 2),
                Field("CMD", 3, doc="the last write was a command"), Field("UNLOCKED", 4), Field("AUX", 5, doc="the byte is the mouse's"),
                Field("TIMEOUT", 6), Field("PARITY", 7))),
            Register("COMMAND", 0, 1, WO),
        )),
    )

    def __init__(self, clock: VirtualClock, keyboard_irq: IrqLine, mouse_irq: IrqLine, log: AccessLog,
                 reset: Callable[[ResetKind], None] | None = None, name: str = "") -> None:
        super().__init__(log, name)
        self._keyboard_irq = keyboard_irq
        self._mouse_irq = mouse_irq
        self._reset = reset
        self.a20 = IrqLine(name="A20GATE")
        self.a20.set(self.state.output & A20 != 0)
        self.keyboard = Keyboard(self.state.keyboard, clock, self._fill)
        self.mouse = Mouse(self.state.mouse, self._fill)

    # --- registers -----------------------------------------------------------------------------------------------------------------------
    def peek_STATUS(self) -> int:
        state = self.state
        value = state.ram[0] & SYS | UNLOCKED | (CMD if state.to_command else 0)
        if state.full:
            value |= OBF | (AUX if state.from_mouse else 0)
        return value

    def peek_DATA(self) -> int:
        return self.state.buffer

    def read_DATA(self) -> int:
        state = self.state
        value = state.buffer
        if state.full:
            state.full = False
            self._drive()
            self._fill()
        return value

    def on_DATA(self, value: int) -> None:
        state = self.state
        state.to_command = False
        command, state.awaits = state.awaits, 0
        if WRITE_RAM <= command < WRITE_RAM + 0x20:
            state.ram[command - WRITE_RAM] = value
            self._drive()
            self._fill()
        elif command == WRITE_OUTPUT:
            self._write_output(value)
        elif command == AS_KEYBOARD:
            self._answer(value)
        elif command == AS_MOUSE:
            self._answer(0x100 | value)
        elif command == TO_MOUSE:
            state.ram[0] &= ~NO_MOUSE
            self.mouse.receive(value)
        else:
            state.ram[0] &= ~NO_KEYBOARD                     # a byte to the keyboard releases its clock line
            self.keyboard.receive(value)

    def on_COMMAND(self, value: int) -> None:
        state = self.state
        state.to_command = True
        state.awaits = value if value in TAKE_DATA else 0
        if READ_RAM <= value < READ_RAM + 0x20:
            self._answer(state.ram[value - READ_RAM])
        elif value in (MOUSE_OFF, KEYBOARD_OFF):
            state.ram[0] |= NO_MOUSE if value == MOUSE_OFF else NO_KEYBOARD
        elif value in (MOUSE_ON, KEYBOARD_ON):
            state.ram[0] &= ~(NO_MOUSE if value == MOUSE_ON else NO_KEYBOARD)
            self._fill()
        elif value == SELF_TEST:
            state.ram[0] |= SELF_TESTED
            self._answer(PASSED)
        elif value in (TEST_KEYBOARD, TEST_MOUSE):
            self._answer(NO_FAULT)
        elif value == READ_INPUT:
            self._answer(INPUT_PORT)
        elif value == READ_OUTPUT:
            self._answer(state.output | (state.full and not state.from_mouse) << 4 | (state.full and state.from_mouse) << 5)
        elif value == READ_TEST:
            self._answer((not state.ram[0] & NO_KEYBOARD) | (not state.ram[0] & NO_MOUSE) << 1)
        elif value >= PULSE:
            if not value & NOT_RESET:                        # the four low bits that are 0 are pulsed low
                self._ask_reset()
        elif not state.awaits:
            self.log.note(self.name, "COMMAND", "unknown command", value=value)

    def _write_output(self, value: int) -> None:
        self.state.output = value & ~INTERRUPTS | NOT_RESET
        self.a20.set(value & A20 != 0)
        if not value & NOT_RESET:
            self._ask_reset()

    def _ask_reset(self) -> None:
        if self._reset is not None:
            self._reset(ResetKind.INIT)

    # --- output buffer -------------------------------------------------------------------------------------------------------------------
    def _answer(self, byte: int) -> None:
        self.state.answers.append(byte)
        self._fill()

    def _fill(self) -> None:
        """Put the next byte into the output buffer, if it is empty and a line with something to say is not held."""
        state = self.state
        while not state.full:
            if state.answers:
                byte = state.answers.pop(0)
                self._show(byte & 0xFF, byte >> 8 != 0)
            elif state.keyboard.queue and not state.ram[0] & NO_KEYBOARD:
                self._from_keyboard(self.keyboard.take())
            elif state.mouse.queue and not state.ram[0] & NO_MOUSE:
                self._show(self.mouse.take(), True)
            else:
                return

    def _from_keyboard(self, code: int) -> None:
        """A byte of the keyboard, which is in set 2; with translation the guest sees set 1, and a release prefix only as bit 7 of what follows."""
        state = self.state
        if state.ram[0] & TRANSLATE:
            if code == RELEASE:
                state.released = True
                return
            code, state.released = TRANSLATION[code] | state.released << 7, False
        self._show(code, False)

    def _show(self, byte: int, from_mouse: bool) -> None:
        state = self.state
        state.buffer, state.full, state.from_mouse = byte, True, from_mouse
        self._drive()

    def _drive(self) -> None:
        """The interrupt lines: a byte for the keyboard's or the mouse's driver is there, and the command byte lets it interrupt."""
        state = self.state
        self._keyboard_irq.set(state.full and not state.from_mouse and state.ram[0] & KEYBOARD_IRQ != 0)
        self._mouse_irq.set(state.full and state.from_mouse and state.ram[0] & MOUSE_IRQ != 0)

    def on_reset(self) -> None:
        """Empty buffers; keyboard and mouse as switched on."""
        self.on_restore()

    def on_restore(self) -> None:
        """Keyboard and mouse work on the new state; lines and deadlines follow it."""
        self.keyboard.state, self.mouse.state = self.state.keyboard, self.state.mouse
        self.keyboard.arm()
        self.a20.set(self.state.output & A20 != 0)
        self._drive()
