"""Native code that Unicorn calls in the guest's place: exceptions, #UD, SYSCALL, the region look-up, the instruction count and the end of a slice.

QEMU's functions leave by `longjmp` when delivery itself faults, and a `longjmp` must not cross a Python frame; and a page fault that
entered Python would cost ten times what it costs QEMU. So these hooks are a few bytes of host code each, in one executable page.
Unicorn needs executable memory for its own translations, so where this page is refused Unicorn cannot run either.
`tests/machine/engine/test_stubs.py` assembles the listings below and compares them with the bytes.

Calling convention: System V AMD64 (rdi, rsi, rdx, rcx, r8, r9; rax back).
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import struct

from machine.engine import abi
from machine.errors import EngineError

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
# MemoryRegion *memory_mapping(uc, physical address), where `notdirty_write` asks: a store hit a page in which code may have been translated. Unicorn keeps
# every page slow that may be executed, and makes every other one fast although translations may be left in it. Better: a page without translations becomes
# fast at once, by clearing the flag in the TLB entry and answering "no such region"; one with translations stays slow, by answering with a region that says
# so. What is not asked there falls through to REGION_LISTING.
STORE_LISTING = """
    mov rcx, {asked}
    cmp [rsp], rcx
    jne other
    mov rcx, {quick}
    cmp byte ptr [rcx], 0
    je other
    lea r8, [r12 + r13]
    shr r8, 12                            # number of the RAM page
    mov edx, dword ptr [rdi + {l1_size}]
    dec edx
    mov ecx, dword ptr [rdi + {l1_shift}]
    mov rax, r8
    shr rax, cl
    and rax, rdx
    mov r9, [rdi + {l1_map}]
    lea r9, [r9 + rax * 8]
    imul ecx, dword ptr [rdi + {l2_levels}], 10
level:
    mov r9, [r9]
    test r9, r9
    jz clean
    test ecx, ecx
    jle leaf
    mov rax, r8
    shr rax, cl
    and eax, 0x3ff
    lea r9, [r9 + rax * 8]
    sub ecx, 10
    jmp level
leaf:
    and r8d, 0x3ff
    lea r8, [r8 + r8 * 2]
    cmp qword ptr [r9 + r8 * 8], 0        # PageDesc.first_tb
    jne code
clean:
    and dword ptr [rbp + {tlb_write}], -{notdirty} - 1
    xor eax, eax
    ret
code:
    mov rax, {sticky}
    ret
other:
"""
STORE_CODE = ("48b9 {asked} 48390c24 0f8587000000 48b9 {quick} 803900 7478 4f8d042c 49c1e80c 8b97f0020000 ffca 8b8ff4020000 4c89c0 48d3e8 4821d0 4c8b8fe0020000"
              "4d8d0cc1 6b8ff80200000a 4d8b09 4d85c9 742a 85c9 7e14 4c89c0 48d3e8 25ff030000 4d8d0cc1 83e90a ebe0 4181e0ff030000 4f8d0440 4b833cc100 750a"
              "816508fffbffff 31c0 c3 48b8 {sticky} c3")
# void tlb_protect_code(uc, RAM address): a page is about to hold its first translation. Unicorn makes stores slow only at the virtual address at which it is
# executed; another alias of the page may be fast by now. So all of the TLB starts over, with slow stores.
PROTECT_LISTING = """
    push rdi
    push rsi
    push rax
    mov rdi, [rdi + {uc_cpu}]
    mov rax, {tlb_flush}
    call rax
    pop rax
    pop rsi
    pop rdi
    mov rax, {original}
    jmp rax
"""
PROTECT_CODE = "57 56 50 488bbfb8010000 48b8 {tlb_flush} ffd0 58 5e 5f 48b8 {original} ffe0"
# MemoryRegion *memory_mapping(uc, physical address): RAM is asked for at every slow store, and found by a search; answer at once.
REGION_LISTING = """
    mov rax, {high_base}
    cmp rsi, rax
    jb other
    mov rax, {high_end}
    cmp rsi, rax
    jae other
    mov rax, {high_region}
    ret
other:
    cmp rsi, {low_end}
    jae search
    mov rax, {low_region}
    ret
search:
    mov rax, {original}
    jmp rax
