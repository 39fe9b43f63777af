"""What moves a machine from the console: steps, runs to somewhere, the way back; and what is said when it stands again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from machine.debug import stack
from machine.debug.expressions import holds
from machine.debug.history import History
from machine.debug.points import BREAK, Point, Points
from machine.debug.symbols import NO_SYMBOLS, Symbols
from machine.debug.target import Target
from machine.debug.views import Views
from machine.engine.vcpu import Activity
from machine.errors import TargetError
from machine.outcome import ExitReason, Outcome

if TYPE_CHECKING:
    from machine.engine.breakpoints import Hit
    from machine.machine import Machine

SECOND = 1_000_000_000               # ns
LONGEST_RUN = 1e9                    # s
HEARD = 4096                         # bytes of output in which a text is looked for
RUN_OVER = ("call", "lcall", "int", "int3", "into", "hlt")       # and whatever is repeated
RETURNS = ("ret", "retf", "retfq", "lret", "iret", "iretd", "iretq", "sysret", "sysretq")


class Runner(Views):
    """A console that looks and moves.

    Args:
        machine: what is debugged.
        say: prints lines.
        symbols: names for addresses.

    Attributes:
        points: where it stops.
        history: the way back, or None where there is none.
        ended: how the guest ended, or None while it can go on.
        running: the machine is on its way, and `interrupt` stops it.
    """

    def __init__(self, machine: Machine, say: Callable[[str], None], symbols: Symbols = NO_SYMBOLS) -> None:
        super().__init__(Target(machine), say, symbols)
        self.history = History(machine) if machine.engine.counted else None
        self.points = Points(self.target)
        self.ended: Outcome | None = None
        self.running = False
        self.caught: tuple[int, int] | None = None               # the processor and vector of an interrupt that has stopped it
        self._stop = self._until_now = False

    def interrupt(self) -> None:
        """Ctrl-C while the machine runs."""
        self._stop = True
        self.machine.wake()

    def step(self, words: list[str]) -> None:
        """Single steps, as many as were asked for."""
        with self._moving():
            for _ in range(self.count(words, 0, 1)):
                if self._step() or self._stop or self._touched():
                    break
        self._say_end_or_place()

    def next(self, words: list[str]) -> None:
        """Steps, but runs to behind a call."""
        with self._moving():
            for _ in range(self.count(words, 0, 1)):
                if not self._step_over() or self._stop:
                    break
        self._say_end_or_place()

    def finish(self, words: list[str]) -> None:
        """Steps, over calls, until a function's return has been executed."""
        with self._moving():
            while not self._stop:
                returns = self.decode(self.rip, 1)[0].mnemonic in RETURNS
                if not self._step_over() or returns or self._at_break():
                    break
        self._say_end_or_place()

    def until(self, words: list[str]) -> None:
        """Run to an address."""
        address = self.address(words[0])
        with self._moving(), self._stopping_at(address):
            self._run()
        self._say_end_or_place()

    def go(self, words: list[str]) -> None:
        """Run until something stops it, or for some time."""
        clock = self.machine.clock
        if len(words) > 1 or (words and not 0 <= float(words[0]) < LONGEST_RUN):
            raise ValueError
        end = clock.now() + round(float(words[0]) * SECOND) if words else None
        with self._moving():
            self._run(lambda: end is not None and clock.now() >= end)
        self._say_end_or_place()

    def wait(self, words: list[str]) -> None:
        """Run until COM1 has said something."""
        wanted, said = " ".join(words).encode(), bytearray()
        if not wanted:
            raise ValueError
        board = self.machine.board
        before = board.serial_out

        def hear(data: bytes) -> None:
            before(data)
            said.extend(data)
            if wanted in said:
                self._until_now = True
                self.machine.wake()
            del said[:-HEARD]

        board.serial_out = hear
        try:
            with self._moving():
                self._run(lambda: self._until_now)
        finally:
            board.serial_out = before
        self._say_end_or_place()

    def back(self, words: list[str]) -> None:
        """Backwards, by instructions or to the last stop."""
        if self.history is None:
            raise TargetError("there is no way back with the host's clock; start with --clock instructions")
        arrived = self.history.back_to_break() if words and "continue".startswith(words[0]) else self.history.go_to(self.history.now - self.count(words, 0, 1))
        self.ended = None
        if not arrived:
            self.say("that is the oldest moment that is kept")
        self.where()

    @contextmanager
    def _moving(self) -> Iterator[None]:
        if self.ended is not None:
            way = "; `back` may go to before that" if self.history is not None else ""
            raise TargetError(f"the guest has ended ({self.ended.reason.value}){way}")
        self._stop, self._until_now, self.caught, self.running = False, False, None, True
        self.machine.engine.breakpoints.hit = None
        try:
            yield
        finally:
            self.running = False

    @contextmanager
    def _stopping_at(self, address: int) -> Iterator[None]:
        kept = address in self.machine.engine.breakpoints.addresses
        self.target.add_breakpoint(address)
        try:
            yield
        finally:
            if not kept:
                self.target.remove_breakpoint(address)

    def _step(self) -> bool:
        """One instruction. Whether the guest has ended by it."""
        vcpu = self.target.vcpu(self.cpu)
        if vcpu.activity is not Activity.ACTIVE and not vcpu.runnable:
            raise TargetError(f"processor {self.cpu} waits ({vcpu.activity.value}); `next` or `continue` lets all run until it goes on")
        if self.history is not None:
            self.history.note_step(self.cpu)
        return self._has_ended(self.target.step(self.cpu))

    def _step_over(self) -> bool:
        """A step, or a run to behind a call, a software interrupt, a HLT or a repeated instruction. False if something else has stopped it."""
        vcpu = self.target.vcpu(self.cpu)
        if vcpu.activity is Activity.HALTED:
            return self._run_to(self.rip, self.cpu, 0)
        one = self.decode(self.rip, 1)[0]
        if one.mnemonic in RUN_OVER or one.mnemonic.startswith("rep"):
            return self._run_to(one.address + len(one.code), self.cpu, stack.top(self.target, self.cpu))
        return not self._step() and not self._touched()

    def _run_to(self, address: int, cpu: int, floor: int) -> bool:
        """Run until this processor is at an address with its stack not below `floor`, so that neither others nor a recursion count."""
        before = {point.number for point in self.points if point.kind == BREAK and point.enabled and point.address == address}
        with self._stopping_at(address):
            while True:
                outcome = self._resume()
                hit = self.machine.engine.breakpoints.hit
                if self._has_ended(outcome):
                    return False
                arrived = hit is not None and (hit.kind, hit.address) == ("breakpoint", address)
                if arrived and hit is not None and hit.cpu == cpu and stack.top(self.target, cpu) >= floor:
                    self.cpu = cpu
                    return True
                if not arrived or before or self._stop:
                    self._report(outcome, hit)
                    return False

    def _run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Until a point whose condition holds, or anything else, stops it; which is said. What is waited for needs no words."""
        while True:
            outcome = self._resume(until)
            if self._has_ended(outcome):
                return
            hit = self.machine.engine.breakpoints.hit
            point = self.points.hit(hit) if hit is not None else None
            if point is not None and hit is not None and not self._stop and not self._holds(point, hit.cpu):
                continue
            if outcome.reason is not ExitReason.CONDITION or self._stop or not until():
                self._report(outcome, hit)
            self.cpu = hit.cpu if hit is not None else self.machine.engine.current if self.caught is None else self.caught[0]
            return

    def _resume(self, until: Callable[[], bool] = lambda: False) -> Outcome:
        if self.history is not None:
            self.history.note_run()
        self.machine.engine.breakpoints.hit = None
        return self.target.resume(lambda: self._stop or until())

    def _holds(self, point: Point, cpu: int) -> bool:
        return not point.condition or holds(self.target, cpu, self.symbols, point.condition)

    def _report(self, outcome: Outcome, hit: Hit | None) -> None:
        """Why it stands."""
        self.cpu = hit.cpu if hit is not None else self.machine.engine.current
        if self.caught is not None:
            self.cpu, vector = self.caught
            self.say(f"interrupt: cpu {self.cpu} has taken vector {vector:#x}")
        elif hit is None:
            self.say(outcome.detail or ("stopped" if outcome.reason is ExitReason.CONDITION else outcome.reason.value))
        elif not self._touched():
            point = self.points.hit(hit)
            if point is not None:
                point.hits += 1
                self.say(f"breakpoint {point.number} at {self.name(hit.address)}")

    def _touched(self) -> bool:
        """Whether a watchpoint has stopped it, which is said then."""
        hit = self.machine.engine.breakpoints.hit
        if hit is None or hit.kind == "breakpoint":
            return False
        self.machine.engine.breakpoints.hit = None
        point = self.points.hit(hit)
        did = "written" if hit.kind == "write" else "read"
        if point is None:
            self.say(f"watchpoint: cpu {hit.cpu} has {did} {hit.size} bytes at physical {hit.address:#x}")
            return True
        point.hits += 1
        old, point.seen = point.seen, self.points.look(point)
        change = f": {old.hex(' ')} -> {point.seen.hex(' ')}" if old != point.seen else f", which hold {point.seen.hex(' ')}"
        self.say(f"watchpoint {point.number}: cpu {hit.cpu} has {did} {hit.size} bytes at physical {hit.address:#x}{change}")
        return True

    def _at_break(self) -> bool:
        point = next((one for one in self.points if one.kind == BREAK and one.enabled and one.address == self.rip), None)
        if point is None or not self._holds(point, self.cpu):
            return False
        point.hits += 1
        self.say(f"breakpoint {point.number} at {self.name(self.rip)}")
        return True

    def _has_ended(self, outcome: Outcome | None) -> bool:
        if outcome is None or Target.is_break(outcome):
            return False
        self.ended = outcome
        return True

    def _say_end_or_place(self) -> None:
        if self.ended is not None:
            self.say(f"the guest has ended: {self.ended.reason.value} {self.ended.detail}".rstrip())
        else:
            self.where()
