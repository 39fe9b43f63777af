"""What to build: the figures and choices of a machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from machine.errors import MachineError
from machine.memory import MIB

if TYPE_CHECKING:
    from devices.pci.card import Card

MAX_CPUS = 64
HOST, INSTRUCTIONS = "host", "instructions"


@dataclass(frozen=True, slots=True)
class Configuration:
    """What to build.

    Attributes:
        memory: bytes of RAM.
        cpus: vCPUs, 1..64.
        clock: "host" for people, "instructions" for runs that repeat bit for bit.
        schedule_seed: varies order and length of the vCPUs' turns reproducibly; None is round robin of equal turns.
        strict: an access to a register field that a chip's model leaves out is an error.
        reboot: a guest's reset starts it over; otherwise it ends the run.
        cards: what is in the PCI slots, from 00:01.0 on.
    """

    memory: int = 256 * MIB
    cpus: int = 1
    clock: str = HOST
    schedule_seed: int | None = None
    strict: bool = False
    reboot: bool = True
    cards: tuple[Card, ...] = ()

    def check(self) -> None:
        """Raises MachineError where no machine can be so. Memory is `GuestMemory`'s to judge."""
        if not 1 <= self.cpus <= MAX_CPUS:
            raise MachineError(f"{self.cpus} CPUs: 1 to {MAX_CPUS} are possible")
        if self.clock not in (HOST, INSTRUCTIONS):
            raise MachineError(f"clock {self.clock!r}: choose {HOST} or {INSTRUCTIONS}")
