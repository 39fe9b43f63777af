"""The task table: who lives, how a task begins and how it ends.

The frames of a dead task are not freed at once: a CPU that ran it has its page tables loaded until it has carried out an answer of the kernel's, and it
may be anywhere on its way there. They are reaped when every CPU that ever ran the task has come by the gate with other tables.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from kernel.archive import Archive, EntryType
from kernel.boot_record import BootRecord
from kernel.errors import ProgramError
from kernel.hardware import PhysicalMemory
from kernel.log import Log
from kernel.memory.frames import FrameAllocator
from kernel.tasks import loader
from kernel.tasks.scheduler import Scheduler
from kernel.tasks.task import NAME_SIZE, Priority, State, Task

MAX_TASKS = 4096
REMEMBERED_DEAD = 32


class TaskTable:
    """All tasks by number.

    Attributes:
        tasks: the living, by id, in order of birth.
        dead: the last that ended.
        ended: told each task when it ends.
    """

    def __init__(self, memory: PhysicalMemory, frames: FrameAllocator, record: BootRecord, archive: Archive | None,
                 scheduler: Scheduler, log: Log) -> None:
        self.memory, self.frames, self.record, self.archive = memory, frames, record, archive
        self.scheduler, self.log = scheduler, log
        self.tasks: dict[int, Task] = {}
        self.dead: deque[Task] = deque(maxlen=REMEMBERED_DEAD)
        self.ended: list[Callable[[Task], None]] = []
        self._graves: dict[Task, set[int]] = {}         # the dead, and the CPUs that may still have their tables loaded
        self._next_id = 1

    def spawn(self, name: str, *, pinned: int | None = None, priority: int = Priority.NORMAL) -> Task:
        """Start a program of the archive. Raises: ArchiveError, ProgramError, OutOfMemory."""
        if self.archive is None:
            raise ProgramError(f"{name}: there is no archive to load it from")
        image = self.archive.read(name)
        if self.archive.entries[name].type is not EntryType.ELF:
            raise ProgramError(f"{name}: it is data, not a program")
        if len(self.tasks) >= MAX_TASKS:
            raise ProgramError(f"{name}: {MAX_TASKS} tasks are running already")
        number = self._next_id
        try:
            loaded = loader.load(image, number, self.memory, self.frames, self.record.cr3)
        except ProgramError as error:
            raise ProgramError(f"{name}: {error}") from error
        self._next_id += 1
        task = Task(number, name[:NAME_SIZE], loaded.space, loaded.block, priority, pinned)
        self.tasks[number] = task
        self.scheduler.start(task)
        return task

    def exit(self, task: Task, code: int) -> None:
        """A task ends by its own will."""
        task.exit_code = code
        self._end(task, State.EXITED)
        self.log.debug("tasks", f"{task.name} ({task.id}) exited with {code}")

    def kill(self, task: Task, reason: str) -> None:
        """A task ends by force; harmless for a dead one."""
        if not task.alive:
            return
        task.reason = reason
        self._end(task, State.KILLED)
        self.log.warning("tasks", f"{task.name} ({task.id}) killed: {reason}")

    def reap(self, cpu: int, cr3: int) -> None:
        """`cpu` is at the gate with the tables at `cr3` loaded: free the dead that no CPU needs any more."""
        for task in list(self._graves):
            cpus = self._graves[task]
            if task.space.root != cr3 & ~0xFFF:
                cpus.discard(cpu)
            if not cpus:
                del self._graves[task]
                self.frames.free(task.block)
                task.space.destroy()

    def _end(self, task: Task, state: State) -> None:
        self.scheduler.finish(task, state)
        del self.tasks[task.id]
        self.dead.append(task)
        self._graves[task] = set(task.seen)
        for listener in self.ended:
            listener(task)
