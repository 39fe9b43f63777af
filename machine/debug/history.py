"""Going backwards, on the instruction clock: checkpoints, and what has been done since the last of them, done again up to an earlier instruction.

A run repeats exactly, so the machine at instruction n is reached by going back to a checkpoint before it and running on, with the same single steps in
between: those hold interrupts off, so they belong to what is repeated. Breakpoints, which may be others by now, stop nothing meanwhile but are only
watched. What was typed comes again when it came (`machine/replay.py`), or what a recording says if one is played. The guest's output is not shown again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from machine.outside import STEP, TURN
from machine.outcome import ExitReason
from machine.replay import Event, Journal, Player

if TYPE_CHECKING:
    from machine.checkpoint import Checkpoint
    from machine.machine import Machine

INTERVAL = 2_000_000                   # instructions between two checkpoints, at least
KEPT = 16                              # checkpoints; beyond the oldest there is no way back


@dataclass
class Chapter:
    """A checkpoint, the count of instructions at it, and where the machine stood since.

    A stop is (count, whose turn it was, processor that took a single step then or None): a turn that a breakpoint ended before its first instruction shows in
    no count. `noted` is how many events the journal held, `played` how many of a recording had come, `exceptions` the last ones by then.
    """

    checkpoint: Checkpoint
    begin: int
    noted: int
    played: int
    exceptions: bytes
    stops: list[tuple[int, Any, int | None]] = field(default_factory=list)


class History:
    """Of one machine on the instruction clock."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._journal = Journal(machine)
        self._chapters = [self._chapter()]
        self._changed = False

    @property
    def now(self) -> int:
        """Instructions retired since power-on, of all processors."""
        return self._machine.stats.retired

    def note_change(self) -> None:
        """A debugger has written to a register or to memory, which no run repeats: what follows begins at a checkpoint of its own."""
        self._changed = True

    def note_step(self, cpu: int) -> None:
        """A single step of a processor is about to be taken."""
        self._begin_chapter(self._changed)
        self._chapters[-1].stops.append((self.now, self._machine.turns(), cpu))

    def note_run(self) -> None:
        """The machine is about to run."""
        self._begin_chapter(self._changed or self.now - self._chapters[-1].begin >= INTERVAL)
        self._chapters[-1].stops.append((self.now, self._machine.turns(), None))

    def _begin_chapter(self, due: bool) -> None:
        if due:
            self._changed = False
            self._chapters.append(self._chapter())
            del self._chapters[:-KEPT]

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
        """To the moment when so many instructions had retired; what came then or later is forgotten. False if that is too long ago."""
        self._changed = False
        oldest = self._chapters[0]
        known = oldest.begin <= count
        chapter = next((one for one in reversed(self._chapters) if one.begin <= count), oldest)
        count = max(count, oldest.begin)
        self._play(chapter, count)
        chapter.stops = [stop for stop in chapter.stops if stop[0] < count]
        del self._chapters[self._chapters.index(chapter) + 1:]
        self._journal.events[chapter.noted:] = self._typed(chapter, count)
        return known

    def _chapter(self) -> Chapter:
        script = self._machine.script
        return Chapter(self._machine.checkpoint(), self.now, len(self._journal.events), script.position if isinstance(script, Player) else 0,
                       self._machine.engine.exceptions.save())

    def _last_break(self, chapter: Chapter, end: int) -> int | None:
        """The count at the last stop in a chapter before `end`: before a breakpoint's instruction, behind a watchpoint's."""
        found: list[int] = []
        stats = self._machine.stats
        with self._machine.engine.breakpoints.watched_only(lambda finished: found.append(stats.retired + finished)):
            self._play(chapter, end)
        return max((count for count in found if count < end), default=None)

    def _play(self, chapter: Chapter, count: int) -> None:
        machine = self._machine
        inputs, machine.inputs, script = machine.inputs, [], machine.script
        shown, machine.board.serial_out = machine.board.serial_out, lambda data: None
        debug, machine.board.debug_out = machine.board.debug_out, lambda data: None
        try:
            with machine.engine.breakpoints.watched_only():
                machine.restore(chapter.checkpoint)
                machine.engine.exceptions.restore(chapter.exceptions)
                self._journal.paused = True
                player = script if isinstance(script, Player) else Player(machine, self._typed(chapter, count))
                player.seek(chapter.played)
                for at, turns, cpu in chapter.stops:
                    if at >= count:
                        break
                    self._run(at)
                    machine.take_turns(turns)
                    if cpu is not None:
                        player.serve()
                        machine.step(cpu)
                self._run(count)
        finally:
            machine.script, self._journal.paused, machine.inputs = script, False, inputs
            machine.board.serial_out, machine.board.debug_out = shown, debug

    def _typed(self, chapter: Chapter, count: int) -> list[Event]:
        """What came from outside between a checkpoint and a moment."""
        return [event for event in self._journal.events[chapter.noted:] if event.retired < count and event.inlet not in (STEP, TURN)]      # `stops` has those

    def _run(self, count: int) -> None:
        machine = self._machine
        while self.now < count and machine.run(limit=count).reason is ExitReason.CONDITION:
            pass
