"""The debugger's own console, `folkering.py debug`: what `views.py` can look at, and what moves and changes the machine. Commands are data, and make the help.

Numbers are those of `expressions.py`. A command may be shortened as long as no doubt is left. An empty line repeats a step.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from machine.debug import stack
from machine.debug.commands import Command
from machine.debug.expressions import holds, set_register
from machine.debug.history import History
from machine.debug.points import ANY_VECTOR, BREAK, HOW, INTERRUPT, WATCH, Point, Points
from machine.debug.registers import BY_NAME
from machine.debug.symbols import NO_SYMBOLS, Symbols
from machine.debug.target import Target
from machine.debug.typist import Typist
from machine.debug.views import UNITS, VIEWS, Views
from machine.engine.vcpu import Activity
from machine.errors import TargetError
from machine.outcome import ExitReason, Outcome
from machine.trace import DMA, INTERRUPTS, Trace

if TYPE_CHECKING:
    from machine.engine.breakpoints import Hit
    from machine.machine import Machine

SECOND = 1_000_000_000               # ns
LONGEST_RUN = 1e9                    # s
HEARD = 4096                         # bytes of output in which a text is looked for
REPEATED = ("step", "next", "back", "finish")
RUNNING = "running"
RUN_OVER = ("call", "lcall", "int", "int3", "into", "hlt")       # and whatever is repeated
RETURNS = ("ret", "retf", "retfq", "lret", "iret", "iretd", "iretq", "sysret", "sysretq")


class Monitor(Views):
    """A console on one machine.

    Args:
        machine: what is debugged.
        say: prints lines.
        symbols: names for addresses.

    Attributes:
        ended: how the guest ended, or None while it can go on.
        leaving: the user wants to leave.
        running: the machine is on its way, and `interrupt` stops it.
    """

    def __init__(self, machine: Machine, say: Callable[[str], None], symbols: Symbols = NO_SYMBOLS) -> None:
        super().__init__(Target(machine), say, symbols)
        self.commands = COMMANDS
        self.history = History(machine) if machine.engine.counted else None
        self.points = Points(self.target)
        self.ended: Outcome | None = None
        self.leaving = False
        self.running = False
        self._stop = self._until_now = False
        self._caught: tuple[int, int] | None = None
        self._trace: Trace | None = None
        self._traced: frozenset[str] = frozenset()
        self._typist = Typist(machine.board.serial)
        self._last = ""
        machine.inputs.append(self._typist)

    # --- lines -------------------------------------------------------------------------------------------------------------------------
    def execute(self, line: str) -> bool:
        """Carry out one line; an empty one repeats a step. False if it was not understood or could not be done, which has been said then."""
        line = line.strip() or self._last
        self._last = line if line.split()[:1] and any(name.startswith(line.split()[0]) for name in REPEATED) else ""
        return super().execute(line)

    def interrupt(self) -> None:
        """Ctrl-C while the machine runs."""
        self._stop = True
        self.machine.wake()

    # --- running -----------------------------------------------------------------------------------------------------------------------
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
        self._stop, self._until_now, self._caught, self.running = False, False, None, True
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
            self.cpu = hit.cpu if hit is not None else self.machine.engine.current if self._caught is None else self._caught[0]
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
        if self._caught is not None:
            self.cpu, vector = self._caught
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

    # --- points --------------------------------------------------------------------------------------------------------------------------
    def add_break(self, words: list[str]) -> None:
        """Add a breakpoint, or list them."""
        if not words:
            for line in self.points.lines(self.symbols):
                self.say(line)
            return
        where, condition = words[0], " ".join(words[2:])
        if len(words) > 1 and (words[1] != "if" or not condition):
            raise ValueError
        if condition:
            holds(self.target, self.cpu, self.symbols, condition)         # whether it can be understood
        self._added(Point(0, BREAK, self.address(where), condition=condition))

    def watch(self, words: list[str]) -> None:
        """Add a watchpoint."""
        if not words:
            self.add_break(words)
            return
        how = words[2] if len(words) > 2 else "w"
        if how not in HOW or len(words) > 3:
            raise ValueError
        self._added(Point(0, WATCH, self.address(words[0]), cpu=self.cpu, length=self.count(words, 1, 8), how=how))

    def catch(self, words: list[str]) -> None:
        """Stop at an interrupt."""
        vector = ANY_VECTOR if not words else self.number(words[0])
        if not ANY_VECTOR <= vector <= 255:
            raise ValueError(f"{vector:#x} is no vector")
        self._added(Point(0, INTERRUPT, vector))
        self._listen()

    def _added(self, point: Point) -> None:
        self.points.add(point)
        self.say(f"{point.kind} {point.number}: {self.points.words(point, self.symbols)}")

    def delete(self, words: list[str]) -> None:
        """Remove points."""
        for point in self._chosen(words):
            self.points.remove(point)

    def enable(self, words: list[str], enabled: bool) -> None:
        """Switch points on or off."""
        for point in self._chosen(words):
            self.points.enable(point, enabled)

    def _chosen(self, words: list[str]) -> list[Point]:
        if words == ["all"]:
            return list(self.points)
        if not words:
            raise ValueError
        return [self.points.find(word, None if word.isdigit() else self.address(word)) for word in words]

    # --- trace ---------------------------------------------------------------------------------------------------------------------------
    def trace(self, words: list[str]) -> None:
        """Switch the trace on or off, all of it or some."""
        known = [INTERRUPTS, DMA, *self.chip_names()]
        names = set(known) if len(words) == 1 else set()
        for word in words[1:]:
            found = fnmatch.filter(known, word)
            if not found:
                raise TargetError(f"there is nothing called {word} to trace; there are {' '.join(known)}")
            names.update(found)
        if words and words[0] not in ("on", "off"):
            raise ValueError
        if words:
            self._traced = self._traced | names if words[0] == "on" else self._traced - names
            if self._trace is not None:
                self._trace.close()
            self._trace = Trace(self.machine, self._traced_line, self._traced) if self._traced else None
            self._listen()
        told = [name for name in known if name in self._traced]
        self.say("trace: off" if not told else "trace: everything" if len(told) == len(known) else f"trace: {' '.join(told)}")

    def _traced_line(self, line: bytes) -> None:
        if self.running:                                   # and not on the way back, which does again what has been told
            self.say(line.decode().rstrip())

    def _listen(self) -> None:
        """Hear of interrupts: for the trace, and to stop at them."""
        told = self._trace.interrupt if self._trace is not None and INTERRUPTS in self._traced else None

        def taken(cpu: int, vector: int) -> None:
            if told is not None:
                told(cpu, vector)
            point = self.points.catches(vector)
            if point is not None and self.running and self._caught is None:
                point.hits += 1
                self._caught = cpu, vector
                self.interrupt()

        self.machine.engine.on_interrupt = taken

    # --- changing ------------------------------------------------------------------------------------------------------------------------
    def choose(self, words: list[str]) -> None:
        """Another processor from now on."""
        cpu = self.number(words[0])
        self.target.vcpu(cpu)
        self.cpu = cpu
        self.where()

    def set(self, words: list[str]) -> None:
        """Write a register."""
        name = words[0].removeprefix("$").lower()
        values = words[1:] if words[1] != "=" else words[2:]
        set_register(self.target, self.cpu, name, self.number("".join(values)))
        self._changed()
        self.registers([name])

    def write(self, words: list[str], store: Callable[[int, bytes], None]) -> None:
        """Write memory: bytes in hexadecimal, or numbers of a unit's size."""
        address, items = self.address(words[0]), words[1:]
        if items[0] in UNITS:
            size = UNITS[items[0]]
            data = b"".join((self.number(item) % (1 << 8 * size)).to_bytes(size, "little") for item in items[1:])
        else:
            data = bytes.fromhex("".join(items))
        if not data:
            raise ValueError
        store(address, data)
        self._changed()

    def _changed(self) -> None:
        if self.history is not None:
            self.history.note_change()

    def type(self, words: list[str]) -> None:
        """Type at the guest."""
        self._typist.type(" ".join(words) + "\r")

    def save(self, words: list[str]) -> None:
        """A snapshot."""
        self.machine.save(words[0])

    def name_addresses(self, words: list[str]) -> None:
        """Other symbols."""
        self.symbols = Symbols.from_file(words[0])

    def leave(self, words: list[str]) -> None:
        """The user has had enough."""
        self.leaving = True


