"""What a debugger writes into segment registers, control registers and flags: done as the guest's own MOV or WRMSR would do it, or refused in one line.

Refused is what an instruction would answer with an exception, since a value that no processor can hold would only show much later. Two things are a debugger's
privilege: rings are not asked for, and CS may be written, which leaves RIP, a linear address here, where it is.

Source: Intel SDM volume 2B, "MOV" and "MOV to control registers"; volume 3A, 2.2.1 EFER, 2.5 control registers, 3.4 and 5.2 segment descriptors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from machine.engine import abi
from machine.engine.cpuid import PHYSICAL_BITS
from machine.errors import TargetError
from machine.msrs import TPR

if TYPE_CHECKING:
    from machine.debug.target import Target
    from machine.engine.vcpu import Vcpu

PE, NW, CD, PG = 1 << 0, 1 << 29, 1 << 30, 1 << 31
CR0_BITS = 0xE005003F                            # the others are ignored (2.5)
PAE = 1 << 5
CR4_BITS = 0x1107FC                              # what CPUID announces: TSD DE PSE PAE MCE PGE PCE OSFXSR OSXMMEXCPT FSGSBASE SMEP
SCE, LME, LMA, NXE = 1 << 0, 1 << 8, 1 << 10, 1 << 11
VM = 1 << 17
EFLAGS_FIXED, EFLAGS_BITS = 2, 0x3F7FD7
MXCSR_BITS = 0xFFFF
ACCESSED, WRITABLE, CONFORMING, CODE, CODE_OR_DATA, PRESENT, L, D = 1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 15, 1 << 21, 1 << 22
READABLE, GRANULARITY = WRITABLE, 1 << 23
DPL_SHIFT = 13
RIGHTS = 0x00F0FF00                              # of a descriptor's upper half, what is no base and no limit
LINEAR_BITS = 48


def load_segment(target: Target, cpu: int, name: str, index: int, selector: int) -> None:
    """Load a segment register. Outside protected mode the selector makes the base and all else stays; otherwise a descriptor is loaded.

    Raises:
        TargetError: the descriptor is none that this register can hold.
    """
    vcpu = target.vcpu(cpu)
    if selector > 0xFFFF:
        raise TargetError(f"{name}: a selector has 16 bits")
    linear = vcpu.cs_base + vcpu.rip
    if not vcpu.field(abi.ENV_CR, 4) & PE or vcpu.eflags & VM:
        at = abi.ENV_SEGS + index * abi.ENV_SEG_SIZE
        vcpu.load_segment(index, selector, selector << 4, vcpu.field(at + abi.SEGMENT_LIMIT, 4), vcpu.field(at + abi.SEGMENT_FLAGS, 4))
    else:
        vcpu.load_segment(index, selector, *_descriptor(target, cpu, name, index, selector))
    if index == abi.R_CS:
        vcpu.set_field(abi.ENV_EIP, linear - vcpu.cs_base, 8)


def _descriptor(target: Target, cpu: int, name: str, index: int, selector: int) -> tuple[int, int, int]:
    """Base, limit and rights of the descriptor that a selector names."""
    vcpu = target.vcpu(cpu)
    asked, long = selector & 3, bool(vcpu.field(abi.ENV_EFER, 8) & LMA)
    if not selector & ~3:
        if index == abi.R_CS or (index == abi.R_SS and not (vcpu.in_long_mode and asked < 3)):
            raise TargetError(f"{name}: it cannot hold a null selector" + (" outside 64-bit code" if index == abi.R_SS and not vcpu.in_long_mode else ""))
        return 0, 0, asked << DPL_SHIFT if index == abi.R_SS else 0
    low, high = _entry(target, cpu, name, selector)
    owner = high >> DPL_SHIFT & 3
    if not high & CODE_OR_DATA:
        raise TargetError(f"{name}: selector {selector:#x} names a system descriptor")
    if index == abi.R_CS:
        if not high & CODE:
            raise TargetError(f"{name}: selector {selector:#x} names no code segment")
        if long and high & L and high & D:
            raise TargetError(f"{name}: selector {selector:#x} names code that is 64-bit and 32-bit at once")
        right = owner <= asked if high & CONFORMING else owner == asked
    elif index == abi.R_SS:
        if high & CODE or not high & WRITABLE:
            raise TargetError(f"{name}: selector {selector:#x} names no writable data segment")
        right = owner == asked
    else:
        if high & CODE and not high & READABLE:
            raise TargetError(f"{name}: selector {selector:#x} names code that cannot be read")
        right = bool(high & CODE and high & CONFORMING) or owner >= asked
    if not right:
        raise TargetError(f"{name}: selector {selector:#x} asks for ring {asked}, its descriptor belongs to ring {owner}")
    if not high & PRESENT:
        raise TargetError(f"{name}: selector {selector:#x} names a segment that is not present")
    base = low >> 16 | (high & 0xFF) << 16 | high & 0xFF000000
    limit = low & 0xFFFF | high & 0xF0000
    if index == abi.R_CS and long and high & L:
        base = 0
    return base, limit << 12 | 0xFFF if high & GRANULARITY else limit, high & RIGHTS | ACCESSED


def _entry(target: Target, cpu: int, name: str, selector: int) -> tuple[int, int]:
    """The two halves of a table's entry."""
    vcpu = target.vcpu(cpu)
    table, at = ("LDT", abi.ENV_LDT) if selector & 4 else ("GDT", abi.ENV_GDT)
    if selector & 4 and not vcpu.field(at, 4) & ~3:
        raise TargetError(f"{name}: selector {selector:#x} is one of the LDT, and none is loaded")
    place, limit = selector & ~7, vcpu.field(at + abi.SEGMENT_LIMIT, 4)
    if place + 7 > limit:
        raise TargetError(f"{name}: selector {selector:#x} is beyond the {table}'s limit of {limit:#x}")
    entry = target.read(cpu, vcpu.field(at + abi.SEGMENT_BASE, 8) + place, 8)
    if len(entry) < 8:
        raise TargetError(f"{name}: the {table} is not mapped at selector {selector:#x}")
    return int.from_bytes(entry[:4], "little"), int.from_bytes(entry[4:], "little")


