"""A driver of virtio over PCI in a few lines, for tests: finds its structures by the capabilities, as drivers do, and keeps its rings in a byte array."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from devices.core.bus import BusDevice
from devices.core.dma import RamPort
from devices.core.log import AccessLog
from devices.pci.msix import CAPABILITY_ID, ENABLE
from devices.virtio.device import ACKNOWLEDGE, DRIVER, DRIVER_OK, F_VERSION_1, FEATURES_OK
from devices.virtio.pci_registers import COMMON_CFG, DEVICE_CFG, ISR_CFG, NOTIFY_CFG, PCI_CFG, VENDOR_SPECIFIC
from devices.virtio.queue import DESC_INDIRECT, DESC_NEXT, DESC_WRITE, DESCRIPTOR
from devices.virtio.transport_pci import VirtioPci

RAM = 0x40000
MESSAGES = 0x100                    # where MSI-X messages go: four bytes a vector
TABLE, AVAILABLE, USED, BUFFERS = 0x1000, 0x2000, 0x3000, 0x10000
INDIRECT = 0x8000


class Buffer(NamedTuple):
    """What one descriptor says."""

    address: int
    length: int
    writable: bool = False


class Driver:
    """Of one function and its queue 0."""

    def __init__(self, function: VirtioPci, ram: RamPort) -> None:
        self.function, self.ram = function, ram
        self.structures: dict[int, tuple[BusDevice, int]] = {}
        self.capabilities: dict[int, int] = {}
        self.msix_at = 0
        config = function.config
        at = config.read(0x34, 1)
        while at:
            if config.read(at, 1) == VENDOR_SPECIFIC:
                kind = config.read(at + 3, 1)
                self.capabilities[kind] = at
                if kind != PCI_CFG:
                    bar = next(bar for bar in function.BASES if bar.index == config.read(at + 4, 1))
                    self.structures[kind] = function.region(bar), config.read(at + 8, 4)
            elif config.read(at, 1) == CAPABILITY_ID:
                self.msix_at = at
            at = config.read(at + 1, 1)
        self.multiplier = config.read(self.capabilities[NOTIFY_CFG] + 16, 4)
        self.size = self.added = self.seen = 0

    # --- registers -------------------------------------------------------------------------------------------------------------------------
    def read(self, kind: int, offset: int, size: int) -> int:
        block, start = self.structures[kind]
        return block.read(start + offset, size)

    def write(self, kind: int, offset: int, size: int, value: int) -> None:
        block, start = self.structures[kind]
        block.write(start + offset, size, value)

    @property
    def status(self) -> int:
        return self.read(COMMON_CFG, 0x14, 1)

    @status.setter
    def status(self, value: int) -> None:
        self.write(COMMON_CFG, 0x14, 1, value)

    @property
    def offered(self) -> int:
        features = 0
        for select in (0, 1):
            self.write(COMMON_CFG, 0, 4, select)
            features |= self.read(COMMON_CFG, 4, 4) << 32 * select
        return features

    def accept(self, features: int) -> None:
        for select in (0, 1):
            self.write(COMMON_CFG, 8, 4, select)
            self.write(COMMON_CFG, 0xC, 4, features >> 32 * select & 0xFFFFFFFF)

    @property
    def isr(self) -> int:
        return self.read(ISR_CFG, 0, 1)

    def config(self, offset: int, size: int) -> int:
        return self.read(DEVICE_CFG, offset, size)

    # --- starting (3.1.1) ------------------------------------------------------------------------------------------------------------------
    def start(self, features: int = F_VERSION_1, size: int = 8) -> None:
        """From reset to DRIVER_OK."""
        self.status = 0
        self.status = ACKNOWLEDGE
        self.status |= DRIVER
        self.accept(features)
        self.status |= FEATURES_OK
        self.set_up_queue(size)
        self.status |= DRIVER_OK

    def set_up_queue(self, size: int = 8, table: int = TABLE, available: int = AVAILABLE, used: int = USED) -> None:
        self.size, self.added, self.seen = size, 0, 0
        self.ram.write(TABLE, bytes(0x3000))
        self.write(COMMON_CFG, 0x16, 2, 0)
        self.write(COMMON_CFG, 0x18, 2, size)
        for offset, address in ((0x20, table), (0x28, available), (0x30, used)):
            self.write(COMMON_CFG, offset, 4, address & 0xFFFFFFFF)
            self.write(COMMON_CFG, offset + 4, 4, address >> 32)
        self.write(COMMON_CFG, 0x1C, 2, 1)

    def use_msix(self, config: int = 0, queue: int = 1) -> None:
        """MSI-X on, vector n writing 0x40 + n to `MESSAGES + 4n`; the two vectors mapped."""
        table = self.function.msix.blocks["table"]
        for vector in range(2):
            for offset, value in ((0, MESSAGES + 4 * vector), (8, 0x40 + vector), (12, 0)):
                table.write(16 * vector + offset, 4, value)
        self.function.config.write(self.msix_at + 2, 2, ENABLE)
        self.write(COMMON_CFG, 0x10, 2, config)
        self.write(COMMON_CFG, 0x16, 2, 0)
        self.write(COMMON_CFG, 0x1A, 2, queue)

    def messages(self) -> list[int]:
        """Vectors whose message has come since the last call."""
        came = [vector for vector in range(2) if self.ram.read(MESSAGES + 4 * vector, 4) == (0x40 + vector).to_bytes(4, "little")]
        self.ram.write(MESSAGES, bytes(8))
        return came

    # --- the queue -------------------------------------------------------------------------------------------------------------------------
    def describe(self, index: int, address: int, length: int, flags: int = 0, following: int = 0, table: int = TABLE) -> None:
        self.ram.write(table + 16 * index, DESCRIPTOR.pack(address, length, flags, following))

    def chain(self, buffers: Sequence[Buffer], first: int = 0, table: int = TABLE) -> None:
        """Descriptors from `first` on, chained in order."""
        for index, (address, length, writable) in enumerate(buffers, first):
            last = index == first + len(buffers) - 1
            self.describe(index, address, length, DESC_WRITE * writable | DESC_NEXT * (not last), 0 if last else index + 1, table)

    def offer(self, head: int) -> None:
        self.ram.write(AVAILABLE + 4 + 2 * (self.added % self.size), struct.pack("<H", head))
        self.added = self.added + 1 & 0xFFFF
        self.ram.write(AVAILABLE + 2, struct.pack("<H", self.added))

    def kick(self, value: int = 0) -> None:
        self.write(NOTIFY_CFG, self.multiplier * self.read(COMMON_CFG, 0x1E, 2), 2, value)

    def request(self, *buffers: Buffer, indirect: bool = False) -> None:
        """One chain from descriptor 0 on, offered and notified."""
        if indirect:
            self.chain(buffers, table=INDIRECT)
            self.describe(0, INDIRECT, 16 * len(buffers), DESC_INDIRECT)
        else:
            self.chain(buffers)
        self.offer(0)
        self.kick()

    def used(self) -> list[tuple[int, int]]:
        """(head, bytes written) of what came back since the last call."""
        back = []
        while self.seen != self.word(USED + 2):
            head, written = struct.unpack("<II", self.ram.read(USED + 4 + 8 * (self.seen % self.size), 8))
            back.append((head, written))
            self.seen = self.seen + 1 & 0xFFFF
        return back

    def word(self, address: int) -> int:
        return int.from_bytes(self.ram.read(address, 2), "little")

    @property
    def avail_event(self) -> int:
        return self.word(USED + 4 + 8 * self.size)

    def set_used_event(self, index: int) -> None:
        self.ram.write(AVAILABLE + 4 + 2 * self.size, struct.pack("<H", index))

    def set_available_flags(self, flags: int) -> None:
        self.ram.write(AVAILABLE, struct.pack("<H", flags))


def noted(log: AccessLog) -> list[str]:
    """The kinds of mistakes so far."""
    return [kind for _, _, kind in log.counts]
