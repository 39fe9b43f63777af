"""From a trap to what runs next: the kernel's answers to INTERRUPT, EXCEPTION and SYSCALL.

Every call goes the same way: account for the time, find the task whose frame it is, do what the reason asks, let the scheduler choose.
"""

from __future__ import annotations

from collections.abc import Callable

from kernel.clock import Clock
from kernel.errors import KernelError
from kernel.gate import IDLE, SYSCALL_VECTOR, Answer, CpuArea, TrapFrame
from kernel.hardware import PhysicalMemory
from kernel.interrupts import TIMER_VECTOR, Interrupts
from kernel.tasks.accounting import CpuTimes
from kernel.tasks.scheduler import Scheduler
from kernel.tasks.syscalls import Syscalls
from kernel.tasks.table import TaskTable
from kernel.tasks.task import Task

PAGE_FAULT = 14
EXCEPTIONS = ("#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "coprocessor overrun", "#TS", "#NP", "#SS", "#GP", "#PF", "#15",
              "#MF", "#AC", "#MC", "#XM", "#VE", "#CP")
RELOAD_TLB = 1              # bit 0 of resume_cr3


class Dispatcher:
    """Answers traps of all CPUs.

    Args:
        panic: told of an exception in ring 0 with its registers; does not return a decision, the system halts.
    """

    def __init__(self, memory: PhysicalMemory, clock: Clock, scheduler: Scheduler, tasks: TaskTable, syscalls: Syscalls,
                 interrupts: Interrupts, panic: Callable[[str], None]) -> None:
        self.memory, self.clock, self.scheduler, self.tasks = memory, clock, scheduler, tasks
        self.syscalls, self.interrupts, self.panic = syscalls, interrupts, panic
        self.cpus: dict[int, CpuTimes] = {}
        self.served = 0                                 # ns that went to the kernel's services
        self.resumed: dict[int, Task | None] = {}       # what each CPU was told to run at its last call

    def add_cpu(self, area: CpuArea, tsc_hz: int) -> None:
        """A CPU says for the first time that it is there."""
        if area.cpu in self.cpus:
            raise KernelError(f"cpu {area.cpu} is online already")
        self.cpus[area.cpu] = CpuTimes(area.cpu, area.lapic_id, tsc_hz, area.tsc_enter, area.tsc_enter)
        self.resumed[area.cpu] = None
        self.scheduler.add_cpu(area.cpu)

    def interrupt(self, area: CpuArea) -> Answer:
        """An interrupt: the tick, an IPI or a device."""
        times = self._enter(area)
        times.interrupts += 1
        self._check_frame(area)
        self.interrupts.handle(area.vector, area.cpu)
        if area.vector == TIMER_VECTOR:
            self.scheduler.tick(area.cpu)
        return self.answer(area.cpu)

    def exception(self, area: CpuArea) -> Answer:
        """An exception: in ring 3 it kills the task, in ring 0 the system."""
        times = self._enter(area)
        times.exceptions += 1
        frame = TrapFrame.load(self.memory, area.frame)
        name = EXCEPTIONS[area.vector] if area.vector < len(EXCEPTIONS) else f"exception {area.vector}"
        where = f"{name} at rip {frame.rip:#x}, error {area.error:#x}" + (f", cr2 {area.cr2:#x}" if area.vector == PAGE_FAULT else "")
        if not frame.in_user_mode:
            self.panic(f"cpu {area.cpu}: {where}\n{frame.describe()}")
            return IDLE
        task = self._check_frame(area)
        if task is not None:
            self.tasks.kill(task, where)
        return self.answer(area.cpu)

    def syscall(self, area: CpuArea) -> Answer:
        """A SYSCALL of the running task."""
        times = self._enter(area)
        times.syscalls += 1
        task = self._check_frame(area)
        if task is None:
            return self.answer(area.cpu)
        frame = TrapFrame.load(self.memory, task.frame)
        if frame.vector != SYSCALL_VECTOR or not frame.in_user_mode:
            self.tasks.kill(task, f"its SYSCALL frame says vector {frame.vector:#x}, cs {frame.cs:#x}")
            return self.answer(area.cpu)
        result = self.syscalls.serve(task, frame)
        if result is not None:
            self.memory.write_u64(task.frame + TrapFrame.RAX_OFFSET, result)
        return self.answer(area.cpu)

    def answer(self, cpu: int) -> Answer:
        """What `cpu` runs now: its current task goes on, or the scheduler chooses."""
        task = self.scheduler.queues[cpu].current or self.scheduler.next(cpu)
        self.resumed[cpu] = task
        self.cpus[cpu].leave(self.clock.lag(), self.served)
        if task is None:
            return IDLE
        stale = task.seen.get(cpu) != task.space.generation
        task.seen[cpu] = task.space.generation
        return Answer(task.frame, task.space.root | (RELOAD_TLB if stale else 0))

    def _enter(self, area: CpuArea) -> CpuTimes:
        times = self.cpus.get(area.cpu)
        if times is None:
            raise KernelError(f"cpu {area.cpu} never said that it is online")
        self.clock.at_gate(area.tsc_enter, resynchronize=area.vector == TIMER_VECTOR)
        times.enter(area, self.resumed[area.cpu], self.served)
        self.tasks.reap(area.cpu, area.cr3)
        return times

    def _check_frame(self, area: CpuArea) -> Task | None:
        """The task that was interrupted, None for the idle loop; a task whose frame is not where it was put is killed."""
        task = self.scheduler.queues[area.cpu].current
        if task is not None and area.frame != task.frame:
            self.tasks.kill(task, f"cpu {area.cpu} came with the frame {area.frame:#x} instead of {task.frame:#x}")
            return None
        return task
