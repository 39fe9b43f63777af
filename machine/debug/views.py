"""What can be looked at in a machine that stands, as text: the commands that change nothing, for the console (`monitor.py`) and for GDB's `monitor ...`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from machine.debug import commands, descriptors, explain, stack
from machine.debug.commands import Command
from machine.debug.disassembly import Instruction, decode, place
from machine.debug.expressions import number, register
from machine.debug.registers import BY_NAME, FLAGS, GENERAL, SEGMENTS
from machine.debug.symbols import NO_SYMBOLS, Symbols
from machine.debug.target import Target
from machine.engine import abi
from machine.errors import TargetError

if TYPE_CHECKING:
    from devices.core.registers import Chip

    Say = Callable[[str], None]

LONGEST_DUMP = 1 << 16
LINE = 16                            # bytes of memory in a line
SIGNS = "+-:"
MOST_COMPLETIONS = 200
UNITS = {"b": 1, "w": 2, "d": 4, "q": 8}
CR0 = {"PE": 0, "MP": 1, "EM": 2, "TS": 3, "ET": 4, "NE": 5, "WP": 16, "AM": 18, "NW": 29, "CD": 30, "PG": 31}
CR4 = {"VME": 0, "PVI": 1, "TSD": 2, "DE": 3, "PSE": 4, "PAE": 5, "MCE": 6, "PGE": 7, "PCE": 8, "OSFXSR": 9, "OSXMMEXCPT": 10, "UMIP": 11, "FSGSBASE": 16,
       "PCIDE": 17, "OSXSAVE": 18, "SMEP": 20, "SMAP": 21}
EFER = {"SCE": 0, "LME": 8, "LMA": 10, "NXE": 11}
DESCRIBED = 0x00F0FF00               # bits of a segment's flags that are a descriptor's


class Views:
    """A console that looks.

    Args:
        target: at what.
        say: prints a line.
        symbols: names for addresses.

    Attributes:
        cpu: the processor that commands are about.
        commands: what is understood.
    """

    def __init__(self, target: Target, say: Say, symbols: Symbols = NO_SYMBOLS) -> None:
        self.target, self.machine, self.say, self.symbols = target, target.machine, say, symbols
        self.cpu = 0
        self.commands: tuple[Command, ...] = VIEWS

    def execute(self, line: str) -> bool:
        """Carry out one line. False if it was not understood or could not be done, which has been said then, in one line."""
        words = line.split()
        if not words:
            return True
        try:
            command = commands.find(self.commands, words[0])
        except TargetError as error:
            self.say(str(error))
            return False
        try:
            command.run(self, words[1:])
        except TargetError as error:
            self.say(str(error))
            return False
        except (ValueError, IndexError) as error:
            reason = str(error) if isinstance(error, ValueError) and str(error) and "invalid literal" not in str(error) else ""
            self.say(f"{reason}; {commands.usage(command)}" if reason else commands.usage(command))
            return False
        return True

    def completions(self, line: str) -> list[str]:
        """What the last word of a line may become, with a space where it is complete."""
        words = line.split()
        begun = "" if not words or line[-1:].isspace() else words.pop()
        if not words:
            return [f"{one.names[0]} " for one in self.commands if one.names[0].startswith(begun)]
        try:
            command = commands.find(self.commands, words[0])
        except TargetError:
            return []
        for sign in SIGNS:
            begun = begun.rpartition(sign)[2]
        found = [word for word in command.complete(self) if word.startswith(begun)]
        if "ADDRESS" in command.arguments or "EXPRESSION" in command.arguments:
            found += self.symbols.beginning(begun)[:MOST_COMPLETIONS]
        return [f"{word} " for word in found]

    # --- numbers, names ----------------------------------------------------------------------------------------------------------------
    def number(self, text: str) -> int:
        """What `expressions.number` makes of it."""
        value = number(self.target, self.cpu, self.symbols, text)
        if not -(1 << 63) <= value < 1 << 64:
            raise ValueError(f"{text} has more than 64 bits")
        return value

    def address(self, text: str) -> int:
        """The same, as an address: a negative number counts down from the top."""
        return self.number(text) % (1 << 64)

    def count(self, words: list[str], index: int, default: int) -> int:
        """A count among the words, if it is there."""
        count = self.number(words[index]) if len(words) > index else default
        if count < 0:
            raise ValueError(f"{count} is no count")
        return count

    def name(self, address: int) -> str:
        """An address with its symbol, and as segment:offset in 16-bit code."""
        there = place(self.target, self.cpu, address)
        return (f"{there}  " if there else "") + self.symbols.describe(address)

    @property
    def rip(self) -> int:
        """Linear address of the next instruction."""
        return self.target.value(self.cpu, "rip")

    # --- processors ----------------------------------------------------------------------------------------------------------------------
    def where(self) -> None:
        """Show where the processor stands."""
        self.say(f"cpu {self.cpu}: {self.target.describe(self.cpu)}")
        try:
            self.show_code(self.rip, 1)
        except TargetError as trouble:
            self.say(f"=> {trouble}")

    def registers(self, words: list[str]) -> None:
        """All registers, or some."""
        vcpu = self.target.vcpu(self.cpu)
        if words and words != ["all"]:
            for word in words:
                value = register(self.target, self.cpu, word.removeprefix("$").lower())
                if value is None:
                    raise ValueError(f"there is no register {word}")
                self.say(f"{word:9} {value:#x}  {value}")
            return
        count, letter, bits = (16, "r", 64) if vcpu.in_long_mode else (8, "e", 32)
        for row in range(0, count, 4):
            self.say("  ".join(f"{name if name[1:].isdigit() else letter + name[1:]:>3} {self._value(name) & (1 << bits) - 1:0{bits // 4}x}"
                               for name in list(GENERAL)[row:row + 4]))
        flags = self._value("eflags")
        self.say(f"rip {self.name(self.rip)}")
        self.say(f"eflags {flags:08x}  {_spelled(flags, FLAGS)}  IOPL {flags >> 12 & 3}")
        for name, index in SEGMENTS.items():
            self.say(self._segment(name, abi.ENV_SEGS + index * abi.ENV_SEG_SIZE))
        for name, at in (("ldt", abi.ENV_LDT), ("tr", abi.ENV_TR)):
            self.say(self._segment(name, at))
        for name, at in (("gdt", abi.ENV_GDT), ("idt", abi.ENV_IDT)):
            self.say(f"{name:3} base {vcpu.field(at + abi.SEGMENT_BASE, 8):016x}  limit {vcpu.field(at + abi.SEGMENT_LIMIT, 4):x}")
        self.say(f"k_gs_base {self._value('k_gs_base'):016x}")
        for name, meaning in (("cr0", CR0), ("cr2", {}), ("cr3", {}), ("cr4", CR4), ("cr8", {}), ("efer", EFER)):
            self.say(f"{name:4} {self._value(name):016x}  {_spelled(self._value(name), meaning) if meaning else ''}".rstrip())
        if words:
            for name in [*(f"xmm{number}" for number in range(16)), "mxcsr", *(f"st{number}" for number in range(8)), "fctrl", "fstat", "ftag"]:
                self.say(f"{name:5} {self._value(name):0{BY_NAME[name].bits // 4}x}")

    def _value(self, name: str) -> int:
        return self.target.value(self.cpu, name)

    def _segment(self, name: str, at: int) -> str:
        vcpu = self.target.vcpu(self.cpu)
        base, limit, flags = vcpu.field(at + abi.SEGMENT_BASE, 8), vcpu.field(at + abi.SEGMENT_LIMIT, 4), vcpu.field(at + abi.SEGMENT_FLAGS, 4)
        words = descriptors.kind_of((flags & DESCRIBED) << 32) if flags & DESCRIBED else "null"
        return f"{name:3} {vcpu.field(at, 4):04x}  base {base:016x}  limit {limit:08x}  {words}"

    def processors(self, words: list[str]) -> None:
        """One line a processor."""
        for cpu in range(self.target.cpus):
            vcpu = self.target.vcpu(cpu)
            self.say(f"{'*' if cpu == self.cpu else ' '} {cpu:2}  {self.target.describe(cpu):32}  {self.symbols.describe(vcpu.cs_base + vcpu.rip)}")

    def choose(self, words: list[str]) -> None:
        """Another processor from now on."""
        cpu = self.number(words[0])
        self.target.vcpu(cpu)
        self.cpu = cpu
        self.where()

    # --- memory, code --------------------------------------------------------------------------------------------------------------------
    def memory(self, words: list[str]) -> None:
        """A dump of what the processor sees."""
        self._dump(words, lambda address, length: self.target.read(self.cpu, address, length))

    def physical(self, words: list[str]) -> None:
        """A dump of physical memory."""
        self._dump(words, self.target.read_physical)

    def _dump(self, words: list[str], read: Callable[[int, int], bytes]) -> None:
        address, length = self.address(words[0]), self.count(words, 1, 64)
        unit = UNITS[words[2]] if len(words) > 2 and words[2] in UNITS else 1
        if len(words) > 3 or (len(words) > 2 and words[2] not in UNITS):
            raise ValueError
        for at in range(address, address + min(length, LONGEST_DUMP), LINE):
            wanted = min(LINE, address + length - at)
            data = read(at, wanted)
            items = [data[start:start + unit] for start in range(0, len(data), unit)]
            figures = " ".join(f"{int.from_bytes(item, 'little'):0{2 * len(item)}x}" for item in items)
            self.say(f"{at:016x}  {figures:{LINE // unit * (2 * unit + 1) - 1}}  {''.join(chr(byte) if 32 <= byte < 127 else '.' for byte in data)}")
            if len(data) < wanted:
                raise TargetError(f"{at + len(data):#x} is not mapped")

    def decode(self, address: int, count: int) -> list[Instruction]:
        """Instructions in the processor's present mode. Raises TargetError."""
        return decode(self.target, self.cpu, address, count, symbols=self.symbols)

    def show_code(self, address: int, count: int) -> None:
        """The same, printed."""
        stops = self.machine.engine.breakpoints.addresses
        for one in self.decode(address, count):
            mark = "=>" if one.address == self.rip else " *" if one.address in stops else "  "
            self.say(f"{mark} {self.name(one.address)}  {one.code.hex():20}  {one.text}".rstrip())

    def disassemble(self, words: list[str]) -> None:
        """Instructions."""
        self.show_code(self.address(words[0]) if words else self.rip, self.count(words, 1, 8))

    def show_stack(self, words: list[str]) -> None:
        """Words from the top of the stack."""
        for line in stack.words(self.target, self.cpu, self.count(words, 0, 16), self.symbols):
            self.say(line)

    def backtrace(self, words: list[str]) -> None:
        """Who has called."""
        for line in stack.frames(self.target, self.cpu, self.symbols):
            self.say(line)

    def evaluate(self, words: list[str]) -> None:
        """A number in all forms."""
        value = self.number("".join(words))
        self.say(f"{value:#x}  {value}  {self.symbols.name(value & (1 << 64) - 1)}".rstrip())

    # --- tables --------------------------------------------------------------------------------------------------------------------------
    def walk(self, words: list[str]) -> None:
        """A page walk."""
        for line in explain.walk_lines(self.target, self.cpu, self.address(words[0])):
            self.say(line)

    def idt(self, words: list[str]) -> None:
        """Gates of the IDT: one, all that are not empty, or those of the exceptions."""
        if words and words != ["all"]:
            vector = self.number(words[0])
            if not 0 <= vector < 256:
                raise ValueError(f"{vector:#x} is no vector")
            self.say(explain.gate(self.target, self.cpu, vector, self.symbols))
            return
        vcpu = self.target.vcpu(self.cpu)
        base, limit = vcpu.field(abi.ENV_IDT + abi.SEGMENT_BASE, 8), vcpu.field(abi.ENV_IDT + abi.SEGMENT_LIMIT, 4)
        name = "IDT" if self._value("cr0") & 1 else "IVT"
        empty = True
        self.say(f"{name} at {base:#x}, limit {limit:#x}")
        for vector in range(256 if words else 32):
            line = explain.gate(self.target, self.cpu, vector, self.symbols)
            if "is beyond" in line:
                break
            if not line.endswith(": empty"):
                empty = False
                self.say("  " + line)
        if empty:
            self.say(f"  no gate among {'all' if words else 'the first 32'}")

    def tables(self, words: list[str], show: Callable[[Target, int], list[str]]) -> None:
        """Descriptors."""
        for line in show(self.target, self.cpu):
            self.say(line)

    def why(self, words: list[str]) -> None:
        """The last exceptions."""
        for line in explain.why(self.target, self.count(words, 0, self.cpu), self.symbols):
            self.say(line)

    # --- chips ---------------------------------------------------------------------------------------------------------------------------
    def chip_names(self) -> list[str]:
        """Of all chips."""
        return [chip.name for chip in self.machine.board.chips]

    def devices(self, words: list[str]) -> None:
        """Names, or one chip."""
        chips: dict[str, Chip[object]] = {chip.name: chip for chip in self.machine.board.chips}
        if not words:
            wide = max(map(len, chips))
            for name, chip in chips.items():
                self.say(f"{name:{wide}}  {(type(chip).__doc__ or '').strip().splitlines()[0]}")
            return
        if words[0] not in chips:
            raise TargetError(f"there is no device {words[0]}; they are {' '.join(chips)}")
        views = [view for view in chips[words[0]].describe() if len(words) < 2 or view.name.lower() == words[1].lower()]
        if not views:
            raise TargetError(f"{words[0]} has no register {words[1]}")
        wide = max(len(view.name) for view in views)
        block = ""
        for view in views:
            if view.block != block and len({one.block for one in views}) > 1:
                self.say(f"{view.block}:")
            block = view.block
            fields = " ".join(f"{field}={value}" for field, value in view.fields.items())
            self.say(f"{view.offset:#06x}  {view.name:{wide}}  {f'{view.value:#0{2 * view.width + 2}x}':>10}  {fields}".rstrip())
            if len(words) > 1 and view.doc:
                self.say(f"        {view.doc}")

    def map(self, words: list[str]) -> None:
        """What is where."""
        if words not in ([], ["ports"], ["memory"]):
            raise ValueError(f"{' '.join(words)} is no map")
        if words != ["ports"]:
            places = [(one.base, one.length, "RAM" if one.writable else "ROM") for one in self.machine.memory.mappings]
            places += [(region.base, region.length, region.name) for region in self.machine.mmio.regions()]
            for base, length, name in sorted(places):
                self.say(f"memory {base:#014x}..{base + length - 1:#014x}  {name}")
        if words != ["memory"]:
            for region in sorted(self.machine.ports.regions(), key=lambda region: region.base):
                self.say(f"port   {region.base:#06x}..{region.base + region.length - 1:#06x}  {region.name}")

    def mistakes(self, words: list[str]) -> None:
        """What the guest did that no chip makes sense of."""
        counts = self.machine.log.counts
        if not counts:
            self.say("nothing")
        for (device, place_of, kind), number_of in counts.items():
            self.say(f"{number_of:8}  {device} {place_of} {kind}".rstrip())

    def show_screen(self, words: list[str]) -> None:
        """The monitor's text."""
        for line in self.machine.screen().text().rstrip().splitlines() or ["it is blank"]:
            self.say(line)

    def time(self, words: list[str]) -> None:
        """How far it is."""
        now, stats = self.machine.clock.now(), self.machine.stats
        counted = f"{stats.retired} instructions, " if self.machine.engine.counted else ""
        self.say(f"{now // 1_000_000_000}.{now % 1_000_000_000:09} s of virtual time, {counted}{stats.slices} slices")

    def help(self, words: list[str]) -> None:
        """The list of commands, or one."""
        for line in commands.manual(commands.find(self.commands, words[0])) if words else commands.overview(self.commands):
            self.say(line)


