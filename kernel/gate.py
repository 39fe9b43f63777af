"""The gate: where guest code and Python meet (docs/contracts.md section 4).

The nucleus does OUT 0xFC0, EAX with the physical address of its CPU area. `Gate.enter` checks the area, takes a snapshot of it, asks the
handler of its reason what to resume, and writes the answer. A call that is not as agreed is counted and logged; nothing ever raises out of
`enter`, because above it is the machine's run loop.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from operator import attrgetter

from kernel.errors import BadMemory, KernelError
from kernel.hardware import PAGE_SIZE, Hardware, PhysicalMemory

GATE_PORT = 0x0FC0
GATE_IDENTIFY = 0x4B4C4F46                  # "FOLK", little endian
AREA_MAGIC = b"FOLKGATE"
USER_RING = 3
SYSCALL_VECTOR = 0x100

FXSAVE_SIZE = 512
FRAME_SIZE = 176
BLOCK_SIZE, FRAME_IN_BLOCK = 1024, 256      # a task's frame block: stack for the nucleus, frame, FXSAVE image

USER_DATA, USER_CODE = 0x1B, 0x23           # GDT selectors with RPL 3
RFLAGS_RESERVED, RFLAGS_IF = 1 << 1, 1 << 9


class Reason(IntEnum):
    """Why the nucleus calls."""

    HELLO = 1
    ONLINE = 2
    INTERRUPT = 3
    EXCEPTION = 4
    SYSCALL = 5


@dataclass(frozen=True, slots=True)
class CpuArea:
    """A snapshot of one CPU's area at the moment of a call; addresses are physical, times are TSC counts."""

    address: int
    cpu: int
    lapic_id: int
    reason: int
    vector: int
    error: int
    cr2: int
    tsc_enter: int
    frame: int
    tsc_resume: int             # of the previous call: when what was resumed then began to run
    boot_record: int
    cr3: int

    LAYOUT = struct.Struct("<8s4I9Q")       # magic .. cr3: 0x00..0x5F, see the contract's table
    RESUME_OFFSET = 0x38

    @classmethod
    def read(cls, memory: PhysicalMemory, address: int) -> CpuArea:
        """Read the area at a physical address. Raises: BadMemory, KernelError."""
        if address % PAGE_SIZE or not 0 < address < 1 << 32:
            raise KernelError(f"{address:#x} is no CPU area: it is not a page below 4 GiB")
        magic, *words = cls.LAYOUT.unpack(memory.read(address, cls.LAYOUT.size))
        if magic != AREA_MAGIC:
            raise KernelError(f"{address:#x} is no CPU area: its magic is {magic!r}")
        cpu, lapic_id, reason, vector, error, cr2, enter, frame, _resume, _cr3, resumed, record, cr3 = words
        return cls(address, cpu, lapic_id, reason, vector, error, cr2, enter, frame, resumed, record, cr3)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a CPU shall do next: resume the trap frame at `frame` with page tables `cr3`; 0, 0 = idle with the nucleus's own."""

    frame: int = 0
    cr3: int = 0


IDLE = Answer()


@dataclass(slots=True)
class TrapFrame:
    """The registers of an interrupted context, lowest address first: 22 quadwords."""

    r15: int = 0
    r14: int = 0
    r13: int = 0
    r12: int = 0
    r11: int = 0
    r10: int = 0
    r9: int = 0
    r8: int = 0
    rbp: int = 0
    rdi: int = 0
    rsi: int = 0
    rdx: int = 0
    rcx: int = 0
    rbx: int = 0
    rax: int = 0
    vector: int = 0
    error: int = 0
    rip: int = 0
    cs: int = 0
    rflags: int = 0
    rsp: int = 0
    ss: int = 0

    LAYOUT = struct.Struct("<22Q")
    RAX_OFFSET = 14 * 8

    @classmethod
    def load(cls, memory: PhysicalMemory, address: int) -> TrapFrame:
        """Read the frame at a physical address. Raises: BadMemory."""
        if address % 16:
            raise BadMemory(f"a trap frame at {address:#x} is not 16-byte aligned")
        return cls(*cls.LAYOUT.unpack(memory.read(address, FRAME_SIZE)))

    def store(self, memory: PhysicalMemory, address: int) -> None:
        """Write the frame at a physical address. Raises: BadMemory."""
        memory.write(address, self.LAYOUT.pack(*_registers(self)))

    @property
    def in_user_mode(self) -> bool:
        """Whether the frame was taken from ring 3."""
        return self.cs & 3 == USER_RING

    def describe(self) -> str:
        """Every register in three columns, for a panic report."""
        names = TRAP_FRAME_REGISTERS
        cells = [f"{name:>6} {getattr(self, name):#018x}" for name in names]
        return "\n".join("  ".join(cells[row::8]) for row in range(8))


