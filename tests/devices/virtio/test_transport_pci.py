"""Virtio over PCI by VirtIO 1.2, 4.1, with the entropy device behind it."""

from __future__ import annotations

import pytest

from devices.backends.entropy import SeededEntropy
from devices.core.dma import RamPort
from devices.core.log import AccessLog
from devices.core.registers import StateError
from devices.pci.config_space import INTX_DISABLE
from devices.pci.msix import CAPABILITY_ID
from devices.virtio.device import ACKNOWLEDGE, COMMON_FEATURES, DRIVER, DRIVER_OK, F_RING_RESET, F_VERSION_1, FAILED, FEATURES_OK, NEEDS_RESET
from devices.virtio.pci_registers import COMMON_CFG, DEVICE_CFG, ISR_CFG, NO_VECTOR, NOTIFY_CFG, PCI_CFG
from devices.virtio.rng import LARGEST, VirtioRng
from devices.virtio.transport_pci import plug_in
from tests.devices.virtio.driver import AVAILABLE, BUFFERS, RAM, TABLE, USED, Buffer, Driver, noted

ENTROPY = SeededEntropy(b"test")


class Bench:
    def __init__(self) -> None:
        self.log = AccessLog()
        self.ram = RamPort(bytearray(RAM))
        self.rng = VirtioRng(self.log, ENTROPY)
        self.function = plug_in(self.log, self.rng, self.ram)
        self.driver = Driver(self.function, self.ram)

    def twin(self) -> Bench:
        """Another one, restored from what this one saves, with memory of its own."""
        other = Bench()
        other.ram.ram[:] = self.ram.ram
        for mine, its in zip((self.function, *self.function.parts), (other.function, *other.function.parts), strict=True):
            its.restore(mine.save())
        other.driver.__dict__.update({key: value for key, value in self.driver.__dict__.items() if key in ("size", "added", "seen")})
        return other


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def driver(bench: Bench) -> Driver:
    return bench.driver


# --- discovery (4.1.2, 4.1.4) ----------------------------------------------------------------------------------------------------------------
def test_4_1_2_ids_of_a_device_that_is_not_transitional(bench: Bench) -> None:
    config = bench.function.config
    assert (config.read(0, 2), config.read(2, 2)) == (0x1AF4, 0x1044)
    assert config.read(8, 1) >= 1 and config.read(0x2E, 2) >= 0x40 and config.read(0x3D, 1) == 1


def test_4_1_4_every_structure_is_found_aligned_and_within_its_bar(bench: Bench) -> None:
    config, found = bench.function.config, bench.driver.capabilities
    assert set(found) == {COMMON_CFG, NOTIFY_CFG, ISR_CFG, PCI_CFG} and DEVICE_CFG not in found, "it has no configuration space"
    sizes = {bar.index: bar.size for bar in bench.function.BASES}
    for kind, at in found.items():
        assert at % 4 == 0 and config.read(at + 2, 1) == (20 if kind in (NOTIFY_CFG, PCI_CFG) else 16)
        assert config.read(at + 8, 4) % 4 == 0 and config.read(at + 8, 4) + config.read(at + 12, 4) <= sizes[config.read(at + 4, 1)]
    assert config.read(found[NOTIFY_CFG] + 12, 4) >= 2 and config.read(bench.driver.msix_at, 1) == CAPABILITY_ID
    assert config.read(bench.driver.msix_at + 2, 2) == 1, "a vector for the queue and one for the configuration"


# --- features and status (2.1, 2.2) ----------------------------------------------------------------------------------------------------------
def test_features_offered_and_accepted_in_halves(bench: Bench, driver: Driver) -> None:
    assert driver.offered == COMMON_FEATURES
    driver.write(COMMON_CFG, 0, 4, 2)
    assert driver.read(COMMON_CFG, 4, 4) == 0
    driver.accept(F_VERSION_1 | 1 << 29)
    for select, expected in ((0, 1 << 29), (1, 1), (7, 0)):
        driver.write(COMMON_CFG, 8, 4, select)
        assert driver.read(COMMON_CFG, 0xC, 4) == expected
    driver.write(COMMON_CFG, 0xC, 4, 1)
    assert noted(bench.log) == ["no such features"]


