"""The kernel's own telemetry: what the parts of the system know, as rows (docs/contracts.md section 5 has every column).

The sources exist from the first moment, so that a shell can be built before the machine runs; until the nucleus has said HELLO they have no rows.
"""

from __future__ import annotations

from collections.abc import Callable

from kernel.boot_record import MemoryKind
from kernel.log import Log
from kernel.system import System
from kernel.tasks.accounting import CpuTimes
from kernel.telemetry import Column, Kind, LiveSource, Row, Telemetry

NS = 1_000_000_000


def columns(*described: tuple[str, Kind, str]) -> tuple[Column, ...]:
    """Columns from (name, kind, doc)."""
    return tuple(Column(*one) for one in described)


SYSTEM = columns(
    ("uptime", Kind.DURATION, "time since the kernel started"),
    ("cpus", Kind.INTEGER, "CPUs that are online"),
    ("tasks", Kind.INTEGER, "tasks that live"),
    ("memory_total", Kind.SIZE, "memory that the frame allocator has to give"),
    ("memory_used", Kind.SIZE, "memory in use"),
    ("memory_free", Kind.SIZE, "memory that is free"),
    ("interrupts", Kind.INTEGER, "interrupts since boot, on all CPUs"),
    ("syscalls", Kind.INTEGER, "system calls since boot, of all tasks"),
    ("idle", Kind.RATIO, "part of the CPUs' time in which they had nothing to do"),
)
CPUS = columns(
    ("id", Kind.INTEGER, "number of the CPU, 0 = boot CPU"),
    ("state", Kind.TEXT, "running or idle"),
    ("task", Kind.TEXT, "the task that it runs"),
    ("user", Kind.DURATION, "time in tasks"),
    ("system", Kind.DURATION, "time in the kernel"),
    ("idle", Kind.DURATION, "time with nothing to do"),
    ("load", Kind.RATIO, "part of the time since it came online that was not idle"),
    ("interrupts", Kind.INTEGER, "interrupts taken"),
    ("syscalls", Kind.INTEGER, "system calls served"),
)
TASKS = columns(
    ("id", Kind.INTEGER, "number of the task"),
    ("name", Kind.TEXT, "its program"),
    ("state", Kind.TEXT, "ready, running, waiting or sleeping"),
    ("cpu", Kind.INTEGER, "the CPU it runs on or ran on last"),
    ("time", Kind.DURATION, "CPU time used"),
    ("syscalls", Kind.INTEGER, "system calls made"),
    ("memory", Kind.SIZE, "memory held, page tables included"),
    ("priority", Kind.INTEGER, "base priority, 0 to 255"),
)
MEMORY = columns(
    ("base", Kind.ADDRESS, "first byte"),
    ("size", Kind.SIZE, "length"),
    ("kind", Kind.TEXT, "what the firmware says it is"),
    ("used", Kind.SIZE, "in use"),
    ("free", Kind.SIZE, "free"),
)
INTERRUPTS = columns(
    ("vector", Kind.INTEGER, "interrupt vector"),
    ("name", Kind.TEXT, "what it is for"),
    ("cpu", Kind.INTEGER, "the CPU that took it"),
    ("count", Kind.INTEGER, "how often since boot"),
    ("rate", Kind.REAL, "a second, since boot"),
)
LOG = columns(
    ("time", Kind.DURATION, "when, since boot"),
    ("facility", Kind.TEXT, "who says it"),
    ("level", Kind.TEXT, "debug, info, warning or error"),
    ("message", Kind.TEXT, "what"),
)
DEVICES = columns(
    ("address", Kind.TEXT, "bus:device.function"),
    ("vendor", Kind.INTEGER, "vendor ID"),
    ("device", Kind.INTEGER, "device ID"),
    ("class", Kind.TEXT, "what it does"),
    ("name", Kind.TEXT, "what it is called"),
)


def add_sources(telemetry: Telemetry, log: Log, system: Callable[[], System | None]) -> None:
    """Offer all of the kernel's sources; `system()` is None until there is one."""
    def live(name: str, doc: str, described: tuple[Column, ...], read: Callable[[System], list[Row]]) -> None:
        def rows() -> list[Row]:
            now = system()
            return [] if now is None else read(now)
        telemetry.add(LiveSource(name, doc, described, rows))

    live("system", "the whole machine in one row", SYSTEM, system_rows)
    live("cpus", "each CPU: what it runs and how its time was spent", CPUS, cpu_rows)
    live("tasks", "each task that lives", TASKS, task_rows)
    live("memory", "the physical memory map and what is used of it", MEMORY, memory_rows)
    live("interrupts", "interrupts by vector and CPU", INTERRUPTS, interrupt_rows)
    telemetry.add(LiveSource("log", "the kernel's log, oldest first", LOG, lambda: log_rows(log)))
    live("devices", "the PCI functions", DEVICES, device_rows)


def system_rows(system: System) -> list[Row]:
    """One row."""
    memory = system.frames.statistics()
    cpus = system.dispatcher.cpus.values()
    elapsed = sum(cpu.elapsed for cpu in cpus)
    return [(
        system.clock.now(), len(cpus), len(system.tasks.tasks), memory.total, memory.used, memory.free, system.interrupts.total,
        system.syscalls.total, sum(cpu.idle for cpu in cpus) / elapsed if elapsed else 0.0,
    )]


def cpu_rows(system: System) -> list[Row]:
    """One row a CPU that is online."""
    return [cpu_row(system, cpu) for cpu in sorted(system.dispatcher.cpus.values(), key=lambda cpu: cpu.cpu)]


def cpu_row(system: System, cpu: CpuTimes) -> Row:
    """A CPU's row."""
    task = system.scheduler.queues[cpu.cpu].current
    return (cpu.cpu, "idle" if task is None else "running", "" if task is None else task.name, cpu.ns(cpu.user), cpu.ns(cpu.system), cpu.ns(cpu.idle),
            cpu.load, cpu.interrupts, cpu.syscalls)


def task_rows(system: System) -> list[Row]:
    """One row a living task."""
    return [(task.id, task.name, task.state.value, task.cpu, task.user_ns, task.syscalls, task.memory, int(task.priority))
            for task in system.tasks.tasks.values()]


def memory_rows(system: System) -> list[Row]:
    """One row a range of the memory map; what is not usable is in use as a whole."""
    rows: list[Row] = []
    for entry in system.frames.map:
        free = system.frames.free_in(entry) if entry.kind is MemoryKind.USABLE else 0
        rows.append((entry.base, entry.size, entry.kind.title, entry.size - free, free))
    return rows


def interrupt_rows(system: System) -> list[Row]:
    """One row for each vector and CPU that met."""
    seconds = system.clock.now() / NS
    return [(vector, system.interrupts.name_of(vector), cpu, count, count / seconds if seconds else 0.0)
            for (vector, cpu), count in sorted(system.interrupts.counts.items())]


def log_rows(log: Log) -> list[Row]:
    """One row a record."""
    return [(record.time, record.facility, record.level.name.lower(), record.message) for record in log.records]


def device_rows(system: System) -> list[Row]:
    """One row a PCI function."""
    return [(one.address, one.vendor, one.product, one.kind, one.name) for one in system.functions]
