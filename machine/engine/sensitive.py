"""RDMSR, WRMSR and MOV CR8: what the library leaves out of them, and who answers instead.

This build of QEMU knows the MSRs of the processor proper (EFER, STAR, the segment bases, PAT, MTRRs...). Those of the local APIC were cut out with it, and
any that it does not know reads 0 and takes what is written; a processor raises #GP. CR8 reads 0. No public hook sees these instructions.

Their helpers begin by asking `cpu_svm_check_intercept_param` whether a hypervisor wants to see the instruction, through a linkage slot of the library. A
stub in that slot answers MSRs that the library does not know, and CR8, by a callback, and leaves the helper by its own frame; all else goes on as before. For
all engines of the process, told apart by the address of their state, and only where the helpers are byte for byte those that were studied; elsewhere they
stay as they are.
"""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Callable
from ctypes import c_uint64
from typing import Protocol

from machine.engine import abi
from machine.engine.stubs import pages

# Exit codes, AMD APM vol. 2, appendix C. For EXIT_MSR the parameter is 0 for RDMSR, 1 for WRMSR; for a write to CR8 the stub hands in the value.
EXIT_READ_CR8, EXIT_WRITE_CR8, EXIT_MSR = 0x08, 0x18, 0x7C
GENERAL_PROTECTION = 13
NOT_MINE = 2                               # an engine of somebody else's in this process: as the library does it
BITMAP_SIZE, HIGH_BASE = 0x400, 0xC0000000
# MSRs that helper_rdmsr and helper_wrmsr carry out (target/i386/misc_helper.c), below BITMAP_SIZE and from HIGH_BASE on.
NATIVE_LOW = (0xFE, *range(0x174, 0x177), *range(0x179, 0x17C), 0x198, 0x1A0, *range(0x200, 0x210), 0x250, 0x258, 0x259, *range(0x268, 0x270), 0x277, 0x2FF)
NATIVE_HIGH = (*range(0xC0000080, 0xC0000085), *range(0xC0000100, 0xC0000104))
CALLBACK = ctypes.CFUNCTYPE(c_uint64, c_uint64, ctypes.c_uint32, c_uint64)      # (state, exit code, parameter) -> done, or the value of CR8
# void cpu_svm_check_intercept_param(state, exit code, parameter, return address into translated code)
LISTING = """
    cmp esi, {exit_msr}
    je msr
    cmp esi, {exit_write_cr8}
    je write_cr8
    cmp esi, {exit_read_cr8}
    je read_cr8
pass:
    mov rax, {original}
    jmp rax
msr:
    mov eax, dword ptr [rdi + {rcx}]
    mov r8d, eax
    mov r9, {low}
    cmp eax, {bitmap_size}
    jb look
    lea r8d, [rax + {minus_high_base}]
    mov r9, {high}
    cmp r8d, {bitmap_size}
    jae ours
look:
    bt dword ptr [r9], r8d
    jc pass
ours:
    mov r9, {in_rdmsr}
    test edx, edx
    jz from
    mov r9, {in_wrmsr}
from:
    cmp [rsp], r9
    jne pass
    push rdi
    push rdx
    push rcx
    mov rax, {callback}
    call rax
    pop rcx
    pop rdx
    pop rdi
    mov esi, {exit_msr}
    cmp rax, {not_mine}
    je pass
    test rax, rax
    jz fault
    add rsp, 8                      # leave the helper, too: what it has pushed, and its return address
    test edx, edx
    jz read
    pop rbp
    ret
read:
    pop rbx
    ret
fault:
    mov esi, {general_protection}
    xor edx, edx
    mov rax, {raise_exception_err_ra}
    jmp rax
write_cr8:
    mov r9, {in_write_cr}
    cmp [rsp], r9
    jne pass
    sub rsp, 8
    mov rdx, r12
    mov rax, {callback}
    call rax
    add rsp, 8
    ret
read_cr8:
    mov r9, {in_read_cr}
    cmp [rsp], r9
    jne pass
    sub rsp, 8
    mov rax, {callback}
    call rax
    add rsp, 24
    pop rbx
    pop rbp
    ret
"""
CODE = ("83fe7c741e83fe180f84ab00000083fe080f84ce00000048b8 {original} ffe08b47084189c049b9 {low} 3d00040000721a448d800000004049b9 {high} "
        "4181f8000400007306450fa30172bd49b9 {in_rdmsr} 85d2740a49b9 {in_wrmsr} 4c390c24759f57525148b8 {callback} "
        "ffd0595a5fbe7c0000004883f80274824885c0740c4883c40885d274025dc35bc3be0d00000031d248b8 {raise_exception_err_ra} ffe049b9 {in_write_cr} "
        "4c390c240f854affffff4883ec084c89e248b8 {callback} ffd04883c408c349b9 {in_read_cr} 4c390c240f851effffff4883ec0848b8 {callback} "
        "ffd04883c4185b5dc3")


