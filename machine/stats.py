"""What a run cost, as numbers for people and programs."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from machine.machine import Machine
    from machine.outcome import Outcome


class Stats:
    """Counters of one machine. Times in ns; `retired` stays 0 where instructions are not counted."""

    def __init__(self, cpus: int) -> None:
        self.cpus = cpus
        self.wall_ns = self.idle_ns = 0
        self.slices = self.retired = self.resets = self.triple_faults = 0


def report(machine: Machine, outcome: Outcome) -> dict[str, object]:
    """The figures of `--stats`, ready for JSON; `retired` is null under the host's clock, which does not count instructions."""
    stats = machine.stats
    counted = machine.engine.counted
    return {
        "exit_reason": outcome.reason.value, "exit_value": outcome.value, "exit_detail": outcome.detail, "clock": machine.configuration.clock,
        "wall_seconds": round(stats.wall_ns / 1e9, 6), "virtual_seconds": round(machine.clock.now() / 1e9, 6), "idle_seconds": round(stats.idle_ns / 1e9, 6),
        "retired": stats.retired if counted else None, "slices": stats.slices,
        "interrupts": [vcpu.delivered for vcpu in machine.engine.vcpus], "resets": stats.resets, "triple_faults": stats.triple_faults,
        "rom_writes": machine.memory.rom_writes, "rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "guest_mistakes": [{"where": f"{device} {register}".strip(), "what": kind, "count": count}
                           for (device, register, kind), count in machine.log.counts.items()],
    }