@pytest.mark.parametrize(("features", "kind"), [(0, "VIRTIO_F_VERSION_1 not accepted"), (F_VERSION_1 | 1 << 34, "features accepted that were not offered"),
                                                (F_VERSION_1 | 1, "features accepted that were not offered")])
def test_2_2_2_features_ok_is_refused(features: int, kind: str, bench: Bench, driver: Driver) -> None:
    driver.status = ACKNOWLEDGE | DRIVER
    driver.accept(features)
    driver.status = ACKNOWLEDGE | DRIVER | FEATURES_OK
    assert driver.status == ACKNOWLEDGE | DRIVER and noted(bench.log) == [kind]
    driver.accept(F_VERSION_1)
    driver.status = ACKNOWLEDGE | DRIVER | FEATURES_OK
    assert driver.status & FEATURES_OK
    driver.accept(F_VERSION_1 | 1 << 28)
    assert "written after FEATURES_OK" in noted(bench.log) and bench.function.state.features == F_VERSION_1


def test_3_1_1_steps_out_of_order(bench: Bench, driver: Driver) -> None:
    driver.status = DRIVER_OK
    assert driver.status == 0 and noted(bench.log) == ["steps of 3.1.1 out of order"]
    driver.accept(F_VERSION_1)
    driver.status = FEATURES_OK
    driver.set_up_queue()
    driver.status = DRIVER_OK
    assert driver.status == FEATURES_OK | DRIVER_OK
    assert "bits cleared otherwise than by a reset" in noted(bench.log)
    driver.status |= NEEDS_RESET | 0x30
    assert driver.status == FEATURES_OK | DRIVER_OK and "bits set that are not the driver's" in noted(bench.log)
    driver.request(Buffer(BUFFERS, 4, True))
    assert driver.used() == [(0, 4)]
    driver.status |= FAILED
    driver.request(Buffer(BUFFERS, 4, True))
    assert driver.used() == [] and driver.status & FAILED


def test_2_1_2_nothing_is_consumed_before_driver_ok(bench: Bench, driver: Driver) -> None:
    driver.start()
    driver.status = 0
    driver.status = ACKNOWLEDGE | DRIVER
    driver.accept(F_VERSION_1)
    driver.status |= FEATURES_OK
    driver.set_up_queue()
    driver.request(Buffer(BUFFERS, 4, True))
    assert driver.used() == [] and bench.ram.read(BUFFERS, 4) == bytes(4)
    driver.status |= DRIVER_OK
    driver.kick()
    assert driver.used() == [(0, 4)]


def test_2_4_a_reset_forgets_all_that_was_set(bench: Bench, driver: Driver) -> None:
    fresh = bench.function.save()
    driver.start()
    driver.request(Buffer(BUFFERS, 4, True))
    assert bench.function.intx.level
    driver.status = 0
    assert not bench.function.intx.level and driver.status == 0
    assert bench.function.save() == fresh


# --- queues (4.1.4.3) --------------------------------------------------------------------------------------------------------------------------
def test_4_1_4_3_a_queue_is_set_up_by_fields_of_16_and_halves_of_64_bits(bench: Bench, driver: Driver) -> None:
    assert driver.read(COMMON_CFG, 0x12, 2) == 1 and driver.read(COMMON_CFG, 0x18, 2) == 64
    driver.start(size=16)
    assert [driver.read(COMMON_CFG, offset, 4) for offset in (0x20, 0x24, 0x28, 0x2C, 0x30, 0x34)] == [TABLE, 0, AVAILABLE, 0, USED, 0]
    assert driver.read(COMMON_CFG, 0x18, 2) == 16 and driver.read(COMMON_CFG, 0x1C, 2) == 1 and driver.read(COMMON_CFG, 0x1E, 2) == 0
    for offset, size in ((0x18, 2), (0x20, 4), (0x28, 4), (0x34, 4)):
        driver.write(COMMON_CFG, offset, size, 8)
    assert noted(bench.log) == ["no such queue, or it is enabled already"] * 4
    driver.write(COMMON_CFG, 0x1C, 2, 0)
    assert driver.read(COMMON_CFG, 0x1C, 2) == 1 and "written other than 1" in noted(bench.log)


