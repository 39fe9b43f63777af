"""The cards that come with the machine, by name: `Configuration(cards=(CARDS["edu"],))`, `run --device edu`.

A card of your own is a `Card`, too; docs/chips.md says how to write one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from devices.pci.card import Card
from devices.pci.edu import EDU
from machine.errors import MachineError

BUILT_IN = (EDU,)
CARDS: Mapping[str, Card] = MappingProxyType({card.name: card for card in BUILT_IN})


def cards_named(names: Iterable[str], own: Iterable[Card] = ()) -> tuple[Card, ...]:
    """Cards in the order of their names; `own` come before those of the machine. Raises MachineError for a name that nobody has."""
    known = {**CARDS, **{card.name: card for card in own}}
    names = tuple(names)
    for name in names:
        if name not in known:
            raise MachineError(f"there is no device {name!r}; there are {', '.join(sorted(known)) or 'none'}")
    return tuple(known[name] for name in names)
