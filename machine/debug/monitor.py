"""The debugger's own console, `folkering.py debug`: what `views.py` looks at, `running.py` moves, and what changes it. Commands are data, and make the help.

Numbers are those of `expressions.py`. A command may be shortened as long as no doubt is left. An empty line repeats a step.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import TYPE_CHECKING

from machine.debug.commands import Command
from machine.debug.expressions import holds, set_register
from machine.debug.points import ANY_VECTOR, BREAK, HOW, INTERRUPT, WATCH, Point
from machine.debug.registers import BY_NAME
from machine.debug.running import Runner
from machine.debug.symbols import NO_SYMBOLS, Symbols
from machine.debug.typist import Typist
from machine.debug.views import UNITS, VIEWS
from machine.errors import TargetError
from machine.trace import DMA, INTERRUPTS, Trace

if TYPE_CHECKING:
    from machine.machine import Machine

REPEATED = ("step", "next", "back", "finish")
RUNNING, MISTAKES = "running", "mistakes"


class Monitor(Runner):
    """A console on one machine.

    Args:
        machine: what is debugged.
        say: prints lines.
        symbols: names for addresses.

    Attributes:
        leaving: the user wants to leave.
    """

    def __init__(self, machine: Machine, say: Callable[[str], None], symbols: Symbols = NO_SYMBOLS) -> None:
        super().__init__(machine, say, symbols)
        self.commands = COMMANDS
        self.leaving = False
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
        known = [INTERRUPTS, DMA, MISTAKES, *self.chip_names()]
        names = set(known) if len(words) <= 1 else set()
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
            self.machine.log.tell = self._mistake if MISTAKES in self._traced else None
            self._listen()
        told = [name for name in known if name in self._traced]
        self.say("trace: off" if not told else "trace: everything" if len(told) == len(known) else f"trace: {' '.join(told)}")

    def _traced_line(self, line: bytes) -> None:
        if self.running:                                   # and not on the way back, which does again what has been told
            self.say(line.decode().rstrip())

    def _mistake(self, line: str) -> None:
        if self.running:
            self.say(f"{self.machine.clock.now()} {line}")

    def _listen(self) -> None:
        """Hear of interrupts: for the trace, and to stop at them."""
        told = self._trace.interrupt if self._trace is not None and INTERRUPTS in self._traced else None

        def taken(cpu: int, vector: int) -> None:
            if told is not None:
                told(cpu, vector)
            point = self.points.catches(vector)
            if point is not None and self.running and self.caught is None:
                point.hits += 1
                self.caught = cpu, vector
                self.interrupt()

        self.machine.engine.on_interrupt = taken

    # --- changing ------------------------------------------------------------------------------------------------------------------------
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
        if self.machine.script is not None:
            raise TargetError("a recording is being played; what is typed comes from it")
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
    return ["on", "off", INTERRUPTS, DMA, MISTAKES, *console.chip_names()]


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
            more="NAME is `interrupts`, `dma`, `mistakes` (each the first time), a chip, or a pattern such as lapic*.\n"
                 "Without NAME everything is meant, without words it is told what is traced."),
    *VIEWS,
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
