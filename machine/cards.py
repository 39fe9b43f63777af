"""The cards that come with the machine, by name: `Configuration(cards=(CARDS["edu"],))`, `run --device edu`.

A card of your own is a `Card`, too; docs/chips.md says how to write one. What a card is made of is loaded when one is plugged in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from devices.core.clock import HostTime
from devices.pci.card import Card, Slot
from machine.errors import MachineError

if TYPE_CHECKING:
    from devices.backends.disk import Disk
    from devices.pci.edu import Edu
    from devices.virtio.transport_pci import VirtioPci

DISK = "virtio-blk"                    # the name of every disk's card


def _edu(slot: Slot) -> Edu:
    """With 28 bits of address, as on QEMU."""
    from devices.pci.edu import Edu

    return Edu(slot.clock, slot.dma, slot.log, slot.name)


def _virtio_rng(slot: Slot) -> VirtioPci:
    """The host's entropy where time is the host's; where runs repeat, a stream that the slot's name determines."""
    from devices.backends.entropy import HostEntropy, SeededEntropy
    from devices.virtio.rng import VirtioRng
    from devices.virtio.transport_pci import plug_in

    entropy = HostEntropy() if isinstance(slot.clock.source, HostTime) else SeededEntropy(slot.name.encode())
    return plug_in(slot.log, VirtioRng(slot.log, entropy, f"{slot.name} device"), slot.dma, slot.name)


def disk_card(disk: Disk) -> Card:
    """A virtio disk. One whose file is written belongs to one machine; forks are for disks whose writes are private."""
    taken: list[str] = []

    def make(slot: Slot) -> VirtioPci:
        from devices.backends.disk import Access
        from devices.virtio.blk import VirtioBlk
        from devices.virtio.transport_pci import plug_in

        if taken and disk.access is Access.THROUGH:
            raise MachineError(f"disk {disk.name} is written by another machine; for forks, keep writes private: {disk.name},{Access.PRIVATE.value}")
        taken.append(slot.name)
        return plug_in(slot.log, VirtioBlk(slot.log, disk, f"{slot.name} device"), slot.dma, slot.name)

    return Card(DISK, make, "a disk")


BUILT_IN: tuple[Card, ...] = (
    Card("edu", _edu, "QEMU's educational device: factorials, DMA, INTx and MSI"),
    Card("virtio-rng", _virtio_rng, "entropy: the host's, or by the instruction clock a stream that repeats"),)
CARDS: Mapping[str, Card] = MappingProxyType({card.name: card for card in BUILT_IN})


def cards_named(names: Iterable[str], own: Iterable[Card] = ()) -> tuple[Card, ...]:
    """Cards in the order of their names; `own`, those of one name in their order, come before those of the machine. Raises MachineError for others."""
    mine = list(own)
    found: list[Card] = []
    for name in names:
        card = next((card for card in mine if card.name == name), None)
        if card is not None and sum(other.name == name for other in mine) > 1:
            mine.remove(card)                                   # the next of this name is the next one's
        card = card or CARDS.get(name)
        if card is None:
            others = ", ".join(sorted({*CARDS, *(other.name for other in mine)}))
            raise MachineError(f"there is no device {name!r}; there are {others}" + ("; a disk needs its file: --disk FILE" if name == DISK else ""))
        found.append(card)
    return tuple(found)
