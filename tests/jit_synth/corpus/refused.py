"""Requests without an answer here, and the kinds of refusal that are right for them (more than one where the words leave that open)."""

from __future__ import annotations

from dataclasses import dataclass

from jit_synth.refusals import RefusalKind as R
from jit_synth.values import Column, Kind, Scalar, Table, Text, Value
from tests.jit_synth.fixture import ROWS, columns_of

TASKS = Table(columns_of("tasks"), tuple(ROWS["tasks"]))
NOTHING = frozenset({R.NO_OPERATOR})


@dataclass(frozen=True)
class Hopeless:
    """A request, what may be said of it, and the value in the pipe."""

    line: str
    kinds: frozenset[R]
    upstream: Value | None = None


CASES = (
    Hopeless("Write-Novel", frozenset({R.UNKNOWN_VERB})),
    Hopeless("write a game", frozenset({R.UNKNOWN_VERB})),
    Hopeless("Frobnicate-Cpus", frozenset({R.UNKNOWN_VERB})),
    Hopeless("Stop-Task 3", frozenset({R.UNKNOWN_VERB})),
    Hopeless("Remove-OldLogs", frozenset({R.UNKNOWN_VERB})),
    Hopeless("Get-Weather", NOTHING),
    Hopeless("Get-CpuTemperature", NOTHING),
    Hopeless("Get-NetworkTraffic", NOTHING),
    Hopeless("show the cpus of yesterday", NOTHING),
    Hopeless("tasks that will finish soon", NOTHING),
    Hopeless("Get-TaskOwner", NOTHING),
    Hopeless("busiest cpu except the second", NOTHING),
    Hopeless("predict the load of the cpus", NOTHING | {R.UNKNOWN_VERB}),
    Hopeless("Get-Names", frozenset({R.AMBIGUOUS})),
    Hopeless("Get-State", frozenset({R.AMBIGUOUS})),
    Hopeless("tasks by state", frozenset({R.AMBIGUOUS})),
    Hopeless("Format-Dashboard", frozenset({R.UNTYPED_INPUT})),
    Hopeless("Count-Lines", frozenset({R.UNTYPED_INPUT}), upstream=Scalar(3, Kind.INTEGER)),
    Hopeless("Measure-Memory", frozenset({R.UNTYPED_INPUT, R.NO_OPERATOR}), upstream=Text("no table")),
    Hopeless("Measure-Size", frozenset({R.UNTYPED_INPUT}), upstream=Table((Column("size", Kind.SIZE, ""),), ((None,),))),
    Hopeless("Get-Banana", NOTHING, upstream=TASKS),
    Hopeless("average name of the tasks", NOTHING),
    Hopeless("Get-TopTasks by memory and by time", NOTHING | {R.AMBIGUOUS}),
    Hopeless("tasks with more than 3 MiB of syscalls", NOTHING),
    Hopeless("qwxz", NOTHING | {R.UNKNOWN_VERB}),
)
