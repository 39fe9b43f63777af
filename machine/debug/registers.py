"""The registers of a vCPU as a debugger sees them: one list that serves GDB's target description and everything else.

Names and order within a feature are GDB's ("Standard Target Features", i386). RIP is the *linear* address of the next instruction, so that breakpoints and
memory fit it in 16-bit code too; its offset in the code segment is RIP less the base of CS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from machine.debug import loading
from machine.engine import abi

if TYPE_CHECKING:
    from machine.debug.target import Target
    from machine.engine.vcpu import Vcpu

CORE, SSE, SYSTEM = "org.gnu.gdb.i386.core", "org.gnu.gdb.i386.sse", "org.folkering.system"
GENERAL = {"rax": 0, "rbx": 3, "rcx": 1, "rdx": 2, "rsi": 6, "rdi": 7, "rbp": 5, "rsp": 4, **{f"r{number}": number for number in range(8, 16)}}
SEGMENTS = {"cs": abi.R_CS, "ss": abi.R_SS, "ds": abi.R_DS, "es": abi.R_ES, "fs": abi.R_FS, "gs": abi.R_GS}
FLAGS = {"CF": 0, "": 1, "PF": 2, "AF": 4, "ZF": 6, "SF": 7, "TF": 8, "IF": 9, "DF": 10, "OF": 11, "NT": 14, "RF": 16, "VM": 17, "AC": 18, "VIF": 19, "VIP": 20,
         "ID": 21}


@dataclass(frozen=True, slots=True)
class Register:
    """One register: its name, bits, GDB type and feature, how it is read, (target, processor), and written: (target, processor, value), or TargetError."""

    name: str
    bits: int
    type: str
    feature: str
    read: Callable[[Target, int], int]
    write: Callable[[Target, int, int], None]

    def get(self, target: Target, cpu: int) -> bytes:
        """Its value as GDB sends it: little endian."""
        return (self.read(target, cpu) & (1 << self.bits) - 1).to_bytes(self.bits // 8, "little")


def _general(name: str, index: int) -> Register:
    kind = "data_ptr" if name in ("rbp", "rsp") else "int64"
    return Register(name, 64, kind, CORE, lambda target, cpu: target.vcpu(cpu).regs[index],
                    lambda target, cpu, value: target.vcpu(cpu).write_register(index, value))


def _segment(name: str, index: int) -> Register:
    at = abi.ENV_SEGS + index * abi.ENV_SEG_SIZE
    return Register(name, 32, "int32", CORE, lambda target, cpu: target.vcpu(cpu).field(at, 4),
                    lambda target, cpu, value: loading.load_segment(target, cpu, name, index, value))


def _base(name: str, at: int) -> Register:
    return Register(name, 64, "int64", SYSTEM, lambda target, cpu: target.vcpu(cpu).field(at, 8),
                    lambda target, cpu, value: loading.load_base(target.vcpu(cpu), name, at, value))


def _control(name: str, at: int, write: Callable[[Vcpu, int], None]) -> Register:
    return Register(name, 64, "int64", SYSTEM, lambda target, cpu: target.vcpu(cpu).field(at, 8), lambda target, cpu, value: write(target.vcpu(cpu), value))


def _public(name: str, bits: int, kind: str, feature: str, number: int) -> Register:
    """What Unicorn's own interface reads and writes."""
    return Register(name, bits, kind, feature, lambda target, cpu: target.vcpu(cpu).public_register(number, bits // 8),
                    lambda target, cpu, value: target.vcpu(cpu).set_public_register(number, value, bits // 8))


def _segment_base(index: int) -> int:
    return abi.ENV_SEGS + index * abi.ENV_SEG_SIZE + abi.SEGMENT_BASE


REGISTERS: tuple[Register, ...] = (
    *(_general(name, index) for name, index in GENERAL.items()),
    Register("rip", 64, "code_ptr", CORE, lambda target, cpu: target.vcpu(cpu).cs_base + target.vcpu(cpu).rip,
             lambda target, cpu, value: target.vcpu(cpu).set_field(abi.ENV_EIP, value - target.vcpu(cpu).cs_base, 8)),
    Register("eflags", 32, "i386_eflags", CORE, lambda target, cpu: target.vcpu(cpu).public_register(abi.UC_X86_REG_EFLAGS, 8),
             lambda target, cpu, value: loading.load_eflags(target.vcpu(cpu), value)),
    *(_segment(name, index) for name, index in SEGMENTS.items()),
    *(_public(f"st{index}", 80, "i387_ext", CORE, abi.UC_X86_REG_ST0 + index) for index in range(8)),
    *(_public(name, 32, "int", CORE, number) for name, number in (
        ("fctrl", abi.UC_X86_REG_FPCW), ("fstat", abi.UC_X86_REG_FPSW), ("ftag", abi.UC_X86_REG_FPTAG), ("fiseg", abi.UC_X86_REG_FCS),
        ("fioff", abi.UC_X86_REG_FIP), ("foseg", abi.UC_X86_REG_FDS), ("fooff", abi.UC_X86_REG_FDP), ("fop", abi.UC_X86_REG_FOP))),
    *(_public(f"xmm{index}", 128, "vec128", SSE, abi.UC_X86_REG_XMM0 + index) for index in range(16)),
    Register("mxcsr", 32, "i386_mxcsr", SSE, lambda target, cpu: target.vcpu(cpu).public_register(abi.UC_X86_REG_MXCSR, 4),
             lambda target, cpu, value: loading.load_mxcsr(target.vcpu(cpu), value)),
    _base("fs_base", _segment_base(abi.R_FS)), _base("gs_base", _segment_base(abi.R_GS)), _base("k_gs_base", abi.ENV_KERNEL_GS_BASE),
    _control("cr0", abi.ENV_CR, loading.load_cr0), _control("cr2", abi.ENV_CR + 16, lambda vcpu, value: vcpu.set_field(abi.ENV_CR + 16, value, 8)),
    _control("cr3", abi.ENV_CR + 24, loading.load_cr3), _control("cr4", abi.ENV_CR + 32, loading.load_cr4),
    Register("cr8", 64, "int64", SYSTEM, lambda target, cpu: target.lapic(cpu).state.tpr >> 4 & 0xF, loading.load_cr8),
    _control("efer", abi.ENV_EFER, loading.load_efer),
)
BY_NAME = {register.name: register for register in REGISTERS}


def description() -> str:
    """GDB's target description: always 64-bit, whatever mode the guest is in, because GDB cannot change its mind."""
    eflags = "".join(f'<field name="{name}" start="{bit}" end="{bit}"/>' for name, bit in FLAGS.items())
    types = {
        CORE: f'<flags id="i386_eflags" size="4">{eflags}</flags>',
        SSE: '<vector id="v4f" type="ieee_single" count="4"/><vector id="v2d" type="ieee_double" count="2"/><vector id="v16i8" type="int8" count="16"/>'
             '<vector id="v8i16" type="int16" count="8"/><vector id="v4i32" type="int32" count="4"/><vector id="v2i64" type="int64" count="2"/>'
             '<union id="vec128"><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/><field name="v16_int8" type="v16i8"/>'
             '<field name="v8_int16" type="v8i16"/><field name="v4_int32" type="v4i32"/><field name="v2_int64" type="v2i64"/>'
             '<field name="uint128" type="uint128"/></union>'
             '<flags id="i386_mxcsr" size="4"><field name="IE" start="0" end="0"/><field name="DE" start="1" end="1"/><field name="ZE" start="2" end="2"/>'
             '<field name="OE" start="3" end="3"/><field name="UE" start="4" end="4"/><field name="PE" start="5" end="5"/><field name="DAZ" start="6" end="6"/>'
             '<field name="IM" start="7" end="7"/><field name="DM" start="8" end="8"/><field name="ZM" start="9" end="9"/>'
             '<field name="OM" start="10" end="10"/><field name="UM" start="11" end="11"/><field name="PM" start="12" end="12"/>'
             '<field name="FZ" start="15" end="15"/></flags>',
        SYSTEM: ""}
    registers = {feature: "".join(f'<reg name="{one.name}" bitsize="{one.bits}" type="{one.type}"/>' for one in REGISTERS if one.feature == feature)
                 for feature in types}
    features = "".join(f'<feature name="{feature}">{types[feature]}{registers[feature]}</feature>' for feature in types)
    return f'<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target><architecture>i386:x86-64</architecture>{features}</target>'
