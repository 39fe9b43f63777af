"""Writes that may change what memory shows, in blocks of their own."""

from __future__ import annotations

from machine.engine.stubs.pages import fill

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
