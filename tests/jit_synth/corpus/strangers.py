"""Sixty requests by somebody who had read the manuals (docs/folkshell.md, docs/synthesis.md) and the fixture's rows, and neither code nor corpus.

All were written, with their answers, before the first of them was asked; what came of that first time stands in docs/synthesis.md ("strangers, first
contact"). The search was repaired with these outcomes in view, so the later figures are no longer a stranger's. No request was changed or left out since.
"""

from __future__ import annotations

from collections import Counter
from statistics import mean

from jit_synth.refusals import RefusalKind as R
from jit_synth.values import Table, Text
from tests.jit_synth.corpus.case import Case, Rows, by, pick, total
from tests.jit_synth.corpus.refused import Hopeless
from tests.jit_synth.fixture import MIB, ROWS, columns_of, records

TASKS, LOG, MEMORY, DEVICES = (Table(columns_of(name), tuple(ROWS[name])) for name in ("tasks", "log", "memory", "devices"))


def those(source: str, **cells: object) -> Rows:
    """The rows of a source that hold these cells."""
    return [row for row in records(source) if all(row[name] == cell for name, cell in cells.items())]


def tally(source: str, name: str) -> Rows:
    """How many rows there are for each value of a column."""
    return [{name: key, "count": count} for key, count in Counter(row[name] for row in records(source)).items()]


NAMES = (
    Case("Get-Uptime", lambda: 100_000_000_000),
    Case("Get-FreeMemory", lambda: 197 * MIB),
    Case("Get-TotalSyscalls", lambda: 9_640),
    Case("Get-BusiestCpu", lambda: [{"id": 2}]),
    Case("Get-LargestTask", lambda: [{"name": "gamma"}]),
    Case("Find-IdleCpus", lambda: [{"id": 1}, {"id": 3}]),
    Case("Get-LogErrors", lambda: pick(those("log", level="error"), "message")),
    Case("Count-SleepingTasks", lambda: 3),
    Case("Get-StorageDevices", lambda: pick(those("devices", **{"class": "storage"}), "name")),
    Case("Get-TaskNames", lambda: pick(records("tasks"), "name")),
    Case("Measure-TimerInterrupts", lambda: 39_590),
    Case("Get-OldestMessage", lambda: pick(records("log")[:1], "message")),
    Case("Get-LatestMessages -Count 3", lambda: pick(records("log")[-3:], "message"), unordered=True),
    Case("Get-TopTasks -By memory -Count 2", lambda: [{"name": "gamma"}, {"name": "foxtrot"}]),
    Case("Sort-Tasks -By time -Descending", lambda: pick(by(records("tasks"), "time"), "name")),
    Case("Group-Devices -By vendor", lambda: tally("devices", "vendor"), unordered=True),
    Case("Get-Tasks -State sleeping", lambda: pick(those("tasks", state="sleeping"), "name")),
    Case("Get-Log -Facility virtio", lambda: pick(those("log", facility="virtio"), "message")),
    Case("Get-AverageLoad", lambda: mean(row["load"] for row in records("cpus"))),
    Case("Sum-Memory", lambda: total(records("tasks"), "memory"), upstream=TASKS),
    Case("Select-Largest -Count 3", lambda: pick(by(records("tasks"), "memory")[:3], "name"), upstream=TASKS),
    Case("Find-Message -Contains reset", lambda: pick([row for row in records("log") if "reset" in row["message"]], "message"), upstream=LOG),
    Case("Get-Vendors", lambda: pick(records("devices"), "vendor"), upstream=DEVICES, otherwise=lambda: [{"vendor": 0x8086}, {"vendor": 0x1AF4}]),
    Case("Count-UniqueWords", lambda: 4, upstream=Text("to be or not to be")),
    Case("Measure-UsableSize", lambda: total(those("memory", kind="usable"), "size"), upstream=MEMORY),
)
SENTENCES = (
    Case("how much memory is free", lambda: 197 * MIB),
    Case("how many cpus are idle", lambda: 2),
    Case("which cpu is the busiest", lambda: [{"id": 2}]),
    Case("show all errors in the log", lambda: pick(those("log", level="error"), "message")),
    Case("list tasks that use more than 4 MiB of memory", lambda: [{"name": "gamma"}, {"name": "foxtrot"}]),
    Case("which tasks are on cpu 3", lambda: [{"name": "echo"}, {"name": "golf"}]),
    Case("total time of all tasks", lambda: total(records("tasks"), "time")),
    Case("average memory of a task", lambda: int(mean(row["memory"] for row in records("tasks")))),
    Case("the three tasks with the most syscalls", lambda: [{"name": "gamma"}, {"name": "alpha"}, {"name": "echo"}]),
    Case("names of the sleeping tasks", lambda: [{"name": "beta"}, {"name": "echo"}, {"name": "golf"}]),
    Case("the last five messages of the log", lambda: pick(records("log")[-5:], "message")),
    Case("how long has the system been up", lambda: 100_000_000_000),
    Case("count the devices per class", lambda: tally("devices", "class"), unordered=True),
    Case("is there a warning in the log", lambda: True, otherwise=lambda: pick(those("log", level="warning"), "message")),
    Case("how many interrupts did cpu 1 get", lambda: 9_801),
    Case("which device is the display", lambda: [{"name": "virtio gpu"}]),
    Case("what is the highest priority of any task", lambda: 192),
    Case("tasks with priority below 100", lambda: [{"name": "beta"}, {"name": "foxtrot"}, {"name": "golf"}]),
    Case("the biggest region of memory", lambda: [{"base": 0x100000}]),
    Case("which vectors has cpu 0", lambda: [{"vector": 32}, {"vector": 52}]),
)
CHANGES, ABSENT = frozenset({R.UNKNOWN_VERB}), frozenset({R.NO_OPERATOR})
REFUSED = (
    Hopeless("kill task 3", CHANGES),
    Hopeless("Remove-Task -Id 3", CHANGES),
    Hopeless("Set-Priority -Task gamma -Value 10", CHANGES),
    Hopeless("free the memory", CHANGES | ABSENT),
    Hopeless("empty the log", CHANGES | ABSENT),
    Hopeless("stop all sleeping tasks", CHANGES),
    Hopeless("Get-Temperature", ABSENT),
    Hopeless("which user is logged in", ABSENT),
    Hopeless("network traffic of the last hour", ABSENT),
    Hopeless("tasks older than 5 minutes", ABSENT),
    Hopeless("how many tasks crashed", ABSENT),
    Hopeless("how full is the disk", ABSENT),
    Hopeless("show me the best task", ABSENT | {R.AMBIGUOUS}),
    Hopeless("Get-Thing", ABSENT),
    Hopeless("cpus with a load above 20 MiB", ABSENT),
)
CASES = (*NAMES, *SENTENCES)