TRAP_FRAME_REGISTERS: tuple[str, ...] = tuple(TrapFrame.__dataclass_fields__)
_registers = attrgetter(*TRAP_FRAME_REGISTERS)


def initial_fxsave() -> bytes:
    """An FXSAVE image as after FNINIT with all SIMD exceptions masked (Intel SDM volume 1, 10.5.1)."""
    image = bytearray(FXSAVE_SIZE)
    struct.pack_into("<H", image, 0, 0x037F)        # FCW: all x87 exceptions masked, extended precision
    struct.pack_into("<I", image, 24, 0x1F80)       # MXCSR: all SIMD exceptions masked
    return bytes(image)


Handler = Callable[[CpuArea], Answer]


class Gate:
    """Dispatches the nucleus's calls by reason.

    Attributes:
        calls: calls so far by reason.
        refused: calls that were not as agreed.
        areas: once known, the physical addresses that a CPU area may have, by CPU; None admits only HELLO.
        inside: the CPU whose call is being answered; None between calls.
    """

    def __init__(self, memory: PhysicalMemory, report: Callable[[str], None]) -> None:
        self.memory = memory
        self.calls: dict[Reason, int] = dict.fromkeys(Reason, 0)
        self.refused = 0
        self.areas: dict[int, int] | None = None
        self.inside: int | None = None
        self.halted: Callable[[], bool] = lambda: False
        self._report = report
        self._handlers: dict[Reason, Handler] = {}

    def attach(self, hardware: Hardware, enter: Callable[[int], None] | None = None) -> None:
        """Be found by the nucleus from now on; `enter` is called in place of `self.enter` and must call it."""
        hardware.attach_gate(GATE_PORT, enter or self.enter, GATE_IDENTIFY)

    def on(self, reason: Reason, handler: Handler) -> None:
        """Let `handler` answer calls with this reason."""
        self._handlers[reason] = handler

    def enter(self, value: int) -> None:
        """One call of the nucleus: EAX is `value`. The answer is in guest memory when this returns."""
        try:
            area = CpuArea.read(self.memory, value & 0xFFFFFFFF)
        except KernelError as error:
            self._refuse(str(error))
            return
        answer = IDLE
        try:
            reason = self._check(area)
            self.calls[reason] += 1
            if not self.halted():
                self.inside = area.cpu
                answer = self._handlers[reason](area)
        except KernelError as error:                     # a guest's mistake: its CPU idles until it comes again
            self._refuse(f"cpu {area.cpu}: {error}")
        finally:
            self.inside = None
        if self.areas is not None and self.areas.get(area.cpu) != area.address:
            return                                       # not an area: nothing is written to where it claims to be
        try:
            self.memory.write(area.address + CpuArea.RESUME_OFFSET, struct.pack("<QQ", answer.frame, answer.cr3))
        except BadMemory as error:
            self._refuse(f"the answer could not be written: {error}")

    def _check(self, area: CpuArea) -> Reason:
        try:
            reason = Reason(area.reason)
        except ValueError:
            raise KernelError(f"the unknown reason {area.reason}") from None
        if self.areas is None:
            if reason is not Reason.HELLO or area.cpu != 0:
                raise KernelError(f"{reason.name} before the boot CPU said HELLO")
        elif reason is Reason.HELLO:
            raise KernelError("HELLO a second time")
        elif self.areas.get(area.cpu) != area.address:
            raise KernelError(f"{area.address:#x} is not its area")
        if reason not in self._handlers:
            raise KernelError(f"nothing handles {reason.name}")
        return reason

    def _refuse(self, message: str) -> None:
        self.refused += 1
        self._report(message)
