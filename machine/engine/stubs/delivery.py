"""Exceptions, #UD and SYSCALL, delivered by the engine's own functions, and who may reach a port."""

from __future__ import annotations

import struct

from machine.engine import abi
from machine.engine.stubs.pages import fill, imm64

# The last exceptions of each vCPU are kept for debuggers (`exceptions.py`): a count, then sixteen of six words. `record` is where a pointer to the present
# vCPU's is.
RECORD = """
    mov rax, {record}
    mov rax, [rax]
    mov rcx, [rax]
    add qword ptr [rax], 1
    and ecx, 15
    imul ecx, ecx, 48
    lea rax, [rax + rcx + 8]
    mov esi, esi
    mov [rax], rsi
    mov rcx, [rdi + {env_eip}]
    mov [rax + 8], rcx
    mov rcx, [rdi + {env_error}]          # and exception_is_int
    mov [rax + 16], rcx
    mov rcx, [rdi + {env_cr2}]
    mov [rax + 24], rcx
    mov rcx, [rdi + {env_cs_base}]
    mov [rax + 32], rcx
    mov ecx, dword ptr [rdi + {env_hflags}]
    mov [rax + 40], rcx
"""
EXCEPTION_LISTING = """
    mov rdi, {cpu}              # void hook(uc, int exception, void *user) -> do_interrupt(cpu)
""" + RECORD + """
    mov rax, {do_interrupt}
    jmp rax
"""
INVALID_OPCODE_LISTING = """
    push rbx                    # bool hook(uc, void *user): true = handled
    mov rdi, {cpu}
    mov esi, 6
""" + RECORD + """
    mov rax, {do_interrupt}
    call rax
    pop rbx
    mov eax, 1
    ret
"""
RECORD_CODE = ("48b8 {record} 488b00 488b08 48830001 83e10f 6bc930 488d440808 89f6 488930 488b8fd08a0000 48894808 488b8f589f0000 48894810 488b8f088c0000"
               "48894818 488b8f288b0000 48894820 8b8f008b0000 48894828")
EXCEPTION_CODE = "48bf {cpu}" + RECORD_CODE + "48b8 {do_interrupt} ffe0"
INVALID_OPCODE_CODE = "53 48bf {cpu} be06000000" + RECORD_CODE + "48b8 {do_interrupt} ffd0 5b b801000000 c3"
# SYSCALL, Intel SDM vol. 2B: RCX <- RIP, R11 <- RFLAGS, RIP <- LSTAR (CSTAR in compatibility mode), RFLAGS &= ~FMASK, CS/SS from STAR.
# The helper that calls the hook adds the instruction's length to RIP afterwards, hence the - 2.
SYSCALL_LISTING = """
    push rbx
    push r12
    sub rsp, 8
    mov rbx, {env}
    test dword ptr [rbx + {efer}], 1      # EFER.SCE clear: #UD; leaves by longjmp
    jz undefined
    mov rdi, rbx
    mov rax, {read_eflags}
    call rax
    mov rcx, [rbx + {eip}]
    add rcx, 2
    mov [rbx + {rcx}], rcx
    and eax, 0xfffeffff                   # without RF
    mov [rbx + {r11}], rax
    mov ecx, [rbx + {fmask}]
    not ecx
    and eax, ecx
    mov rdi, rbx
    mov esi, eax
    mov edx, 0xffffffff
    mov rax, {write_eflags}
    call rax
    mov r12d, [rbx + {hflags}]            # the mode before: 64-bit or compatibility
    movzx eax, word ptr [rbx + {star_47_32}]
    and eax, 0xfffc
    mov [rbx + {cs}], eax
    mov qword ptr [rbx + {cs} + 8], 0
    mov dword ptr [rbx + {cs} + 16], 0xffffffff
    mov dword ptr [rbx + {cs} + 20], 0xa09b00    # G, L, P, DPL 0, code, read, accessed
    add eax, 8
    mov [rbx + {ss}], eax
    mov qword ptr [rbx + {ss} + 8], 0
    mov dword ptr [rbx + {ss} + 16], 0xffffffff
    mov dword ptr [rbx + {ss} + 20], 0xc09300    # G, B, P, DPL 0, data, write, accessed
    mov rdi, rbx
    mov rax, {update_hflags}
    call rax
    mov rax, [rbx + {lstar}]
    test r12d, {cs64}
    jnz target
    mov rax, [rbx + {cstar}]
target:
    sub rax, 2
    mov [rbx + {eip}], rax
    add rsp, 8
    pop r12
    pop rbx
    ret
undefined:
    mov rdi, rbx
    mov esi, 6
    mov rax, {raise_exception}
    call rax
"""
# A hook of IN or OUT (uc, port, size, ..), asked before the callback that it jumps to: this build of QEMU lets every ring reach every port.
# SDM vol. 1, 19.5: outside ring 0 the IOPL decides, and if it does not allow it, or in virtual-8086 mode, the TSS's I/O permission map;
# QEMU's own check raises #GP by longjmp.
PORT_LISTING = """
    mov rax, {env}
    mov r10d, [rax + {hflags}]
    and r10d, 3                   # CPL; 0 in real mode
    je permitted
    mov r11d, [rax + {eflags}]
    bt r11d, 17                   # VM
    jb ask
    shr r11d, 12
    and r11d, 3
    cmp r10d, r11d
    jbe permitted
ask:
    push rdi
    push rsi
    push rdx
    push rcx
    push r8
    mov rdi, rax
    mov rax, {check_byte}
    cmp edx, 2
    jb check
    mov rax, {check_word}
    je check
    mov rax, {check_long}
check:
    call rax
    pop r8
    pop rcx
    pop rdx
    pop rsi
    pop rdi
permitted:
    mov rax, {callback}
    jmp rax
"""


