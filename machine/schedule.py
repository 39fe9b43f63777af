"""Whose turn it is: processors in order, each for a while, an interrupted one at once; or as a seed says, the same each time.

A turn that something outside the machine cut short (a limit, a breakpoint, a wake-up) is not over: it goes on at the next run, so that looking at a machine
does not change its course.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from machine.engine.engine import ENDLESS

if TYPE_CHECKING:
    from machine.engine.vcpu import Vcpu

SHARED_SLICE = 1_000_000            # ns: a turn while other processors want one too
LONE_SLICE = 5_000_000              # ns: a turn while no other does; host input waits so long at most
VARIED = 16                         # with a schedule seed, a turn may be so many times shorter
PATIENCE = 64                       # PAUSEs in one turn, after which a processor that waits for another lets it have its own

Saved = tuple[int, tuple[int, ...], Any, tuple[int, int, int] | None]


@dataclass(frozen=True, slots=True)
class Turn:
    """A processor runs until `end`, ns of virtual time, or for `patience` PAUSEs if that is less."""

    cpu: int
    end: int
    patience: int


class Schedule:
    """The order of turns.

    Args:
        vcpus: all processors.
        seed: varies order and length of the turns reproducibly; None is round robin of equal turns.
    """

    def __init__(self, vcpus: list[Vcpu], seed: int | None) -> None:
        self._vcpus = vcpus
        self._random = None if seed is None else random.Random(seed)
        self._order = list(range(len(vcpus)))
        self._position = 0
        self._rest: Turn | None = None

    def next(self, kicked: int | None, now: int) -> Turn | None:
        """The turn that begins or goes on at `now`; None if no processor has anything to run.

        Args:
            kicked: a processor that another one has just interrupted.
        """
        rest, self._rest = self._rest, None
        if kicked is not None and self._vcpus[kicked].runnable:
            return self._begin(kicked, now)
        if rest is not None and now < rest.end and self._vcpus[rest.cpu].runnable:
            return rest
        count = len(self._vcpus)
        for step in range(1, count + 1):
            position = (self._position + step) % count
            cpu = self._order[position]
            if self._vcpus[cpu].runnable:
                if self._random is not None and position <= self._position:      # a round is over
                    self._random.shuffle(self._order)
                    position = self._order.index(cpu)
                self._position = position
                return self._begin(cpu, now)
        return None

    def go_on(self, turn: Turn) -> None:
        """What is left of a turn comes next, unless a processor is interrupted meanwhile."""
        self._rest = turn

    def start_over(self) -> None:
        """The machine is reset: no turn goes on."""
        self._rest = None

    def save(self) -> Saved:
        """What `restore` takes: position, order, state of the random numbers or None, the turn that goes on or None."""
        rest = self._rest
        return (self._position, tuple(self._order), None if self._random is None else self._random.getstate(),
                None if rest is None else (rest.cpu, rest.end, rest.patience))

    def restore(self, saved: Saved) -> None:
        """Go on from a saved moment."""
        self._position, order, state, rest = saved
        self._order = list(order)
        if self._random is not None and state is not None:
            self._random.setstate(state)
        self._rest = None if rest is None else Turn(*rest)

    def _begin(self, cpu: int, now: int) -> Turn:
        others = any(vcpu.runnable for vcpu in self._vcpus if vcpu.index != cpu)
        length = SHARED_SLICE if others else LONE_SLICE
        if self._random is not None:
            length = self._random.randrange(length // VARIED, length)
        return Turn(cpu, now + length, PATIENCE if others else ENDLESS)