@pytest.mark.parametrize("size", [0, 3, 128, 0xFFFF])
def test_sizes_that_are_none(size: int, bench: Bench, driver: Driver) -> None:
    driver.write(COMMON_CFG, 0x18, 2, size)
    assert driver.read(COMMON_CFG, 0x18, 2) == 64 and noted(bench.log) == ["no power of 2 up to what was offered"]


def test_a_queue_that_is_not_there_has_size_0(bench: Bench, driver: Driver) -> None:
    driver.write(COMMON_CFG, 0x16, 2, 1)
    assert [driver.read(COMMON_CFG, offset, 2) for offset in (0x18, 0x1A, 0x1C, 0x1E, 0x20)] == [0, NO_VECTOR, 0, 0, 0]
    assert bench.log.total() == 0, "asking is how a driver finds out"
    for offset in (0x18, 0x1A, 0x1C, 0x20, 0x28, 0x30, 0x3A):
        driver.write(COMMON_CFG, offset, 2, 1)
    assert bench.log.total() == 7 and not bench.function.state.queues[0].enabled


@pytest.mark.parametrize("misplaced", [{"table": TABLE + 8}, {"available": AVAILABLE + 1}, {"used": USED + 2}])
def test_2_7_rings_must_be_aligned(misplaced: dict[str, int], bench: Bench, driver: Driver) -> None:
    driver.accept(F_VERSION_1)
    driver.status = ACKNOWLEDGE | DRIVER | FEATURES_OK
    driver.set_up_queue(8, **misplaced)
    assert driver.read(COMMON_CFG, 0x1C, 2) == 0 and driver.status & NEEDS_RESET
    assert all("not aligned to" in kind for kind in noted(bench.log)) and driver.isr == 0, "before DRIVER_OK nobody is told"


def test_2_6_1_a_queue_is_reset_alone(bench: Bench, driver: Driver) -> None:
    driver.start(F_VERSION_1 | F_RING_RESET)
    driver.request(Buffer(BUFFERS, 4, True))
    driver.write(COMMON_CFG, 0x3A, 2, 1)
    assert [driver.read(COMMON_CFG, offset, 2) for offset in (0x18, 0x1C, 0x3A)] == [64, 0, 0]
    driver.kick()
    driver.set_up_queue(4)
    driver.request(Buffer(BUFFERS + 4, 4, True))
    assert driver.used() == [(0, 4)] and bench.ram.read(BUFFERS, 8) == ENTROPY.read(0, 8)


# --- interrupts (4.1.4.5, 4.1.5) ---------------------------------------------------------------------------------------------------------------
def test_4_1_4_5_isr_drives_the_pin_until_it_is_read(bench: Bench, driver: Driver) -> None:
    driver.start()
    config, pin = bench.function.config, bench.function.intx
    driver.request(Buffer(BUFFERS, 4, True))
    assert pin.level and config.read(6, 2) & 8
    config.write(4, 2, INTX_DISABLE)
    assert not pin.level and config.read(6, 2) & 8
    config.write(4, 2, 0)
    assert pin.level and driver.isr == 1
    assert not pin.level and driver.isr == 0 and not config.read(6, 2) & 8


def test_4_1_5_messages_for_queue_and_configuration(bench: Bench, driver: Driver) -> None:
    driver.start()
    driver.use_msix()
    driver.request(Buffer(BUFFERS, 4, True))
    assert driver.messages() == [1] and driver.isr == 0 and not bench.function.intx.level
    driver.offer(8)
    driver.kick()
    assert driver.messages() == [0] and driver.status & NEEDS_RESET
    assert not bench.function.intx.level
    bench.function.config.write(driver.msix_at + 2, 2, 0)
    assert bench.function.intx.level and driver.isr == 2, "the change of configuration is still to be seen"


