"""The registers of a virtio function on PCI: configuration space with its capabilities, and the structures that those lead to.

Specification: VirtIO 1.2 (OASIS, csd01), 4.1.2 "PCI Device Discovery" and 4.1.4 "Virtio Structure PCI Capabilities". What they do is in transport_pci.py.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from devices.core.declare import RO, RW, WO, Field, Layout, Register
from devices.pci import msix
from devices.pci.config_space import header, layout
from devices.virtio.device import CONFIG, VirtioDevice

VENDOR, FIRST_DEVICE, REVISION, SUBSYSTEM = 0x1AF4, 0x1040, 1, 0x0040
CAPABILITY_LIST = 1 << 4                # STATUS: there is a list
VENDOR_SPECIFIC = 0x09                  # capability id

# 4.1.4, cfg_type
COMMON_CFG, NOTIFY_CFG, ISR_CFG, DEVICE_CFG, PCI_CFG = 1, 2, 3, 4, 5

STRUCTURES_BAR, MSIX_BAR = 0, 1
COMMON_AT, ISR_AT, DEVICE_AT, NOTIFY_AT, STRUCTURES_SIZE = 0x0000, 0x1000, 0x2000, 0x3000, 0x4000
NOTIFY_MULTIPLIER = 4                   # bytes from one queue's notify address to the next
MSIX_BAR_SIZE = 0x1000
FIRST_CAPABILITY, CAPABILITY_SIZE, LONG_CAPABILITY_SIZE = 0x40, 16, 20

NO_VECTOR = 0xFFFF                      # 4.1.5.1.2
QUEUE_INTERRUPT, CONFIG_INTERRUPT = 1 << 0, 1 << 1

COMMON = Layout("common", 0x3C, (
    Register("DEVICE_FEATURE_SELECT", 0x00, 4, RW, doc="which 32 features DEVICE_FEATURE shows"),
    Register("DEVICE_FEATURE", 0x04, 4, RO, doc="features offered"),
    Register("DRIVER_FEATURE_SELECT", 0x08, 4, RW, doc="which 32 features DRIVER_FEATURE is"),
    Register("DRIVER_FEATURE", 0x0C, 4, RW, doc="features accepted"),
    Register("CONFIG_MSIX_VECTOR", 0x10, 2, RW, NO_VECTOR, doc="for changes of configuration"),
    Register("NUM_QUEUES", 0x12, 2, RO),
    Register("DEVICE_STATUS", 0x14, 1, RW, 0, (
        Field("ACKNOWLEDGE", 0), Field("DRIVER", 1), Field("DRIVER_OK", 2), Field("FEATURES_OK", 3), Field("NEEDS_RESET", 6), Field("FAILED", 7)),
        "how far the driver is; writing 0 resets"),
    Register("CONFIG_GENERATION", 0x15, 1, RO, doc="changes with the configuration; no device here changes its own"),
    Register("QUEUE_SELECT", 0x16, 2, RW, doc="which queue the following are about"),
    Register("QUEUE_SIZE", 0x18, 2, RW, doc="entries; 0: no such queue"),
    Register("QUEUE_MSIX_VECTOR", 0x1A, 2, RW, NO_VECTOR),
    Register("QUEUE_ENABLE", 0x1C, 2, RW),
    Register("QUEUE_NOTIFY_OFF", 0x1E, 2, RO, doc="times NOTIFY_MULTIPLIER: its notify address"),
    Register("QUEUE_DESC", 0x20, 8, RW, doc="address of the descriptor table"),
    Register("QUEUE_DRIVER", 0x28, 8, RW, doc="address of the available ring"),
    Register("QUEUE_DEVICE", 0x30, 8, RW, doc="address of the used ring"),
    Register("QUEUE_NOTIFY_DATA", 0x38, 2, RO, doc="for VIRTIO_F_NOTIF_CONFIG_DATA, which is not offered"),
    Register("QUEUE_RESET", 0x3A, 2, RW, doc="writing 1 resets the queue, if VIRTIO_F_RING_RESET was negotiated"),
))
ISR = Layout("isr", 1, (Register("ISR", 0, 1, RO, 0, (Field("QUEUE", 0), Field("CONFIGURATION", 1), Field("RSVD", (7, 2))),
                                 "why INTx# is asserted; reading clears it"),))


def _structure(name: str, offset: int, kind: int, at: int, length: int, size: int = CAPABILITY_SIZE) -> tuple[Register, ...]:
    """A capability that says where a structure is (4.1.4). The link to the next is put in by `_linked`."""
    return (Register(f"{name}_CAP", offset, 4, RO, VENDOR_SPECIFIC | size << 16 | kind << 24, doc="id, next, length, type"),
            Register(f"{name}_BAR", offset + 4, 4, RO, STRUCTURES_BAR), Register(f"{name}_OFFSET", offset + 8, 4, RO, at),
            Register(f"{name}_LENGTH", offset + 12, 4, RO, length))


def _linked(capabilities: list[tuple[Register, ...]], end: int) -> tuple[Register, ...]:
    """Each capability's first register, which holds the link in bits 15-8, made to lead to the next capability; that of the last one to `end`."""
    followed = [*(registers[0].offset for registers in capabilities[1:]), end]
    return tuple(register for (first, *others), following in zip(capabilities, followed, strict=True)
                 for register in (dataclasses.replace(first, reset=first.reset | following << 8), *others))


