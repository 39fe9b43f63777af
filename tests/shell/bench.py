"""A system that stands still: the seven sources of docs/contracts.md section 5 with fixed rows, a screen of text, and a resolver that answers as told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jit_synth import Request
from jit_synth import Refusal, RefusalKind
from jit_synth.values import Value
from kernel.telemetry import Column, Kind, LiveSource, Row, Source
from shell import Shell

MIB, MS, S = 1 << 20, 1_000_000, 1_000_000_000


def columns(*declared: str) -> tuple[Column, ...]:
    """`columns("id INTEGER", ...)`."""
    return tuple(Column(name, Kind[kind], f"the {name}") for name, kind in (text.split() for text in declared))


ROWS: dict[str, tuple[tuple[Column, ...], list[Row]]] = {
    "system": (columns("uptime DURATION", "cpus INTEGER", "tasks INTEGER", "memory_total SIZE", "memory_used SIZE", "memory_free SIZE",
                       "interrupts INTEGER", "syscalls INTEGER", "idle RATIO"),
               [(83 * S, 4, 5, 256 * MIB, 24 * MIB, 232 * MIB, 33_200, 812, 0.875)]),
    "cpus": (columns("id INTEGER", "state TEXT", "task TEXT", "user DURATION", "system DURATION", "idle DURATION", "load RATIO",
                     "interrupts INTEGER", "syscalls INTEGER"),
             [(0, "running", "pulse", 3 * S, 2 * S, 78 * S, 0.93, 9_100, 300), (1, "idle", "", 5 * S, S, 77 * S, 0.07, 8_000, 200),
              (2, "running", "pulse", 9 * S, S, 73 * S, 0.55, 8_050, 212), (3, "idle", "", 2 * S, S, 80 * S, 0.0, 8_050, 100)]),
    "tasks": (columns("id INTEGER", "name TEXT", "state TEXT", "cpu INTEGER", "time DURATION", "syscalls INTEGER", "memory SIZE", "priority INTEGER"),
              [(1, "pulse", "running", 0, 3 * S, 300, 2 * MIB, 10), (2, "pulse", "ready", 1, 740 * MS, 200, 2 * MIB, 10),
               (3, "probe", "sleeping", 2, 0, 212, MIB, 5), (4, "idle", "running", 3, 80 * S, 0, 0, 0), (5, "Echo", "running", 2, 12 * MS, 100, 512, 7)]),
    "memory": (columns("base ADDRESS", "size SIZE", "kind TEXT", "used SIZE", "free SIZE"),
               [(0x1000, 0x9F000 - 0x1000, "usable", 4096, 0x9D000), (0x100000, 255 * MIB, "usable", 24 * MIB, 231 * MIB),
                (0xFEE00000, 4096, "reserved", 0, 0)]),
    "interrupts": (columns("vector INTEGER", "name TEXT", "cpu INTEGER", "count INTEGER", "rate REAL"),
                   [(0x20, "timer", cpu, 8_000 + 50 * cpu, 100.25) for cpu in range(4)] + [(0x34, "uart", 0, 412, 4.96)]),
    "log": (columns("time DURATION", "facility TEXT", "level TEXT", "message TEXT"),
            [(0, "boot", "info", "hello from cpu 0"), (2 * MS, "acpi", "warning", "no HPET table"), (5 * MS, "uart", "error", "overrun: 3 bytes lost"),
             (9 * S, "task", "info", 'pulse said "tick"')]),
    "devices": (columns("address TEXT", "vendor INTEGER", "device INTEGER", "class TEXT", "name TEXT"),
                [("00:00.0", 0x8086, 0x29C0, "host bridge", "Q35 host bridge"), ("00:1f.0", 0x8086, 0x2918, "ISA bridge", "ICH9 LPC")]),
}


def make_sources() -> dict[str, Source]:
    return {name: LiveSource(name, f"all {name}", cols, lambda rows=rows: list(rows)) for name, (cols, rows) in ROWS.items()}  # type: ignore[misc]


@dataclass
class Screen:
    """An output that keeps what is written."""

    width: int = 100
    colour: bool = False
    text: str = ""
    settled: int = 0

    def write(self, text: str) -> None:
        self.text += text

    async def settle(self) -> None:
        self.settled = len(self.text)


@dataclass
class MadeCommand:
    """A synthesized command as the shell sees one."""

    name: str
    act: Callable[[Value | None], Value]
    plan: str = "rows of system"
    imports: tuple[str, ...] = ("folk_rows_system",)
    wasm: bytes = bytes(100)
    evidence: str = "two lowerings agree"
    record: object = None
    runs: list[Value | None] = field(default_factory=list)

    def run(self, upstream: Value | None) -> Value:
        self.runs.append(upstream)
        return self.act(upstream)

    def explain(self) -> str:
        return f"plan: {self.plan}\nwasm: {len(self.wasm)} bytes"


class ScriptedResolver:
    """Knows the commands it was given and refuses all others."""

    def __init__(self) -> None:
        self.commands: dict[str, MadeCommand] = {}
        self.refusal = Refusal(RefusalKind.UNKNOWN_VERB, "no verb here is like it", hint="begin with a verb: Get, Show, Measure, Count")
        self.requests: list[Request] = []

    def make(self, name: str, act: Callable[[Value | None], Value]) -> MadeCommand:
        self.commands[name] = MadeCommand(name, act)
        return self.commands[name]

    def resolve(self, request: Request) -> MadeCommand | Refusal:
        self.requests.append(request)
        return self.commands.get(request.words[0], self.refusal)


@dataclass
class Power:
    """Counts what it is asked for."""

    asked: list[str] = field(default_factory=list)

    def power_off(self) -> None:
        self.asked.append("off")

    def reboot(self) -> None:
        self.asked.append("reboot")


@dataclass
class Bench:
    """A shell with everything around it in reach."""

    sources: dict[str, Source] = field(default_factory=make_sources)
    resolver: ScriptedResolver = field(default_factory=ScriptedResolver)
    power: Power = field(default_factory=Power)
    screen: Screen = field(default_factory=Screen)

    def __post_init__(self) -> None:
        self.shell = Shell(self.sources, self.resolver, self.power)  # type: ignore[arg-type]

    def run(self, line: str) -> tuple[int, str]:
        """Status and text of a line."""
        self.screen.text = ""
        status = asyncio.run(self.shell.execute(line, self.screen))
        return status, self.screen.text

    def done(self, line: str) -> str:
        """The text of a line that must succeed."""
        status, text = self.run(line)
        assert status == 0, text
        return text

    def rows(self, line: str) -> list[list[str]]:
        """The cells of the table that a line prints; a cell holds no blank."""
        lines = self.done(line).splitlines()
        return [row.split() for row in lines[2:]]

    def wrong(self, line: str, status: int = 1) -> str:
        """The report of a line that must fail with this status."""
        got, text = self.run(line)
        assert got == status, text
        assert text.startswith("folk: ")
        return text


def pointed_at(line: str, report: str) -> str:
    """The part of a one-line text (of narrow characters) that the carets of its report stand under."""
    shown = report.splitlines()
    at = next(number for number, text in enumerate(shown) if text == f"  {line}")
    carets = shown[at + 1]
    assert set(carets.strip()) <= {"^", " "} and carets.strip(), report          # behind the end of the text, they point at nothing
    return "".join(character for character, mark in zip(shown[at], carets, strict=False) if mark == "^")


def names(row: Sequence[Sequence[str]], index: int = 0) -> list[str]:
    """One column of a printed table."""
    return [cells[index] for cells in row]
