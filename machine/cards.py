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
    from devices.pci.edu import Edu
    from devices.virtio.transport_pci import VirtioPci


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


BUILT_IN: tuple[Card, ...] = (
    Card("edu", _edu, "QEMU's educational device: factorials, DMA, INTx and MSI"),
    Card("virtio-rng", _virtio_rng, "entropy: the host's, or by the instruction clock a stream that repeats"),)
CARDS: Mapping[str, Card] = MappingProxyType({card.name: card for card in BUILT_IN})


def cards_named(names: Iterable[str], own: Iterable[Card] = ()) -> tuple[Card, ...]:
    """Cards in the order of their names; `own` come before those of the machine. Raises MachineError for a name that nobody has."""
    known = {**CARDS, **{card.name: card for card in own}}
    names = tuple(names)
    for name in names:
        if name not in known:
            raise MachineError(f"there is no device {name!r}; there are {', '.join(sorted(known)) or 'none'}")
    return tuple(known[name] for name in names)
