"""16550A, clause by clause of the PC16550D data sheet, section 8."""

from __future__ import annotations

import pytest

from devices.core.clock import ManualTime, VirtualClock
from devices.core.irq import IrqLine
from devices.core.log import AccessLog
from devices.uart16550 import Interrupt, SerialPeer, Uart16550

RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR = range(8)
CHARACTER = 1_041_666            # ns: 10 bits at 9600 baud, the divisor after a reset


class Peer(SerialPeer):
    def __init__(self) -> None:
        self.heard = bytearray()
        self.events: list[tuple[object, ...]] = []

    def transmit(self, data: bytes) -> None:
        self.heard += data

    def room(self) -> None:
        self.events.append(("room",))

    def modem(self, dtr: bool, rts: bool) -> None:
        self.events.append(("modem", dtr, rts))

    def break_(self, on: bool) -> None:
        self.events.append(("break", on))


class Bench:
    def __init__(self, paced: bool = False) -> None:
        self.time = ManualTime()
        self.clock = VirtualClock(self.time)
        self.edges: list[bool] = []
        self.irq = IrqLine(self.edges.append)
        self.log = AccessLog()
        self.peer = Peer()
        self.chip = Uart16550(self.clock, self.irq, self.log, self.peer, paced)
        self.block = self.chip.blocks["registers"]

    def __getitem__(self, offset: int) -> int:
        return self.block.read(offset, 1)

    def __setitem__(self, offset: int, value: int) -> None:
        self.block.write(offset, 1, value)

    def wait(self, ns: int) -> None:
        self.time.advance(ns)
        self.clock.run_due()


@pytest.fixture
def uart() -> Bench:
    bench = Bench()
    bench[MCR] = 0x0B            # DTR, RTS, OUT2
    bench[LCR] = 0x03            # 8 bits, 1 stop bit
    bench.peer.events.clear()
    return bench


@pytest.fixture
def paced() -> Bench:
    bench = Bench(paced=True)
    bench[MCR], bench[LCR] = 0x0B, 0x03
    return bench


def test_master_reset() -> None:
    bench = Bench()
    assert [bench[offset] for offset in (IER, IIR, LCR, MCR, LSR, MSR)] == [0, 1, 0, 0, 0x60, 0xB0]
    assert not bench.irq.level


def test_8_1_dlab_selects_the_divisor_latch(uart: Bench) -> None:
    uart[LCR] = 0x83
    uart[0], uart[1] = 0x34, 0x12
    assert (uart[0], uart[1]) == (0x34, 0x12)
    uart[LCR] = 0x03
    assert uart[IER] == 0 and uart[RBR] == 0 and not uart.peer.heard


@pytest.mark.parametrize(("wls", "expected"), [(0, 0x1F), (1, 0x3F), (2, 0x7F), (3, 0xFF)])
def test_8_1_word_length_cuts_characters(uart: Bench, wls: int, expected: int) -> None:
    uart[LCR] = wls
    uart[0] = 0xFF
    assert uart.peer.heard == bytes([expected])


def test_8_1_set_break_reaches_the_peer_once(uart: Bench) -> None:
    uart[LCR] = 0x43
    uart[LCR] = 0x43
    uart[LCR] = 0x03
    assert uart.peer.events == [("break", True), ("break", False)]


def test_8_4_fcr_bits_need_bit_0(uart: Bench) -> None:
    uart[IIR] = 0xC0
    assert uart[IIR] == 0x01
    uart[IIR] = 0xC1
    assert uart[IIR] == 0xC1


def test_8_4_changing_the_mode_clears_the_fifos(uart: Bench) -> None:
    uart[IIR] = 0x01
    uart.chip.receive(b"abc")
    uart[IIR] = 0x00
    assert not uart[LSR] & 1 and uart.chip.space() == 1


def test_8_4_receiver_reset_keeps_the_mode(uart: Bench) -> None:
    uart[IIR] = 0x81
    uart.chip.receive(b"abc")
    uart[IIR] = 0x83
    assert uart[LSR] == 0x60 and uart[IIR] == 0xC1 and uart.chip.state.fcr == 0x81


@pytest.mark.parametrize(("fcr", "level"), [(0x01, 1), (0x41, 4), (0x81, 8), (0xC1, 14)])
def test_8_4_trigger_levels(uart: Bench, fcr: int, level: int) -> None:
    uart[IIR], uart[IER] = fcr, 1
    uart.chip.receive(b"x" * (level - 1))
    assert not uart.irq.level
    uart.chip.receive(b"x")
    assert uart.irq.level and uart[IIR] == 0xC0 | Interrupt.RECEIVED
    assert uart[RBR] == ord("x")
    assert not uart.irq.level and uart[IIR] == 0xC1


def test_8_5_overrun_in_character_mode_overwrites(uart: Bench) -> None:
    uart.chip.receive(b"ab")
    assert uart[LSR] == 0x63 and uart[LSR] == 0x61
    assert uart[RBR] == ord("b")


