"""What the probe (probe.asm) printed, as facts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from images import builder

SOURCE = Path(__file__).with_name("probe.asm")
REGISTERS = "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rflags".split()
TEXTS = frozenset(("name", "version", "cmdline"))


@dataclass
class State:
    """A processor's state at its entry."""

    registers: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    descriptors: list[int] = field(default_factory=list)


@dataclass
class Report:
    """All facts."""

    boot: State = field(default_factory=State)
    others: list[State] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, tuple[int, int, str]] = field(default_factory=dict)      # address, bytes, path
    ranges: list[tuple[int, int, int]] = field(default_factory=list)          # base, length, type
    cpus: list[tuple[int, int, int]] = field(default_factory=list)            # processor id, LAPIC id, address of its info


def image() -> bytes:
    """The probe as an executable."""
    return builder.nucleus(SOURCE)


def parse(text: str) -> Report:
    """The facts behind the loader's last line."""
    report = Report()
    state = report.boot
    for line in text.partition("entering the nucleus")[2].splitlines()[1:]:
        name, _, rest = line.partition(" ")
        words = rest.split()
        if name == "ap":
            state = State()
            report.others.append(state)
        elif name in TEXTS:
            report.texts[name] = rest
        elif name in {"executable_file", "module"}:
            report.files[name] = int(words[0], 16), int(words[1], 16), words[2]
        elif name == "registers":
            state.registers = dict(zip(REGISTERS, (int(word, 16) for word in words), strict=True))
        elif name == "descriptors":
            state.descriptors = [int(word, 16) for word in words]
        elif name in {"range", "cpu"}:
            first, second, third = (int(word, 16) for word in words)
            (report.ranges if name == "range" else report.cpus).append((first, second, third))
        elif words:
            state.numbers[name] = int(words[0], 16)
    return report
