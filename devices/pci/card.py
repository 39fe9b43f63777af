"""PCI cards: what a board takes into a slot by its name, and what the card's function finds there.

    SERIAL_NUMBER = Card("serial-number", lambda slot: SerialNumber(slot.log, slot.dma, slot.name), "tells its number")

A function that is to be plugged in is a `PciFunction` (config_space.py) that says which device answers at each of its base addresses (`region`) and which
further chips belong to it (`parts`). Its interrupt pin, its base addresses, resets and snapshots are the board's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from devices.core.clock import VirtualClock
from devices.core.dma import DmaPort
from devices.core.log import AccessLog
from devices.pci.config_space import PciFunction


@dataclass(frozen=True, slots=True)
class Slot:
    """What a function is wired to.

    Attributes:
        log: told of a guest's mistakes.
        clock: virtual time.
        dma: the function's own way to memory and to the interrupt window. It says who sends, and raises DmaFault while COMMAND.MASTER is 0.
        name: what logs, traces and snapshots call the function; no other chip of the board has it.
    """

    log: AccessLog
    clock: VirtualClock
    dma: DmaPort
    name: str


@dataclass(frozen=True, slots=True)
class Card:
    """A kind of card.

    Attributes:
        name: as on the command line and in snapshots: "edu".
        make: its function, for one slot. What the card is connected to outside of the PC (a file, a network) is bound in here.
        doc: one line.
    """

    name: str
    make: Callable[[Slot], PciFunction[Any]]
    doc: str = ""
