"""One virtual processor: its saved registers, and what is waiting for it.

A vCPU that is not running is a byte string: `CPUX86State[0:end_reset_fields]`. The engine holds at most one of them in its registers.
"""

from __future__ import annotations

import ctypes
import enum
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from machine.engine import abi
from machine.engine.cpuid import SIGNATURE

if TYPE_CHECKING:
    from machine.engine.engine import Engine
    from machine.loaders.entry import EntryState

CR0_AT_RESET = 0x60000010                     # CD, NW, ET
SEGMENT_REAL_CODE, SEGMENT_LDT, SEGMENT_BUSY_TSS = 0x9B00, 0x8200, 0x8B00
PLAIN_REGISTERS = ((abi.ENV_REGS, abi.ENV_EFLAGS), (abi.ENV_SEGS, abi.ENV_CR + 40), (abi.ENV_EFER, abi.ENV_EFER + 8),
                   (abi.ENV_STAR, abi.ENV_KERNEL_GS_BASE + 8))
KEPT_IN_PIECES = ((abi.UC_X86_REG_EFLAGS, 8), (abi.UC_X86_REG_FPCW, 2), (abi.UC_X86_REG_FPSW, 2), (abi.UC_X86_REG_FPTAG, 2), (abi.UC_X86_REG_MXCSR, 4),
                  *((abi.UC_X86_REG_ST0 + number, 10) for number in range(8)), *((abi.UC_X86_REG_XMM0 + number, 16) for number in range(16)))


class Activity(enum.Enum):
    """SDM vol. 3A, 24.4.2 names, less SHUTDOWN's HLT-like wait."""

    ACTIVE = "active"
    HALTED = "halted"
    WAIT_FOR_SIPI = "wait-for-sipi"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class VcpuState:
    """Everything of a vCPU, as plain values; `context` is `CPUX86State[0:end_reset_fields]`."""

    context: bytes
    activity: str
    offered: int | None
    taken: int | None
    nmi_pending: bool
    delivered: int


