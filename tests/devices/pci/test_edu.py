"""The EDU device by QEMU's docs/specs/edu."""

from __future__ import annotations

import math

import pytest

from devices.core.bus import BusDevice
from devices.core.clock import ManualTime, VirtualClock
from devices.core.dma import RamPort
from devices.core.log import AccessLog
from devices.pci.edu import BUFFER, BUFFER_SIZE, FACTORIAL_TIME, SIZE, TRANSFER_TIME, Edu

ID, LIVENESS, FACTORIAL, STATUS, PENDING, RAISE, ACKNOWLEDGE = 0x00, 0x04, 0x08, 0x20, 0x24, 0x60, 0x64
SOURCE, DESTINATION, COUNT, COMMAND = 0x80, 0x88, 0x90, 0x98
START, TO_MEMORY, INTERRUPT = 1, 2, 4
MESSAGE = 0x3000


class Bench:
    """The card, 64 KiB of memory, and time that a test passes."""

    def __init__(self) -> None:
        self.log, self.time = AccessLog(), ManualTime()
        self.clock, self.ram = VirtualClock(self.time), RamPort(bytearray(0x10000))
        self.card = Edu(self.clock, self.ram, self.log)
        self.registers: BusDevice = self.card.region(self.card.BASES[0])

    def read(self, offset: int, size: int = 4) -> int:
        return self.registers.read(offset, size)

    def write(self, offset: int, value: int, size: int = 4) -> None:
        self.registers.write(offset, size, value)

    def wait(self, ns: int) -> None:
        self.time.advance(ns)
        self.clock.run_due()

    def transfer(self, source: int, destination: int, count: int, command: int = 0) -> None:
        """A whole one."""
        for register, value in ((SOURCE, source), (DESTINATION, destination), (COUNT, count), (COMMAND, command | START)):
            self.write(register, value)
        self.wait(TRANSFER_TIME)
        assert not self.read(COMMAND) & START

    def use_messages(self) -> None:
        for offset, size, value in ((0x44, 4, MESSAGE), (0x4C, 2, 0x41), (0x42, 2, 1)):
            self.card.config.write(offset, size, value)

    def message(self) -> int:
        """The message that came, if one did."""
        came, self.ram.ram[MESSAGE] = self.ram.ram[MESSAGE], 0
        return came

    def kinds(self) -> list[str]:
        return [kind for _, _, kind in self.log.counts]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_configuration(bench: Bench) -> None:
    config = bench.card.config
    assert config.read(0, 4) == 0x11E81234 and config.read(0x3D, 1) == 1 and config.read(8, 4) == 0x00FF0010
    config.write(0x10, 4, 0xFFFFFFFF)
    assert config.read(0x10, 4) == -SIZE & 0xFFFFFFFF
    assert config.read(0x34, 1) == 0x40 and config.read(0x40, 1) == 5 and config.read(0x42, 2) == 1 << 7, "one vector, 64-bit addresses"


def test_identification_and_liveness(bench: Bench) -> None:
    assert bench.read(ID) == 0x010000ED
    for value in (0, 0x12345678, 0xFFFFFFFF):
        bench.write(LIVENESS, value)
        assert bench.read(LIVENESS) == value ^ 0xFFFFFFFF


@pytest.mark.parametrize("number", [0, 1, 5, 12, 13, 20, 33, 34, 35, 0xFFFFFFFF])
def test_a_factorial_takes_its_time_and_has_32_bits(bench: Bench, number: int) -> None:
    bench.write(FACTORIAL, number)
    bench.wait(FACTORIAL_TIME - 1)
    assert bench.read(STATUS) == 1 and bench.read(FACTORIAL) == number
    bench.write(FACTORIAL, 3)
    bench.wait(1)
    expected = math.factorial(number) % (1 << 32) if number < 1000 else 0
    assert (bench.read(STATUS), bench.read(FACTORIAL)) == (0, expected), "what is written meanwhile is dropped"
    assert not bench.read(PENDING) and not bench.card.intx.level


def test_a_factorial_interrupts_if_asked_to_before_it_is_done(bench: Bench) -> None:
    bench.write(FACTORIAL, 4)
    bench.write(STATUS, 0xFF)
    assert bench.read(STATUS) == 0x81
    bench.wait(FACTORIAL_TIME)
    assert (bench.read(STATUS), bench.read(PENDING), bench.card.intx.level) == (0x80, 1, True)
    bench.write(ACKNOWLEDGE, 1)
    assert bench.read(PENDING) == 0 and not bench.card.intx.level


def test_the_pin_is_asserted_until_everything_is_acknowledged(bench: Bench) -> None:
    bench.write(RAISE, 0x0F)
    bench.write(RAISE, 0x30)
    bench.write(ACKNOWLEDGE, 0x1F)
    assert bench.read(PENDING) == 0x20 and bench.card.intx.level and bench.card.config.read(6, 2) & 8
    bench.write(ACKNOWLEDGE, 0xFF)
    assert bench.read(PENDING) == 0 and not bench.card.intx.level and not bench.card.config.read(6, 2) & 8
    bench.write(RAISE, 0)
    assert not bench.card.intx.level


def test_with_messages_the_pin_is_silent_and_each_raise_sends(bench: Bench) -> None:
    bench.write(RAISE, 1)
    bench.use_messages()
    assert not bench.card.intx.level and bench.message() == 0, "what was raised before had the pin"
    for _ in range(2):
        bench.write(RAISE, 2)
        assert bench.message() == 0x41
    assert bench.read(PENDING) == 3 and not bench.card.intx.level
    bench.card.config.write(0x42, 2, 0)
    assert bench.card.intx.level


