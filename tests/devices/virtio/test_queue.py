"""Split virtqueues by VirtIO 1.2, 2.7, driven from their other end."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType

import pytest

from devices.core.dma import RamPort
from devices.core.log import AccessLog
from devices.virtio.device import F_RING_RESET, F_VERSION_1, NEEDS_RESET, VirtioDevice
from devices.virtio.pci_registers import COMMON_CFG
from devices.virtio.queue import DESC_INDIRECT, DESC_NEXT, DESC_WRITE, F_EVENT_IDX, F_INDIRECT_DESC, Virtqueue
from devices.virtio.transport_pci import plug_in
from tests.devices.virtio.driver import AVAILABLE, BUFFERS, INDIRECT, RAM, USED, Buffer, Driver, noted

ALL = F_VERSION_1 | F_INDIRECT_DESC | F_EVENT_IDX


@dataclass
class EchoState:
    """What it was sent, and whether it is busy."""

    heard: list[bytes] = field(default_factory=list)
    patience: int = 1000


class Echo(VirtioDevice[EchoState]):
    """Writes back what it is sent, as much as there is room for; takes `patience` requests at a time."""

    NAME = "echo"
    DEVICE_ID = 0x3F
    CLASS_CODE = 0xFF0000
    QUEUES = MappingProxyType({"echoq": 16})
    BLOCKS = ()

    def process(self, queue: Virtqueue) -> None:
        for served, chain in enumerate(queue, 1):
            data = chain.read(0, chain.readable)
            self.state.heard.append(data)
            written = data[:chain.writable]
            chain.write(0, written)
            chain.complete(len(written))
            if served == self.state.patience:
                return


class Bench:
    def __init__(self, features: int = ALL, size: int = 8) -> None:
        self.log = AccessLog()
        self.ram = RamPort(bytearray(RAM))
        self.echo = Echo(self.log)
        self.function = plug_in(self.log, self.echo, self.ram)
        self.driver = Driver(self.function, self.ram)
        self.driver.start(features, size)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_2_7_4_framing_means_nothing(bench: Bench) -> None:
    bench.ram.write(BUFFERS, b"abcdefgh")
    bench.driver.request(Buffer(BUFFERS, 1), Buffer(BUFFERS + 1, 0), Buffer(BUFFERS + 1, 5), Buffer(BUFFERS + 100, 2, True), Buffer(BUFFERS + 200, 4, True))
    assert bench.echo.state.heard == [b"abcdef"] and bench.driver.used() == [(0, 6)]
    assert bench.ram.read(BUFFERS + 100, 3) == b"ab\0" and bench.ram.read(BUFFERS + 200, 5) == b"cdef\0"
    assert bench.log.total() == 0


def test_2_7_8_used_entries_keep_order_and_wrap_around(bench: Bench) -> None:
    for number in range(20):
        head = number % 8
        bench.driver.describe(head, BUFFERS, 4, DESC_WRITE)
        bench.driver.offer(head)
        bench.driver.kick()
        assert bench.driver.used() == [(head, 0)]
    assert bench.driver.word(USED + 2) == 20


def test_indices_wrap_at_65536(bench: Bench) -> None:
    ring = bench.function.state.queues[0]
    ring.available = ring.used = ring.signalled = bench.driver.added = bench.driver.seen = 0xFFFF
    for index in (AVAILABLE, USED):
        bench.ram.write(index + 2, b"\xff\xff")
    bench.driver.request(Buffer(BUFFERS, 1))
    bench.driver.request(Buffer(BUFFERS, 1))
    assert bench.driver.used() == [(0, 0), (0, 0)] and (ring.available, ring.used) == (1, 1)
    assert bench.driver.avail_event == 1


def test_several_requests_by_one_notification(bench: Bench) -> None:
    for head in range(8):
        bench.driver.describe(head, BUFFERS + head, 1)
        bench.driver.offer(head)
    bench.driver.kick()
    assert bench.driver.used() == [(head, 0) for head in range(8)]


def test_2_7_5_3_indirect_tables(bench: Bench) -> None:
    bench.ram.write(BUFFERS, b"indirect")
    bench.driver.request(Buffer(BUFFERS, 8), *(Buffer(BUFFERS + 100 + number, 1, True) for number in range(10)), indirect=True)
    assert bench.driver.used() == [(0, 8)] and bench.ram.read(BUFFERS + 100, 9) == b"indirect\0"


def test_2_7_5_3_2_normal_descriptors_then_a_table_whose_write_flag_is_ignored(bench: Bench) -> None:
    bench.ram.write(BUFFERS, b"ab")
    bench.driver.describe(3, BUFFERS, 1, DESC_NEXT, 5)
    bench.driver.describe(5, INDIRECT, 32, DESC_INDIRECT | DESC_WRITE)
    bench.driver.chain([Buffer(BUFFERS + 1, 1), Buffer(BUFFERS + 8, 2, True)], table=INDIRECT)
    bench.driver.offer(3)
    bench.driver.kick()
    assert bench.driver.used() == [(3, 2)] and bench.ram.read(BUFFERS + 8, 2) == b"ab"


def test_a_chain_may_be_as_long_as_the_queue_that_was_offered(bench: Bench) -> None:
    bench.driver.request(*(Buffer(BUFFERS, 1) for _ in range(16)), indirect=True)
    assert bench.driver.used() == [(0, 0)] and bench.log.total() == 0


def test_2_7_7_flags_without_event_idx() -> None:
    bench = Bench(F_VERSION_1)
    bench.driver.request(Buffer(BUFFERS, 1))
    assert bench.driver.isr == 1
    bench.driver.set_available_flags(1)
    bench.driver.set_used_event(1)
    bench.driver.request(Buffer(BUFFERS, 1))
    assert bench.driver.isr == 0, "NO_INTERRUPT; used_event is ignored"
    assert bench.driver.avail_event == 0, "left alone"
    bench.driver.kick()
    bench.driver.set_available_flags(0)
    bench.driver.kick()
    assert bench.driver.isr == 0, "nothing was used since"


def test_2_7_7_used_event(bench: Bench) -> None:
    driver = bench.driver
    driver.set_available_flags(1)
    driver.request(Buffer(BUFFERS, 1))
    assert driver.isr == 1, "used_event is 0; the flag is ignored"
    driver.set_used_event(2)
    driver.request(Buffer(BUFFERS, 1))
    assert driver.isr == 0
    driver.request(Buffer(BUFFERS, 1))
    assert driver.isr == 1
    driver.request(Buffer(BUFFERS, 1))
    assert driver.isr == 0
    driver.set_used_event(5)
    for head in range(4):
        driver.describe(head, BUFFERS, 1)
        driver.offer(head)
    driver.kick()
    assert driver.isr == 1, "passed in the middle of several"


def test_2_7_10_avail_event_asks_for_the_next(bench: Bench) -> None:
    for number in range(1, 4):
        bench.driver.request(Buffer(BUFFERS, 1))
        assert bench.driver.avail_event == number


def test_a_device_that_stops_in_the_middle_goes_on_at_the_next_notification(bench: Bench) -> None:
    bench.echo.state.patience = 2
    for head in range(3):
        bench.driver.describe(head, BUFFERS, 1)
        bench.driver.offer(head)
    bench.driver.kick()
    assert bench.driver.used() == [(0, 0), (1, 0)]
    bench.driver.kick()
    assert bench.driver.used() == [(2, 0)]


# --- what a driver can do wrong --------------------------------------------------------------------------------------------------------------
def available_too_far(driver: Driver) -> None:
    driver.ram.write(AVAILABLE + 2, struct.pack("<H", driver.added + 9))


def head_beyond(driver: Driver) -> None:
    driver.offer(8)


def next_beyond(driver: Driver) -> None:
    driver.describe(0, BUFFERS, 1, DESC_NEXT, 0xFFFF)
    driver.offer(0)


def to_itself(driver: Driver) -> None:
    driver.describe(7, BUFFERS, 1, DESC_NEXT, 7)
    driver.offer(7)


def circle(driver: Driver) -> None:
    for index in range(3):
        driver.describe(index, BUFFERS, 1, DESC_NEXT, (index + 1) % 3)
    driver.offer(0)


def write_then_read(driver: Driver) -> None:
    driver.chain([Buffer(BUFFERS, 1, True), Buffer(BUFFERS, 1)])
    driver.offer(0)


def too_many(driver: Driver) -> None:
    driver.chain([Buffer(BUFFERS, 1)] * 17, table=INDIRECT)
    driver.describe(0, INDIRECT, 17 * 16, DESC_INDIRECT)
    driver.offer(0)


def circle_in_table(driver: Driver) -> None:
    driver.describe(0, BUFFERS, 1, DESC_NEXT, 0, INDIRECT)
    driver.describe(0, INDIRECT, 16, DESC_INDIRECT)
    driver.offer(0)


def nested(driver: Driver) -> None:
    driver.describe(0, INDIRECT, 16, DESC_INDIRECT, 0, INDIRECT)
    driver.describe(0, INDIRECT, 16, DESC_INDIRECT)
    driver.offer(0)


def table_with_next(driver: Driver) -> None:
    driver.chain([Buffer(BUFFERS, 1)], table=INDIRECT)
    driver.describe(0, INDIRECT, 16, DESC_INDIRECT | DESC_NEXT, 1)
    driver.offer(0)


def odd_table(driver: Driver) -> None:
    driver.describe(0, INDIRECT, 24, DESC_INDIRECT)
    driver.offer(0)


def empty_table(driver: Driver) -> None:
    driver.describe(0, INDIRECT, 0, DESC_INDIRECT)
    driver.offer(0)


def beyond_table(driver: Driver) -> None:
    driver.describe(0, BUFFERS, 1, DESC_NEXT, 1, INDIRECT)
    driver.describe(0, INDIRECT, 16, DESC_INDIRECT)
    driver.offer(0)


def table_nowhere(driver: Driver) -> None:
    driver.describe(0, 1 << 63, 16, DESC_INDIRECT)
    driver.offer(0)


def buffer_nowhere(driver: Driver) -> None:
    driver.chain([Buffer(RAM - 1, 2)])
    driver.offer(0)


def last_of_the_address_space(driver: Driver) -> None:
    driver.chain([Buffer((1 << 64) - 1, 0xFFFFFFFF)])
    driver.offer(0)


def more_than_4_gib(driver: Driver) -> None:
    driver.chain([Buffer(BUFFERS, 0xFFFFFFFF, True)] * 2)
    driver.offer(0)


WRONG = {
    available_too_far: "available index is further ahead than the queue is long", head_beyond: "descriptor beyond the end of its table",
    next_beyond: "descriptor beyond the end of its table", to_itself: "descriptors chain in a circle", circle: "descriptors chain in a circle",
    write_then_read: "descriptor to be read behind one to be written", too_many: "chain of more descriptors than the queue has",
    circle_in_table: "descriptors chain in a circle", nested: "indirect descriptor in an indirect table",
    table_with_next: "indirect descriptor with a next one", odd_table: "indirect table of no whole number of descriptors",
    empty_table: "indirect table of no whole number of descriptors", beyond_table: "descriptor beyond the end of its table",
    table_nowhere: "memory out of reach", buffer_nowhere: "memory out of reach", last_of_the_address_space: "memory out of reach",
    more_than_4_gib: "chain of more than 4 GiB",
}


@pytest.mark.parametrize(("wrong", "kind"), WRONG.items(), ids=[wrong.__name__ for wrong in WRONG])
def test_a_wrong_driver_is_told_by_name_and_the_device_needs_a_reset(wrong: Callable[[Driver], None], kind: str, bench: Bench) -> None:
    driver = bench.driver
    wrong(driver)
    driver.kick()
    assert driver.status & NEEDS_RESET and driver.isr == 2, "and says so by a change of configuration"
    (line,) = bench.log.lines
    assert line.startswith(f"echo-pci: echoq {kind}") and driver.used() == []
    driver.kick()
    assert "queue not enabled, before DRIVER_OK, or in need of a reset" in noted(bench.log)
    driver.start()
    driver.request(Buffer(BUFFERS, 1))
    assert driver.used() == [(0, 0)] and not driver.status & NEEDS_RESET


def test_indirect_descriptors_must_have_been_negotiated() -> None:
    bench = Bench(F_VERSION_1)
    bench.driver.request(Buffer(BUFFERS, 1), indirect=True)
    assert noted(bench.log) == ["indirect descriptor, which was not negotiated"]


@pytest.mark.parametrize(("place", "address"), [("table", RAM - 16), ("available", RAM - 16), ("available", RAM), ("used", RAM), ("used", 1 << 63)])
def test_rings_where_no_memory_is(place: str, address: int, bench: Bench) -> None:
    driver = bench.driver
    driver.start(F_VERSION_1 | F_RING_RESET)
    driver.write(COMMON_CFG, 0x3A, 2, 1)
    driver.set_up_queue(8, **{place: address})
    driver.describe(1, BUFFERS, 1)
    driver.offer(1)
    if (place, address) == ("available", RAM - 16):
        driver.ram.write(address, struct.pack("<HH", 0, 8))        # the first six entries are there, the others are not
    driver.kick()
    assert driver.status & NEEDS_RESET and any(kind.startswith("memory out of reach") for kind in noted(bench.log)), bench.log.lines


def test_a_request_shorter_than_the_device_needs_is_the_drivers_mistake(bench: Bench) -> None:
    bench.echo.process = lambda queue: [chain.read(0, 16) for chain in queue] and None  # type: ignore[method-assign]
    bench.driver.request(Buffer(BUFFERS, 15))
    assert noted(bench.log) == ["request too short"] and bench.driver.status & NEEDS_RESET
