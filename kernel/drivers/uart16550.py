"""A 16550A serial port, driven by its interrupts in both directions.

Source: National Semiconductor PC16550D data sheet, 8 (registers) and 8.4.1 (FIFO interrupt mode). What arrives is handed on in the interrupt; what is
sent waits in a buffer and goes out one FIFO load for each transmitter interrupt, so nobody ever waits for the line. Bytes that are lost, in either
direction, are counted by cause and logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from kernel.hardware import Hardware
from kernel.log import Log

COM1, COM1_IRQ = 0x3F8, 4
RBR = THR = DLL = 0
IER = DLM = 1
IIR = FCR = 2
LCR, MCR, LSR, MSR, SCR = 3, 4, 5, 6, 7

IER_RECEIVED, IER_TRANSMITTER_EMPTY, IER_LINE_STATUS = 1 << 0, 1 << 1, 1 << 2
IIR_NONE_PENDING, IIR_CAUSE = 1 << 0, 0x0F
CAUSE_MODEM, CAUSE_TRANSMITTER, CAUSE_RECEIVED, CAUSE_LINE, CAUSE_TIMEOUT = 0x0, 0x2, 0x4, 0x6, 0xC
FCR_ENABLE, FCR_CLEAR_BOTH, FCR_TRIGGER_8 = 1 << 0, 0b11 << 1, 0b10 << 6
LCR_8N1, LCR_DIVISOR = 0b011, 1 << 7
MCR_DTR_RTS, MCR_OUT2 = 0b11, 1 << 3            # OUT2 lets the interrupt out of the chip on a PC
LSR_DATA, LSR_OVERRUN, LSR_PARITY, LSR_FRAMING, LSR_BREAK, LSR_THR_EMPTY = (1 << bit for bit in range(6))

DIVISOR_115200 = 1
FIFO_SIZE = 16
MAX_CAUSES = 16             # served in one interrupt: the guest waits meanwhile
MAX_RECEIVED = 256          # taken in one go; a receiver that is never empty is stuck too
MAX_LOADS = 4               # FIFO loads in one go, as long as the transmitter is empty again at once
TRANSMIT_LIMIT = 1 << 20    # bytes that may wait; a line that slow is dead
STALLED_TICKS = 10          # a transmitter interrupt that is this late was lost
PATIENCE = 4096             # readings of LSR: several times what 16 characters take, even if a reading takes 1 us
PROBE_PATTERNS = (0x5A, 0xA5)


@dataclass(slots=True)
class Counts:
    """What passed, in bytes, and what went wrong."""

    received: int = 0
    sent: int = 0
    interrupts: int = 0
    overruns: int = 0           # the chip lost bytes because nobody read them in time
    framing: int = 0
    parity: int = 0
    breaks: int = 0
    dropped: int = 0            # bytes that found TRANSMIT_LIMIT others waiting
    stalls: int = 0             # transmitter interrupts that did not come
    stuck: int = 0              # interrupts whose cause would not go away


class Uart16550:
    """One serial port.

    Args:
        base: its first I/O port.

    Attributes:
        on_received: gets what arrives, in the interrupt.
        counts: statistics.
    """

    def __init__(self, hardware: Hardware, base: int, log: Log) -> None:
        self._read, self._write = hardware.port_read, hardware.port_write
        self.base, self._log = base, log
        self.counts = Counts()
        self.on_received: Callable[[bytes], None] = lambda data: None
        self._waiting = bytearray()
        self._started = False               # the FIFOs are on
        self._sending = False               # a transmitter interrupt is on its way
        self._interrupts = False            # they are routed
        self._idle_ticks = 0
        self._drained: list[asyncio.Future[None]] = []

    def probe(self) -> bool:
        """Whether a chip answers here: its scratch register keeps what is written."""
        for pattern in PROBE_PATTERNS:
            self._write(self.base + SCR, 1, pattern)
            if self._read(self.base + SCR, 1) != pattern:
                return False
        return True

    def start(self) -> None:
        """115200 baud, 8N1, FIFOs on, interrupts still off. What is written meanwhile waits."""
        self._write(self.base + IER, 1, 0)
        self._write(self.base + LCR, 1, LCR_8N1 | LCR_DIVISOR)
        self._write(self.base + DLL, 1, DIVISOR_115200 & 0xFF)
        self._write(self.base + DLM, 1, DIVISOR_115200 >> 8)
        self._write(self.base + LCR, 1, LCR_8N1)
        self._write(self.base + FCR, 1, FCR_ENABLE | FCR_CLEAR_BOTH | FCR_TRIGGER_8)
        self._write(self.base + MCR, 1, MCR_DTR_RTS | MCR_OUT2)
        self._started = True

    def enable_interrupts(self) -> None:
        """The line is connected: take interrupts and begin to send."""
        self._interrupts = True
        self._arm()
        self._transmit()

    def write(self, data: bytes) -> None:
        """Send; returns at once."""
        room = TRANSMIT_LIMIT - len(self._waiting)
        if len(data) > room:
            self.counts.dropped += len(data) - room
            self._log.once("uart", f"the line at {self.base:#x} does not keep up: output is lost")
        self._waiting += data[:room]
        if not self._sending:
            self._transmit()

    def discard(self) -> None:
        """What waits is not sent; what the chip has already is."""
        self._waiting.clear()
        self._finish_draining()

    async def drain(self) -> None:
        """Wait until everything written so far has been handed to the chip."""
        if self._waiting:
            done = asyncio.get_running_loop().create_future()
            self._drained.append(done)
            await done

    def write_dying(self, data: bytes) -> None:
        """Send without interrupts, for the last words of a kernel: everything that waits and `data`; what the chip does not take in time is lost."""
        self._waiting += data
        patience = PATIENCE
        while self._waiting and patience:
            if self._read(self.base + LSR, 1) & LSR_THR_EMPTY:
                self._load()
                patience = PATIENCE
            patience -= 1

    def interrupt(self) -> None:
        """Serve every cause that is pending."""
        counts = self.counts
        counts.interrupts += 1
        passed = counts.received + counts.sent
        for _ in range(MAX_CAUSES):
            identification = self._read(self.base + IIR, 1)
            if identification & IIR_NONE_PENDING:
                return
            match identification & IIR_CAUSE:
                case 0x4 | 0xC:                                     # CAUSE_RECEIVED, CAUSE_TIMEOUT
                    self._receive()
                case 0x2:                                           # CAUSE_TRANSMITTER: reading IIR has cleared it
                    self._sending = False
                    self._transmit()
                case 0x6:                                           # CAUSE_LINE
                    self._note_errors(self._read(self.base + LSR, 1))
                case _:                                             # CAUSE_MODEM, or nothing known
                    self._read(self.base + MSR, 1)
        if counts.received + counts.sent == passed:
            counts.stuck += 1
            self._log.once("uart", f"the port at {self.base:#x} claims causes that do not go away")
        self._arm()                                                 # the line is edge triggered: there is more to do, so make a new edge

    def tick(self) -> None:
        """Called with the timer: send again if a transmitter interrupt was lost."""
        if not (self._waiting and self._sending):
            self._idle_ticks = 0
            return
        self._idle_ticks += 1
        if self._idle_ticks >= STALLED_TICKS and self._read(self.base + LSR, 1) & LSR_THR_EMPTY:
            self.counts.stalls += 1
            self._idle_ticks = 0
            self._transmit()

    @property
    def pending(self) -> int:
        """Bytes that wait to be sent."""
        return len(self._waiting)

    def _arm(self) -> None:
        self._write(self.base + IER, 1, 0)
        self._write(self.base + IER, 1, IER_RECEIVED | IER_TRANSMITTER_EMPTY | IER_LINE_STATUS)

    def _receive(self) -> None:
        data = bytearray()
        while len(data) < MAX_RECEIVED:
            status = self._read(self.base + LSR, 1)
            self._note_errors(status)
            if not status & LSR_DATA:
                break
            data.append(self._read(self.base + RBR, 1))
        self.counts.received += len(data)
        if data:
            self.on_received(bytes(data))

    def _note_errors(self, status: int) -> None:
        """LSR's error bits are cleared by the reading of it, so each reading is looked at."""
        if not status & (LSR_OVERRUN | LSR_PARITY | LSR_FRAMING | LSR_BREAK) or status == 0xFF:
            return
        counts = self.counts
        counts.overruns += bool(status & LSR_OVERRUN)
        counts.parity += bool(status & LSR_PARITY)
        counts.framing += bool(status & LSR_FRAMING)
        counts.breaks += bool(status & LSR_BREAK)
        if status & LSR_OVERRUN:
            self._log.once("uart", f"the port at {self.base:#x} lost input: it was not read in time")

    def _transmit(self) -> None:
        if not self._interrupts:
            return
        for _ in range(MAX_LOADS):
            if not self._waiting:
                self._finish_draining()
                return
            if not self._read(self.base + LSR, 1) & LSR_THR_EMPTY:
                break
            self._load()
        if not self._waiting:
            self._finish_draining()

    def _load(self) -> None:
        """Fill the transmitter's FIFO."""
        room = FIFO_SIZE if self._started else 1
        load = self._waiting[:room]
        del self._waiting[:room]
        for byte in load:
            self._write(self.base + THR, 1, byte)
        self.counts.sent += len(load)
        self._sending = True
        self._idle_ticks = 0

    def _finish_draining(self) -> None:
        drained, self._drained = self._drained, []
        for done in drained:
            if not done.done():
                done.set_result(None)