def exception(cpu: int, do_interrupt: int, record: int) -> bytes:
    """`UC_HOOK_INTR`: deliver through the guest's IDT."""
    return fill(EXCEPTION_CODE, cpu=cpu, do_interrupt=do_interrupt, record=record)


def invalid_opcode(cpu: int, do_interrupt: int, record: int) -> bytes:
    """`UC_HOOK_INSN_INVALID`: deliver #UD and say that it was handled."""
    return fill(INVALID_OPCODE_CODE, cpu=cpu, do_interrupt=do_interrupt, record=record)


def syscall(env: int, read_eflags: int, write_eflags: int, update_hflags: int, raise_exception: int) -> bytes:
    """`UC_HOOK_INSN` for SYSCALL: the ring change that this build of QEMU leaves out."""
    def at(offset: int) -> bytes:
        return struct.pack("<i", offset)
    cs, ss = abi.ENV_SEGS + abi.R_CS * abi.ENV_SEG_SIZE, abi.ENV_SEGS + abi.R_SS * abi.ENV_SEG_SIZE
    head = b"\x53\x41\x54\x48\x83\xec\x08" + b"\x48\xbb" + imm64(env) + b"\xf7\x83" + at(abi.ENV_EFER) + b"\x01\x00\x00\x00"
    body = (b"\x48\x89\xdf\x48\xb8" + imm64(read_eflags) + b"\xff\xd0"
            + b"\x48\x8b\x8b" + at(abi.ENV_EIP) + b"\x48\x83\xc1\x02" + b"\x48\x89\x4b" + bytes([abi.ENV_REGS + 8])
            + b"\x25\xff\xff\xfe\xff" + b"\x48\x89\x43" + bytes([abi.ENV_REGS + 88])
            + b"\x8b\x8b" + at(abi.ENV_FMASK) + b"\xf7\xd1\x21\xc8" + b"\x48\x89\xdf\x89\xc6\xba\xff\xff\xff\xff"
            + b"\x48\xb8" + imm64(write_eflags) + b"\xff\xd0"
            + b"\x44\x8b\xa3" + at(abi.ENV_HFLAGS) + b"\x0f\xb7\x83" + at(abi.ENV_STAR + 4) + b"\x25\xfc\xff\x00\x00")
    for offset, flags in ((cs, 0xA09B00), (ss, 0xC09300)):
        if offset == ss:
            body += b"\x83\xc0\x08"
        body += b"\x89\x83" + at(offset) + b"\x48\xc7\x83" + at(offset + 8) + bytes(4)
        body += b"\xc7\x83" + at(offset + 16) + b"\xff\xff\xff\xff" + b"\xc7\x83" + at(offset + 20) + struct.pack("<I", flags)
    body += (b"\x48\x89\xdf\x48\xb8" + imm64(update_hflags) + b"\xff\xd0"
             + b"\x48\x8b\x83" + at(abi.ENV_LSTAR) + b"\x41\xf7\xc4" + struct.pack("<I", abi.HF_CS64_MASK)
             + b"\x75\x07" + b"\x48\x8b\x83" + at(abi.ENV_CSTAR)
             + b"\x48\x83\xe8\x02" + b"\x48\x89\x83" + at(abi.ENV_EIP) + b"\x48\x83\xc4\x08\x41\x5c\x5b\xc3")
    tail = b"\x48\x89\xdf\xbe\x06\x00\x00\x00\x48\xb8" + imm64(raise_exception) + b"\xff\xd0"
    return head + b"\x0f\x84" + struct.pack("<i", len(body)) + body + tail


def port(env: int, checks: tuple[int, int, int], callback: int) -> bytes:
    """`UC_HOOK_INSN` for IN and OUT: may this ring reach this port? `checks` for 1, 2 and 4 bytes; `callback` does the access."""
    check_byte, check_word, check_long = (b"\x48\xb8" + imm64(check) for check in checks)
    return (b"\x48\xb8" + imm64(env) + b"\x44\x8b\x90" + struct.pack("<i", abi.ENV_HFLAGS) + b"\x41\x83\xe2\x03\x74\x51"
            + b"\x44\x8b\x98" + struct.pack("<i", abi.ENV_EFLAGS) + b"\x41\x0f\xba\xe3\x11\x72\x0d" + b"\x41\xc1\xeb\x0c\x41\x83\xe3\x03\x45\x39\xda\x76\x36"
            + b"\x57\x56\x52\x51\x41\x50\x48\x89\xc7" + check_byte + b"\x83\xfa\x02\x72\x16" + check_word + b"\x74\x0a" + check_long
            + b"\xff\xd0\x41\x58\x59\x5a\x5e\x5f" + b"\x48\xb8" + imm64(callback) + b"\xff\xe0")