"""
# void request(void): the engine leaves at the next block start. Two writes, with a lock, so that any thread and any signal may make them.
STOP_LISTING = """
    mov rax, {cpu}
    lock or dword ptr [rax + {requests}], {halt}
    mov rax, {attention}
    mov word ptr [rax], -1
    ret
"""
# bool exec_interrupt(cpu, request), which the main loop calls between two blocks, RIP being right: leave if that was asked for, and else do as always. An
# exception that waits to be delivered goes first; the request stays.
EXEC_INTERRUPT_LISTING = """
    test esi, {halt}
    jnz leave
    mov rax, {exec_interrupt}
    jmp rax
leave:
    xor eax, eax
    cmp dword ptr [rdi + {exception_index}], -1
    jne later
    lock and dword ptr [rdi + {requests}], -{halt} - 1
    mov byte ptr [rdi + {exit_request}], 1
    mov rdx, {stop_request}
    mov byte ptr [rdx], 1
later:
    ret
"""
# The same where instructions are counted, and the interrupts that a processor takes must be known of at once, before it executes another instruction: what is
# left of the slice is put aside.
EXEC_AND_TELL_LISTING = """
    test esi, {halt}
    jnz leave
    push rdi
    mov rax, {exec_interrupt}
    call rax
    pop rdi
    test al, al
    jz later
    mov rcx, {left}
    mov rdx, {aside}
    mov rsi, [rcx]
    add [rdx], rsi
    mov qword ptr [rcx], 0
    ret
""" + EXEC_INTERRUPT_LISTING[EXEC_INTERRUPT_LISTING.index("leave:"):]
# void exec_exit(cpu): the main loop has been left, most often by a PAUSE. A processor that pauses many times in one slice waits for another: ask for a stop.
# A store that was caught (`Instance.catch_stores`) leaves the loop too, as an error that would end the slice: it is none, and the guest goes on.
# `last_error` tells which it was the last time.
PAUSE_LISTING = """
    mov rax, {invalid_error}
    mov ecx, [rax]
    mov rdx, {last_error}
    mov [rdx], ecx
    cmp ecx, {write_prot}
    jne pauses
    mov dword ptr [rax], 0
    jmp patient
pauses:
    mov rax, {patience}
    sub qword ptr [rax], 1
    jg patient
    lock or dword ptr [rdi + {requests}], {halt}
    mov rax, {attention}
    mov word ptr [rax], -1
patient:
    mov rax, {exec_exit}
    jmp rax
"""
PAUSE_CODE = ("48b8 {invalid_error} 8b0848ba {last_error} 890a83f90c7508c70000000000eb2448b8 {patience} "
              "488328017f14f0834f1c2048b8 {attention} 66c700ffff48b8 {exec_exit} ffe0")
# void hook(uc, address, size, user), before every instruction of a counting engine, RIP and flags being right: one less to go; with none to go, leave at once.
COUNT_LISTING = """
    mov rax, {left}
    sub qword ptr [rax], 1
    js exhausted
    ret
exhausted:
    mov qword ptr [rax], 0
    mov rdi, {cpu}
    mov dword ptr [rdi + {exception_index}], {excp_hlt}
    mov rax, {loop_exit}
    jmp rax
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
# A write to where the host bridge's registers are may change what memory shows, and the next instruction must be fetched from what it shows then. But a block
# goes on behind the instruction that writes. So that instruction does not write yet: it is left, and begun again as a block of its own.
# Both are jumped to with RIP being right. AGAIN does that; `left` and `place` are what is kept of counts and breakpoints, which see the instruction twice. LONE
# makes the write, which is at rax, where it waited for its block: `pending` is RIP of one that does, -1 for none.
AGAIN_LISTING = """
    mov r11, {env}
    mov r9, [r11 + {eip}]
    add r9, [r11 + {cs_base}]
    mov rax, {place}
    mov [rax], r9
    mov rax, {left}
    add qword ptr [rax], 1
    mov rdi, {cpu}
    mov dword ptr [rdi + {cflags_next_tb}], 1
    mov dword ptr [rdi + {exception_index}], -1
    mov rax, {loop_exit}
    jmp rax
"""
AGAIN_CODE = ("49bb {env} 4d8b8b800000004d038bd800000048b8 {place} 4c890848b8 {left} 4883000148bf {cpu} c7471801000000c787a0810000ffffffff48b8 "
              "{loop_exit} ffe0")