def test_4_1_5_1_2_vectors_that_are_none_read_back_as_no_vector(bench: Bench, driver: Driver) -> None:
    driver.start()
    driver.use_msix(config=NO_VECTOR, queue=2)
    assert driver.read(COMMON_CFG, 0x1A, 2) == NO_VECTOR and noted(bench.log) == ["no such vector"]
    driver.request(Buffer(BUFFERS, 4, True))
    driver.offer(8)
    driver.kick()
    assert driver.messages() == [] and not bench.function.intx.level, "MSI-X is on: the pin is not used"
    for value in (0, 1, NO_VECTOR):
        driver.write(COMMON_CFG, 0x10, 2, value)
        assert driver.read(COMMON_CFG, 0x10, 2) == value


def test_a_masked_vector_waits(bench: Bench, driver: Driver) -> None:
    driver.start()
    driver.use_msix()
    table = bench.function.region(bench.function.BASES[1])
    table.write(16 + 12, 4, 1)
    driver.request(Buffer(BUFFERS, 4, True))
    assert driver.messages() == [] and table.read(0x400, 8) == 2
    table.write(16 + 12, 4, 0)
    assert driver.messages() == [1]


def test_another_queues_number_at_a_notify_address(bench: Bench, driver: Driver) -> None:
    driver.start()
    driver.chain([Buffer(BUFFERS, 4, True)])
    driver.offer(0)
    driver.kick(5)
    assert driver.used() == [(0, 4)] and noted(bench.log) == ["another queue's number written"]


# --- configuration access (4.1.4.9) ------------------------------------------------------------------------------------------------------------
def test_4_1_4_9_structures_through_configuration_space(bench: Bench, driver: Driver) -> None:
    config, at = bench.function.config, driver.capabilities[PCI_CFG]

    def reach(offset: int, length: int, bar: int = 0) -> None:
        config.write(at + 4, 1, bar)
        config.write(at + 8, 4, offset)
        config.write(at + 12, 4, length)

    reach(0x14, 1)
    config.write(at + 16, 1, ACKNOWLEDGE)
    config.write(at + 16, 4, 0xABCDEF00 | ACKNOWLEDGE | DRIVER)
    assert driver.status == 3 and config.read(at + 16, 1) == 3 and config.read(at + 16, 4) == 3
    reach(0, 4)
    config.write(at + 16, 4, 1)
    reach(4, 4)
    assert config.read(at + 16, 4) == COMMON_FEATURES >> 32
    reach(0x16, 2)
    config.write(at + 16, 2, 9)
    assert driver.read(COMMON_CFG, 0x16, 2) == 9
    driver.start()
    driver.request(Buffer(BUFFERS, 4, True))
    reach(0x1000, 1)
    assert config.peek(at + 16, 1) == 1 and config.read(at + 16, 1) == 1 and config.read(at + 16, 1) == 0, "a read of ISR clears it"
    assert bench.log.total() == 0


@pytest.mark.parametrize(("offset", "length", "bar"), [(0, 3, 0), (0, 0, 0), (2, 4, 0), (0x4000, 1, 0), (0xFFFFFFFC, 4, 0), (0, 4, 1), (0, 4, 7)])
def test_4_1_4_9_2_places_that_are_no_structure(offset: int, length: int, bar: int, bench: Bench, driver: Driver) -> None:
    config, at = bench.function.config, driver.capabilities[PCI_CFG]
    for register, size, value in ((4, 1, bar), (8, 4, offset), (12, 4, length)):
        config.write(at + register, size, value)
    assert config.read(at + 16, 4) == 0 and bench.log.total() == 0, "looking around"
    config.write(at + 16, 4, 0xFFFFFFFF)
    assert noted(bench.log) == ["written while it leads nowhere"]