class SensitiveRegisters(Protocol):
    """Who answers for the processor that runs."""

    def read_msr(self, number: int) -> int | None:
        """64 bits; None for #GP."""

    def write_msr(self, number: int, value: int) -> bool:
        """False for #GP."""

    def read_cr8(self) -> int:
        """Bits 7-4 of the task priority."""

    def write_cr8(self, value: int) -> None:
        """The same, of four bits."""


class Door:
    """Where the instructions of one engine arrive, for as long as this object lives.

    Args:
        lib: the library.
        env: address of the engine's CPUX86State.
        registers: who answers.
        failed: told of what that raised.
    """

    def __init__(self, lib: ctypes.CDLL, env: int, registers: SensitiveRegisters, failed: Callable[[BaseException], int]) -> None:
        self._registers, self._failed = registers, failed
        self._rax, self._rcx, self._rdx = (c_uint64.from_address(env + abi.ENV_REGS + 8 * index) for index in range(3))
        self._access = c_uint64.from_address(env - abi.X86CPU_ENV + abi.CPU_MEM_IO_PC)
        _DOORS[env] = self
        install(lib)

    def ask(self, code: int, parameter: int) -> int:
        """1 for done and 0 for #GP, or what CR8 reads."""
        registers = self._registers
        self._access.value = 0
        try:
            if code == EXIT_READ_CR8:
                return registers.read_cr8()
            if code == EXIT_WRITE_CR8:
                registers.write_cr8(parameter & 0xF)
                return 1
            number = self._rcx.value & 0xFFFFFFFF
            if parameter:
                return int(registers.write_msr(number, (self._rdx.value & 0xFFFFFFFF) << 32 | self._rax.value & 0xFFFFFFFF))
            value = registers.read_msr(number)
            if value is None:
                return 0
            self._rax.value, self._rdx.value = value & 0xFFFFFFFF, value >> 32
        except BaseException as failure:  # noqa: BLE001 -- must not reach ctypes, which would print and drop it; `Engine.run` raises it
            self._failed(failure)
        return 1


_DOORS: weakref.WeakValueDictionary[int, Door] = weakref.WeakValueDictionary()      # by the address of the engine's CPUX86State
_KEPT: list[object] = []                   # what the stub refers to


def stub(addresses: dict[str, int]) -> bytes:
    """The stub. `addresses`: original, low, high, in_rdmsr, in_wrmsr, in_read_cr, in_write_cr, callback, raise_exception_err_ra."""
    return pages.fill(CODE, **addresses)


@functools.cache
def install(lib: ctypes.CDLL) -> bool:
    """Puts the stub into the library's slot. False if this is not the library that was studied."""
    if not abi.knows_sensitive_helpers(lib):
        return False
    sites = {name: abi.address_of(lib, f"{function}_x86_64") + offset for name, (function, _, offset) in abi.SENSITIVE_HELPERS.items()}
    low, high, callback = _bitmap(NATIVE_LOW, 0), _bitmap(NATIVE_HIGH, HIGH_BASE), CALLBACK(_ask)
    _KEPT.extend((low, high, callback))
    address = ctypes.cast(callback, ctypes.c_void_p).value
    assert address is not None
    slot = c_uint64.from_address(abi.linkage_slot(sites["in_rdmsr"] - abi.CALL_LENGTH))
    slot.value = pages.resident(stub({
        "original": abi.address_of(lib, "cpu_svm_check_intercept_param_x86_64"), "low": ctypes.addressof(low), "high": ctypes.addressof(high), **sites,
        "callback": address, "raise_exception_err_ra": abi.address_of(lib, "raise_exception_err_ra_x86_64")}))
    return True


def _bitmap(numbers: tuple[int, ...], base: int) -> ctypes.Array[ctypes.c_char]:
    bits = sum(1 << number - base for number in numbers)
    return ctypes.create_string_buffer(bits.to_bytes(BITMAP_SIZE // 8, "little"), BITMAP_SIZE // 8)


def _ask(env: int, code: int, parameter: int) -> int:
    door = _DOORS.get(env)
    if door is not None:
        return door.ask(code, parameter)
    return NOT_MINE if code == EXIT_MSR else 0
