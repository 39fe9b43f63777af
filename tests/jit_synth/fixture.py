"""A small machine that stands still: the seven sources of docs/contracts.md section 5, with rows that one can count by hand."""

from __future__ import annotations

from typing import Any

from kernel.telemetry import Column, Kind, LiveSource

MIB, MS, S = 1 << 20, 1_000_000, 1_000_000_000
COLUMNS: dict[str, list[tuple[str, Kind]]] = {
    "system": [("uptime", Kind.DURATION), ("cpus", Kind.INTEGER), ("tasks", Kind.INTEGER), ("memory_total", Kind.SIZE), ("memory_used", Kind.SIZE),
               ("memory_free", Kind.SIZE), ("interrupts", Kind.INTEGER), ("syscalls", Kind.INTEGER), ("idle", Kind.RATIO)],
    "cpus": [("id", Kind.INTEGER), ("state", Kind.TEXT), ("task", Kind.TEXT), ("user", Kind.DURATION), ("system", Kind.DURATION), ("idle", Kind.DURATION),
             ("load", Kind.RATIO), ("interrupts", Kind.INTEGER), ("syscalls", Kind.INTEGER)],
    "tasks": [("id", Kind.INTEGER), ("name", Kind.TEXT), ("state", Kind.TEXT), ("cpu", Kind.INTEGER), ("time", Kind.DURATION), ("syscalls", Kind.INTEGER),
              ("memory", Kind.SIZE), ("priority", Kind.INTEGER)],
    "memory": [("base", Kind.ADDRESS), ("size", Kind.SIZE), ("kind", Kind.TEXT), ("used", Kind.SIZE), ("free", Kind.SIZE)],
    "interrupts": [("vector", Kind.INTEGER), ("name", Kind.TEXT), ("cpu", Kind.INTEGER), ("count", Kind.INTEGER), ("rate", Kind.REAL)],
    "log": [("time", Kind.DURATION), ("facility", Kind.TEXT), ("level", Kind.TEXT), ("message", Kind.TEXT)],
    "devices": [("address", Kind.TEXT), ("vendor", Kind.INTEGER), ("device", Kind.INTEGER), ("class", Kind.TEXT), ("name", Kind.TEXT)],
}
DOCS = {"system": "the whole machine in one row", "cpus": "each CPU: what it runs and how its time was spent", "tasks": "each task that lives",
        "memory": "the physical memory map and what is used of it", "interrupts": "interrupts by vector and CPU", "log": "the kernel's log, oldest first",
        "devices": "the PCI functions"}
ROWS: dict[str, list[tuple[object, ...]]] = {
    "system": [(100 * S, 4, 7, 256 * MIB, 59 * MIB, 197 * MIB, 41_007, 9_640, 0.8125)],
    "cpus": [(0, "running", "alpha", 20 * S, 4 * S, 76 * S, 0.24, 11_200, 3_100),
             (1, "idle", "", 2 * S, 1 * S, 97 * S, 0.03, 9_801, 540),
             (2, "running", "gamma", 31 * S, 6 * S, 63 * S, 0.37, 10_004, 4_900),
             (3, "idle", "", 9 * S, 2 * S, 89 * S, 0.11, 10_002, 1_100)],
    "tasks": [(1, "alpha", "running", 0, 18 * S, 2_600, 3 * MIB, 128),
              (2, "beta", "sleeping", 1, 2 * S, 540, 1 * MIB, 64),
              (3, "gamma", "running", 2, 27 * S, 4_100, 12 * MIB, 128),
              (4, "delta", "waiting", 2, 4 * S, 800, 2 * MIB, 192),
              (5, "echo", "sleeping", 3, 9 * S, 1_100, 512 * 1024, 128),
              (6, "foxtrot", "ready", 0, 2_001 * MS, 500, 6 * MIB, 64),
              (7, "golf", "sleeping", 3, 40 * MS, 0, 256 * 1024, 0)],
    "memory": [(0x0, 640 * 1024, "usable", 64 * 1024, 576 * 1024), (0xF0000, 64 * 1024, "reserved", 64 * 1024, 0),
               (0x100000, 255 * MIB, "usable", 58 * MIB, 197 * MIB), (0xFEC00000, 4096, "reserved", 4096, 0)],
    "interrupts": [(32, "timer", 0, 10_000, 100.0), (32, "timer", 1, 9_700, 97.0), (32, "timer", 2, 9_900, 99.0), (32, "timer", 3, 9_990, 99.9),
                   (52, "com1", 0, 1_200, 12.0), (254, "wake", 1, 101, 1.01), (254, "wake", 2, 104, 1.04), (254, "wake", 3, 12, 0.12)],
    "log": [(1 * MS, "boot", "info", "nucleus entered at 0xffffffff80000000"), (2 * MS, "memory", "info", "4 regions, 255 MiB usable"),
            (5 * MS, "smp", "info", "4 CPUs online"), (9 * MS, "pci", "warning", "no interrupt routing for 00:1f.2"),
            (12 * MS, "virtio", "error", "queue 1 is broken"), (20 * MS, "tasks", "info", "alpha started"),
            (31 * MS, "memory", "warning", "low memory: 3 MiB below the mark"), (44 * MS, "virtio", "error", "device needs a reset"),
            (58 * MS, "tasks", "debug", "golf sleeps"), (63 * MS, "virtio", "info", "device reset done")],
    "devices": [("00:00.0", 0x8086, 0x29C0, "host bridge", "q35 host bridge"), ("00:01.0", 0x1AF4, 0x1042, "storage", "virtio disk"),
                ("00:02.0", 0x1AF4, 0x1041, "network", "virtio network card"), ("00:03.0", 0x1AF4, 0x1050, "display", "virtio gpu"),
                ("00:1f.0", 0x8086, 0x2918, "isa bridge", "ich9 lpc"), ("00:1f.2", 0x8086, 0x2922, "storage", "ich9 ahci")],
}


def columns_of(name: str) -> tuple[Column, ...]:
    """A source's columns."""
    return tuple(Column(column, kind, "") for column, kind in COLUMNS[name])


def sources() -> dict[str, LiveSource]:
    """The sources, by name; each call gives new ones."""
    return {name: LiveSource(name, DOCS[name], columns_of(name), lambda name=name: list(ROWS[name])) for name in COLUMNS}  # type: ignore[misc]


def records(name: str) -> list[dict[str, Any]]:
    """A source's rows as dictionaries: what the corpus computes its expectations from."""
    return [dict(zip([column for column, _ in COLUMNS[name]], row, strict=True)) for row in ROWS[name]]