def load_cr0(vcpu: Vcpu, value: int) -> None:
    """Raises TargetError for what MOV to CR0 answers with #GP."""
    old, efer = vcpu.field(abi.ENV_CR, 8), vcpu.field(abi.ENV_EFER, 8)
    if value >> 32:
        raise TargetError("cr0: its upper half is reserved")
    if value & PG and not value & PE:
        raise TargetError("cr0: PG needs PE")
    if value & NW and not value & CD:
        raise TargetError("cr0: NW needs CD")
    if old & PE and not value & PE and vcpu.ring:
        raise TargetError(f"cr0: PE can be cleared in ring 0 only, and this is ring {vcpu.ring}")
    if value & PG and not old & PG and efer & LME:
        if not vcpu.field(abi.ENV_CR + 32, 8) & PAE:
            raise TargetError("cr0: PG with EFER.LME needs CR4.PAE")
        if vcpu.field(abi.ENV_SEGS + abi.R_CS * abi.ENV_SEG_SIZE + abi.SEGMENT_FLAGS, 4) & L:
            raise TargetError("cr0: PG with EFER.LME needs a CS without the L bit")
    if old & PG and not value & PG and vcpu.in_long_mode:
        raise TargetError("cr0: PG cannot be cleared in 64-bit code")
    vcpu.write_control(0, value & CR0_BITS)


def load_cr3(vcpu: Vcpu, value: int) -> None:
    """Raises TargetError for an address that is not a physical one."""
    if value >> PHYSICAL_BITS:
        raise TargetError(f"cr3: physical addresses have {PHYSICAL_BITS} bits")
    vcpu.write_control(3, value)


def load_cr4(vcpu: Vcpu, value: int) -> None:
    """Raises TargetError for what MOV to CR4 answers with #GP. Reserved bits that the guest has set may stay."""
    reserved = value & ~(CR4_BITS | vcpu.field(abi.ENV_CR + 32, 8))
    if reserved:
        raise TargetError(f"cr4: {reserved:#x} is reserved, or belongs to a feature that CPUID does not announce")
    if vcpu.field(abi.ENV_EFER, 8) & LMA and not value & PAE:
        raise TargetError("cr4: PAE cannot be cleared in long mode")
    vcpu.write_control(4, value)


def load_cr8(target: Target, cpu: int, value: int) -> None:
    """The task priority of the local APIC. Raises TargetError for what MOV to CR8 answers with #GP."""
    if value >> 4:
        raise TargetError("cr8: it has four bits")
    target.lapic(cpu).blocks["registers"].write(TPR, 4, value << 4)


def load_efer(vcpu: Vcpu, value: int) -> None:
    """LMA stays as it is, as with WRMSR. Raises TargetError for what WRMSR answers with #GP."""
    old = vcpu.field(abi.ENV_EFER, 8)
    reserved = value & ~(SCE | LME | LMA | NXE)
    if reserved:
        raise TargetError(f"efer: {reserved:#x} is reserved, or belongs to a feature that CPUID does not announce")
    if (value ^ old) & LME and vcpu.field(abi.ENV_CR, 8) & PG:
        raise TargetError("efer: LME cannot change while paging is on")
    vcpu.write_efer(value & ~LMA | old & LMA)


def load_base(vcpu: Vcpu, name: str, at: int, value: int) -> None:
    """A segment's base, or the one that SWAPGS brings in. Raises TargetError for an address that is not canonical."""
    if value >> LINEAR_BITS - 1 not in (0, (1 << 65 - LINEAR_BITS) - 1):
        raise TargetError(f"{name}: {value:#x} is not a canonical address")
    vcpu.set_field(at, value, 8)


def load_eflags(vcpu: Vcpu, value: int) -> None:
    """Reserved bits are ignored. Raises TargetError for a change of VM, which would give the segments another meaning."""
    if (value ^ vcpu.eflags) & VM:
        raise TargetError("eflags: VM cannot be changed, because every segment would mean something else")
    vcpu.set_public_register(abi.UC_X86_REG_EFLAGS, value & EFLAGS_BITS | EFLAGS_FIXED, 8)
    vcpu.update_mode()


def load_mxcsr(vcpu: Vcpu, value: int) -> None:
    """Raises TargetError for what LDMXCSR answers with #GP."""
    if value & ~MXCSR_BITS:
        raise TargetError(f"mxcsr: {value & ~MXCSR_BITS:#x} is reserved")
    vcpu.set_public_register(abi.UC_X86_REG_MXCSR, value, 4)