LONE_LISTING = """
    mov r10, {pending}
    mov r11, {env}
    mov r9, [r11 + {eip}]
    cmp [r10], r9
    je alone
    mov [r10], r9
""" + AGAIN_LISTING + """
alone:
    mov qword ptr [r10], -1
    jmp rax
"""
LONE_CODE = ("49ba {pending} 49bb {env} 4d8b8b800000004d390a745d4d890a49bb {env} 4d8b8b800000004d038bd800000048b8 {place} 4c890848b8 {left} "
             "4883000148bf {cpu} c7471801000000c787a0810000ffffffff48b8 {loop_exit} ffe049c702ffffffffffe0")
# A hook of OUT (uc, port, size, value, user): CONFIG_DATA's writes are made alone.
LONE_PORT_LISTING = """
    mov rax, {callback}
    mov r10d, esi
    and r10d, -4
    cmp r10d, 0xcfc
    jne plain
    mov r10, {lone}
    jmp r10
plain:
    jmp rax
"""
LONE_PORT_CODE = "48b8 {callback} 4189f24183e2fc4181fafc0c0000750d49ba {lone} 41ffe2ffe0"
# void write(uc, offset, size, value, user) of a hole that begins at `base`: writes from window[0] to below window[1] are made alone, unless it is no
# instruction that makes them (an exception is delivered to a stack there).
LONE_STORE_LISTING = """
    mov r10, {window}
    mov r11, {base}
    add r11, rsi
    cmp r11, [r10]
    jb plain
    cmp r11, [r10 + 8]
    jae plain
    mov r10, {cpu}
    cmp qword ptr [r10 + {mem_io_pc}], 0
    je plain
    push rdi
    push rsi
    push rdx
    push rcx
    push r8
    mov rdi, {context}
    mov rsi, [r10 + {mem_io_pc}]
    mov rax, {tb_lookup}
    call rax
    cmp word ptr [rax + {tb_icount}], 1
    je alone
    mov rdi, {cpu}
    mov rsi, [rdi + {mem_io_pc}]
    xor edx, edx
    mov rax, {restore_state}
    call rax
    add rsp, 40
    mov rax, {again}
    jmp rax
alone:
    pop r8
    pop rcx
    pop rdx
    pop rsi
    pop rdi
plain:
    mov rax, {callback}
    jmp rax
"""
LONE_STORE_CODE = ("49ba {window} 49bb {base} 4901f34d3b1a72794d3b5a08737349ba {cpu} 4983ba7881000000745f57565251415048bf {context} 498bb27881000048b8 "
                   "{tb_lookup} ffd06683781601742f48bf {cpu} 488bb77881000031d248b8 {restore_state} ffd04883c42848b8 {again} ffe04158595a5e5f48b8 "
                   "{callback} ffe0")
# void hook(uc, address, size, user), before the instruction of a breakpoint: it does not begin, unless this is where the processor was told to go on from.
# `place` holds the address to pass once and the address that was hit; `left` is what `count` counts down, in which this instruction must not appear.
BREAK_LISTING = """
    mov rax, {place}
    cmp [rax], rsi
    je pass
    mov [rax + 8], rsi
    mov rcx, {left}
    add qword ptr [rcx], 1
    mov rdi, {cpu}
    mov dword ptr [rdi + {exception_index}], {excp_hlt}
    mov rax, {loop_exit}
    jmp rax
pass:
    mov qword ptr [rax], -1
    ret
"""
BREAK_CODE = ("48b8 {place} 483930 7432 48897008 48b9 {left} 48830101 48bf {cpu} c787a081000001000100 48b8 {loop_exit} ffe0 48c700ffffffff c3")
# void handler(int signal, siginfo_t *info, void *context): info->si_value.sival_ptr is the `request` of the engine whose timer it is.
TIMER_LISTING = """
    jmp qword ptr [rsi + 24]
"""
TIMER = bytes.fromhex("ff6618")
# int hook(uc, user), for RDTSC where time is counted instructions: true = answered. `state` holds, in 64-bit words: picoseconds before the slice,
# the slice's budget, what was put aside; `left` what is left of it.
COUNTED_TSC_LISTING = """
    mov rcx, {state}
    mov rax, [rcx + 8]
    sub rax, [rcx + 16]
    mov rdx, {left}
    sub rax, [rdx]
    imul rax, rax, {picoseconds}
    add rax, [rcx]
    xor edx, edx
    mov ecx, 1000
    div rcx
    mov rcx, {env}
    add rax, [rcx + {tsc_offset}]
    mov edx, eax
    mov [rcx + {rax}], rdx
    shr rax, 32
    mov [rcx + {rdx}], rax
    mov eax, 1
    ret
"""
COUNTED_TSC_CODE = ("48b9 {state} 488b4108482b411048ba {left} 482b024869c0 {picoseconds} 48030131d2b9e803000048f7f148b9 {env} "
                    "4803818815000089c248891148c1e82048894110b801000000c3")
