"""More requests that the synthesizer was tuned on: names and sentences as different people put them, and commands over the pipe."""

from __future__ import annotations

from collections import Counter
from statistics import mean

from jit_synth.values import Record, Table, Text
from tests.jit_synth.corpus.case import Case, Rows, by, pick, total
from tests.jit_synth.fixture import MIB, ROWS, columns_of, records

TASKS, LOG, MEMORY = (Table(columns_of(name), tuple(ROWS[name])) for name in ("tasks", "log", "memory"))
SYSTEM = Record(columns_of("system"), ROWS["system"][0])
POEM = Text("the owl\nthe fox and the hen\n\nan owl\n")


def those(source: str, **cells: object) -> Rows:
    """The rows of a source that hold these cells."""
    return [row for row in records(source) if all(row[name] == cell for name, cell in cells.items())]


CASES = (
    Case("Get-KernelLog", lambda: records("log")),
    Case("Get-LastLogEntries -Count 5", lambda: records("log")[-5:]),
    Case("Get-RecentErrors", lambda: pick(by(those("log", level="error"), "time"), "message")),
    Case("count errors by facility", lambda: [{"facility": "virtio", "count": 2}]),
    Case("Get-TaskList", lambda: records("tasks")),
    Case("Get-BusyCpus", lambda: pick(those("cpus", state="running"), "id")),
    Case("Get-TopMemoryTasks", lambda: pick(by(records("tasks"), "memory"), "id")),
    Case("Find-Task alpha", lambda: those("tasks", name="alpha")),
    Case("Get-TaskCountByState", lambda: [{"state": key, "count": count} for key, count in Counter(row["state"] for row in records("tasks")).items()],
         unordered=True),
    Case("Measure-TaskMemory", lambda: total(records("tasks"), "memory")),
    Case("Get-MemoryUsagePercent", lambda: 59 / 256),
    Case("Get-LargestRegion", lambda: pick(by(records("memory"), "size")[:1], "base")),
    Case("Get-CpuCount", lambda: 4),
    Case("Get-CpuUsage", lambda: pick(records("cpus"), "id", "load")),
    Case("Get-SystemIdle", lambda: 0.8125),
    Case("Get-BusiestInterrupt", lambda: [{"vector": 32, "cpu": 0}]),
    Case("Get-TimerRate", lambda: pick(those("interrupts", name="timer"), "cpu", "rate")),
    Case("Get-TotalInterruptRate", lambda: total(records("interrupts"), "rate")),
    Case("Count-VirtioDevices", lambda: 3),
    Case("Get-StorageDevices", lambda: pick(those("devices", **{"class": "storage"}), "address")),
    Case("Get-SyscallRate", lambda: 9_640 / 100),
    Case("Rank-TasksBySyscalls", lambda: pick(by(records("tasks"), "syscalls"), "id")),
    Case("Sort-CpusByLoad", lambda: pick(by(records("cpus"), "load", down=False), "id")),
    Case("Get-LongestRunningTask", lambda: [{"name": "gamma"}]),
    Case("Get-TasksWithPriorityAbove 100", lambda: pick([row for row in records("tasks") if row["priority"] > 100], "id")),
    Case("Count-Interrupts", lambda: total(records("interrupts"), "count")),
    Case("which process has made the most system calls", lambda: [{"name": "gamma"}]),
    Case("show id and memory of each task", lambda: pick(records("tasks"), "id", "memory")),
    Case("tasks sorted by memory in descending order", lambda: pick(by(records("tasks"), "memory"), "id")),
    Case("the three tasks with the most memory", lambda: pick(by(records("tasks"), "memory")[:3], "id")),
    Case("average memory per task", lambda: int(mean(row["memory"] for row in records("tasks")))),
    Case("memory used by task gamma", lambda: [{"memory": 12 * MIB}]),
    Case("what state is task 4 in", lambda: [{"state": "waiting"}]),
    Case("load of the cpu that runs gamma", lambda: [{"load": 0.37}]),
    Case("percentage of idle cpus", lambda: [{"share": 0.5}]),
    Case("log messages about memory", lambda: pick([row for row in records("log") if "memory" in row["message"].lower()], "time")),
    Case("tasks with more than 1 MiB and less than 4 MiB of memory", lambda: pick([row for row in records("tasks") if MIB < row["memory"] < 4 * MIB], "id")),
    Case("cpus with load between 10% and 30%", lambda: pick([row for row in records("cpus") if 0.1 <= row["load"] <= 0.3], "id")),
    Case("memory regions larger than 1 MiB", lambda: [{"base": 0x100000}]),
    Case("sum the sizes of the reserved regions", lambda: total(those("memory", kind="reserved"), "size")),
    Case("names of all interrupts without duplicates", lambda: [{"name": "timer"}, {"name": "com1"}, {"name": "wake"}]),
    Case("rate of timer on cpu 2", lambda: [{"rate": 99.0}]),
    Case("least busy cpu", lambda: [{"id": 1}]),
    Case("idle time per cpu", lambda: pick(records("cpus"), "id", "idle")),
    Case("name of task 3", lambda: [{"name": "gamma"}]),
    Case("Measure-Memory", lambda: total(records("tasks"), "memory"), upstream=TASKS),
    Case("Group-ByCpu", lambda: [{"cpu": cpu, "count": len(those("tasks", cpu=cpu))} for cpu in range(4)], upstream=TASKS, unordered=True),
    Case("Select-First 3", lambda: pick(records("tasks")[:3], "id"), upstream=TASKS),
    Case("memory above 2MiB", lambda: pick([row for row in records("tasks") if row["memory"] > 2 * MIB], "id"), upstream=TASKS),
    Case("Filter-State sleeping", lambda: pick(those("tasks", state="sleeping"), "id"), upstream=TASKS),
    Case("Get-UniqueStates", lambda: [{"state": state} for state in ("running", "sleeping", "waiting", "ready")], upstream=TASKS),
    Case("Get-MemoryUsed", lambda: 59 * MIB, upstream=SYSTEM),
    Case("Count-Errors", lambda: 2, upstream=LOG),
    Case("Measure-Free", lambda: total(records("memory"), "free"), upstream=MEMORY),
    Case("Sort-Words", lambda: [{"word": word} for word in sorted("the owl the fox and the hen an owl".split())], upstream=POEM),
    Case("Get-WordFrequency", lambda: [{"word": word, "count": count} for word, count in Counter("the owl the fox and the hen an owl".split()).items()],
         upstream=POEM, unordered=True),
    Case("lines containing owl", lambda: [{"line": "the owl"}, {"line": "an owl"}], upstream=POEM),
    Case("Get-LongestLine", lambda: [{"line": "the fox and the hen"}], upstream=POEM),
)
