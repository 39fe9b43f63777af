"""virtio-rng: entropy for the guest.

Specification: VirtIO 1.2 (OASIS, csd01), 5.4 "Entropy Device". One queue of buffers to be filled; no features, no configuration space.

Where the bytes come from is handed in (devices/backends/entropy.py). Of one buffer at most `LARGEST` bytes are filled, which 5.4.6.2 allows: no guest makes the
host wait for gigabytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from devices.core.log import AccessLog
from devices.virtio.device import VirtioDevice
from devices.virtio.queue import DriverError, Virtqueue

LARGEST = 1 << 16                       # bytes; Linux asks for 64 at a time


class Entropy(Protocol):
    """Random bytes: those at a place of an endless stream, so that whoever knows the place can go on with it."""

    def read(self, position: int, length: int) -> bytes: ...


@dataclass
class State:
    """Where in the stream the next byte comes from. It goes on over resets by the driver: no byte is given twice."""

    position: int = 0


class VirtioRng(VirtioDevice[State]):
    """A source of entropy. Args: `entropy` is where its bytes come from."""

    NAME = "virtio-rng"
    DEVICE_ID = 4
    CLASS_CODE = 0x00FF00               # none of the classes of PCI
    QUEUES = MappingProxyType({"requestq": 64})
    BLOCKS = ()                         # it has no configuration space

    def __init__(self, log: AccessLog, entropy: Entropy, name: str = "") -> None:
        super().__init__(log, name)
        self._entropy = entropy

    def process(self, queue: Virtqueue) -> None:
        """Fill each buffer."""
        state = self.state
        for chain in queue:
            if chain.readable or not chain.writable:
                raise DriverError("request that is not just a buffer to fill", readable=chain.readable, writable=chain.writable)
            length = min(chain.writable, LARGEST)
            chain.write(0, self._entropy.read(state.position, length))
            state.position += length
            chain.complete(length)