class Vcpu:
    """A vCPU as interrupt controllers (`CpuPort`) and loaders see it."""

    def __init__(self, engine: Engine, index: int, reset_image: bytes) -> None:
        self.index = index
        self.activity = Activity.ACTIVE if index == 0 else Activity.WAIT_FOR_SIPI
        self.delivered = 0                    # external interrupts the CPU has taken
        self._engine = engine
        self._reset_image = reset_image
        self.context = ctypes.create_string_buffer(reset_image, len(reset_image))
        self._offered: int | None = None      # vector on offer
        self._taken: int | None = None
        self.nmi_pending = False
        self._load_reset_vector()

    # --- CpuPort: what an interrupt controller can do ------------------------------------------------------------------------------
    def post(self, vector: int) -> None:
        """Offers `vector`; the CPU takes it at the next instruction boundary with interrupts enabled."""
        self.settle()
        self._offered = vector
        self._engine.offer(self, vector)

    def withdraw(self) -> None:
        """Takes the offer back."""
        self.settle()
        if self._offered is not None:
            self._offered = None
            self._engine.offer(self, None)

    def taken(self) -> int | None:
        """The vector that the CPU has taken since the last call, once."""
        self.settle()
        vector, self._taken = self._taken, None
        return vector

    def nmi(self) -> None:
        """A non-maskable interrupt."""
        self.nmi_pending = True
        self._engine.kick(self)

    def init(self) -> None:
        """INIT: registers to their reset values; an application processor then waits for SIPI, the boot processor starts over."""
        self._engine.release(self)
        ctypes.memmove(self.context, self._reset_image, len(self._reset_image))
        self._offered = self._taken = None
        self.nmi_pending = False
        self._load_reset_vector()
        self.set_field(abi.ENV_A20_MASK, self._engine.a20_mask, 4)         # a pin's level, which INIT does not change
        self.activity = Activity.WAIT_FOR_SIPI if self.index else Activity.ACTIVE

    def startup(self, vector: int) -> None:
        """SIPI: real mode at vector << 12. Ignored by a CPU that does not wait for it."""
        if self.activity is not Activity.WAIT_FOR_SIPI:
            return
        self._write_segment(abi.R_CS, (vector << 8) & 0xFFFF, (vector << 12) & 0xFFFFF, 0xFFFF, SEGMENT_REAL_CODE)
        self._write64(abi.ENV_EIP, 0)
        self.activity = Activity.ACTIVE
        self._engine.kick(self)

    @property
    def tsc_offset(self) -> int:
        """What RDTSC adds to the host's counter."""
        value = self._read64(abi.ENV_TSC_OFFSET)
        return value - (1 << 64 if value >> 63 else 0)

    def set_tsc_offset(self, offset: int) -> None:
        """The other way round; 64 bits of it count."""
        self._write64(abi.ENV_TSC_OFFSET, offset % (1 << 64))

    # --- copies ----------------------------------------------------------------------------------------------------------------------
    def save(self) -> VcpuState:
        """A copy; the engine has put the registers away (`Engine.park`)."""
        return VcpuState(self.context.raw[:len(self._reset_image)], self.activity.value, self._offered, self._taken, self.nmi_pending, self.delivered)

    def restore(self, state: VcpuState, tsc_shift: int) -> None:
        """Back to a copy, possibly another engine's, with so much more to add to the host's counter. Hardware breakpoints of the guest do not come along.

        Raises:
            ValueError: the context has another length, or the activity is none.
        """
        if len(state.context) != len(self._reset_image):
            raise ValueError(f"a context of {len(state.context)} bytes instead of {len(self._reset_image)}")
        self.activity = Activity(state.activity)
        ctypes.memmove(self.context, state.context, len(state.context))
        ctypes.memset(ctypes.addressof(self.context) + abi.ENV_BREAKPOINTS, 0, abi.ENV_BREAKPOINTS_SIZE)
        (offset,) = struct.unpack_from("<Q", state.context, abi.ENV_TSC_OFFSET)
        struct.pack_into("<Q", self.context, abi.ENV_TSC_OFFSET, (offset + tsc_shift) % (1 << 64))
        self._offered, self._taken, self.nmi_pending, self.delivered = state.offered, state.taken, state.nmi_pending, state.delivered

    def fingerprint(self) -> bytes:
        """The registers that a guest can read, and what the processor is about to do.

        Flags, x87 and SSE come by Unicorn's own interface: around them lie lazy values and leftovers of the host's, such as addresses.
        """
        pieces = [self._engine.registers(self, start, end - start) for start, end in PLAIN_REGISTERS]
        pieces += [self.public_register(number, size).to_bytes(size, "little") for number, size in KEPT_IN_PIECES]
        return b"".join(pieces) + repr((self.activity.value, self._offered, self._taken, self.nmi_pending)).encode()

    # --- what the engine asks ------------------------------------------------------------------------------------------------------
    @property
    def offered(self) -> int | None:
        """The vector on offer that has not been taken."""
        return self._offered

    def settle(self) -> None:
        """Notices that the CPU has taken the offered interrupt."""
        if self._offered is not None and self._engine.has_taken(self):
            self._taken, self._offered = self._offered, None
            self.delivered += 1
            if self._engine.on_interrupt is not None:
                self._engine.on_interrupt(self.index, self._taken)

    @property
    def runnable(self) -> bool:
        """Whether giving it a slice would run guest code."""
        if self.activity is Activity.ACTIVE:
            return True
        if self.activity is Activity.HALTED:
            return (self.nmi_pending and not self.field(abi.ENV_HFLAGS2, 4) & abi.HF2_NMI_MASK) or (self._offered is not None and bool(self.eflags & 0x200))
        return False

    # --- registers -----------------------------------------------------------------------------------------------------------------
    @property
    def eflags(self) -> int:
        """System flags (the arithmetic ones are lazy and not all in here)."""
        return self._read64(abi.ENV_EFLAGS) & 0xFFFFFFFF

    @property
    def rip(self) -> int:
        """Offset of the next instruction in its code segment."""
        return self._read64(abi.ENV_EIP)

    @property
    def regs(self) -> tuple[int, ...]:
        """RAX RCX RDX RBX RSP RBP RSI RDI R8..R15."""
        return struct.unpack("<16Q", self._engine.registers(self, abi.ENV_REGS, 128))

    @property
    def cs_base(self) -> int:
        """Base of the code segment, so that `cs_base + rip` is the linear address of the next instruction."""
        return self._read64(abi.ENV_SEGS + abi.R_CS * abi.ENV_SEG_SIZE + 8)

    @property
    def ring(self) -> int:
        """Current privilege level."""
        return self.field(abi.ENV_HFLAGS, 4) & abi.HF_CPL_MASK

    @property
    def is_32_bit(self) -> bool:
        """Whether the code segment's default is 32 bits."""
        return bool(self.field(abi.ENV_HFLAGS, 4) & abi.HF_CS32_MASK)

    @property
    def in_long_mode(self) -> bool:
        """Whether it executes 64-bit code."""
        return bool(self.field(abi.ENV_HFLAGS, 4) & abi.HF_CS64_MASK)

    def field(self, offset: int, size: int) -> int:
        """An integer of `CPUX86State`, by its offset in `abi`."""
        return int.from_bytes(self._engine.registers(self, offset, size), "little")

    def set_field(self, offset: int, value: int, size: int) -> None:
        """Writes an integer of `CPUX86State`."""
        self._engine.write_registers(self, offset, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))

    def public_register(self, number: int, size: int) -> int:
        """A register by Unicorn's number, for those that are kept in pieces (flags, x87, SSE)."""
        return self._engine.public_register(self, number, size)

    def set_public_register(self, number: int, value: int, size: int) -> None:
        """Writes a register by Unicorn's number."""
        self._engine.set_public_register(self, number, value, size)

    def write_control(self, number: int, value: int) -> None:
        """Writes CR0, CR3 or CR4 with all that follows from it. The value is one that the processor can hold."""
        self._engine.write_control(self, number, value)

    def write_efer(self, value: int) -> None:
        """Writes EFER; LMA, which is CR0's affair, is as it was."""
        self._write64(abi.ENV_EFER, value)
        self.write_control(3, self._read64(abi.ENV_CR + 24))              # NXE changes what page tables say

    def load_segment(self, segment: int, selector: int, base: int, limit: int, flags: int) -> None:
        """Writes a segment register with its hidden part, `flags` as in a descriptor's upper half, and what follows from it: ring and operand size."""
        self._write_segment(segment, selector, base, limit, flags)
        self.update_mode()

    def update_mode(self) -> None:
        """Control registers, segments or flags have been written: derive what the translator goes by."""
        self._engine.update_mode(self)

    def enter(self, entry: EntryState) -> None:
        """Puts the vCPU where a loader wants it to start."""
        entry.apply(self)

    def write_register(self, index: int, value: int) -> None:
        """Writes general register `index` (RAX RCX RDX RBX RSP RBP RSI RDI R8..R15)."""
        self._write64(abi.ENV_REGS + 8 * index, value)

    def long_mode(self, rip: int, rsp: int, rsi: int, cr3: int, gdt_base: int, gdt_limit: int, code: int, data: int) -> None:
        """64-bit mode with paging on, flat segments with the given selectors, interrupts off (the state boot protocols ask for)."""
        for register, value in ((4, rsp), (6, rsi)):
            self.write_register(register, value)
        self._write64(abi.ENV_EIP, rip)
        self._write64(abi.ENV_EFLAGS, 2)
        for at, value in ((0, 0x80000033), (3, cr3), (4, 0x220)):       # PG NE ET MP PE; PAE, OSFXSR
            self._write64(abi.ENV_CR + 8 * at, value)
        self._write64(abi.ENV_EFER, 0xD01)                                # NXE, LMA, LME, SCE
        for segment in range(6):
            selector, flags = (code, 0xA09B00) if segment == abi.R_CS else (data, 0xC09300)
            self._write_segment(segment, selector, 0, 0xFFFFFFFF, flags)
        self._write_segment_at(abi.ENV_GDT, 0, gdt_base, gdt_limit, 0)
        self._engine.update_mode(self)

    def protected_mode(self, eip: int, eax: int, ebx: int, gdt_base: int, gdt_limit: int, code: int, data: int) -> None:
        """32-bit protected mode, paging off, flat segments with the given selectors, interrupts off."""
        for register, value in ((0, eax), (3, ebx)):
            self.write_register(register, value)
        self._write64(abi.ENV_EIP, eip)
        self._write64(abi.ENV_EFLAGS, 2)
        self._write64(abi.ENV_CR, 0x11)                                   # ET PE
        for segment in range(6):
            selector, flags = (code, 0xC09B00) if segment == abi.R_CS else (data, 0xC09300)
            self._write_segment(segment, selector, 0, 0xFFFFFFFF, flags)
        self._write_segment_at(abi.ENV_GDT, 0, gdt_base, gdt_limit, 0)
        self._engine.update_mode(self)

    def real_mode(self, cs: int, ip: int) -> None:
        """Real mode at cs:ip."""
        self._write_segment(abi.R_CS, cs, cs << 4, 0xFFFF, SEGMENT_REAL_CODE)
        self._write64(abi.ENV_EIP, ip)

    def _load_reset_vector(self) -> None:
        """SDM vol. 3A table 10-1: CS base 0xFFFF0000, IP 0xFFF0, EDX the processor's signature."""
        self._write_segment(abi.R_CS, 0xF000, 0xFFFF0000, 0xFFFF, SEGMENT_REAL_CODE)
        for table, flags in ((abi.ENV_GDT, 0), (abi.ENV_IDT, 0), (abi.ENV_LDT, SEGMENT_LDT), (abi.ENV_TR, SEGMENT_BUSY_TSS)):
            self._write_segment_at(table, 0, 0, 0xFFFF, flags)
        self._write64(abi.ENV_EIP, 0xFFF0)
        self._write64(abi.ENV_CR, CR0_AT_RESET)
        self.write_register(2, SIGNATURE)

    def _write_segment(self, segment: int, selector: int, base: int, limit: int, flags: int) -> None:
        self._write_segment_at(abi.ENV_SEGS + segment * abi.ENV_SEG_SIZE, selector, base, limit, flags)

    def _write_segment_at(self, offset: int, selector: int, base: int, limit: int, flags: int) -> None:
        self._engine.write_registers(self, offset, struct.pack("<IxxxxQII", selector, base, limit, flags))

    def _write64(self, offset: int, value: int) -> None:
        self._engine.write_registers(self, offset, struct.pack("<Q", value))

    def _read64(self, offset: int) -> int:
        return int.from_bytes(self._engine.registers(self, offset, 8), "little")
