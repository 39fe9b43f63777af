"""Builtins that show the running system: each reads one telemetry source at the moment it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shell.conditions import find_column
from shell.errors import ShellError
from shell.signature import Builtin, Call, Example

if TYPE_CHECKING:
    from jit_synth.values import Table, Value

UPTIME_SOURCE, UPTIME_COLUMN = "system", "uptime"


def read_source(call: Call, name: str) -> Table:
    """The rows of a source, now."""
    from jit_synth.values import Table

    source = call.context.sources.get(name)
    if source is None:
        raise ShellError(f"this system has no source {name!r}", call.stage.name_span, hint=f"sources here: {', '.join(call.context.sources) or 'none'}")
    return Table(source.columns, tuple(source.rows()))


def _shows(name: str, source: str, doc: str, *examples: Example, aliases: tuple[str, ...] = ()) -> Builtin:
    return Builtin(name, doc, lambda call: read_source(call, source), aliases=aliases, examples=examples, source=source)


def _system(call: Call) -> Value:
    from jit_synth.values import Record

    table = read_source(call, "system")
    return Record(table.columns, table.rows[0]) if len(table.rows) == 1 else table


def _uptime(call: Call) -> Value:
    from jit_synth.values import Scalar

    table = read_source(call, UPTIME_SOURCE)
    index = find_column(UPTIME_COLUMN, table.columns)
    if index is None or not table.rows:
        raise ShellError("this system does not tell its uptime", call.stage.name_span)
    return Scalar(table.rows[0][index], table.columns[index].kind)


LIVE = (
    _shows("ps", "tasks", "the tasks: state, CPU, time and memory of each", Example("ps", "all tasks"),
           Example("ps |> sort time -Descending |> first 3", "the three that used most CPU time"), aliases=("processes", "tasks")),
    _shows("cpus", "cpus", "the vCPUs: what each runs and how its time was spent", Example("cpus |> where load > 50%", "the busy ones")),
    _shows("memory", "memory", "the physical memory map and what is used of it", Example("memory |> where free > 1MiB", "regions with room")),
    _shows("interrupts", "interrupts", "interrupts by vector and CPU, with their rate", Example("interrupts |> group name", "how many vectors have each name"),
           aliases=("irqs",)),
    _shows("log", "log", "the kernel's log, oldest first", Example("log |> last 5", "the latest five lines"),
           Example('log |> where level == "error"', "what went wrong"), aliases=("dmesg",)),
    _shows("devices", "devices", "the PCI functions", Example("devices |> select address name", "where each one sits"), aliases=("lspci",)),
    Builtin("system", "the whole machine in one record", _system, source="system",
            examples=(Example("system", "uptime, memory, load"), Example("system |> to-json", "the same for a program"))),
    Builtin("uptime", "the time since the kernel started", _uptime, examples=(Example("uptime", "how long it has been up"),)),
)
