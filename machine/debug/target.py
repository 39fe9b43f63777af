"""What a debugger can ask of a machine: processors, registers, memory, breakpoints, running and stepping. Knows nothing of any debugger's protocol.

The machine stands while a question is asked; `resume` lets it run until something stops it. Processors are numbered as the board numbers them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from machine.debug.paging import Walk, walk
from machine.debug.registers import BY_NAME, REGISTERS, Register
from machine.engine.vcpu import Activity
from machine.errors import TargetError
from machine.outside import MEMORY, REGISTER
from machine.outcome import ExitReason, Outcome

if TYPE_CHECKING:
    from devices.lapic import Lapic
    from machine.engine.vcpu import Vcpu
    from machine.machine import Machine

PAGE = 4096
TOP = 1 << 64
LARGEST_WATCH = 4096                 # bytes


@dataclass(frozen=True, slots=True)
class Watch:
    """A watchpoint as it was asked for: bytes at a linear address, and the physical pieces that stand for them."""

    linear: int
    length: int
    on_read: bool
    on_write: bool
    pieces: tuple[tuple[int, int], ...]


class Target:
    """A machine under a debugger. It costs nothing while the machine runs, watchpoints aside: with those the host's clock counts instructions: half speed."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._watches: list[Watch] = []

    @property
    def cpus(self) -> int:
        """How many processors there are."""
        return len(self.machine.engine.vcpus)

    def vcpu(self, cpu: int) -> Vcpu:
        """A processor. Raises TargetError."""
        if not 0 <= cpu < self.cpus:
            raise TargetError(f"there is no processor {cpu}; they are 0 to {self.cpus - 1}")
        return self.machine.engine.vcpus[cpu]

    def lapic(self, cpu: int) -> Lapic:
        """A processor's local APIC. Raises TargetError."""
        self.vcpu(cpu)
        return self.machine.board.lapics[cpu]

    def value(self, cpu: int, name: str) -> int:
        """A register's value, by its name in `registers.py`."""
        return BY_NAME[name].read(self, cpu)

    def describe(self, cpu: int) -> str:
        """What a processor is doing, and in which mode, in some words."""
        vcpu = self.vcpu(cpu)
        mode = {True: "64-bit"}.get(vcpu.in_long_mode, "real mode" if not self.value(cpu, "cr0") & 1 else "32-bit" if vcpu.is_32_bit else "16-bit")
        return f"{vcpu.activity.value}, {mode}, ring {vcpu.ring}"

    # --- registers and memory ----------------------------------------------------------------------------------------------------------
    def read_register(self, cpu: int, register: Register) -> bytes:
        """A register's bytes."""
        return register.get(self, cpu)

    def write_register(self, cpu: int, register: Register, data: bytes) -> None:
        """Raises TargetError for a value that the register cannot hold, and ValueError for too many or few bytes."""
        if len(data) != register.bits // 8:
            raise ValueError(f"{register.name} has {register.bits // 8} bytes")
        register.write(self, cpu, int.from_bytes(data, "little"))
        self.machine.came(REGISTER, f"{cpu} {register.name} {data.hex()}".encode())

    def registers(self, cpu: int) -> bytes:
        """All of them, in the order of `REGISTERS`."""
        self.vcpu(cpu)
        return b"".join(register.get(self, cpu) for register in REGISTERS)

    def walk(self, cpu: int, linear: int) -> Walk:
        """The page walk of a processor for an address."""
        controls = [self.value(cpu, name) for name in ("cr0", "cr3", "cr4", "efer")]
        return walk(self.machine.memory.read, linear, *controls)

    def read(self, cpu: int, linear: int, length: int) -> bytes:
        """Memory as a processor sees it; device registers are looked at without side effects. Raises TargetError where nothing is mapped at `linear`."""
        data = b""
        for physical, size in self._pieces(cpu, linear, length):
            if physical is None:
                break
            data += self.read_physical(physical, size)
        if length and not data:
            raise TargetError(f"{linear:#x} is not mapped for processor {cpu}")
        return data

    def read_physical(self, address: int, length: int) -> bytes:
        """Physical memory, device registers included."""
        if self.machine.memory.is_mapped(address, length):
            return self.machine.memory.read(address, length)
        return b"".join(self.machine.memory.read(at, 1) if self.machine.memory.is_mapped(at, 1) else bytes((self.machine.mmio.peek(at, 1) & 0xFF,))
                        for at in range(address, address + length))

    def write(self, cpu: int, linear: int, data: bytes) -> None:
        """Store RAM as a processor sees it, whatever its rights; all or nothing. Raises TargetError."""
        pieces = self._pieces(cpu, linear, len(data))
        memory = self.machine.memory
        if any(physical is None or not memory.is_ram(physical, size) for physical, size in pieces):
            raise TargetError(f"not all of {len(data)} bytes at {linear:#x} are RAM")
        for physical, size in pieces:
            assert physical is not None
            self._store(physical, data[:size])
            data = data[size:]

    def write_physical(self, address: int, data: bytes) -> None:
        """Store in RAM, all or nothing. Raises TargetError."""
        if not self.machine.memory.is_ram(address, len(data)):
            raise TargetError(f"not all of {len(data)} bytes at physical {address:#x} are RAM")
        self._store(address, data)

    def _store(self, physical: int, data: bytes) -> None:
        self.machine.came(MEMORY, f"{physical:x} {data.hex()}".encode())
        self.machine.memory.write(physical, data)

    def _pieces(self, cpu: int, linear: int, length: int) -> list[tuple[int | None, int]]:
        pieces: list[tuple[int | None, int]] = []
        while length > 0:
            size = min(length, PAGE - linear % PAGE)
            pieces.append((self.walk(cpu, linear % TOP).physical, size))
            linear, length = linear + size, length - size
        return pieces

    # --- breakpoints -------------------------------------------------------------------------------------------------------------------
    def add_breakpoint(self, linear: int) -> None:
        """Stop every processor before the instruction there."""
        self.machine.engine.breakpoints.add(linear)

    def remove_breakpoint(self, linear: int) -> None:
        """Do not any more."""
        self.machine.engine.breakpoints.remove(linear)

    def add_watchpoint(self, cpu: int, linear: int, length: int, on_read: bool, on_write: bool) -> None:
        """Stop behind an access to these bytes, by whichever address. Raises TargetError where they are not mapped."""
        if not 0 < length <= LARGEST_WATCH:
            raise TargetError(f"a watchpoint of {length} bytes: 1 to {LARGEST_WATCH} are possible")
        pieces = self._pieces(cpu, linear, length)
        if any(physical is None for physical, _ in pieces):
            raise TargetError(f"{linear:#x} is not mapped for processor {cpu}")
        watch = Watch(linear, length, on_read, on_write, tuple((physical, size) for physical, size in pieces if physical is not None))
        self._watches.append(watch)
        for physical, size in watch.pieces:
            self.machine.engine.breakpoints.watch(physical, size, on_read, on_write)

    def remove_watchpoint(self, linear: int, length: int, on_read: bool, on_write: bool) -> None:
        """Do not any more."""
        for watch in [one for one in self._watches if (one.linear, one.length, one.on_read, one.on_write) == (linear, length, on_read, on_write)]:
            self._watches.remove(watch)
            for physical, size in watch.pieces:
                self.machine.engine.breakpoints.unwatch(physical, size, on_read, on_write)

    def watched(self, physical: int, size: int) -> Watch | None:
        """The watchpoint that an access touched."""
        return next((watch for watch in self._watches for at, length in watch.pieces if physical < at + length and at < physical + size), None)

    # --- running -----------------------------------------------------------------------------------------------------------------------
    def step(self, cpu: int) -> Outcome | None:
        """One instruction of one processor, without interrupts. None, or how the guest ended by it."""
        self.machine.engine.breakpoints.instrument()
        return self.machine.step(cpu)

    def resume(self, until: Callable[[], bool], timeout: float | None = None) -> Outcome:
        """Let all processors run until a breakpoint, the guest's end, until `until` is true, or for `timeout` seconds of host time."""
        self.machine.engine.breakpoints.release()
        for cpu in range(self.cpus):
            self.stand(cpu)
        return self.machine.run(until=until, timeout=timeout)

    def stand(self, cpu: int) -> None:
        """A processor that stands at a breakpoint begins with its instruction. One that is halted comes to it later, from an interrupt's handler."""
        vcpu = self.vcpu(cpu)
        if vcpu.activity is Activity.ACTIVE:
            self.machine.engine.breakpoints.reported(cpu, vcpu.cs_base + vcpu.rip)

    def detach(self) -> None:
        """The debugger leaves: nothing stops the machine any more."""
        self._watches.clear()
        self.machine.engine.breakpoints.clear()
        self.machine.engine.breakpoints.release()

    @staticmethod
    def is_break(outcome: Outcome) -> bool:
        """Whether the machine can go on."""
        return outcome.reason in (ExitReason.BREAK, ExitReason.CONDITION)