# RDTSCP is not carried out further either: ECX is the hook's affair, too.
COUNTED_TSCP_LISTING = COUNTED_TSC_LISTING.replace("    mov eax, 1\n", """
    mov eax, dword ptr [rcx + {tsc_aux}]
    mov [rcx + {rcx}], rax
    mov eax, 1
""")
COUNTED_TSCP_CODE = COUNTED_TSC_CODE.replace("b801000000c3", "8b812013000048894108b801000000c3")
READ_TSC_LISTING = """
    rdtsc                       # uint64_t read(void): the host's own counter, which free-running guests see
    shl rdx, 32
    or rax, rdx
    ret
"""
READ_TSC = bytes.fromhex("0f31" "48c1e220" "4809d0" "c3")


def _imm64(value: int) -> bytes:
    return struct.pack("<Q", value)


def fill(code: str, **values: int) -> bytes:
    """Machine code in hexadecimal, with 64-bit values in their places."""
    return bytes.fromhex(code.format(**{name: _imm64(value).hex() for name, value in values.items()}))


def store(asked: int, quick: int, sticky: int) -> bytes:
    """`uc_struct.memory_mapping` as `notdirty_write` asks it; to be followed by `region`.

    Args:
        asked: the return address there.
        quick: address of a byte; 0 switches this off.
        sticky: address of the `MemoryRegion` for pages with translations.
    """
    return fill(STORE_CODE, asked=asked, quick=quick, sticky=sticky)


def counted_tsc(state: int, left: int, env: int, picoseconds: int) -> bytes:
    """`UC_HOOK_INSN` for RDTSC: nanoseconds of counted time, and the processor's offset. An instruction lasts `picoseconds`, below 2^31."""
    return fill(COUNTED_TSC_CODE.replace("{picoseconds}", struct.pack("<I", picoseconds).hex()), state=state, left=left, env=env)


def counted_tscp(state: int, left: int, env: int, picoseconds: int) -> bytes:
    """The same for RDTSCP."""
    return fill(COUNTED_TSCP_CODE.replace("{picoseconds}", struct.pack("<I", picoseconds).hex()), state=state, left=left, env=env)


def break_at(place: int, left: int, cpu: int, loop_exit: int) -> bytes:
    """`UC_HOOK_CODE` for one address: leaves before it, as `count` does."""
    return fill(BREAK_CODE, place=place, left=left, cpu=cpu, loop_exit=loop_exit)


def pause(invalid_error: int, last_error: int, patience: int, attention: int, exec_exit: int) -> bytes:
    """`CPUClass.cpu_exec_exit`: counts `patience` down, and asks for a stop at 0; takes the error of a caught store away."""
    return fill(PAUSE_CODE, invalid_error=invalid_error, last_error=last_error, patience=patience, attention=attention, exec_exit=exec_exit)


def again(env: int, place: int, left: int, cpu: int, loop_exit: int) -> bytes:
    """For `lone_store`: leaves, to begin the instruction again in a block of its own."""
    return fill(AGAIN_CODE, env=env, place=place, left=left, cpu=cpu, loop_exit=loop_exit)


def lone(pending: int, env: int, place: int, left: int, cpu: int, loop_exit: int) -> bytes:
    """For `lone_port`: makes a write in a block of its own."""
    return fill(LONE_CODE, pending=pending, env=env, place=place, left=left, cpu=cpu, loop_exit=loop_exit)


def lone_port(lone: int, callback: int) -> bytes:
    """What `port` goes on to for OUT; `callback` does the access."""
    return fill(LONE_PORT_CODE, lone=lone, callback=callback)


def lone_store(window: int, base: int, cpu: int, context: int, tb_lookup: int, restore_state: int, again: int, callback: int) -> bytes:
    """The write callback of a hole: what goes to the host bridge is made in a block of its own."""
    return fill(LONE_STORE_CODE, window=window, base=base, cpu=cpu, context=context, tb_lookup=tb_lookup, restore_state=restore_state, again=again,
                callback=callback)


