"""The ring-3 ABI: RAX is the number, RDI, RSI, RDX.. the arguments, RAX the result; u64::MAX is an error.

Numbers and meanings are the original system's. Each call is one short method of `Syscalls`; `TABLE` maps numbers to them. A pointer is used only
through the task's own page tables.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from kernel.clock import Clock
from kernel.errors import KernelError, UserFault
from kernel.gate import TrapFrame
from kernel.hardware import PAGE_SIZE
from kernel.tasks.scheduler import Scheduler
from kernel.tasks.table import TaskTable
from kernel.tasks.task import NAME_SIZE, State, Task

ERROR = (1 << 64) - 1
NS_PER_MS = 1_000_000
MAX_LINE = 256
MAX_NAME = 32
TASK_RECORD = struct.Struct("<II16sQ")      # id, state, name, CPU time in ms: 32 bytes
STATE_CODES = {State.READY: 0, State.RUNNING: 1, State.WAITING: 2, State.SLEEPING: 2, State.EXITED: 3, State.KILLED: 3}


class Syscalls:
    """Serves tasks.

    Args:
        write: takes each finished line of a task's output.
    """

    def __init__(self, tasks: TaskTable, scheduler: Scheduler, clock: Clock, write: Callable[[str], None]) -> None:
        self.tasks, self.scheduler, self.clock, self.write = tasks, scheduler, clock, write
        self.total = self.unknown = self.faults = 0
        self.counts: dict[int, int] = {}

    def serve(self, task: Task, frame: TrapFrame) -> int | None:
        """Carry out one call of a running task. Returns RAX, or None when the task has ended."""
        number = frame.rax
        self.total += 1
        task.syscalls += 1
        call = TABLE.get(number)
        if call is None:
            self.unknown += 1
            self.tasks.log.once("syscall", f"{task.name} ({task.id}) asked for the unknown call {number:#x}")
            return ERROR
        self.counts[number] = self.counts.get(number, 0) + 1
        try:
            return call(self, task, frame)
        except UserFault as error:
            self.faults += 1
            self.tasks.log.once("syscall", f"{task.name} ({task.id}) call {number:#x}: {error}")
        except KernelError as error:
            self.tasks.log.once("syscall", f"{task.name} ({task.id}) call {number:#x}: {error}")
        return ERROR

    def spawn(self, task: Task, frame: TrapFrame) -> int:
        """spawn(name, length): start a program of the archive; its id."""
        if frame.rsi > MAX_NAME:
            return ERROR
        return self.tasks.spawn(task.space.read_user(frame.rdi, frame.rsi).decode("utf-8", "replace")).id

    def exit(self, task: Task, frame: TrapFrame) -> None:
        """exit(code): does not return."""
        self._flush(task)
        self.tasks.exit(task, frame.rdi & 0xFFFFFFFF)

    def yield_(self, task: Task, frame: TrapFrame) -> int:
        """yield(): let others of its priority run first."""
        self.scheduler.give_up(task.cpu)
        return 0

    def write_char(self, task: Task, frame: TrapFrame) -> int:
        """write_char(byte): lines are shown whole, so that the output of tasks does not interleave."""
        task.output.append(frame.rdi & 0xFF)
        if frame.rdi & 0xFF == 0x0A or len(task.output) >= MAX_LINE:
            self._flush(task)
        return 0

    def get_pid(self, task: Task, frame: TrapFrame) -> int:
        """get_pid(): its id."""
        return task.id

    def task_list(self, task: Task, frame: TrapFrame) -> int:
        """task_list(): how many tasks live."""
        return len(self.tasks.tasks)

    def uptime(self, task: Task, frame: TrapFrame) -> int:
        """uptime(): ms since boot."""
        return self.clock.now() // NS_PER_MS

    def task_list_detailed(self, task: Task, frame: TrapFrame) -> int:
        """task_list_detailed(buffer, size): 32-byte records of as many tasks as fit; their number."""
        room = min(frame.rsi // TASK_RECORD.size, len(self.tasks.tasks))
        records = b"".join(
            TASK_RECORD.pack(one.id, STATE_CODES[one.state], one.name.encode()[:NAME_SIZE], one.user_ns // NS_PER_MS)
            for one in list(self.tasks.tasks.values())[:room])
        task.space.write_user(frame.rdi, records)
        return room

    def memory_statistics(self, task: Task, frame: TrapFrame) -> int:
        """memory_statistics(): total pages << 32 | free pages."""
        figures = self.tasks.frames.statistics()
        return figures.total // PAGE_SIZE << 32 | figures.free // PAGE_SIZE

    def wait_for_tick(self, task: Task, frame: TrapFrame) -> int:
        """wait_for_tick(): sleep until the next tick of its CPU."""
        self.scheduler.wait_for_tick(task.cpu)
        return 0

    def _flush(self, task: Task) -> None:
        if task.output:
            self.write(task.output.decode("utf-8", "replace"))
            task.output.clear()


TABLE: dict[int, Callable[[Syscalls, Task, TrapFrame], int | None]] = {
    5: Syscalls.spawn,
    6: Syscalls.exit,
    7: Syscalls.yield_,
    9: Syscalls.write_char,
    10: Syscalls.get_pid,
    11: Syscalls.task_list,
    12: Syscalls.uptime,
    0x26: Syscalls.task_list_detailed,
    0x84: Syscalls.memory_statistics,
    0x99: Syscalls.wait_for_tick,
}