def blocks(kind: type[VirtioDevice[Any]]) -> tuple[Layout, ...]:
    """The blocks "config", "common", "isr" and "notify" of a function that carries a device of this kind."""
    queues = len(kind.QUEUES)
    config = next((block for block in kind.BLOCKS if block.name == CONFIG), None)
    at = FIRST_CAPABILITY
    capabilities: list[tuple[Register, ...]] = []
    for name, number, start, length in (("COMMON", COMMON_CFG, COMMON_AT, COMMON.length), ("ISR", ISR_CFG, ISR_AT, ISR.length),
                                        ("DEVICE", DEVICE_CFG, DEVICE_AT, config.length if config else 0)):
        if length:
            capabilities.append(_structure(name, at, number, start, length))
            at += CAPABILITY_SIZE
    capabilities.append((
        *_structure("NOTIFY", at, NOTIFY_CFG, NOTIFY_AT, queues * NOTIFY_MULTIPLIER, LONG_CAPABILITY_SIZE),
        Register("NOTIFY_MULTIPLIER", at + CAPABILITY_SIZE, 4, RO, NOTIFY_MULTIPLIER)))
    at += LONG_CAPABILITY_SIZE
    capabilities.append((
        Register("ACCESS_CAP", at, 4, RO, VENDOR_SPECIFIC | LONG_CAPABILITY_SIZE << 16 | PCI_CFG << 24, doc="id, next, length, type"),
        Register("ACCESS_BAR", at + 4, 1, RW, doc="a way to the structures through configuration space: where"),
        Register("ACCESS_OFFSET", at + 8, 4, RW), Register("ACCESS_LENGTH", at + 12, 4, RW, doc="1, 2 or 4 bytes"),
        Register("ACCESS_DATA", at + 16, 4, RW, doc="what is there")))
    at += LONG_CAPABILITY_SIZE
    return (
        layout(*header(VENDOR, FIRST_DEVICE + kind.DEVICE_ID, REVISION, kind.CLASS_CODE, interrupt_pin=1, subsystem=(VENDOR, SUBSYSTEM),
                       status=CAPABILITY_LIST, capabilities=FIRST_CAPABILITY),
               *_linked(capabilities, at), *msix.capability(at, MSIX_BAR, queues + 1)),
        COMMON, ISR,
        Layout("notify", queues * NOTIFY_MULTIPLIER, (
            Register("QUEUE_NOTIFY", 0, 2, WO, count=queues, stride=NOTIFY_MULTIPLIER, doc="writing a queue's number here: there is something in it"),)))
