"""MSI by PCI 3.0, 6.8.1 and 6.8.3: capabilities of each form, vectors, masks, pending bits."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from devices.core.dma import RamPort
from devices.core.log import AccessLog
from devices.pci.config_space import PciFunction, header, layout
from devices.pci.msi import CAPABILITY_ID, ENABLE, Msi, MsiState, capability, message_control

AT, TARGET = 0x40, 0x100
EIGHT, ONE = message_control(8, maskable=True), message_control(1, wide=False)


@dataclass
class EightState(MsiState):
    msi_control: int = EIGHT


@dataclass
class OneState(MsiState):
    msi_control: int = ONE


class Eight(PciFunction[EightState]):
    """Eight vectors with masks and 64-bit addresses."""

    NAME = "eight"
    BLOCKS = (layout(*header(0x1234, 1, 0, 0, capabilities=AT), *capability(AT, 8, maskable=True, following=0x60)),)
    msi: Msi

    def on_MSI_CONTROL(self, value: int) -> None:
        self.msi.control(value)

    def on_MSI_MASK(self, _value: int) -> None:
        self.msi.unmask()


class One(PciFunction[OneState]):
    """The least there can be."""

    NAME = "one"
    BLOCKS = (layout(*header(0x1234, 2, 0, 0, capabilities=AT), *capability(AT, 1, wide=False)),)
    msi: Msi

    def on_MSI_CONTROL(self, value: int) -> None:
        self.msi.control(value)


class Writes(RamPort):
    """Memory that tells of what is written."""

    def __init__(self) -> None:
        super().__init__(bytearray(4096))
        self.sent: list[tuple[int, int]] = []

    def write(self, iova: int, data: bytes) -> None:
        super().write(iova, data)
        self.sent.append((iova, int.from_bytes(data, "little")))


class Bench:
    """The function with eight vectors, all allocated, its message 0x4140 at `TARGET`."""

    def __init__(self, allocated: int = 3) -> None:
        self.log, self.ram = AccessLog(), Writes()
        self.function = Eight(self.log)
        self.msi = self.function.msi = Msi(self.function, self.ram)
        self.write(4, 4, TARGET)
        self.write(0xC, 2, 0x4140)
        self.enable(allocated)

    def enable(self, allocated: int = 3, enable: int = ENABLE) -> None:
        self.write(2, 2, EIGHT | allocated << 4 | enable)

    def write(self, offset: int, size: int, value: int) -> None:
        self.function.config.write(AT + offset, size, value)

    def read(self, offset: int, size: int) -> int:
        return self.function.config.read(AT + offset, size)

    def notify(self, *vectors: int) -> list[int]:
        """Data of the messages that these come to."""
        self.ram.sent.clear()
        for vector in vectors:
            self.msi.notify(vector)
        assert all(address == TARGET for address, _ in self.ram.sent)
        return [data for _, data in self.ram.sent]


def test_6_8_1_forms_of_the_capability() -> None:
    """6.8.1: 10, 14, 20 and 24 bytes."""
    for wide, maskable, expected in ((False, False, {"MSI_ADDRESS": 4, "MSI_DATA": 8}),
                                     (True, False, {"MSI_ADDRESS": 4, "MSI_ADDRESS_HIGH": 8, "MSI_DATA": 0xC}),
                                     (False, True, {"MSI_ADDRESS": 4, "MSI_DATA": 8, "MSI_MASK": 0xC, "MSI_PENDING": 0x10}),
                                     (True, True, {"MSI_ADDRESS": 4, "MSI_ADDRESS_HIGH": 8, "MSI_DATA": 0xC, "MSI_MASK": 0x10, "MSI_PENDING": 0x14})):
        registers = {one.name: one for one in capability(AT, 4, wide=wide, maskable=maskable, following=0x70)}
        assert (registers["MSI_ID"].reset, registers["MSI_NEXT"].reset) == (CAPABILITY_ID, 0x70)
        assert registers["MSI_CONTROL"].reset == 2 << 1 | wide << 7 | maskable << 8
        assert {name: one.offset - AT for name, one in registers.items() if name not in ("MSI_ID", "MSI_NEXT", "MSI_CONTROL")} == expected
    for vectors in (0, 3, 64):
        with pytest.raises(ValueError, match="1, 2, 4, 8, 16 or 32"):
            capability(AT, vectors)


def test_6_8_1_3_software_changes_only_enable_and_what_it_allocates() -> None:
    bench = Bench()
    bench.write(2, 2, 0xFFFF & ~(1 << 6))
    assert bench.read(2, 2) == EIGHT | ENABLE | 3 << 4
    bench.write(2, 2, 0)
    assert bench.read(2, 2) == EIGHT and not bench.msi.enabled
    bench.write(4, 4, 0xFFFFFFFF)
    assert bench.read(4, 4) == 0xFFFFFFFC
    bench.write(0x10, 4, 0xFFFFFFFF)
    assert bench.read(0x10, 4) == 0xFF, "eight masks"
    bench.write(0x14, 4, 0xFF)
    assert bench.read(0x14, 4) == 0


@pytest.mark.parametrize("allocated", [4, 6, 7])
def test_6_8_1_3_more_vectors_than_asked_for_are_not_allocated(allocated: int) -> None:
    bench = Bench(allocated)
    assert bench.read(2, 2) >> 4 & 7 == 3 and bench.msi.vectors == 8
    assert [kind for _, _, kind in bench.log.counts] == ["more vectors allocated than asked for"]


def test_nothing_is_sent_until_it_is_enabled() -> None:
    bench = Bench()
    bench.enable(enable=0)
    assert bench.notify(1) == []
    bench.enable()
    assert bench.ram.sent == [] and bench.notify(1) == [0x4141], "what came before is not remembered: the pin had it"


def test_6_8_1_6_the_lowest_bits_of_the_data_are_the_vector() -> None:
    bench = Bench()
    bench.write(0xC, 2, 0x4147)
    assert bench.notify(*range(8)) == [0x4140 + vector for vector in range(8)]
    bench.enable(0)
    assert bench.notify(0) == [0x4147], "with one vector no bit is changed"


@pytest.mark.parametrize(("allocated", "expected"), [(0, [0x4140] * 4), (1, [0x4140, 0x4141, 0x4140, 0x4141]), (2, [0x4140, 0x4141, 0x4142, 0x4143])])
def test_6_8_3_1_vectors_that_were_not_allocated_share_the_others(allocated: int, expected: list[int]) -> None:
    assert Bench(allocated).notify(4, 5, 6, 7) == expected


def test_6_8_3_4_a_masked_vector_is_pending_and_sent_once_when_the_mask_falls() -> None:
    bench = Bench()
    bench.write(0x10, 4, 0b110)
    assert bench.notify(1, 2, 2, 3) == [0x4143] and bench.read(0x14, 4) == 0b110
    bench.ram.sent.clear()
    bench.write(0x10, 4, 0b100)
    assert bench.ram.sent == [(TARGET, 0x4141)] and bench.read(0x14, 4) == 0b100
    bench.msi.retract(2)
    bench.write(0x10, 4, 0)
    assert bench.ram.sent == [(TARGET, 0x4141)] and bench.read(0x14, 4) == 0, "dealt with meanwhile"


def test_what_is_pending_waits_for_enable_too() -> None:
    bench = Bench()
    bench.write(0x10, 4, 1)
    bench.notify(0)
    bench.enable(enable=0)
    bench.write(0x10, 4, 0)
    assert bench.ram.sent == []
    bench.enable()
    assert bench.ram.sent == [(TARGET, 0x4140)]


def test_addresses_of_64_and_of_32_bits() -> None:
    bench = Bench()
    bench.write(8, 4, 1)
    assert bench.notify(0) == [] and [kind for _, _, kind in bench.log.counts if "message lost" in kind], "0x100000100 is not memory"
    one = One(bench.log)
    one.msi = Msi(one, bench.ram)
    for offset, size, value in ((4, 4, TARGET), (8, 2, 0x31), (2, 2, ENABLE)):
        one.config.write(AT + offset, size, value)
    bench.ram.sent.clear()
    one.msi.notify(0)
    assert bench.ram.sent == [(TARGET, 0x31)] and one.config.read(AT + 2, 2) == ONE | ENABLE


def test_a_snapshot_keeps_what_is_pending() -> None:
    bench, other = Bench(), Bench()
    bench.write(0x10, 4, 1)
    bench.notify(0)
    other.function.restore(bench.function.save())
    other.write(0x10, 4, 0)
    assert other.ram.sent == [(TARGET, 0x4140)]
