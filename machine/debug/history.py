"""Going backwards, on the instruction clock: checkpoints, and what has been done since the last of them, done again up to an earlier instruction.

A run repeats exactly, so the machine at instruction n is reached by going back to a checkpoint before it and running on, with the same stops and single steps
in between: a stop ends a processor's turn, so it belongs to what is repeated, and breakpoints, which may be others by now, stop nothing meanwhile but are only
watched. The guest's output is not shown again. Host input is not repeated: what was typed since the checkpoint is not seen a second time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from machine.outcome import ExitReason

if TYPE_CHECKING:
    from machine.checkpoint import Checkpoint
    from machine.machine import Machine

INTERVAL = 2_000_000                   # instructions between two checkpoints, at least
KEPT = 16                              # checkpoints; beyond the oldest there is no way back


@dataclass
class Chapter:
    """A checkpoint, the count of instructions at it, and where the machine stood since.

    A stop is (count, whose turn it was, processor that took a single step then or None): a turn that a breakpoint ended before its first instruction shows in
    no count.
    """

    checkpoint: Checkpoint
    begin: int
    stops: list[tuple[int, Any, int | None]] = field(default_factory=list)


class History:
    """Of one machine on the instruction clock."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._chapters: list[Chapter] = [Chapter(machine.checkpoint(), self.now)]

    @property
    def now(self) -> int:
        """Instructions retired since power-on, of all processors."""
        return self._machine.stats.retired

    def note_step(self, cpu: int) -> None:
        """A single step of a processor is about to be taken."""
        self._chapters[-1].stops.append((self.now, self._machine.turns(), cpu))

    def note_run(self) -> None:
        """The machine is about to run."""
        if self.now - self._chapters[-1].begin >= INTERVAL:
            self._chapters.append(Chapter(self._machine.checkpoint(), self.now))
            del self._chapters[:-KEPT]
        self._chapters[-1].stops.append((self.now, self._machine.turns(), None))

    def back_one(self) -> bool:
        """To the instruction before. False if there is none: the machine stands at the oldest checkpoint."""
        return self.go_to(self.now - 1)

    def back_to_break(self) -> bool:
        """To the last breakpoint or watchpoint before now. False if there is none: the machine stands at the oldest checkpoint."""
        end = self.now
        for chapter in reversed(self._chapters):
            if chapter.begin >= end:
                continue
            found = self._last_break(chapter, end)
            if found is not None:
                return self.go_to(found)
            end = chapter.begin
        self.go_to(self._chapters[0].begin)
        return False

    def go_to(self, count: int) -> bool:
        """To the moment when so many instructions had retired; what came later is forgotten. False if that is too long ago."""
        chapter = next((one for one in reversed(self._chapters) if one.begin <= count), None)
        if chapter is None:
            chapter, count = self._chapters[0], self._chapters[0].begin
            self._play(chapter, count)
            return False
        self._play(chapter, count)
        chapter.stops = [stop for stop in chapter.stops if stop[0] < count]
        del self._chapters[self._chapters.index(chapter) + 1:]
        return True

    def _last_break(self, chapter: Chapter, end: int) -> int | None:
        """The count at the last stop in a chapter before `end`: before a breakpoint's instruction, behind a watchpoint's."""
        found: list[int] = []
        stats = self._machine.stats
        with self._machine.engine.breakpoints.watched_only(lambda finished: found.append(stats.retired + finished)):
            self._play(chapter, end)
        return max((count for count in found if count < end), default=None)

    def _play(self, chapter: Chapter, count: int) -> None:
        machine = self._machine
        shown, machine.board.serial_out = machine.board.serial_out, lambda data: None
        debug, machine.board.debug_out = machine.board.debug_out, lambda data: None
        try:
            with machine.engine.breakpoints.watched_only():
                machine.restore(chapter.checkpoint)
                for at, turns, cpu in chapter.stops:
                    if at >= count:
                        break
                    self._run(at)
                    machine.take_turns(turns)
                    if cpu is not None:
                        machine.step(cpu)
                self._run(count)
        finally:
            machine.board.serial_out, machine.board.debug_out = shown, debug

    def _run(self, count: int) -> None:
        machine = self._machine
        while self.now < count and machine.run(limit=count).reason is ExitReason.CONDITION:
            pass
