"""16550A universal asynchronous receiver/transmitter: the serial port of a PC.

Specification: National Semiconductor PC16550D data sheet (TL/C/8652, 1995), section 8 "Registers"; clause numbers in the code are its.
The wiring of a PC: a crystal of 1.8432 MHz, and OUT2 opens the gate between the INTR pin and the interrupt line.

What comes from outside is characters, not edges on a wire. Transmission is instantaneous, or takes as long as divisor and character length say
(`paced`). The receiver's time-out always follows divisor and character length, in virtual time.

Not modelled: parity and framing errors of single characters (a break is), the DMA mode signals (TXRDY and RXRDY lead nowhere in a PC), baud
rates as such (both ends agree).
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

from devices.core.clock import SECOND, Deadline, VirtualClock
from devices.core.irq import IrqLine
from devices.core.log import AccessLog
from devices.core.registers import RO, RW, WO, Chip, Field, Layout, Register

CRYSTAL = 1_843_200                # Hz
SAMPLES = 16                       # clocks of the baud generator in one bit
DEPTH = 16                         # characters in each FIFO
TRIGGERS = (1, 4, 8, 14)           # 8.4, FCR bits 7-6: characters that raise the received-data interrupt
QUIET = 4                          # characters' times without traffic that raise the time-out interrupt (8.6)

RECEIVED, TRANSMITTER, LINE, MODEM = 1, 2, 4, 8                                           # 8.7, IER
DR, OE, PE, FE, BI, THRE, TEMT, FIFO_ERROR = 1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80           # 8.5, LSR
DTR, RTS, OUT1, OUT2, LOOP = 1, 2, 4, 8, 0x10                                             # 8.8, MCR
CTS, DSR, RI, DCD = 0x10, 0x20, 0x40, 0x80                                                # 8.9, MSR; what changed is 4 bits lower
FIFO_ENABLE, RESET_RECEIVER, RESET_TRANSMITTER = 1, 2, 4                                  # 8.4, FCR
BREAK, DLAB = 0x40, 0x80                                                                  # 8.1, LCR
ERRORS = OE | PE | FE | BI         # what reading LSR clears, and what the line-status interrupt is about
OF_CHARACTER = PE | FE | BI        # errors that travel through the FIFO with their character


class Interrupt(enum.IntEnum):
    """8.6, table II: IIR bits 3-0, highest priority first."""

    LINE = 0b0110
    RECEIVED = 0b0100
    TIMEOUT = 0b1100
    TRANSMITTER = 0b0010
    MODEM = 0b0000
    NONE = 0b0001


class SerialPeer:
    """What is at the other end of the cable. This one is an open end; others override what they care about. All calls come on the machine's thread."""

    def transmit(self, data: bytes) -> None:
        """Characters that the guest sent."""

    def room(self) -> None:
        """The receiver, which was full, has room again: go on with `Uart16550.receive`."""

    def modem(self, dtr: bool, rts: bool) -> None:
        """The guest drives its modem control outputs so."""

    def break_(self, on: bool) -> None:
        """The guest holds the line in a break, or ends it."""


@dataclass
class State:
    """Registers, FIFOs and what goes with them.

    Attributes:
        errors: the bits of `ERRORS` as LSR shows them.
        received: characters in the receiver, oldest first, each with its own errors 8 bits higher.
        buffer: the character that came last without FIFOs.
        full: a character was refused or the receiver filled up since the peer was last told of room.
        traffic: ns when a character last came or was read.
        timed_out: the time-out interrupt, until a character is read.
        waiting: characters in the transmitter's FIFO.
        shifting: the character in the shift register, -1 if it is empty.
        shifted: ns when it will be out.
        thre: the transmitter-empty interrupt is pending.
        inputs, changed: the modem status inputs (bits 7-4) as last seen, and their changes (bits 3-0).
        pins: the inputs from outside, which loopback disconnects.
    """

    dll: int = 12                      # 9600 baud
    dlm: int = 0
    ier: int = 0
    fcr: int = 0
    lcr: int = 0
    mcr: int = 0
    scr: int = 0
    errors: int = 0
    received: list[int] = field(default_factory=list)
    buffer: int = 0
    full: bool = False
    traffic: int = 0
    timed_out: bool = False
    waiting: list[int] = field(default_factory=list)
    shifting: int = -1
    shifted: int = 0
    thre: bool = False
    inputs: int = CTS | DSR | DCD
    changed: int = 0
    pins: int = CTS | DSR | DCD


