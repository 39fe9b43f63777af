from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.drivers.uart16550 import COM1, TRANSMIT_LIMIT, Uart16550
from kernel.log import Log
from tests.kernel.fake import Bench, Machine


class Line:
    """A port whose interrupts are served at once."""

    def __init__(self, *, interrupts: bool = True) -> None:
        self.machine = Machine()
        self.machine.io_apic.entries[4] = 0x30
        self.log = Log()
        self.uart = Uart16550(self.machine, COM1, self.log)
        self.got = bytearray()
        self.uart.on_received = self.got.extend
        assert self.uart.probe()
        self.uart.start()
        if interrupts:
            self.uart.enable_interrupts()

    def settle(self, shifts: int = 10_000) -> None:
        for _ in range(shifts):
            self.machine.uart.shift()
            if not self.machine.pending:
                return
            self.machine.pending.popleft()
            self.uart.interrupt()


def test_programming() -> None:
    line = Line()
    chip = line.machine.uart
    assert chip.divisor == [1, 0]
    assert chip.registers == {1: 7, 3: 3, 4: 0x0B, 7: 0xA5}


def test_nobody_at_the_port() -> None:
    machine = Machine()
    machine.uart.dead = True
    assert not Uart16550(machine, COM1, Log()).probe()


def test_output_waits_until_the_line_is_connected() -> None:
    line = Line(interrupts=False)
    line.uart.write(b"early")
    assert not line.machine.uart.fifo and line.uart.pending == 5
    line.uart.enable_interrupts()
    line.settle()
    assert line.machine.uart.sent == b"early"


def test_long_output_goes_one_fifo_load_an_interrupt() -> None:
    line = Line()
    text = bytes(range(256)) * 4
    line.uart.write(text)
    assert len(line.machine.uart.fifo) == 16
    line.settle()
    assert line.machine.uart.sent == text
    assert line.uart.counts.interrupts == len(text) // 16 + 1     # the first told that the transmitter was empty
    assert line.uart.counts.sent == len(text)
    line.uart.write(b"again")
    line.settle()
    assert line.machine.uart.sent.endswith(b"again")


@given(st.lists(st.one_of(st.binary(max_size=60), st.integers(0, 3)), max_size=30))
@settings(deadline=None)
def test_bytes_arrive_whole_and_in_order_both_ways(events: list[bytes | int]) -> None:
    line = Line()
    written = received = b""
    for event in events:
        if isinstance(event, int):
            line.settle(event)
        else:
            line.uart.write(event)
            written += event
            for start in range(0, len(event), 16):
                line.machine.uart.receive(event[start:start + 16])
                line.settle(1)
            received += event
    line.settle()
    assert (bytes(line.machine.uart.sent), bytes(line.got)) == (written, received)
    assert line.uart.counts.overruns == 0


def test_an_overrun_is_counted_and_logged_once() -> None:
    line = Line()
    for _ in range(2):
        line.machine.uart.receive(bytes(20))
        line.settle()
    assert line.uart.counts.overruns == 2 and len(line.got) == 32
    assert [record.message for record in line.log.records] == ["the port at 0x3f8 lost input: it was not read in time"]


def test_a_lost_transmitter_interrupt_is_made_up_for() -> None:
    line = Line()
    line.settle()
    line.machine.uart.lose_interrupts = True
    line.uart.write(bytes(40))
    line.settle()
    assert line.uart.pending == 24
    for _ in range(30):
        line.uart.tick()
        line.settle()
    assert line.uart.pending == 0 and line.uart.counts.stalls == 2


def test_a_line_that_does_not_keep_up_loses_output_and_says_so() -> None:
    line = Line(interrupts=False)
    line.uart.write(bytes(TRANSMIT_LIMIT - 1))
    line.uart.write(b"abc")
    assert line.uart.pending == TRANSMIT_LIMIT and line.uart.counts.dropped == 2
    assert "output is lost" in line.log.records[-1].message


def test_a_cause_that_does_not_go_away_ends_the_interrupt() -> None:
    line = Line()
    line.machine.uart.stuck = True
    line.machine.uart.registers[1] = 0
    reads = 0

    def always_line_status() -> int:
        nonlocal reads
        reads += 1
        return 0xC6

    line.machine.port_overrides[COM1 + 2] = always_line_status
    line.uart.interrupt()
    assert line.uart.counts.stuck == 1 and reads == 16
    assert line.machine.uart.registers[1] == 7          # armed again, so that a new edge can come


def test_a_receiver_that_is_never_empty_ends_the_interrupt() -> None:
    line = Line()
    line.machine.port_overrides[COM1 + 5] = lambda: 0x61
    line.machine.uart.receive(b"x")
    line.uart.interrupt()
    assert len(line.got) >= 256


def test_last_words_need_no_interrupts() -> None:
    line = Line(interrupts=False)
    line.uart.write(b"waiting, ")
    line.uart.write_dying(b"last words" * 10)
    assert (line.machine.uart.sent + bytes(line.machine.uart.fifo)) == b"waiting, " + b"last words" * 10


def test_last_words_to_a_dead_line_end() -> None:
    line = Line(interrupts=False)
    line.machine.port_overrides[COM1 + 5] = lambda: 0
    line.uart.write_dying(b"x" * 100)
    assert line.uart.pending == 100


def test_drain(booted: Bench) -> None:
    booted.nucleus.settle()
    ended: list[str] = []

    async def service(name: str) -> None:
        await booted.kernel.uart.drain()
        ended.append(name)

    booted.kernel.spawn(service("nothing to wait for"))
    booted.kernel.service()
    assert ended == ["nothing to wait for"]
    booted.kernel.uart.write(bytes(200))
    task = booted.kernel.spawn(service("sent"))
    cancelled = booted.kernel.spawn(service("cancelled"))
    booted.kernel.service()
    cancelled.cancel()
    booted.kernel.service()
    assert not task.done()
    booted.run(2)
    assert ended[1:] == ["sent"] and cancelled.cancelled()


def test_errors_of_the_line_are_counted() -> None:
    line = Line()
    line.machine.uart.errors = 0x1C
    line.machine.uart.receive(b"\0")
    line.settle()
    assert (line.uart.counts.parity, line.uart.counts.framing, line.uart.counts.breaks) == (1, 1, 1)