def protect(tlb_flush: int, original: int) -> bytes:
    """`tlb_protect_code`, for every alias of the page."""
    return fill(PROTECT_CODE, tlb_flush=tlb_flush, original=original)


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
    head = b"\x53\x41\x54\x48\x83\xec\x08" + b"\x48\xbb" + _imm64(env) + b"\xf7\x83" + at(abi.ENV_EFER) + b"\x01\x00\x00\x00"
    body = (b"\x48\x89\xdf\x48\xb8" + _imm64(read_eflags) + b"\xff\xd0"
            + b"\x48\x8b\x8b" + at(abi.ENV_EIP) + b"\x48\x83\xc1\x02" + b"\x48\x89\x4b" + bytes([abi.ENV_REGS + 8])
            + b"\x25\xff\xff\xfe\xff" + b"\x48\x89\x43" + bytes([abi.ENV_REGS + 88])
            + b"\x8b\x8b" + at(abi.ENV_FMASK) + b"\xf7\xd1\x21\xc8" + b"\x48\x89\xdf\x89\xc6\xba\xff\xff\xff\xff"
            + b"\x48\xb8" + _imm64(write_eflags) + b"\xff\xd0"
            + b"\x44\x8b\xa3" + at(abi.ENV_HFLAGS) + b"\x0f\xb7\x83" + at(abi.ENV_STAR + 4) + b"\x25\xfc\xff\x00\x00")
    for offset, flags in ((cs, 0xA09B00), (ss, 0xC09300)):
        if offset == ss:
            body += b"\x83\xc0\x08"
        body += b"\x89\x83" + at(offset) + b"\x48\xc7\x83" + at(offset + 8) + bytes(4)
        body += b"\xc7\x83" + at(offset + 16) + b"\xff\xff\xff\xff" + b"\xc7\x83" + at(offset + 20) + struct.pack("<I", flags)
    body += (b"\x48\x89\xdf\x48\xb8" + _imm64(update_hflags) + b"\xff\xd0"
             + b"\x48\x8b\x83" + at(abi.ENV_LSTAR) + b"\x41\xf7\xc4" + struct.pack("<I", abi.HF_CS64_MASK)
             + b"\x75\x07" + b"\x48\x8b\x83" + at(abi.ENV_CSTAR)
             + b"\x48\x83\xe8\x02" + b"\x48\x89\x83" + at(abi.ENV_EIP) + b"\x48\x83\xc4\x08\x41\x5c\x5b\xc3")
    tail = b"\x48\x89\xdf\xbe\x06\x00\x00\x00\x48\xb8" + _imm64(raise_exception) + b"\xff\xd0"
    return head + b"\x0f\x84" + struct.pack("<i", len(body)) + body + tail


def region(high_base: int, high_end: int, high_region: int, low_end: int, low_region: int, original: int) -> bytes:
    """`uc_struct.memory_mapping`: RAM's region without a search, everything else by the original function."""
    return (b"\x48\xb8" + _imm64(high_base) + b"\x48\x39\xc6\x72\x1a" + b"\x48\xb8" + _imm64(high_end) + b"\x48\x39\xc6\x73\x0b"
            + b"\x48\xb8" + _imm64(high_region) + b"\xc3" + b"\x48\x81\xfe" + struct.pack("<i", low_end) + b"\x73\x0b"
            + b"\x48\xb8" + _imm64(low_region) + b"\xc3" + b"\x48\xb8" + _imm64(original) + b"\xff\xe0")


def stop(cpu: int, attention: int) -> bytes:
    """Asks the engine to leave at the next block start. Safe in a signal handler and from any thread."""
    return (b"\x48\xb8" + _imm64(cpu) + b"\xf0\x83\x48" + bytes([abi.CPU_INTERRUPT_REQUEST, abi.CPU_INTERRUPT_HALT])
            + b"\x48\xb8" + _imm64(attention) + b"\x66\xc7\x00\xff\xff\xc3")


