"""What a virtio device of any kind is, whatever bus it is on.

Specification: VirtIO 1.2 (OASIS, csd01), chapter 2 "Basic Facilities of a Virtio Device": 2.1 device status, 2.2 feature bits, 2.4 reset, 2.5
configuration space.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, TypeVar

from devices.core.registers import Chip
from devices.virtio.queue import F_EVENT_IDX, F_INDIRECT_DESC, Virtqueue

# 2.1
ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 1, 2, 4, 8, 64, 128

# chapter 6; what the queues understand is in queue.py
F_VERSION_1, F_RING_RESET = 1 << 32, 1 << 40
COMMON_FEATURES = F_VERSION_1 | F_RING_RESET | F_INDIRECT_DESC | F_EVENT_IDX

CONFIG = "device"                       # name of the block that is the configuration space

S = TypeVar("S")


class VirtioDevice(Chip[S]):
    """A kind of device derives from this. Its configuration space, if it has one, is its block "device".

    Attributes:
        DEVICE_ID: chapter 5.
        CLASS_CODE: what it is on PCI, 24 bits.
        QUEUES: name and greatest size of each queue, by number; sizes are powers of 2.
    """

    DEVICE_ID: ClassVar[int]
    CLASS_CODE: ClassVar[int]
    QUEUES: ClassVar[Mapping[str, int]]

    @property
    def features(self) -> int:
        """The features of its kind that it offers, bits 0-23."""
        return 0

    def process(self, queue: Virtqueue) -> None:
        """The driver has put something into a queue: serve it.

        Raises:
            DriverError: it breaks a rule, and the device needs a reset.
            DmaFault: memory that is not there; likewise.
        """
        raise NotImplementedError

    def driver_reset(self) -> None:
        """2.4: the driver starts over; nothing of what it had set lasts."""
