"""A bare long-mode guest for tests: identity-mapped memory, an IDT whose handlers the test writes, programs in assembly.

Memory: page tables at 0x9000, GDT 0x8000, TSS 0x8200, IDT 0x7000, handler table from 0x6000, stack below 0x5000, programs from 0x10000. All but
the first 2 MiB is mapped no-execute.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import keystone

from machine.engine.engine import CountedTime, Engine, Reason, RunExit
from machine.memory import GuestMemory

PROGRAM, STACK, GDT, TSS, IDT, TABLES = 0x10000, 0x5000, 0x8000, 0x8200, 0x7000, 0x9000
CODE, DATA, USER_DATA, USER_CODE, TSS_SELECTOR = 0x08, 0x10, 0x1B, 0x23, 0x28
RING0_STACK = 0x4000


def assemble(text: str, address: int = PROGRAM, bits: int = 64) -> bytes:
    """Machine code of `text` at `address`."""
    mode = {16: keystone.KS_MODE_16, 32: keystone.KS_MODE_32, 64: keystone.KS_MODE_64}[bits]
    code, _count = keystone.Ks(keystone.KS_ARCH_X86, mode).asm(text, address)
    return bytes(code)


@dataclass
class RecordingBus:
    """Remembers accesses; answers what `answers` says, all ones elsewhere."""

    answers: dict[int, int] = field(default_factory=dict)
    reads: list[tuple[int, int]] = field(default_factory=list)
    writes: list[tuple[int, int, int]] = field(default_factory=list)

    def read(self, address: int, size: int) -> int:
        self.reads.append((address, size))
        return self.answers.get(address, (1 << 8 * size) - 1)

    def write(self, address: int, size: int, value: int) -> None:
        self.writes.append((address, size, value))


class Guest:
    """An engine with a bare guest in it."""

    def __init__(self, *, counted: bool = True, cpus: int = 1, time: CountedTime | None = None, roms: tuple[tuple[int, bytes], ...] = ()) -> None:
        self.memory = GuestMemory(16 << 20, roms)
        self.ports, self.mmio = RecordingBus(), RecordingBus()
        self.engine = Engine(self.memory, self.ports, self.mmio, cpus, counted, time, lambda: 1_000_000_000)
        self._write_tables()

    def close(self) -> None:
        self.engine.close()

    def _write_tables(self) -> None:
        no_execute = 1 << 63
        write = self.memory.write
        write(TABLES, struct.pack("<Q", TABLES + 0x1007))
        write(TABLES + 0x1000, struct.pack("<4Q", *(TABLES + 0x2007 + 0x1000 * gib for gib in range(4))))
        for gib in range(4):
            entries = [(gib << 30 | page << 21) | 0x87 | (no_execute if gib or page else 0) for page in range(512)]
            write(TABLES + 0x2000 + 0x1000 * gib, struct.pack("<512Q", *entries))
        write(TSS, struct.pack("<IQ", 0, RING0_STACK).ljust(0x68, b"\0"))

    def _write_gdt(self) -> None:
        tss_low = 0x0000890000000067 | (TSS & 0xFFFFFF) << 16
        self.memory.write(GDT, struct.pack("<7Q", 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF, 0x00CFF3000000FFFF, 0x00AFFB000000FFFF, tss_low, 0))

    def handler(self, vector: int, text: str) -> None:
        """Sets the interrupt handler of `vector` (ring 0, interrupt gate, callable from ring 3)."""
        address = 0x20000 + vector * 0x100
        self.memory.write(address, assemble(text, address))
        gate = struct.pack("<HHBBHII", address & 0xFFFF, CODE, 0, 0xEE, address >> 16, 0, 0)
        self.memory.write(IDT + 16 * vector, gate)

    def load(self, text: str, cpu: int = 0, address: int = PROGRAM) -> None:
        """Puts a program in place; vCPU `cpu` starts it in ring 0 with tables loaded."""
        if cpu == 0:
            self._write_gdt()                    # afresh: LTR marks the TSS busy and refuses a busy one
        prologue = f"lidt [0x{IDT + 0xFF0:x}]; mov ax, {TSS_SELECTOR}; ltr ax;" if cpu == 0 else f"lidt [0x{IDT + 0xFF0:x}];"
        self.memory.write(IDT + 0xFF0, struct.pack("<HQ", 0xFEF, IDT))
        self.memory.write(address, assemble(prologue + text, address))
        vcpu = self.engine.vcpus[cpu]
        vcpu.long_mode(address, STACK - 0x400 * cpu, 0, TABLES, GDT, 0x37, CODE, DATA)

    def run(self, budget: int = 100_000, cpu: int = 0, slices: int = 50) -> RunExit:
        """Runs slices until one ends for another reason than its budget."""
        for _ in range(slices):
            result = self.engine.run(cpu, budget)
            if result.reason is not Reason.BUDGET:
                return result
        return result

    def u64(self, address: int) -> int:
        return int.from_bytes(self.memory.read(address, 8), "little")
