"""Requests that are only counted: written once, before the search existed, and never tuned on. Some were expected to be beyond it."""

from __future__ import annotations

from collections import Counter
from statistics import mean, pstdev

from jit_synth.values import Table, Text
from tests.jit_synth.corpus.case import Case, by, pick, total
from tests.jit_synth.fixture import MIB, ROWS, S, columns_of, records

TASKS = Table(columns_of("tasks"), tuple(ROWS["tasks"]))
MEMORY = Table(columns_of("memory"), tuple(ROWS["memory"]))
LINES = Text("pear\napple\nfig\napple\n")

CASES = (
    Case("Get-CpuLoad", lambda: pick(records("cpus"), "id", "load")),
    Case("Get-TaskStates", lambda: pick(records("tasks"), "id", "state")),
    Case("show the two largest memory regions", lambda: pick(by(records("memory"), "size")[:2], "base")),
    Case("Get-OldestMessage", lambda: pick(records("log")[:1], "message")),
    Case("how many cpus are idle", lambda: 2),
    Case("Get-TotalSyscalls", lambda: records("system")[0]["syscalls"]),
    Case("Measure-UserTime", lambda: total(records("cpus"), "user")),
    Case("list all tasks sorted by priority", lambda: pick(by(records("tasks"), "priority", down=False), "priority")),
    Case("Get-HighestPriorityTask", lambda: [{"id": 4}]),
    Case("names of the sleeping tasks", lambda: [{"name": "beta"}, {"name": "echo"}, {"name": "golf"}]),
    Case("Count-LogMessages", lambda: 10),
    Case("Count-Warnings", lambda: 2),
    Case("which cpu handled the most interrupts", lambda: [{"id": 0}]),
    Case("tasks using at least 2 MiB of memory", lambda: pick([row for row in records("tasks") if row["memory"] >= 2 * MIB], "id")),
    Case("average memory of tasks", lambda: int(mean(row["memory"] for row in records("tasks")))),
    Case("devices of class network", lambda: [{"address": "00:02.0"}]),
    Case("Get-MemoryMap", lambda: records("memory")),
    Case("Get-TaskMemory", lambda: pick(records("tasks"), "id", "memory")),
    Case("Get-LeastLoadedCpu", lambda: [{"id": 1}]),
    Case("what is the maximum interrupt count", lambda: 10_000),
    Case("Get-InterruptsPerCpu", lambda: [{"cpu": cpu, "count": sum(row["count"] for row in records("interrupts") if row["cpu"] == cpu)} for cpu in range(4)],
         unordered=True),
    Case("number of tasks per state", lambda: [{"state": key, "count": count} for key, count in Counter(row["state"] for row in records("tasks")).items()],
         unordered=True),
    Case("log entries from the virtio facility", lambda: pick([row for row in records("log") if row["facility"] == "virtio"], "time")),
    Case("Get-IdlePercentage", lambda: 0.8125),
    Case("tasks with less than 100 ms of time", lambda: [{"id": 7}]),
    Case("Select-Running", lambda: [{"id": 1}, {"id": 3}], upstream=TASKS),
    Case("Sort-Lines", lambda: [{"line": "apple"}, {"line": "apple"}, {"line": "fig"}, {"line": "pear"}], upstream=LINES),
    Case("Get-UniqueLines", lambda: [{"line": "pear"}, {"line": "apple"}, {"line": "fig"}], upstream=LINES),
    Case("difference between the highest and the lowest load", lambda: 0.37 - 0.03),
    Case("the first two devices", lambda: pick(records("devices")[:2], "address")),
    Case("standard deviation of the cpu load", lambda: pstdev(row["load"] for row in records("cpus"))),
    Case("Measure-Used", lambda: total(records("memory"), "used"), upstream=MEMORY),
    Case("who is running on cpu 2", lambda: [{"name": "gamma"}]),
    Case("Get-SlowestTask", lambda: [{"id": 3}]),
    Case("tasks that have not made any syscalls", lambda: [{"id": 7}]),
    Case("how long has the system been up", lambda: 100 * S),
)