def test_dma_both_ways(bench: Bench) -> None:
    bench.ram.ram[0x1000:0x1064] = bytes(range(100))
    bench.transfer(0x1000, BUFFER + 8, 100)
    bench.transfer(BUFFER + 8, 0x2000, 100, TO_MEMORY)
    assert bench.ram.ram[0x2000:0x2064] == bytes(range(100)) and not bench.read(PENDING) and not bench.log.counts
    bench.transfer(BUFFER + 8, 0x2100, 1, TO_MEMORY | INTERRUPT)
    assert bench.read(PENDING) == 0x100 and bench.card.intx.level


def test_a_transfer_takes_its_time_and_cannot_be_changed_meanwhile(bench: Bench) -> None:
    bench.ram.ram[0x1000] = 7
    for register, value in ((SOURCE, 0x1000), (DESTINATION, BUFFER), (COUNT, 1), (COMMAND, START)):
        bench.write(register, value)
    bench.wait(TRANSFER_TIME - 1)
    for register in (SOURCE, DESTINATION, COUNT, COMMAND):
        bench.write(register, 0xFFF)
    assert bench.read(COMMAND) == START and bench.card.state.buffer[0] == 0
    bench.wait(1)
    assert [bench.read(register) for register in (SOURCE, DESTINATION, COUNT, COMMAND)] == [0x1000, BUFFER, 1, 0] and bench.card.state.buffer[0] == 7


@pytest.mark.parametrize(("destination", "count"), [(0x3FFFF, 1), (BUFFER, BUFFER_SIZE + 1), (BUFFER + BUFFER_SIZE - 1, 2), (0, 4), (0xFFFFFFFF, 0xFFFFFFFF)])
def test_a_transfer_beyond_the_buffer_moves_nothing(bench: Bench, destination: int, count: int) -> None:
    bench.ram.ram[0:4] = b"data"
    bench.transfer(0, destination, count, INTERRUPT)
    assert bench.card.state.buffer == bytes(BUFFER_SIZE) and bench.kinds() == ["not within the buffer, nothing is moved"]
    assert bench.read(PENDING) == 0x100, "it has ended"


def test_addresses_have_28_bits_and_a_transfer_to_nowhere_is_lost(bench: Bench) -> None:
    bench.ram.ram[0x1000] = 9
    bench.write(SOURCE, 0x7_F000_1000, 8)
    bench.transfer(0x7000_1000, BUFFER, 1)
    assert bench.card.state.buffer[0] == 9 and bench.kinds() == ["beyond the card's address bits, cut off"]
    bench.transfer(BUFFER, 0x100000, 1, TO_MEMORY)
    assert bench.kinds()[1].startswith("transfer lost: ")


def test_a_card_can_be_made_with_more_address_bits() -> None:
    """QEMU's dma_mask."""
    log, ram, time = AccessLog(), RamPort(bytearray(4096)), ManualTime()
    card = Edu(clock := VirtualClock(time), ram, log, dma_mask=(1 << 64) - 1)
    for register, value in ((SOURCE, 1 << 32), (DESTINATION, BUFFER), (COUNT, 1), (COMMAND, START)):
        card.region(card.BASES[0]).write(register, 8, value)
    time.advance(TRANSFER_TIME)
    clock.run_due()
    assert [kind for _, _, kind in log.counts] == ["transfer lost: 1 bytes are not within 0x1000 bytes of memory"]


def test_sizes(bench: Bench) -> None:
    """Only 4 bytes below 0x80; 4 or 8 from there on."""
    for offset, size in ((ID, 1), (ID, 2), (ID, 8), (ID + 2, 4), (SOURCE, 2), (SOURCE + 4, 4), (COUNT, 16)):
        assert bench.read(offset, size) == (1 << 8 * size) - 1
        bench.write(offset, 0, size)
    assert all("does not take" in kind for kind in bench.kinds()) and bench.log.total() == 14
    bench.write(SOURCE, 0x11_2222_3333, 8)
    assert (bench.read(SOURCE, 8), bench.read(SOURCE)) == (0x11_2222_3333, 0x2222_3333)
    bench.write(SOURCE, 5)
    assert bench.read(SOURCE, 8) == 5
    for offset in (0x0C, RAISE, 0xA0, BUFFER):
        assert bench.read(offset) == 0xFFFFFFFF


def test_a_snapshot_goes_on_with_what_is_under_way(bench: Bench) -> None:
    bench.write(FACTORIAL, 5)
    for register, value in ((SOURCE, 0x1000), (DESTINATION, BUFFER), (COUNT, 4), (COMMAND, START | INTERRUPT)):
        bench.write(register, value)
    bench.wait(FACTORIAL_TIME // 2)
    other = Bench()
    other.time.advance(FACTORIAL_TIME // 2)
    other.ram.ram[0x1000:0x1004] = b"more"
    other.card.restore(bench.card.save())
    other.wait(FACTORIAL_TIME // 2)
    assert other.read(FACTORIAL) == 120 and other.read(COMMAND) & START
    other.wait(TRANSFER_TIME)
    assert other.card.state.buffer[:4] == b"more" and other.read(PENDING) == 0x100 and other.card.intx.level
    other.card.reset()
    assert not other.card.intx.level and other.clock.next_deadline() is None
