"""The parts of the running system, once the nucleus has said HELLO."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.boot_record import BootRecord
from kernel.clock import Clock
from kernel.drivers.pci import Function
from kernel.interrupts import Interrupts
from kernel.memory.frames import FrameAllocator
from kernel.power import Power
from kernel.tasks.dispatch import Dispatcher
from kernel.tasks.scheduler import Scheduler
from kernel.tasks.syscalls import Syscalls
from kernel.tasks.table import TaskTable


@dataclass(slots=True)
class System:
    """Who does what. `functions` are the PCI functions found at boot."""

    record: BootRecord
    clock: Clock
    frames: FrameAllocator
    interrupts: Interrupts
    scheduler: Scheduler
    tasks: TaskTable
    syscalls: Syscalls
    dispatcher: Dispatcher
    power: Power
    functions: list[Function]