def exec_interrupt(original: int, stop_request: int) -> bytes:
    """`CPUClass.cpu_exec_interrupt`: carries out what `stop` asked for."""
    return (b"\xf7\xc6" + struct.pack("<I", abi.CPU_INTERRUPT_HALT) + b"\x75\x0c" + b"\x48\xb8" + _imm64(original) + b"\xff\xe0"
            + b"\x31\xc0" + b"\x83\xbf" + struct.pack("<i", abi.CPU_EXCEPTION_INDEX) + b"\xff" + b"\x75\x16"
            + b"\xf0\x83\x67" + bytes([abi.CPU_INTERRUPT_REQUEST, ~abi.CPU_INTERRUPT_HALT & 0xFF])
            + b"\xc6\x47" + bytes([abi.CPU_EXIT_REQUEST, 1]) + b"\x48\xba" + _imm64(stop_request) + b"\xc6\x02\x01" + b"\xc3")


def exec_and_tell(original: int, stop_request: int, left: int, aside: int) -> bytes:
    """The same where instructions are counted: an interrupt that was taken ends the slice; `left` has been added to `aside`."""
    alone = exec_interrupt(original, stop_request)
    head, leave = alone[:6], alone[alone.index(b"\xff\xe0") + 2:]
    body = (b"\x57\x48\xb8" + _imm64(original) + b"\xff\xd0\x5f\x84\xc0\x74\x43" + b"\x48\xb9" + _imm64(left) + b"\x48\xba" + _imm64(aside)
            + b"\x48\x8b\x31\x48\x01\x32\x48\xc7\x01" + bytes(4) + b"\xc3")
    return head + b"\x75" + bytes((len(body),)) + body + leave


def port(env: int, checks: tuple[int, int, int], callback: int) -> bytes:
    """`UC_HOOK_INSN` for IN and OUT: may this ring reach this port? `checks` for 1, 2 and 4 bytes; `callback` does the access."""
    check_byte, check_word, check_long = (b"\x48\xb8" + _imm64(check) for check in checks)
    return (b"\x48\xb8" + _imm64(env) + b"\x44\x8b\x90" + struct.pack("<i", abi.ENV_HFLAGS) + b"\x41\x83\xe2\x03\x74\x51"
            + b"\x44\x8b\x98" + struct.pack("<i", abi.ENV_EFLAGS) + b"\x41\x0f\xba\xe3\x11\x72\x0d" + b"\x41\xc1\xeb\x0c\x41\x83\xe3\x03\x45\x39\xda\x76\x36"
            + b"\x57\x56\x52\x51\x41\x50\x48\x89\xc7" + check_byte + b"\x83\xfa\x02\x72\x16" + check_word + b"\x74\x0a" + check_long
            + b"\xff\xd0\x41\x58\x59\x5a\x5e\x5f" + b"\x48\xb8" + _imm64(callback) + b"\xff\xe0")


def count(left: int, cpu: int, loop_exit: int) -> bytes:
    """`UC_HOOK_CODE`: counts down; with 0 to go the instruction does not begin and the main loop is left, as after a HLT but with `halted` clear."""
    return (b"\x48\xb8" + _imm64(left) + b"\x48\x83\x28\x01\x78\x01\xc3" + b"\x48\xc7\x00" + bytes(4) + b"\x48\xbf" + _imm64(cpu)
            + b"\xc7\x87" + struct.pack("<iI", abi.CPU_EXCEPTION_INDEX, abi.EXCP_HLT) + b"\x48\xb8" + _imm64(loop_exit) + b"\xff\xe0")


class CodePage:
    """One page of host code, filled once and then read and executed only."""

    def __init__(self) -> None:
        if platform.machine().lower() not in ("x86_64", "amd64"):
            raise EngineError(f"the engine's native stubs exist for x86-64 hosts; this host is {platform.machine()}")
        try:
            self._map = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        except OSError as error:
            raise EngineError(f"this system refuses executable memory ({error.strerror}); Unicorn's translator cannot run here") from None
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self._used = 0

    def add(self, code: bytes) -> int:
        """Copies `code` in and returns its address."""
        start = (self._used + 15) & ~15
        assert start + len(code) <= mmap.PAGESIZE, "the stubs outgrew their page"
        self._map[start : start + len(code)] = code
        self._used = start + len(code)
        return self._base + start


_RESIDENT: list[CodePage] = []


def resident(code: bytes) -> int:
    """Copies `code` to where it stays for as long as the process lives, for what all engines share, and returns its address."""
    page = CodePage()
    _RESIDENT.append(page)
    return page.add(code)