def test_8_5_overrun_in_fifo_mode_loses_the_newcomer(uart: Bench) -> None:
    uart[IIR] = 0x01
    uart.chip.receive(bytes(range(17)))
    assert uart[LSR] & 0x02
    assert [uart[RBR] for _ in range(16)] == list(range(16)) and uart[LSR] == 0x60


def test_8_5_errors_are_shown_at_the_top_of_the_fifo(uart: Bench) -> None:
    uart[IIR], uart[IER] = 0xC1, 4
    uart.chip.receive(b"a")
    uart.chip.receive_break()
    assert not uart.irq.level and uart[LSR] == 0xE1
    assert uart[RBR] == ord("a")
    assert uart.irq.level and uart[IIR] == 0xC0 | Interrupt.LINE
    assert uart[LSR] == 0xF9
    assert not uart.irq.level and uart[LSR] == 0x61 and uart[RBR] == 0


def test_8_6_priority_of_interrupts(uart: Bench) -> None:
    uart[IER] = 0x0F
    uart.chip.drive(False, True, False, True)
    uart.chip.receive(b"a")
    uart.chip.receive_break()
    assert uart[IIR] == Interrupt.LINE
    assert uart[LSR] & 0x1A == 0x1A
    assert uart[IIR] == Interrupt.RECEIVED
    uart[RBR]
    assert uart[IIR] == Interrupt.TRANSMITTER
    assert uart[IIR] == Interrupt.MODEM
    assert uart[MSR] == 0xA1
    assert uart[IIR] == Interrupt.NONE and not uart.irq.level


def test_8_6_reading_iir_clears_thre_only_if_it_says_so(uart: Bench) -> None:
    uart[IER] = 3
    uart.chip.receive(b"a")
    assert uart[IIR] == Interrupt.RECEIVED
    uart[RBR]
    assert uart.irq.level and uart[IIR] == Interrupt.TRANSMITTER
    assert not uart.irq.level and uart[IIR] == Interrupt.NONE


def test_8_6_writing_thr_clears_and_raises_thre_again(uart: Bench) -> None:
    uart[IER] = 2
    assert uart.edges == [True]
    uart[0] = 0x41
    assert uart.edges == [True, False, True] and uart.peer.heard == b"A"
    assert uart[IIR] == Interrupt.TRANSMITTER
    uart[0] = 0x42
    assert uart.edges[-2:] == [False, True]


def test_8_6_time_out_after_four_characters(uart: Bench) -> None:
    uart[IIR], uart[IER] = 0xC1, 1
    uart.chip.receive(b"ab")
    uart.wait(4 * CHARACTER - 1000)
    assert not uart.irq.level
    uart.wait(2000)
    assert uart.irq.level and uart[IIR] == 0xC0 | Interrupt.TIMEOUT
    uart.chip.receive(b"c")
    assert uart.irq.level                                    # only a read clears it
    assert uart[RBR] == ord("a") and not uart.irq.level
    uart.wait(4 * CHARACTER + 1000)
    assert uart.irq.level and [uart[RBR], uart[RBR]] == [ord("b"), ord("c")] and not uart.irq.level


def test_8_6_a_time_out_is_shown_before_the_trigger_level(uart: Bench) -> None:
    """Bit 3 is "set along with bit 2 when a time-out interrupt is pending", whether or not the FIFO has come to its trigger level."""
    uart[IIR], uart[IER] = 0x41, 1
    uart.chip.receive(b"abcde")
    assert uart[IIR] == 0xC0 | Interrupt.RECEIVED
    uart.wait(4 * CHARACTER + 1000)
    assert uart[IIR] == 0xC0 | Interrupt.TIMEOUT
    assert uart[RBR] == ord("a") and uart[IIR] == 0xC0 | Interrupt.RECEIVED
    assert uart[RBR] == ord("b") and uart[IIR] == 0xC0 | Interrupt.NONE


def test_8_6_a_lost_character_restarts_the_time_out_too(uart: Bench) -> None:
    uart[IIR], uart[IER] = 0xC1, 1
    uart.chip.receive(b"a" * 16)
    uart.wait(3 * CHARACTER)
    uart.chip.receive(b"b")
    uart.wait(3 * CHARACTER)
    assert uart[IIR] == 0xC0 | Interrupt.RECEIVED, "the last character came three characters' times ago, if it was lost"
    uart.wait(CHARACTER + 1000)
    assert uart[IIR] == 0xC0 | Interrupt.TIMEOUT


def test_without_fifos_the_buffer_keeps_what_came_last(uart: Bench) -> None:
    uart.chip.receive(b"a")
    assert [uart[RBR], uart[RBR]] == [ord("a")] * 2
    uart[IIR] = 1
    assert uart[RBR] == 0


def test_8_6_traffic_restarts_the_time_out(uart: Bench) -> None:
    uart[IIR], uart[IER] = 0xC1, 1
    for _ in range(5):
        uart.chip.receive(b"a")
        uart.wait(3 * CHARACTER)
        assert not uart.irq.level
    assert len([deadline for deadline in uart.clock._heap if deadline[2].pending]) == 1


