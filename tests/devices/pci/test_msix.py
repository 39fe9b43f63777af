"""MSI-X by PCI 3.0, 6.8.2: messages, masks, pending bits."""

from __future__ import annotations

import pytest

from devices.core.dma import RamPort
from devices.core.log import AccessLog
from devices.pci.msix import CAPABILITY_ID, ENABLE, FUNCTION_MASK, MAX_VECTORS, PBA_OFFSET, REGION, Msix, capability

TARGET = 0x100


class Bench:
    """Vectors 0-3 unmasked, each writing its number + 0x40 at a place of its own."""

    def __init__(self) -> None:
        self.log = AccessLog()
        self.ram = RamPort(bytearray(4096))
        self.msix = Msix(self.log, self.ram)
        self.table = self.msix.blocks["table"]
        for vector in range(4):
            self.table.write(16 * vector, 4, TARGET + 4 * vector)
            self.table.write(16 * vector + 8, 4, 0x40 + vector)
            self.table.write(16 * vector + 12, 4, 0)

    def sent(self) -> list[int]:
        """Vectors whose message has come since the last call."""
        came = [vector for vector in range(4) if self.ram.read(TARGET + 4 * vector, 4) == (0x40 + vector).to_bytes(4, "little")]
        self.ram.write(TARGET, bytes(16))
        return came


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_nothing_is_sent_until_it_is_enabled(bench: Bench) -> None:
    bench.msix.notify(1)
    assert bench.sent() == [] and not bench.msix.enabled
    bench.msix.control(ENABLE)
    assert bench.sent() == [] and bench.msix.enabled, "what came before is not remembered: the pin had it"
    bench.msix.notify(1)
    assert bench.sent() == [1]


def test_6_8_2_9_every_vector_is_masked_after_a_reset(bench: Bench) -> None:
    bench.msix.control(ENABLE)
    assert bench.table.read(16 * 5 + 12, 4) == 1
    bench.msix.notify(5)
    assert bench.table.read(PBA_OFFSET, 4) == 1 << 5


def test_a_masked_vector_is_pending_and_sent_once_when_the_mask_falls(bench: Bench) -> None:
    bench.msix.control(ENABLE)
    bench.table.write(16 * 2 + 12, 4, 1)
    bench.msix.notify(2)
    bench.msix.notify(2)
    bench.msix.notify(3)
    assert bench.sent() == [3] and bench.table.read(PBA_OFFSET, 4) == 1 << 2
    bench.table.write(16 * 2 + 12, 4, 0)
    assert bench.sent() == [2] and bench.table.read(PBA_OFFSET, 4) == 0


def test_the_functions_mask_holds_all(bench: Bench) -> None:
    bench.msix.control(ENABLE | FUNCTION_MASK)
    for vector in (0, 3):
        bench.msix.notify(vector)
    assert bench.sent() == [] and bench.table.read(PBA_OFFSET, 4) == 0b1001
    bench.msix.control(ENABLE)
    assert bench.sent() == [0, 3]


def test_pending_bits_are_read_only_and_a_message_to_nowhere_is_noted(bench: Bench) -> None:
    bench.table.write(PBA_OFFSET, 4, 0xFF)
    assert bench.table.read(PBA_OFFSET, 4) == 0
    bench.table.write(4, 4, 1)                                              # above 4 GiB
    bench.msix.control(ENABLE)
    bench.msix.notify(0)
    bench.msix.notify(MAX_VECTORS)
    assert bench.sent() == [] and any(register == "DATA0" for _, register, _ in bench.log.counts)


def test_a_snapshot_keeps_what_is_pending(bench: Bench) -> None:
    bench.msix.control(ENABLE | FUNCTION_MASK)
    bench.msix.notify(1)
    other = Bench()
    other.msix.restore(bench.msix.save())
    other.msix.control(ENABLE)
    assert other.sent() == [1]


def test_the_capability_leads_to_table_and_pending_bits() -> None:
    registers = {one.name: one for one in capability(0x40, 4, 3, following=0x60)}
    assert (registers["MSIX_ID"].reset, registers["MSIX_NEXT"].reset, registers["MSIX_CONTROL"].reset) == (CAPABILITY_ID, 0x60, 2)
    assert registers["MSIX_TABLE"].reset == 4 and registers["MSIX_PBA"].reset == PBA_OFFSET | 4 and PBA_OFFSET + 8 <= REGION
    with pytest.raises(ValueError, match="1 to 32"):
        capability(0x40, 0, 0)