class Uart16550(Chip[State]):
    """One serial port.

    Args:
        clock: for the receiver's time-out and for paced transmission.
        irq: the interrupt line, already with OUT2's gate.
        log: told of a guest's mistakes.
        peer: the other end of the cable.
        paced: transmission takes its time; otherwise each character is out as soon as it is written.

    Attributes:
        heard: told of all characters that arrive from outside, before they do.
    """

    NAME = "uart16550"
    BLOCKS = (Layout("registers", 8, (
        Register("RBR", 0, 1, RO, doc="receiver buffer"),
        Register("THR", 0, 1, WO, doc="transmitter holding"),
        Register("DLL", 0, 1, RW, 12, doc="divisor latch, low", when="dlab"),
        Register("IER", 1, 1, RW, doc="interrupt enable", fields=(
            Field("ERBFI", 0, doc="received data"), Field("ETBEI", 1, doc="transmitter empty"), Field("ELSI", 2, doc="line status"),
            Field("EDSSI", 3, doc="modem status"))),
        Register("DLM", 1, 1, RW, doc="divisor latch, high", when="dlab"),
        Register("IIR", 2, 1, RO, doc="interrupt identification", fields=(
            Field("ID", (3, 0), enum=Interrupt), Field("FIFOS", (7, 6), doc="both 1: FIFOs are on"))),
        Register("FCR", 2, 1, WO, doc="FIFO control", fields=(
            Field("ENABLE", 0), Field("RCVR_RESET", 1), Field("XMIT_RESET", 2), Field("DMA_MODE", 3), Field("TRIGGER", (7, 6)))),
        Register("LCR", 3, 1, RW, doc="line control", fields=(
            Field("WLS", (1, 0), doc="character length less 5"), Field("STB", 2, doc="two stop bits"), Field("PEN", 3, doc="parity"),
            Field("EPS", 4, doc="even parity"), Field("STICK", 5), Field("BREAK", 6), Field("DLAB", 7, doc="divisor latch access"))),
        Register("MCR", 4, 1, RW, doc="modem control", fields=(
            Field("DTR", 0), Field("RTS", 1), Field("OUT1", 2), Field("OUT2", 3, doc="opens the interrupt gate"), Field("LOOP", 4))),
        Register("LSR", 5, 1, RO, doc="line status", fields=(
            Field("DR", 0), Field("OE", 1), Field("PE", 2), Field("FE", 3), Field("BI", 4), Field("THRE", 5), Field("TEMT", 6), Field("FIFO_ERROR", 7))),
        Register("MSR", 6, 1, RO, doc="modem status", fields=(
            Field("DCTS", 0), Field("DDSR", 1), Field("TERI", 2), Field("DDCD", 3), Field("CTS", 4), Field("DSR", 5), Field("RI", 6), Field("DCD", 7))),
        Register("SCR", 7, 1, RW, doc="scratch"),
    )),)

    def __init__(self, clock: VirtualClock, irq: IrqLine, log: AccessLog, peer: SerialPeer | None = None, paced: bool = False, name: str = "") -> None:
        super().__init__(log, name)
        self.peer = SerialPeer() if peer is None else peer
        self._clock = clock
        self._irq = irq
        self._paced = paced
        self._timeout: Deadline | None = None
        self._shift: Deadline | None = None
        self.heard: Callable[[bytes], None] | None = None

    # --- the other end of the cable --------------------------------------------------------------------------------------------------
    def space(self) -> int:
        """How many characters `receive` takes now without an overrun."""
        state = self.state
        if state.mcr & LOOP:
            return 0
        return max((DEPTH if state.fcr & FIFO_ENABLE else 1) - len(state.received), 0)

    def receive(self, data: bytes) -> None:
        """Characters arrive. What `space` does not cover is lost, as on a wire; in loopback the receiver hears nothing from outside."""
        if self.heard is not None:
            self.heard(data)
        if not self.state.mcr & LOOP:
            for byte in data:
                self._arrive(byte & self._character_mask())
            self._update()

    def receive_break(self) -> None:
        """The line was held low for longer than a character: one zero character with BI, and with FE since its stop bit was missing (8.5)."""
        if not self.state.mcr & LOOP:
            self._arrive((BI | FE) << 8)
            self._update()

    def drive(self, cts: bool, dsr: bool, ri: bool, dcd: bool) -> None:
        """The modem's outputs, our inputs; True is asserted."""
        self.state.pins = cts * CTS | dsr * DSR | ri * RI | dcd * DCD
        self._sense()
        self._update()

    def carrier(self, on: bool) -> None:
        """The other end is there, or has gone: CTS, DSR and DCD together, as a null-modem cable wires them."""
        self.drive(on, on, False, on)

    # --- registers ---------------------------------------------------------------------------------------------------------------------
    def dlab(self) -> bool:
        """Whether offsets 0 and 1 are the divisor latch."""
        return self.state.lcr & DLAB != 0

    def read_RBR(self) -> int:
        state = self.state
        if not state.received:
            return self.peek_RBR()
        character = state.received.pop(0)
        state.traffic = self._clock.now()
        state.timed_out = False
        self._reveal()
        self._update()
        if state.full and not state.received and not state.mcr & LOOP:
            state.full = False
            self.peer.room()
        return character & 0xFF

    def peek_RBR(self) -> int:
        state = self.state
        if state.received:
            return state.received[0] & 0xFF
        return 0 if state.fcr & FIFO_ENABLE else state.buffer              # the buffer register keeps what was read last

    def on_THR(self, value: int) -> None:
        state = self.state
        value &= self._character_mask()
        if self._paced:
            self._queue(value)
            return
        if state.thre:
            state.thre = False
            if state.ier & TRANSMITTER:
                self._update()                         # the interrupt goes away and comes back: an edge for edge-triggered controllers
        if state.mcr & LOOP:
            self._arrive(value)
        else:
            self.peer.transmit(bytes((value,)))
        state.thre = True
        if state.ier or state.mcr & LOOP:
            self._update()

    def on_IER(self, value: int, old: int) -> None:
        if value & ~old & TRANSMITTER and not self.state.waiting:
            self.state.thre = True                     # 8.7: enabling it while THR is empty raises it at once
        self._update()

    def read_IIR(self) -> int:
        value = self.peek_IIR()
        if value & 0xF == Interrupt.TRANSMITTER:
            self.state.thre = False                    # table II: reset by reading IIR, if this is what it says
            self._update()
        return value

    def peek_IIR(self) -> int:
        return self._pending() | (0xC0 if self.state.fcr & FIFO_ENABLE else 0)

    def on_FCR(self, value: int, old: int) -> None:
        state = self.state
        if not value & FIFO_ENABLE:
            state.fcr = value = 0                      # 8.4, bit 0: the other bits are not programmed without it
        if (value ^ old) & FIFO_ENABLE or value & RESET_RECEIVER:
            state.received.clear()
            state.errors &= OE
            state.timed_out = False
        if ((value ^ old) & FIFO_ENABLE or value & RESET_TRANSMITTER) and state.waiting:
            state.waiting.clear()
            state.thre = True
        state.fcr = value & ~(RESET_RECEIVER | RESET_TRANSMITTER)        # these clear themselves
        self._update()
        if state.full and self.space():
            state.full = False
            self.peer.room()

    def on_LCR(self, value: int, old: int) -> None:
        if (value ^ old) & BREAK and not self.state.mcr & LOOP:
            self.peer.break_(value & BREAK != 0)
        self._update()

    def on_MCR(self, value: int, old: int) -> None:
        if (value ^ old) & (DTR | RTS | LOOP):
            outputs = 0 if value & LOOP else value                     # 8.8: loopback forces the outputs inactive
            self.peer.modem(outputs & DTR != 0, outputs & RTS != 0)
        self._sense()
        self._update()
        if old & ~value & LOOP and self.space():
            self.peer.room()

    def read_LSR(self) -> int:
        value = self.peek_LSR()
        if value & ERRORS:
            self.state.errors = 0
            self._update()
        return value

    def peek_LSR(self) -> int:
        state = self.state
        value = state.errors
        if state.received:
            value |= DR
            if state.fcr & FIFO_ENABLE and (value & OF_CHARACTER or any(character >> 8 for character in state.received)):
                value |= FIFO_ERROR
        if not state.waiting:
            value |= THRE if state.shifting >= 0 else THRE | TEMT
        return value

    def read_MSR(self) -> int:
        state = self.state
        value = state.inputs | state.changed
        if state.changed:
            state.changed = 0
            self._update()
        return value

    def peek_MSR(self) -> int:
        return self.state.inputs | self.state.changed

    # --- receiver ----------------------------------------------------------------------------------------------------------------------
    def _arrive(self, character: int) -> None:
        """A character, with its errors 8 bits higher, leaves the receiver's shift register."""
        state = self.state
        fifo = state.fcr & FIFO_ENABLE
        state.timed_out = state.timed_out or self._quiet_since() is not None
        if len(state.received) >= (DEPTH if fifo else 1):
            state.errors |= OE                          # 8.5: a full FIFO keeps what it has, a full buffer is overwritten
            state.full = True
            if fifo:
                state.traffic = self._clock.now()       # 8.6: the time-out runs from the last character received, kept or not
                return
            state.received.clear()
        if not fifo:
            state.buffer = character & 0xFF
        state.received.append(character)
        state.full = state.full or not self.space()
        state.traffic = self._clock.now()
        if len(state.received) == 1:
            self._reveal()

    def _reveal(self) -> None:
        """The character at the top of the FIFO shows its errors in LSR (8.5)."""
        received = self.state.received
        if received and received[0] >> 8:
            self.state.errors |= received[0] >> 8
            received[0] &= 0xFF

    def _quiet_since(self) -> int | None:
        """When the receiver's time-out struck (8.6: FIFO on, characters in it, none came or was read for four characters' times), None if it has not."""
        state = self.state
        if not (state.fcr & FIFO_ENABLE and state.received):
            return None
        moment = state.traffic + QUIET * self._character_time()
        return moment if moment <= self._clock.now() else None

    # --- transmitter -------------------------------------------------------------------------------------------------------------------
    def _queue(self, value: int) -> None:
        """Paced: a character for the transmitter's FIFO or holding register."""
        state = self.state
        if len(state.waiting) >= (DEPTH if state.fcr & FIFO_ENABLE else 1):
            self.log.note(self.name, "THR", "written while full, a character is lost", value=value)
            if state.fcr & FIFO_ENABLE:
                return
            state.waiting.clear()
        state.waiting.append(value)
        state.thre = False
        self._update()
        if state.shifting < 0:
            self._shift_next(self._clock.now())

    def _shift_next(self, now: int) -> None:
        """The next character goes into the shift register, which is empty."""
        state = self.state
        if state.waiting:
            state.shifting = state.waiting.pop(0)
            state.shifted = now + self._character_time()
            state.thre = state.thre or not state.waiting
            self._arm_shift()
        self._update()

    def _arm_shift(self) -> None:
        self._shift = self._clock.at(self.state.shifted, self._shifted_out)

    def _shifted_out(self) -> None:
        state = self.state
        character, state.shifting = state.shifting, -1
        if state.mcr & LOOP:
            self._arrive(character)
        else:
            self.peer.transmit(bytes((character,)))
        self._shift_next(state.shifted)

    # --- line format, modem, interrupts --------------------------------------------------------------------------------------------------
    def _character_mask(self) -> int:
        return 0xFF >> 3 - (self.state.lcr & 3)

    def _character_time(self) -> int:
        """How long a character takes, in ns: start bit, data, parity, stop bits. A divisor of 0 counts as 65536."""
        state = self.state
        length = 5 + (state.lcr & 3)
        half_bits = 2 * (1 + length + (state.lcr >> 3 & 1)) + (2 if not state.lcr & 4 else 3 if length == 5 else 4)
        divisor = (state.dlm << 8 | state.dll) or 0x10000
        return half_bits * SAMPLES * divisor * SECOND // (2 * CRYSTAL)

    def _sense(self) -> None:
        """The modem status inputs: from outside, or in loopback from MCR (8.8). Keeps what changed; of RI only the end of a ring (8.9)."""
        state = self.state
        inputs = state.pins
        if state.mcr & LOOP:
            inputs = (state.mcr & RTS and CTS) | (state.mcr & DTR and DSR) | (state.mcr & OUT1 and RI) | (state.mcr & OUT2 and DCD)
        changed = inputs ^ state.inputs
        if inputs & RI:
            changed &= ~RI
        state.changed |= changed >> 4
        state.inputs = inputs

    def _pending(self) -> int:
        """IIR bits 3-0: the enabled cause of the highest priority (table II)."""
        state = self.state
        enabled = state.ier
        if enabled & LINE and state.errors:
            return Interrupt.LINE
        if enabled & RECEIVED and state.received:
            if state.timed_out or self._quiet_since() is not None:
                return Interrupt.TIMEOUT               # 8.6, bit 3: "set along with bit 2 when a time-out interrupt is pending"
            if not state.fcr & FIFO_ENABLE or len(state.received) >= TRIGGERS[state.fcr >> 6]:
                return Interrupt.RECEIVED
        if enabled & TRANSMITTER and state.thre:
            return Interrupt.TRANSMITTER
        if enabled & MODEM and state.changed:
            return Interrupt.MODEM
        return Interrupt.NONE

    def _update(self) -> None:
        """Drive the line; OUT2 opens its gate, and loopback forces OUT2 inactive. Wait for the time-out where it will be the next cause."""
        state = self.state
        self._irq.set(state.mcr & (OUT2 | LOOP) == OUT2 and state.ier != 0 and self._pending() != Interrupt.NONE)
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None
        if state.received and state.ier & RECEIVED and state.fcr & FIFO_ENABLE and not state.timed_out and len(state.received) < TRIGGERS[state.fcr >> 6]:
            moment = state.traffic + QUIET * self._character_time()
            if moment > self._clock.now():
                self._timeout = self._clock.at(moment, self._update)

    def on_reset(self) -> None:
        """Everything as after master reset; deadlines go."""
        self.on_restore()

    def on_restore(self) -> None:
        """Deadlines and the line follow the state."""
        if self._shift is not None:
            self._shift.cancel()
        if self.state.shifting >= 0:
            self._arm_shift()
        self._update()
