"""Virtio over PCI: the function that a virtio device of any kind is plugged in as.

Specification: VirtIO 1.2 (OASIS, csd01), 4.1 "Virtio Over PCI Bus", for non-transitional devices; 2.1 on the status, 2.2 on features. The registers are in
pci_registers.py, each structure in a block of its own behind one base address, MSI-X behind another.

A driver that breaks a rule is noted. Where the device cannot go on without that rule (a queue that makes no sense, memory that is not there) it sets
DEVICE_NEEDS_RESET, tells the driver (2.1.2) and serves nothing until it is reset; elsewhere what was written is dropped.

Not modelled: the legacy interface, VIRTIO_F_NOTIFICATION_DATA and NOTIF_CONFIG_DATA, shared memory, administration queues. A device behind an IOMMU should
offer VIRTIO_F_ACCESS_PLATFORM, which this one does not: there is none on the board.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from devices.core.bus import Bus, BusDevice
from devices.core.dma import DmaFault, DmaPort
from devices.core.log import AccessLog
from devices.core.registers import StateError
from devices.pci.config_space import Bar, HeaderState, PciFunction
from devices.pci.msix import Msix
from devices.virtio import pci_registers as at
from devices.virtio.device import (
    ACKNOWLEDGE,
    COMMON_FEATURES,
    CONFIG,
    DRIVER,
    DRIVER_OK,
    F_RING_RESET,
    F_VERSION_1,
    FAILED,
    FEATURES_OK,
    NEEDS_RESET,
    VirtioDevice,
)
from devices.virtio.queue import DriverError, Ring, Virtqueue

WORD = 0xFFFFFFFF
STATUS_BITS = ACKNOWLEDGE | DRIVER | DRIVER_OK | FEATURES_OK | NEEDS_RESET | FAILED
EARLIER = {DRIVER: ACKNOWLEDGE, FEATURES_OK: ACKNOWLEDGE | DRIVER, DRIVER_OK: ACKNOWLEDGE | DRIVER | FEATURES_OK}     # 3.1.1: what goes before each bit
RESET_BY_DRIVER = ("device_feature_select", "driver_feature_select", "features", "config_msix_vector", "device_status", "queue_select", "isr", "queues",
                   "vectors")              # of the state: all but configuration space
ACCESS_LENGTHS = (1, 2, 4)


@dataclass
class State(HeaderState):
    """What the driver has set, and how far each queue is."""

    status: int = at.CAPABILITY_LIST
    msix: int = 0
    access_bar: int = 0
    access_offset: int = 0
    access_length: int = 0
    device_feature_select: int = 0
    driver_feature_select: int = 0
    features: int = 0
    config_msix_vector: int = at.NO_VECTOR
    device_status: int = 0
    queue_select: int = 0
    isr: int = 0
    queues: list[Ring] = field(default_factory=list)
    vectors: list[int] = field(default_factory=list)


class VirtioPci(PciFunction[State]):
    """One function; `plug_in` makes those of each kind.

    Args:
        log: told of what the driver does wrong.
        device: what it carries.
        dma: the function's way to guest memory.
        name: what logs and snapshots call it.

    Attributes:
        device, msix: the two chips that belong to it.
    """

    BASES = (Bar(at.STRUCTURES_BAR, at.STRUCTURES_SIZE), Bar(at.MSIX_BAR, at.MSIX_BAR_SIZE))

    def __init__(self, log: AccessLog, device: VirtioDevice[Any], dma: DmaPort, name: str = "") -> None:
        self.device = device
        self._dma = dma
        self._names, self._limits = list(device.QUEUES), list(device.QUEUES.values())
        name = name or self.NAME
        self.msix = Msix(log, dma, f"{name} msix")
        super().__init__(log, name)
        self.parts = (self.msix, device)
        structures = Bus(f"{name} structures", at.STRUCTURES_SIZE, log)
        for start, block in ((at.COMMON_AT, self.blocks["common"]), (at.ISR_AT, self.blocks["isr"]), (at.NOTIFY_AT, self.blocks["notify"])):
            structures.map(start, block.length, block, block.name)
        if CONFIG in device.blocks:
            structures.map(at.DEVICE_AT, device.blocks[CONFIG].length, device.blocks[CONFIG], CONFIG)
        self._regions: dict[int, BusDevice] = {at.STRUCTURES_BAR: structures, at.MSIX_BAR: self.msix.blocks["table"]}

    def region(self, bar: Bar) -> BusDevice:
        """What answers behind a base address register."""
        return self._regions[bar.index]

    def initial(self) -> State:
        return State(queues=[Ring(size) for size in self._limits], vectors=[at.NO_VECTOR] * len(self._limits))

    def on_restore(self) -> None:
        """As the state says. Raises StateError if that is none that a queue can be in."""
        for name, ring, limit in zip(self._names, self.state.queues, self._limits, strict=True):
            if not 0 < ring.size <= limit or ring.size & ring.size - 1:
                raise StateError(f"{self.name}: {name} of {ring.size} entries")
        super().on_restore()

    # --- features (2.2, 4.1.4.3) -----------------------------------------------------------------------------------------------------------
    @property
    def offered(self) -> int:
        """All features that the driver may accept."""
        return COMMON_FEATURES | self.device.features

    def peek_DEVICE_FEATURE(self) -> int:
        return _part(self.offered, self.state.device_feature_select)

    def peek_DRIVER_FEATURE(self) -> int:
        return _part(self.state.features, self.state.driver_feature_select)

    def on_DRIVER_FEATURE(self, value: int) -> None:
        state = self.state
        shift = 32 * state.driver_feature_select
        if state.device_status & FEATURES_OK:
            self._note("DRIVER_FEATURE", "written after FEATURES_OK", value=value)
        elif shift < 64:
            state.features = state.features & ~(WORD << shift) | value << shift
        elif value:
            self._note("DRIVER_FEATURE", "no such features", value=value, select=state.driver_feature_select)

    # --- status (2.1) ----------------------------------------------------------------------------------------------------------------------
    @property
    def live(self) -> bool:
        """Whether queues are served."""
        return self.state.device_status & (DRIVER_OK | NEEDS_RESET | FAILED) == DRIVER_OK

    def on_DEVICE_STATUS(self, value: int, old: int) -> None:
        state = self.state
        if value == 0:
            self._driver_reset()
            return
        if old & ~value:
            self._note("DEVICE_STATUS", "bits cleared otherwise than by a reset", value=value, status=old)
        if value & ~STATUS_BITS or value & ~old & NEEDS_RESET:
            self._note("DEVICE_STATUS", "bits set that are not the driver's", value=value)
        status = old | value & STATUS_BITS & ~NEEDS_RESET
        for bit, earlier in EARLIER.items():
            if status & ~old & bit and earlier & ~status:
                self._note("DEVICE_STATUS", "steps of 3.1.1 out of order", value=value, status=old)
        if status & ~old & FEATURES_OK and not self._acceptable():
            status &= ~FEATURES_OK
        if not status & FEATURES_OK:
            status &= ~DRIVER_OK
        state.device_status = status

    def _acceptable(self) -> bool:
        """2.2.2, 6.1: whether the device works with what the driver accepted."""
        features = self.state.features
        if features & ~self.offered:
            self._note("DRIVER_FEATURE", "features accepted that were not offered", features=features & ~self.offered)
        elif not features & F_VERSION_1:
            self._note("DRIVER_FEATURE", "VIRTIO_F_VERSION_1 not accepted", features=features)
        else:
            return True
        return False

    def _driver_reset(self) -> None:
        """2.4: as after power-on, configuration space and MSI-X aside."""
        state, fresh = self.state, self.initial()
        for name in RESET_BY_DRIVER:
            setattr(state, name, getattr(fresh, name))
        self.device.driver_reset()
        self._drive_pin()

    def _needs_reset(self, queue: str, error: DriverError) -> None:
        """2.1.2: an error from which the device cannot recover."""
        self._note(queue, error.reason, **error.figures)
        self.state.device_status |= NEEDS_RESET
        if self.state.device_status & DRIVER_OK:
            self._interrupt(at.CONFIG_INTERRUPT, self.state.config_msix_vector)

    # --- queues (4.1.4.3, 4.1.5.1.3) -------------------------------------------------------------------------------------------------------
    def peek_NUM_QUEUES(self) -> int:
        return len(self._limits)

    def peek_QUEUE_SIZE(self) -> int:
        return self._selected.size

    def peek_QUEUE_ENABLE(self) -> int:
        return self._selected.enabled

    def peek_QUEUE_NOTIFY_OFF(self) -> int:
        return self.state.queue_select if self._exists else 0

    def peek_QUEUE_DESC(self) -> int:
        return self._selected.descriptors

    def peek_QUEUE_DRIVER(self) -> int:
        return self._selected.driver_area

    def peek_QUEUE_DEVICE(self) -> int:
        return self._selected.device_area

    def peek_QUEUE_RESET(self) -> int:
        return 0                                             # a reset is over at once

    def on_QUEUE_SIZE(self, value: int) -> None:
        if value & value - 1 or not 0 < value <= (self._limits[self.state.queue_select] if self._exists else 0):
            self._note("QUEUE_SIZE", "no power of 2 up to what was offered", value=value, queue=self.state.queue_select)
        elif self._may_set_up("QUEUE_SIZE"):
            self._selected.size = value

    def on_QUEUE_DESC(self, value: int) -> None:
        if self._may_set_up("QUEUE_DESC"):
            self._selected.descriptors = value

    def on_QUEUE_DRIVER(self, value: int) -> None:
        if self._may_set_up("QUEUE_DRIVER"):
            self._selected.driver_area = value

    def on_QUEUE_DEVICE(self, value: int) -> None:
        if self._may_set_up("QUEUE_DEVICE"):
            self._selected.device_area = value

    def on_QUEUE_ENABLE(self, value: int) -> None:
        ring, number = self._selected, self.state.queue_select
        if value != 1:
            self._note("QUEUE_ENABLE", "written other than 1", value=value)
        elif not self._exists or not self.state.device_status & FEATURES_OK:
            self._note("QUEUE_ENABLE", "no such queue, or before FEATURES_OK", queue=number)
        else:
            try:
                ring.check()
                ring.enabled = True
            except DriverError as error:
                self._needs_reset(self._names[number], error)

    def on_QUEUE_RESET(self, value: int) -> None:
        state = self.state
        if value != 1 or not self._exists or not state.features & F_RING_RESET or not state.device_status & FEATURES_OK:
            self._note("QUEUE_RESET", "no such queue, not negotiated, or written other than 1", value=value, queue=state.queue_select)
        else:
            state.queues[state.queue_select] = Ring(self._limits[state.queue_select])
            state.vectors[state.queue_select] = at.NO_VECTOR

    @property
    def _exists(self) -> bool:
        return self.state.queue_select < len(self._limits)

    @property
    def _selected(self) -> Ring:
        """The queue that QUEUE_SELECT names; one of no entries where there is none."""
        return self.state.queues[self.state.queue_select] if self._exists else Ring()

    def _may_set_up(self, register: str) -> bool:
        if self._exists and not self._selected.enabled:
            return True
        self._note(register, "no such queue, or it is enabled already", queue=self.state.queue_select)
        return False

    # --- notifications (4.1.5.2, 4.1.5.3) --------------------------------------------------------------------------------------------------
    def on_QUEUE_NOTIFY(self, index: int, value: int) -> None:
        if value != index:
            self._note("QUEUE_NOTIFY", "another queue's number written", value=value, queue=index)
        if not self.live or not self.state.queues[index].enabled:
            self._note("QUEUE_NOTIFY", "queue not enabled, before DRIVER_OK, or in need of a reset", queue=index, status=self.state.device_status)
        else:
            self.serve(index)

    def serve(self, index: int) -> None:
        """Let the device look at an enabled queue, and tell the driver if it wants to hear of it."""
        state, name = self.state, self._names[index]
        queue = Virtqueue(index, state.queues[index], self._limits[index], self._dma, state.features)
        try:
            self.device.process(queue)
            due = queue.notification_due()
        except DriverError as error:
            self._needs_reset(name, error)
        except DmaFault as fault:
            self._needs_reset(name, DriverError(f"memory out of reach: {fault.reason}", address=fault.iova))
        else:
            if due:
                self._interrupt(at.QUEUE_INTERRUPT, state.vectors[index])

    # --- interrupts (4.1.4.5, 4.1.5.1.2) ---------------------------------------------------------------------------------------------------
    def on_CONFIG_MSIX_VECTOR(self, value: int) -> None:
        self.state.config_msix_vector = self._vector("CONFIG_MSIX_VECTOR", value)

    def peek_QUEUE_MSIX_VECTOR(self) -> int:
        return self.state.vectors[self.state.queue_select] if self._exists else at.NO_VECTOR

    def on_QUEUE_MSIX_VECTOR(self, value: int) -> None:
        vector = self._vector("QUEUE_MSIX_VECTOR", value)
        if self._exists:
            self.state.vectors[self.state.queue_select] = vector
        else:
            self._note("QUEUE_MSIX_VECTOR", "no such queue", queue=self.state.queue_select)

    def _vector(self, register: str, value: int) -> int:
        """What a vector register then holds: NO_VECTOR where there is no such vector."""
        if value <= len(self._limits) or value == at.NO_VECTOR:
            return value
        self._note(register, "no such vector", value=value)
        return at.NO_VECTOR

    def _interrupt(self, cause: int, vector: int) -> None:
        """By message where MSI-X is on, by the pin where it is not. ISR shows a change of configuration either way."""
        if cause == at.CONFIG_INTERRUPT or not self.msix.enabled:
            self.state.isr |= cause
        if vector != at.NO_VECTOR:
            self.msix.notify(vector)
        self._drive_pin()

    def _drive_pin(self) -> None:
        self.interrupt(self.state.isr != 0 and not self.msix.enabled)

    def read_ISR(self) -> int:
        value, self.state.isr = self.state.isr, 0
        self._drive_pin()
        return value

    def peek_MSIX_CONTROL(self) -> int:
        return self.state.msix | len(self._limits)

    def on_MSIX_CONTROL(self, value: int) -> None:
        self.state.msix = value
        self.msix.control(value)
        self._drive_pin()

    # --- through configuration space (4.1.4.9) ---------------------------------------------------------------------------------------------
    def _reached(self) -> tuple[BusDevice, int, int] | None:
        """What ACCESS_DATA is now: device, offset, bytes."""
        state = self.state
        offset, length = state.access_offset, state.access_length
        if state.access_bar != at.STRUCTURES_BAR or length not in ACCESS_LENGTHS or offset % length or offset + length > at.STRUCTURES_SIZE:
            return None
        return self._regions[state.access_bar], offset, length

    def peek_ACCESS_DATA(self) -> int:
        reached = self._reached()
        return reached[0].peek(reached[1], reached[2]) if reached is not None else 0

    def read_ACCESS_DATA(self) -> int:
        reached = self._reached()
        return reached[0].read(reached[1], reached[2]) if reached is not None else 0

    def on_ACCESS_DATA(self, value: int) -> None:
        reached = self._reached()
        if reached is None:
            state = self.state
            self._note("ACCESS_DATA", "written while it leads nowhere", bar=state.access_bar, offset=state.access_offset, length=state.access_length)
        else:
            reached[0].write(reached[1], reached[2], value & (1 << 8 * reached[2]) - 1)

    def _note(self, register: str, kind: str, **figures: int) -> None:
        self.log.note(self.name, register, kind, **figures)


def _part(features: int, select: int) -> int:
    """Features 32 * `select` and the 31 after it."""
    return features >> 32 * select & WORD if select < 2 else 0


_classes: dict[type[VirtioDevice[Any]], type[VirtioPci]] = {}


def class_for(kind: type[VirtioDevice[Any]]) -> type[VirtioPci]:
    """The class of the functions that carry devices of one kind: its registers follow from the kind's queues and configuration space."""
    if kind not in _classes:
        declared = {"__doc__": f"{kind.NAME} on PCI.", "__module__": __name__, "NAME": f"{kind.NAME}-pci", "BLOCKS": at.blocks(kind)}
        _classes[kind] = cast("type[VirtioPci]", type(f"{kind.__name__}Pci", (VirtioPci,), declared))
    return _classes[kind]


def plug_in(log: AccessLog, device: VirtioDevice[Any], dma: DmaPort, name: str = "") -> VirtioPci:
    """A function that carries `device`."""
    return class_for(type(device))(log, device, dma, name)
