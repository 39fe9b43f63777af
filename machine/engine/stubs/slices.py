"""The end of a slice: asked for by anybody, by a timer, by PAUSEs, by the count of instructions, by a breakpoint; and the counter that counts them."""

from __future__ import annotations

import struct

from machine.engine import abi
from machine.engine.stubs.pages import fill, imm64

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


def stop(cpu: int, attention: int) -> bytes:
    """Asks the engine to leave at the next block start. Safe in a signal handler and from any thread."""
    return (b"\x48\xb8" + imm64(cpu) + b"\xf0\x83\x48" + bytes([abi.CPU_INTERRUPT_REQUEST, abi.CPU_INTERRUPT_HALT])
            + b"\x48\xb8" + imm64(attention) + b"\x66\xc7\x00\xff\xff\xc3")


def exec_interrupt(original: int, stop_request: int) -> bytes:
    """`CPUClass.cpu_exec_interrupt`: carries out what `stop` asked for."""
    return (b"\xf7\xc6" + struct.pack("<I", abi.CPU_INTERRUPT_HALT) + b"\x75\x0c" + b"\x48\xb8" + imm64(original) + b"\xff\xe0"
            + b"\x31\xc0" + b"\x83\xbf" + struct.pack("<i", abi.CPU_EXCEPTION_INDEX) + b"\xff" + b"\x75\x16"
            + b"\xf0\x83\x67" + bytes([abi.CPU_INTERRUPT_REQUEST, ~abi.CPU_INTERRUPT_HALT & 0xFF])
            + b"\xc6\x47" + bytes([abi.CPU_EXIT_REQUEST, 1]) + b"\x48\xba" + imm64(stop_request) + b"\xc6\x02\x01" + b"\xc3")


def exec_and_tell(original: int, stop_request: int, left: int, aside: int) -> bytes:
    """The same where instructions are counted: an interrupt that was taken ends the slice; `left` has been added to `aside`."""
    alone = exec_interrupt(original, stop_request)
    head, leave = alone[:6], alone[alone.index(b"\xff\xe0") + 2:]
    body = (b"\x57\x48\xb8" + imm64(original) + b"\xff\xd0\x5f\x84\xc0\x74\x43" + b"\x48\xb9" + imm64(left) + b"\x48\xba" + imm64(aside)
            + b"\x48\x8b\x31\x48\x01\x32\x48\xc7\x01" + bytes(4) + b"\xc3")
    return head + b"\x75" + bytes((len(body),)) + body + leave


def count(left: int, cpu: int, loop_exit: int) -> bytes:
    """`UC_HOOK_CODE`: counts down; with 0 to go the instruction does not begin and the main loop is left, as after a HLT but with `halted` clear."""
    return (b"\x48\xb8" + imm64(left) + b"\x48\x83\x28\x01\x78\x01\xc3" + b"\x48\xc7\x00" + bytes(4) + b"\x48\xbf" + imm64(cpu)
            + b"\xc7\x87" + struct.pack("<iI", abi.CPU_EXCEPTION_INDEX, abi.EXCP_HLT) + b"\x48\xb8" + imm64(loop_exit) + b"\xff\xe0")
