"""A task: one ring-3 program with its address space, its trap frame and what is known of its life."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum

from kernel.gate import FRAME_IN_BLOCK
from kernel.hardware import PAGE_SIZE
from kernel.memory.address_space import AddressSpace

NAME_SIZE = 16


class Priority(IntEnum):
    """Base priorities; more is more urgent."""

    IDLE = 0
    LOW = 64
    NORMAL = 128
    HIGH = 192
    REALTIME = 255


class State(Enum):
    """Where a task stands; its value is what people read."""

    READY = "ready"             # in a run queue
    RUNNING = "running"         # on a CPU
    WAITING = "waiting"         # for the next tick of its CPU
    SLEEPING = "sleeping"       # until `wake_at`
    EXITED = "exited"
    KILLED = "killed"


DEAD = frozenset({State.EXITED, State.KILLED})


@dataclass(slots=True, eq=False)
class Task:
    """One task. Times are kernel time in ns.

    Attributes:
        block: physical address of the frame that holds the trap frame and FXSAVE image.
        cpu: where it runs or ran last.
        pinned: the only CPU it may run on; None = any.
        ready_since: when it entered the run queue: what aging counts from.
        user_ns: time in ring 3.
        seen: by CPU, the address space's generation when it last ran there.
    """

    id: int
    name: str
    space: AddressSpace
    block: int
    priority: int = Priority.NORMAL
    pinned: int | None = None
    cpu: int = 0
    state: State = State.READY
    ready_since: int = 0
    wake_at: int = 0
    user_ns: int = 0
    syscalls: int = 0
    exit_code: int | None = None
    reason: str = ""
    output: bytearray = field(default_factory=bytearray)
    seen: dict[int, int] = field(default_factory=dict)

    @property
    def frame(self) -> int:
        """Physical address of the trap frame."""
        return self.block + FRAME_IN_BLOCK

    @property
    def alive(self) -> bool:
        """Whether it can still run."""
        return self.state not in DEAD

    @property
    def memory(self) -> int:
        """Bytes it holds; 0 once dead."""
        return self.space.size + PAGE_SIZE if self.alive else 0

    def may_run_on(self, cpu: int) -> bool:
        """Whether its pinning allows `cpu`."""
        return self.pinned is None or self.pinned == cpu
