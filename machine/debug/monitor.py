"""The debugger's own console, `folkering.py debug`. Commands are data; help comes from them.

Numbers are decimal, or hexadecimal with 0x; symbols work where an ELF file was given, registers with $ in front, and + and - between any of these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from machine.debug import descriptors, explain
from machine.debug.history import History
from machine.debug.registers import BY_NAME, FLAGS, SEGMENTS
from machine.debug.symbols import NO_SYMBOLS, Symbols
from machine.debug.target import Target
from machine.errors import TargetError
from machine.outcome import ExitReason, Outcome
from machine.trace import Trace

if TYPE_CHECKING:
    from machine.machine import Machine

LONGEST_INSTRUCTION = 15
LONGEST_DUMP = 1 << 16


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its names, how its arguments read, what it does in a line."""

    names: tuple[str, ...]
    arguments: str
    doc: str
    run: Callable[[Monitor, list[str]], None]


class Monitor:
    """A console on one machine.

    Args:
        machine: what is debugged.
        say: prints lines.
        symbols: names for addresses.

    Attributes:
        ended: how the guest ended, or None while it can go on.
        leaving: the user wants to leave.
    """

    def __init__(self, machine: Machine, say: Callable[[str], None], symbols: Symbols = NO_SYMBOLS) -> None:
        self.machine, self.say, self.symbols = machine, say, symbols
        self.target = Target(machine)
        self.history = History(machine) if machine.engine.counted else None
        self.cpu = 0
        self.ended: Outcome | None = None
        self.leaving = False
        self.running = False
        self._stop = False
        self._trace: Trace | None = None
        self._last: list[str] = []

    # --- lines -------------------------------------------------------------------------------------------------------------------------
    def execute(self, line: str) -> bool:
        """Carry out one line; an empty one repeats a step. False if it was not understood or could not be done, which has been said then."""
        words = line.split() or self._last
        if not words:
            return True
        self._last = words if words[0] in ("s", "step", "n", "next", "back") else []
        command = next((one for one in COMMANDS if words[0] in one.names), None)
        if command is None:
            self.say(f"there is no command {words[0]}; `help` lists them")
            return False
        try:
            command.run(self, words[1:])
        except TargetError as error:
            self.say(str(error))
            return False
        except (ValueError, IndexError):
            self.say(f"usage: {command.names[0]} {command.arguments}".rstrip())
            return False
        return True

    def interrupt(self) -> None:
        """Ctrl-C while the machine runs."""
        self._stop = True
        self.machine.wake()

    def number(self, text: str) -> int:
        """An address or number: 0x..., decimal, a symbol, or a register with $ in front, with + and - between. Raises ValueError."""
        for sign in ("+", "-"):
            left, found, right = text.rpartition(sign)
            if found and left:
                return self.number(left) + (1 if sign == "+" else -1) * self.number(right)
        if text.startswith("$"):
            register = BY_NAME.get(text[1:])
            if register is None:
                raise ValueError(text)
            return register.read(self.target.vcpu(self.cpu))
        known = self.symbols.address(text)
        return known if known is not None else int(text, 0)

    @property
    def rip(self) -> int:
        """Linear address of the next instruction."""
        return BY_NAME["rip"].read(self.target.vcpu(self.cpu))

    def where(self) -> None:
        """Show where the processor stands."""
        self.say(f"cpu {self.cpu}: {self.target.describe(self.cpu)}")
        self.disassemble(self.rip, 1)

    # --- running -----------------------------------------------------------------------------------------------------------------------
    def step(self, words: list[str]) -> None:
        """Single steps, as many as were asked for."""
        for _ in range(int(words[0], 0) if words else 1):
            if self.history is not None:
                self.history.note_step(self.cpu)
            if self._finish(self.target.step(self.cpu)):
                return
        self.where()

    def next(self, words: list[str]) -> None:
        """A step, or a run to behind a call."""
        decoded = self._decode(self.rip, 1)
        if decoded and (decoded[0][2].startswith("call") or decoded[0][2].startswith("rep")):
            behind = decoded[0][0] + len(decoded[0][1])
            kept = behind in self.machine.engine.breakpoints.addresses
            self.target.add_breakpoint(behind)
            try:
                self.go([])
            finally:
                if not kept:
                    self.target.remove_breakpoint(behind)
        else:
            self.step([])

    def go(self, words: list[str]) -> None:
        """Run until something stops it."""
        self._stop = False
        if self.history is not None:
            self.history.note_run()
        self.running = True
        try:
            outcome = self.target.resume(lambda: self._stop)
        finally:
            self.running = False
        if not self._finish(outcome):
            hit, self.machine.engine.breakpoints.hit = self.machine.engine.breakpoints.hit, None
            self.cpu = self.machine.engine.current
            if hit is not None and hit.kind != "breakpoint":
                self.say(f"watchpoint: cpu {hit.cpu} has {'written' if hit.kind == 'write' else 'read'} {hit.size} bytes at physical {hit.address:#x}")
            elif outcome.reason is ExitReason.BREAK:
                self.say(f"breakpoint at {self.name(self.rip)}")
            elif outcome.detail:
                self.say(outcome.detail)
            self.where()

    def back(self, words: list[str]) -> None:
        """Backwards, by one instruction or to the last stop."""
        if self.history is None:
            raise TargetError("there is no way back with the host's clock; start with --clock instructions")
        arrived = self.history.back_to_break() if words == ["continue"] else self.history.back_one()
        if not arrived:
            self.say("that is the oldest moment that is kept")
        self.where()

    def _finish(self, outcome: Outcome | None) -> bool:
        if outcome is None or Target.is_break(outcome):
            return False
        self.ended = outcome
        self.say(f"the guest has ended: {outcome.reason.value} {outcome.detail}".rstrip())
        return True

    # --- looking -----------------------------------------------------------------------------------------------------------------------
    def registers(self, words: list[str]) -> None:
        """All registers but x87 and SSE."""
        vcpu = self.target.vcpu(self.cpu)
        names = ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{number}" for number in range(8, 16))]
        for row in range(0, 16, 4):
            self.say("  ".join(f"{name:>3} {BY_NAME[name].read(vcpu):016x}" for name in names[row:row + 4]))
        flags = BY_NAME["eflags"].read(vcpu)
        spelled = " ".join(name for name, bit in FLAGS.items() if name and flags >> bit & 1)
        self.say(f"rip {self.rip:016x}  cs base {vcpu.cs_base:#x}  flags {flags:#x} [{spelled}] IOPL {flags >> 12 & 3}")
        self.say("  ".join(f"{name} {BY_NAME[name].read(vcpu):04x}" for name in SEGMENTS) + f"  fs_base {BY_NAME['fs_base'].read(vcpu):#x}"
                 f"  gs_base {BY_NAME['gs_base'].read(vcpu):#x}")
        self.say("  ".join(f"{name} {BY_NAME[name].read(vcpu):#x}" for name in ("cr0", "cr2", "cr3", "cr4", "efer")))

    def memory(self, words: list[str]) -> None:
        """A dump in hexadecimal and text."""
        address, length = self.number(words[0]), int(words[1], 0) if len(words) > 1 else 64
        for at in range(address, address + min(length, LONGEST_DUMP), 16):
            data = self.target.read(self.cpu, at, min(16, address + length - at))
            self.say(f"{at:016x}  {data.hex(' '):47}  {''.join(chr(byte) if 32 <= byte < 127 else '.' for byte in data)}")

    def disassemble(self, address: int, count: int) -> None:
        """Instructions in the processor's present mode."""
        for at, code, text in self._decode(address, count):
            self.say(f"{'=>' if at == self.rip else '  '} {self.name(at)}  {code.hex():20}  {text}")

    def _decode(self, address: int, count: int) -> list[tuple[int, bytes, str]]:
        import capstone

        vcpu = self.target.vcpu(self.cpu)
        mode = capstone.CS_MODE_64 if vcpu.in_long_mode else capstone.CS_MODE_32 if vcpu.is_32_bit else capstone.CS_MODE_16
        code = self.target.read(self.cpu, address, count * LONGEST_INSTRUCTION)
        found = [(at, code[at - address:at - address + size], f"{name} {operands}".strip())
                 for at, size, name, operands in capstone.Cs(capstone.CS_ARCH_X86, mode).disasm_lite(code, address, count)]
        return found or [(address, code[:1], "(bad)")]

    def name(self, address: int) -> str:
        """An address with its symbol."""
        return f"{address:#x}" + (f" <{known}>" if (known := self.symbols.name(address)) else "")

    def walk(self, words: list[str]) -> None:
        """A page walk."""
        for line in explain.walk_lines(self.target, self.cpu, self.number(words[0])):
            self.say(line)

    def idt(self, words: list[str]) -> None:
        """Gates of the IDT."""
        for vector in [int(words[0], 0)] if words else range(32):
            self.say(explain.gate(self.target, self.cpu, vector))

    def gdt(self, words: list[str]) -> None:
        """Descriptors of the GDT."""
        for line in descriptors.gdt(self.target, self.cpu):
            self.say(line)

    def tss(self, words: list[str]) -> None:
        """The task state segment."""
        for line in descriptors.tss(self.target, self.cpu):
            self.say(line)

    def why(self, words: list[str]) -> None:
        """The last exceptions."""
        for line in explain.why(self.target, self.cpu):
            self.say(line)

    def processors(self, words: list[str]) -> None:
        """One line a processor."""
        for cpu in range(self.target.cpus):
            vcpu = self.target.vcpu(cpu)
            self.say(f"{'*' if cpu == self.cpu else ' '} {cpu}  {self.name(vcpu.cs_base + vcpu.rip)}  {self.target.describe(cpu)}")

    def choose(self, words: list[str]) -> None:
        """Another processor from now on."""
        self.target.vcpu(int(words[0], 0))
        self.cpu = int(words[0], 0)
        self.where()

    def devices(self, words: list[str]) -> None:
        """Names, or one chip."""
        chips = {chip.name: chip for chip in self.machine.board.chips}
        if not words:
            self.say(" ".join(chips))
            return
        if words[0] not in chips:
            raise TargetError(f"there is no device {words[0]}; they are {' '.join(chips)}")
        for view in chips[words[0]].describe():
            fields = " ".join(f"{field}={value}" for field, value in view.fields.items())
            self.say(f"{view.offset:#06x} {view.name:18} {view.value:#x}  {fields}".rstrip())

    # --- breakpoints, trace --------------------------------------------------------------------------------------------------------------
    def add_break(self, words: list[str]) -> None:
        """Add a breakpoint, or list them."""
        if not words:
            for address in sorted(self.machine.engine.breakpoints.addresses):
                self.say(self.name(address))
            return
        self.target.add_breakpoint(self.number(words[0]))

    def delete(self, words: list[str]) -> None:
        """Remove a breakpoint."""
        address = self.number(words[0])
        if address not in self.machine.engine.breakpoints.addresses:
            raise TargetError(f"there is no breakpoint at {address:#x}")
        self.target.remove_breakpoint(address)

    def watch(self, words: list[str]) -> None:
        """Add a watchpoint."""
        how = words[2] if len(words) > 2 else "w"
        if how not in ("r", "w", "rw"):
            raise ValueError(how)
        self.target.add_watchpoint(self.cpu, self.number(words[0]), int(words[1], 0) if len(words) > 1 else 8, "r" in how, "w" in how)

    def trace(self, words: list[str]) -> None:
        """Switch the trace on or off."""
        if words not in (["on"], ["off"]):
            raise ValueError(words)
        if self._trace is not None:
            self._trace.close()
            self._trace = None
        if words == ["on"]:
            self._trace = Trace(self.machine, lambda line: self.say(line.decode().rstrip()))

    def time(self, words: list[str]) -> None:
        """How far it is."""
        self.say(f"{self.machine.clock.now()} ns of virtual time, {self.machine.stats.retired} instructions counted, {self.machine.stats.slices} slices")

    def leave(self, words: list[str]) -> None:
        """The user has had enough."""
        self.leaving = True

    def help(self, words: list[str]) -> None:
        """The list of commands."""
        for command in COMMANDS:
            self.say(f"{', '.join(command.names):14} {command.arguments:24} {command.doc}")