def _spelled(value: int, bits: dict[str, int]) -> str:
    return "[" + " ".join(name for name, bit in bits.items() if name and value >> bit & 1) + "]"


def _names(console: Views) -> list[str]:
    return list(BY_NAME)


def _chips(console: Views) -> list[str]:
    return console.chip_names()


VIEWS = (
    Command(("registers", "r"), "[all|NAME...]", "registers; flags, control registers and segments spelled out", Views.registers, complete=_names,
            more="`all` adds x87 and SSE. NAME may be a part, such as ax or r8d."),
    Command(("memory", "x"), "ADDRESS [LENGTH] [b|w|d|q]", "memory as this processor sees it, in bytes or larger units", Views.memory),
    Command(("physical", "xp"), "ADDRESS [LENGTH] [b|w|d|q]", "physical memory; device registers without side effects", Views.physical),
    Command(("disassemble", "list", "l", "u"), "[ADDRESS] [COUNT]", "instructions, in this processor's mode", Views.disassemble),
    Command(("stack",), "[COUNT]", "words from the stack's top; those behind a CALL are told", Views.show_stack),
    Command(("backtrace", "bt"), "", "callers, by frame pointers", Views.backtrace),
    Command(("print", "p"), "EXPRESSION", "a number in hexadecimal, decimal and as a symbol", Views.evaluate,
            more="0x1f, 31, a symbol, a register, segment:offset, and + and - between any of these."),
    Command(("walk",), "ADDRESS", "the page walk, entry by entry", Views.walk),
    Command(("idt",), "[VECTOR|all]", "where vectors lead: those of exceptions, one, or all", Views.idt),
    Command(("gdt",), "", "the global descriptor table", lambda console, words: console.tables(words, descriptors.gdt)),
    Command(("ldt",), "", "the local descriptor table", lambda console, words: console.tables(words, descriptors.ldt)),
    Command(("tss",), "", "the stacks that the task-state segment names", lambda console, words: console.tables(words, descriptors.tss)),
    Command(("why",), "[CPU]", "this processor's last exceptions, and the table or walk behind the last", Views.why,
            more="Software interrupts are listed, too; what is explained is the last exception that no instruction asked for.\n"
                 "Tables and pages are shown as they are now."),
    Command(("cpus",), "", "all processors", Views.processors),
    Command(("cpu",), "NUMBER", "look at another processor", Views.choose),
    Command(("devices", "device", "dev"), "[NAME [REGISTER]]", "the chips, or one chip's registers with their fields", Views.devices, complete=_chips),
    Command(("map",), "[ports|memory]", "what answers at which addresses", Views.map, complete=lambda console: ("ports", "memory")),
    Command(("mistakes", "log"), "", "what the guest did that no chip makes sense of", Views.mistakes),
    Command(("screen",), "", "what the monitor shows", Views.show_screen),
    Command(("time",), "", "virtual time and instructions", Views.time),
    Command(("help", "h", "?"), "[COMMAND]", "this, or all about one", Views.help, complete=lambda console: [one.names[0] for one in console.commands]),
)