# --- the entropy device (5.4) --------------------------------------------------------------------------------------------------------------------
def test_5_4_6_buffers_are_filled_with_what_the_source_gives(bench: Bench, driver: Driver) -> None:
    driver.start()
    driver.request(Buffer(BUFFERS, 5, True), Buffer(BUFFERS + 100, 40, True))
    driver.request(Buffer(BUFFERS + 200, 1, True))
    assert driver.used() == [(0, 45), (0, 1)]
    given = bench.ram.read(BUFFERS, 5) + bench.ram.read(BUFFERS + 100, 40) + bench.ram.read(BUFFERS + 200, 1)
    assert given == ENTROPY.read(0, 46) and bench.rng.state.position == 46
    assert bench.log.total() == 0


def test_5_4_6_2_a_large_buffer_is_filled_in_part(bench: Bench, driver: Driver) -> None:
    driver.start()
    driver.request(Buffer(BUFFERS, LARGEST + 100, True))
    assert driver.used() == [(0, LARGEST)] and bench.ram.read(BUFFERS + LARGEST, 100) == bytes(100)


@pytest.mark.parametrize("buffer", [Buffer(BUFFERS, 4), Buffer(BUFFERS, 0, True)])
def test_5_4_6_1_no_readable_and_no_empty_buffers(buffer: Buffer, bench: Bench, driver: Driver) -> None:
    driver.start()
    driver.request(buffer)
    assert noted(bench.log) == ["request that is not just a buffer to fill"] and driver.status & NEEDS_RESET


def test_the_stream_goes_on_after_a_reset_by_the_driver(bench: Bench, driver: Driver) -> None:
    for _ in range(2):
        driver.start()
        driver.request(Buffer(BUFFERS, 16, True))
    assert bench.ram.read(BUFFERS, 16) == ENTROPY.read(16, 16)


# --- snapshots -----------------------------------------------------------------------------------------------------------------------------------
def test_a_snapshot_in_the_middle_goes_on(bench: Bench, driver: Driver) -> None:
    driver.start()
    driver.use_msix()
    driver.request(Buffer(BUFFERS, 16, True))
    driver.messages()
    bench.function.region(bench.function.BASES[1]).write(16 + 12, 4, 1)
    driver.request(Buffer(BUFFERS + 16, 16, True))
    driver.chain([Buffer(BUFFERS + 32, 16, True)])
    driver.offer(0)
    for one in (bench.twin(), bench):
        one.function.region(one.function.BASES[1]).write(16 + 12, 4, 0)
        assert one.driver.messages() == [1], "what was pending"
        one.driver.kick()
        assert one.driver.messages() == [1] and one.ram.read(BUFFERS, 48) == ENTROPY.read(0, 48)


def test_going_back_sends_nothing(bench: Bench, driver: Driver) -> None:
    driver.start()
    driver.use_msix()
    saved = [chip.save() for chip in (bench.function, *bench.function.parts)]
    bench.function.region(bench.function.BASES[1]).write(16 + 12, 4, 1)
    driver.request(Buffer(BUFFERS, 16, True))
    for chip, state in zip((bench.function, *bench.function.parts), saved, strict=True):
        chip.restore(state)
    assert driver.messages() == [] and bench.function.msix.state.pending == 0


def test_a_pin_that_was_high_is_high_again(bench: Bench, driver: Driver) -> None:
    driver.start()
    driver.request(Buffer(BUFFERS, 16, True))
    assert bench.twin().function.intx.level
    bench.function.reset()
    assert not bench.function.intx.level


@pytest.mark.parametrize("size", [0, 3, 128])
def test_a_snapshot_with_a_queue_that_cannot_be_is_refused(size: int, bench: Bench) -> None:
    saved = bench.function.save()
    saved["queues"][0]["size"] = size
    with pytest.raises(StateError, match="requestq of"):
        bench.function.restore(saved)