COMMANDS = (
    Command(("step", "s"), "[COUNT]", "one instruction of this processor, without interrupts; an empty line repeats it", Monitor.step),
    Command(("next", "n"), "", "the same, but over a call or a repeated string instruction", Monitor.next),
    Command(("continue", "c"), "", "let all processors run until something stops them; Ctrl-C does", Monitor.go),
    Command(("back",), "[continue]", "one instruction back, or to the last stop before (instruction clock)", Monitor.back),
    Command(("break", "b"), "[ADDRESS]", "stop before the instruction there, or list where", Monitor.add_break),
    Command(("delete", "d"), "ADDRESS", "do not stop there any more", Monitor.delete),
    Command(("watch", "w"), "ADDRESS [LENGTH] [r|w|rw]", "stop behind an access to memory", Monitor.watch),
    Command(("registers", "r"), "", "registers, flags by name, control registers", Monitor.registers),
    Command(("memory", "x"), "ADDRESS [LENGTH]", "memory as this processor sees it", Monitor.memory),
    Command(("list", "l"), "[ADDRESS] [COUNT]", "disassemble, in this processor's mode",
            lambda monitor, words: monitor.disassemble(monitor.number(words[0]) if words else monitor.rip, int(words[1], 0) if len(words) > 1 else 8)),
    Command(("walk",), "ADDRESS", "the page walk, entry by entry", Monitor.walk),
    Command(("idt",), "[VECTOR]", "where vectors lead", Monitor.idt),
    Command(("gdt",), "", "the global descriptor table", Monitor.gdt),
    Command(("tss",), "", "the stacks that the task-state segment names", Monitor.tss),
    Command(("why",), "", "the last exceptions, and the table or walk behind them", Monitor.why),
    Command(("cpus",), "", "all processors", Monitor.processors),
    Command(("cpu",), "NUMBER", "look at another processor", Monitor.choose),
    Command(("devices", "dev"), "[NAME]", "the chips, or one chip's registers with their fields", Monitor.devices),
    Command(("trace",), "on|off", "print register accesses, interrupts and DMA", Monitor.trace),
    Command(("time",), "", "virtual time and instructions", Monitor.time),
    Command(("help", "h", "?"), "", "this", Monitor.help),
    Command(("quit", "q"), "", "leave", Monitor.leave),
)
