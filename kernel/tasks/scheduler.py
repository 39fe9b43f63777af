"""Who runs where: one run queue a CPU, priorities with aging, preemption by the tick, stealing so that no CPU idles while a task waits.

The highest effective priority wins, first come first served among equals. Effective priority is the base plus 10 for each second of waiting
after the first, at most +200, so that a LOW task among NORMAL ones waits seconds, not for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from kernel.tasks.task import State, Task

SECOND = 1_000_000_000
AGING_AFTER = 1 * SECOND
AGING_PER_SECOND = 10
AGING_LIMIT = 200


@dataclass(slots=True)
class RunQueue:
    """What waits for one CPU, in order of arrival, and what runs on it."""

    cpu: int
    current: Task | None = None
    ready: list[Task] = field(default_factory=list)
    waiting_for_tick: list[Task] = field(default_factory=list)
    switches: int = 0
    stolen: int = 0

    def best(self, now: int, for_cpu: int) -> Task | None:
        """The waiting task that `for_cpu` should run: max() keeps the first among equals."""
        allowed = [task for task in self.ready if task.may_run_on(for_cpu)]
        return max(allowed, key=lambda task: effective_priority(task, now), default=None)


def effective_priority(task: Task, now: int) -> int:
    """Base priority plus what waiting has earned it."""
    waited = now - task.ready_since
    if waited <= AGING_AFTER:
        return task.priority
    return task.priority + min(AGING_LIMIT, AGING_PER_SECOND * waited // SECOND)


class Scheduler:
    """Run queues of all CPUs.

    Args:
        now: kernel time in ns.
        kick: asks a CPU that idles to come by the gate soon (an IPI).
    """

    def __init__(self, now: Callable[[], int], kick: Callable[[int], None]) -> None:
        self._now, self._kick = now, kick
        self.queues: dict[int, RunQueue] = {}
        self._sleepers: list[tuple[int, int, Task]] = []

    def add_cpu(self, cpu: int) -> None:
        """A CPU is ready to run tasks."""
        self.queues.setdefault(cpu, RunQueue(cpu))

    def start(self, task: Task) -> None:
        """Let a new task run: on its own CPU, or where least waits."""
        if task.pinned is not None:
            assert task.pinned in self.queues, f"cpu {task.pinned} is not online"
            task.cpu = task.pinned
        else:
            task.cpu = min(self.queues.values(), key=load_of).cpu
        self._make_ready(task)

    def next(self, cpu: int) -> Task | None:
        """Choose what `cpu` runs now; it has no current task. None = idle, and nobody it may run waits anywhere."""
        queue, now = self.queues[cpu], self._now()
        assert queue.current is None, queue.current
        task = queue.best(now, cpu) or self._steal(cpu, now)
        if task is None:
            return None
        self.queues[task.cpu].ready.remove(task)
        task.cpu, task.state = cpu, State.RUNNING
        queue.current = task
        queue.switches += 1
        return task

    def tick(self, cpu: int) -> None:
        """A timer tick on `cpu`: wake who waited for it or for the time, and preempt in favour of an equal or better."""
        queue = self.queues[cpu]
        woken, queue.waiting_for_tick = queue.waiting_for_tick, []
        for task in woken:
            self._make_ready(task)
        now = self._now()
        while self._sleepers and (self._sleepers[0][0] <= now or not self._sleepers[0][2].alive):
            task = heappop(self._sleepers)[2]
            if task.state is State.SLEEPING:
                self._make_ready(task)
        rival = queue.best(now, cpu)
        if queue.current and rival and effective_priority(rival, now) >= queue.current.priority:
            self.give_up(cpu)

    def give_up(self, cpu: int) -> None:
        """The current task stays ready and goes to the end of the queue."""
        task = self._leave(cpu)
        self._make_ready(task)

    def wait_for_tick(self, cpu: int) -> None:
        """The current task sleeps until this CPU's next tick."""
        task = self._leave(cpu)
        task.state = State.WAITING
        self.queues[cpu].waiting_for_tick.append(task)

    def sleep_until(self, cpu: int, when: int) -> None:
        """The current task sleeps until kernel time `when`, in ns; the first tick from then on wakes it."""
        task = self._leave(cpu)
        task.state, task.wake_at = State.SLEEPING, when
        heappush(self._sleepers, (when, task.id, task))

    def finish(self, task: Task, state: State) -> None:
        """Take a task out for good, wherever it is; a task that runs on another CPU loses that CPU at its next call."""
        queue = self.queues[task.cpu]
        if queue.current is task:
            queue.current = None
        for waiting in (queue.ready, queue.waiting_for_tick):
            if task in waiting:
                waiting.remove(task)
        task.state = state

    def waiting(self) -> int:
        """Tasks that are ready and not running."""
        return sum(len(queue.ready) for queue in self.queues.values())

    def _leave(self, cpu: int) -> Task:
        task = self.queues[cpu].current
        assert task is not None, f"cpu {cpu} runs nothing"
        self.queues[cpu].current = None
        return task

    def _make_ready(self, task: Task) -> None:
        task.state, task.ready_since = State.READY, self._now()
        home = self.queues[task.cpu]
        home.ready.append(task)
        if home.current is None:
            self._kick(home.cpu)
            return
        idle = (queue for queue in self.queues.values() if queue.current is None and not queue.ready)
        helper = next((queue for queue in idle if task.may_run_on(queue.cpu)), None)
        if helper is not None:
            self._kick(helper.cpu)

    def _steal(self, thief: int, now: int) -> Task | None:
        """From the longest queue that has a task which may move."""
        for queue in longest_first(self.queues.values()):
            task = queue.best(now, thief)
            if task is not None:
                self.queues[thief].stolen += 1
                return task
        return None


def load_of(queue: RunQueue) -> tuple[int, int]:
    """How busy a CPU is: tasks, then index, so that ties are settled the same way each time."""
    return len(queue.ready) + len(queue.waiting_for_tick) + (queue.current is not None), queue.cpu


def longest_first(queues: Iterable[RunQueue]) -> list[RunQueue]:
    """Queues by the number of waiting tasks, most first."""
    return sorted(queues, key=lambda queue: -len(queue.ready))
