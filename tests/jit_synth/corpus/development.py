"""Requests that the synthesizer was tuned on."""

from __future__ import annotations

import json
from collections import Counter
from statistics import mean, median

from jit_synth.values import Record, Table, Text
from tests.jit_synth.corpus.case import Case, by, pick, total
from tests.jit_synth.fixture import MIB, ROWS, columns_of, records

TASKS = Table(columns_of("tasks"), tuple(ROWS["tasks"]))
CPUS = Table(columns_of("cpus"), tuple(ROWS["cpus"]))
SYSTEM = Record(columns_of("system"), ROWS["system"][0])
POEM = Text("the owl\nthe fox and the hen\n\nan owl\n")

CASES = (
    Case("Get-SystemStats", lambda: records("system")),
    Case("Get-InterruptRate", lambda: pick(records("interrupts"), "vector", "cpu", "rate")),
    Case("Measure-IdleTime", lambda: total(records("cpus"), "idle")),
    Case("show the three busiest cpus", lambda: pick(by(records("cpus"), "load")[:3], "id", "load")),
    Case("Get-BusiestTask", lambda: pick(by(records("tasks"), "time")[:1], "id", "name")),
    Case("Count-RunningTasks", lambda: 2),
    Case("how many tasks are sleeping", lambda: 3),
    Case("Get-Uptime", lambda: records("system")[0]["uptime"]),
    Case("Measure-AverageLoad", lambda: mean(row["load"] for row in records("cpus"))),
    Case("Get-FreeMemory", lambda: records("system")[0]["memory_free"]),
    Case("list tasks with more than 1000 syscalls", lambda: pick([row for row in records("tasks") if row["syscalls"] > 1000], "id")),
    Case("Get-TasksOnCpu 2", lambda: pick([row for row in records("tasks") if row["cpu"] == 2], "id")),
    Case("count devices by class", lambda: [{"class": key, "count": count} for key, count in Counter(row["class"] for row in records("devices")).items()],
         unordered=True),
    Case("show the last 5 log messages", lambda: pick(records("log")[-5:], "message")),
    Case("Find-ErrorMessages", lambda: pick([row for row in records("log") if row["level"] == "error"], "message")),
    Case("total memory of the running tasks", lambda: 15 * MIB),
    Case("which task uses the most memory", lambda: [{"name": "gamma"}]),
    Case("Get-TopTasks -Count 3 -By memory", lambda: pick(by(records("tasks"), "memory")[:3], "id", "memory")),
    Case("what is the highest cpu load", lambda: 0.37),
    Case("sum of syscalls per cpu of the tasks", lambda: [{"cpu": cpu, "syscalls": sum(row["syscalls"] for row in records("tasks") if row["cpu"] == cpu)}
                                                         for cpu in range(4)], unordered=True),
    Case("average priority of tasks", lambda: mean(row["priority"] for row in records("tasks"))),
    Case("Get-TasksByMemory", lambda: pick(by(records("tasks"), "memory"), "id")),
    Case("Get-DeviceNames", lambda: pick(records("devices"), "name")),
    Case("percentage of memory used", lambda: 59 / 256),
    Case("list the usable memory regions", lambda: pick([row for row in records("memory") if row["kind"] == "usable"], "base")),
    Case("how many different facilities are in the log", lambda: len({row["facility"] for row in records("log")})),
    Case("median load of the cpus", lambda: median(row["load"] for row in records("cpus"))),
    Case("list the idle cpus", lambda: pick([row for row in records("cpus") if row["state"] == "idle"], "id")),
    Case("Get-TimerInterrupts", lambda: pick([row for row in records("interrupts") if row["name"] == "timer"], "cpu", "count")),
    Case('messages containing "virtio"', list),
    Case('log messages containing "reset"', lambda: pick([row for row in records("log") if "reset" in row["message"]], "time")),
    Case("the newest 2 warnings", lambda: pick(by([row for row in records("log") if row["level"] == "warning"], "time")[:2], "time")),
    Case("Count-Words", lambda: 9, upstream=POEM),
    Case("Get-Names", lambda: pick(records("tasks"), "name"), upstream=TASKS),
    Case("Measure-Load", lambda: mean(row["load"] for row in records("cpus")), upstream=CPUS),
    Case("Convert-ToJson", lambda: json.dumps({"uptime": 100_000_000_000}), upstream=Record(columns_of("system")[:1], (100_000_000_000,))),
    Case("Skip-FirstTwo", lambda: pick(records("tasks")[2:], "id"), upstream=TASKS),
    Case("Get-LongestUptime", lambda: records("system")[0]["uptime"]),
    Case("share of interrupts by name", lambda: [{"name": name, "share": sum(row["count"] for row in records("interrupts") if row["name"] == name)
                                                  / total(records("interrupts"), "count")} for name in ("timer", "com1", "wake")], unordered=True),
    Case("tasks on cpu 3 sorted by time", lambda: pick(by([row for row in records("tasks") if row["cpu"] == 3], "time"), "id"), unordered=True),
)