def test_8_6_no_time_out_in_character_mode(uart: Bench) -> None:
    uart[IER] = 1
    uart.chip.receive(b"a")
    uart.wait(100 * CHARACTER)
    assert uart[IIR] == Interrupt.RECEIVED


def test_8_7_enabling_etbei_raises_it_each_time(uart: Bench) -> None:
    for _ in range(2):
        uart[IER] = 2
        assert uart.irq.level and uart[IIR] == Interrupt.TRANSMITTER and uart[IIR] == Interrupt.NONE
        uart[IER] = 0
    uart[IER] = 2
    uart[IIR]
    uart[IER] = 2
    assert not uart.irq.level                                # it was enabled already


def test_8_8_out2_gates_the_line(uart: Bench) -> None:
    uart[MCR] = 0x03
    uart[IER] = 2
    assert not uart.irq.level and uart.block.peek(IIR, 1) == Interrupt.TRANSMITTER
    uart[MCR] = 0x0B
    assert uart.irq.level


def test_8_8_loopback_connects_transmitter_to_receiver(uart: Bench) -> None:
    uart[MCR] = 0x1B
    uart.chip.receive(b"z")
    uart[0] = 0x5A
    assert uart[LSR] & 1 and uart[RBR] == 0x5A and not uart.peer.heard
    assert uart.peer.events == [("modem", False, False)] and uart.chip.space() == 0
    uart[MCR] = 0x0B
    assert uart.peer.events[1:] == [("modem", True, True), ("room",)]


@pytest.mark.parametrize(("mcr", "msr"), [(0x11, 0x20), (0x12, 0x10), (0x14, 0x40), (0x18, 0x80), (0x1A, 0x90), (0x1F, 0xF0)])
def test_8_8_loopback_wires_mcr_to_msr(uart: Bench, mcr: int, msr: int) -> None:
    uart[MCR] = mcr
    assert uart[MSR] & 0xF0 == msr


def test_8_9_deltas_are_cleared_by_reading(uart: Bench) -> None:
    uart[IER] = 8
    uart.chip.carrier(False)
    assert uart.irq.level and uart[MSR] == 0x0B and not uart.irq.level and uart[MSR] == 0
    uart.chip.carrier(True)
    assert uart[MSR] == 0xBB


def test_8_9_teri_tells_the_end_of_a_ring_only(uart: Bench) -> None:
    uart.chip.drive(True, True, True, True)
    assert uart[MSR] == 0xF0
    uart.chip.drive(True, True, False, True)
    assert uart[MSR] == 0xB4


def test_8_10_scratch_keeps_anything(uart: Bench) -> None:
    uart[SCR] = 0xA5
    assert uart[SCR] == 0xA5


def test_paced_transmission_takes_its_time(paced: Bench) -> None:
    paced[0] = 0x41
    assert paced[LSR] == 0x20 and not paced.peer.heard       # the holding register is empty again, the shift register is not
    paced[0] = 0x42
    assert paced[LSR] == 0x00
    paced.wait(CHARACTER + 1000)
    assert paced.peer.heard == b"A" and paced[LSR] == 0x20
    paced.wait(CHARACTER + 1000)
    assert paced.peer.heard == b"AB" and paced[LSR] == 0x60


def test_paced_thre_interrupt_comes_when_the_fifo_is_empty(paced: Bench) -> None:
    paced[IIR], paced[IER] = 0x01, 2
    assert paced[IIR] == 0xC0 | Interrupt.TRANSMITTER
    for byte in range(17):                                   # one goes into the shift register, 16 wait
        paced[0] = byte
        if byte == 0:
            assert paced[IIR] & 0xF == Interrupt.TRANSMITTER
    assert not paced.irq.level
    paced[0] = 0xEE
    assert paced.log.counts == {("uart16550", "THR", "written while full, a character is lost"): 1}
    paced.wait(15 * CHARACTER)
    assert not paced.irq.level
    paced.wait(2 * CHARACTER)
    assert paced.irq.level
    paced.wait(2 * CHARACTER)
    assert paced.peer.heard == bytes(range(17))


def test_paced_state_survives_a_snapshot_in_the_middle_of_a_character(paced: Bench) -> None:
    paced[0], paced[0] = 0x41, 0x42
    saved = paced.chip.save()
    other = Bench(paced=True)
    other.chip.restore(saved)
    other.wait(3 * CHARACTER)
    assert other.peer.heard == b"AB"


def test_room_is_told_after_the_receiver_was_full(uart: Bench) -> None:
    uart.chip.receive(b"a")
    assert uart.chip.space() == 0
    uart[RBR]
    assert uart.peer.events == [("room",)] and uart.chip.space() == 1


def test_wide_access_reaches_each_register_lowest_first(uart: Bench) -> None:
    uart.block.write(IER, 2, 0xC102)                         # IER, then FCR
    assert uart[IER] == 2 and uart.chip.state.fcr == 0xC1
    uart.block.write(LSR, 1, 0xFF)
    assert uart.log.counts == {("uart16550", "LSR", "written, read-only"): 1}