def _traceable(console: Monitor) -> list[str]:
    return ["on", "off", INTERRUPTS, DMA, *console.chip_names()]


COMMANDS = (
    Command(("step", "s", "stepi", "si"), "[COUNT]", "one instruction of this processor, without interrupts; an empty line repeats it", Monitor.step, RUNNING),
    Command(("next", "n", "nexti", "ni"), "[COUNT]", "the same, but over calls, software interrupts, HLT and repeated instructions", Monitor.next, RUNNING),
    Command(("finish", "fin"), "", "to behind the return of this function", Monitor.finish, RUNNING),
    Command(("until", "advance"), "ADDRESS", "let all processors run until one is at an address", Monitor.until, RUNNING),
    Command(("continue", "c"), "[SECONDS]", "let all processors run until something stops them; Ctrl-C does", Monitor.go, RUNNING,
            more="SECONDS are of virtual time; the turn in which they are over is the last."),
    Command(("wait",), "TEXT", "let all processors run until COM1 has said TEXT", Monitor.wait, RUNNING),
    Command(("back", "reverse"), "[COUNT|continue]", "instructions back, or to the last stop before (instruction clock)", Monitor.back, RUNNING),
    Command(("type",), "TEXT", "send text and Enter to COM1, once the machine runs", Monitor.type, RUNNING),
    Command(("break", "b"), "[ADDRESS [if CONDITION]]", "stop before the instruction there, or list all points", Monitor.add_break, "stopping",
            more="A condition compares two numbers with ==, !=, <, <=, > or >=, as in: break 0x7c00 if ax != 0x55aa"),
    Command(("watch", "w"), "ADDRESS [LENGTH] [r|w|rw]", "stop behind an access to memory, by whichever address", Monitor.watch, "stopping"),
    Command(("catch",), "[VECTOR]", "stop when a processor has taken an interrupt", Monitor.catch, "stopping"),
    Command(("delete", "d"), "NUMBER|ADDRESS...|all", "do not stop there any more", Monitor.delete, "stopping"),
    Command(("enable",), "NUMBER|ADDRESS...|all", "stop there again", lambda console, words: console.enable(words, True), "stopping"),
    Command(("disable",), "NUMBER|ADDRESS...|all", "do not stop there for now", lambda console, words: console.enable(words, False), "stopping"),
    Command(("trace",), "[on|off [NAME...]]", "tell of register accesses, interrupts and DMA", Monitor.trace, "stopping", complete=_traceable,
            more="NAME is `interrupts`, `dma`, a chip, or a pattern such as lapic*. Without NAME everything is meant, without words the trace is shown."),
    *VIEWS,
    Command(("cpu",), "NUMBER", "look at another processor", Monitor.choose, "changing"),
    Command(("set",), "REGISTER VALUE", "write a register, as the processor would, or be told why not", Monitor.set, "changing",
            complete=lambda console: list(BY_NAME)),
    Command(("write",), "ADDRESS BYTES|b|w|d|q NUMBER...", "write RAM: bytes in hexadecimal, or numbers",
            lambda console, words: console.write(words, lambda at, data: console.target.write(console.cpu, at, data)), "changing"),
    Command(("pwrite",), "ADDRESS BYTES|b|w|d|q NUMBER...", "the same, by physical address",
            lambda console, words: console.write(words, console.target.write_physical), "changing"),
    Command(("symbols",), "FILE", "names for addresses: an ELF file, or lines like those of System.map", Monitor.name_addresses, "changing"),
    Command(("save",), "FILE", "a snapshot, which `run --load FILE` goes on from", Monitor.save, "changing"),
    Command(("quit", "q"), "", "leave", Monitor.leave, "changing"),
)
