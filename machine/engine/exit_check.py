"""The question "should the engine stop?" at the start of each block, asked in line.

QEMU compiles into each block a test of `icount_decr`, a word that is negative once somebody wants the engine's attention. Unicorn compiles a call of
`helper_check_exit_request` instead, which looks at that word and nearly always returns: a quarter of the time of a short loop. All helper calls are compiled by
`tcg_gen_callN`, which the library finds through a slot of its own. A stub in that slot compiles the test around this one call and passes all others on:

    if (icount_decr < 0) helper_check_exit_request(uc, 0);

For all engines of the process, and only where the functions that it relies on are byte for byte those that were studied; elsewhere blocks stay as Unicorn
has them. `tests/machine/engine/test_stubs.py` assembles the listing and compares.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import c_uint64

from machine.engine import abi
from machine.engine.stubs import pages

# Names of tcg/tcg-op.h and tcg/tcg.h, QEMU 5.0; in Unicorn each takes the TCGContext first. A variable (TCGv) is its temporary's distance from the context.
FUNCTIONS = ("gen_new_label", "tcg_temp_new_internal", "tcg_gen_op3", "tcg_gen_brcondi_i32", "tcg_const_i64", "tcg_const_i32", "tcg_gen_op1",
             "tcg_temp_free_internal")
# void tcg_gen_callN(context, function, TCGTemp *result, int count, TCGTemp **arguments). The arguments are made anew behind the branch, because temporaries
# do not outlive the end of a basic block.
CALL_LISTING = """
    mov rax, {helper_check_exit_request}
    cmp rsi, rax
    jne other
    push rbx
    push rbp
    push r12
    push r13
    sub rsp, 24                     # two arguments
    mov rbx, rdi
    mov r12, rsi
    mov rax, {gen_new_label}
    call rax
    mov r13, rax
    mov rdi, rbx
    xor esi, esi                    # TCG_TYPE_I32, not local
    xor edx, edx
    mov rax, {tcg_temp_new_internal}
    call rax
    mov rbp, rax
    mov rdi, rbx
    mov esi, {op_ld_i32}
    mov rdx, rbp
    mov rcx, [rbx + {tcg_cpu_env}]
    add rcx, rbx
    mov r8, {icount_decr}
    mov rax, {tcg_gen_op3}
    call rax
    mov rdi, rbx
    mov esi, {cond_ge}
    mov rdx, rbp
    sub rdx, rbx
    xor ecx, ecx
    mov r8, r13
    mov rax, {tcg_gen_brcondi_i32}
    call rax
    mov rdi, rbx
    mov rsi, rbp
    mov rax, {tcg_temp_free_internal}
    call rax
    mov rdi, rbx
    mov rsi, [rbx + {tcg_uc}]
    mov rax, {tcg_const_i64}
    call rax
    add rax, rbx
    mov [rsp], rax
    mov rdi, rbx
    xor esi, esi
    mov rax, {tcg_const_i32}
    call rax
    add rax, rbx
    mov [rsp + 8], rax
    mov rdi, rbx
    mov rsi, r12
    xor edx, edx
    mov ecx, 2
    mov r8, rsp
    mov rax, {tcg_gen_callN}
    call rax
    mov rdi, rbx
    mov rsi, [rsp]
    mov rax, {tcg_temp_free_internal}
    call rax
    mov rdi, rbx
    mov rsi, [rsp + 8]
    mov rax, {tcg_temp_free_internal}
    call rax
    or byte ptr [r13], 1            # TCGLabel.present
    mov rdi, rbx
    mov esi, {op_set_label}
    mov rdx, r13
    mov rax, {tcg_gen_op1}
    call rax
    add rsp, 24
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
other:
    mov rax, {tcg_gen_callN}
    jmp rax
"""
CALL_CODE = ("48b8 {helper_check_exit_request} 4839c60f852e0100005355415441554883ec184889fb4989f448b8 {gen_new_label} ffd04989c54889df31f631d248b8 "
             "{tcg_temp_new_internal} ffd04889c54889dfbe0d0000004889ea488b8bf09800004801d949c7c0f0ffffff48b8 {tcg_gen_op3} "
             "ffd04889dfbe030000004889ea4829da31c94d89e848b8 {tcg_gen_brcondi_i32} ffd04889df4889ee48b8 {tcg_temp_free_internal} "
             "ffd04889df488bb37099000048b8 {tcg_const_i64} ffd04801d8488904244889df31f648b8 {tcg_const_i32} "
             "ffd04801d848894424084889df4c89e631d2b9020000004989e048b8 {tcg_gen_callN} ffd04889df488b342448b8 {tcg_temp_free_internal} "
             "ffd04889df488b74240848b8 {tcg_temp_free_internal} ffd041804d00014889dfbe010000004c89ea48b8 {tcg_gen_op1} ffd04883c418415d415c5d5bc348b8 "
             "{tcg_gen_callN} ffe0")


def call(addresses: dict[str, int]) -> bytes:
    """`tcg_gen_callN`, which compiles the check in line.

    Args:
        addresses: of `FUNCTIONS`, `tcg_gen_callN` and `helper_check_exit_request`, without suffix.
    """
    return pages.fill(CALL_CODE, **addresses)


@functools.cache
def install(lib: ctypes.CDLL) -> int | None:
    """Puts the stub into the library's slot, and returns its address. None if this is not the library that was studied."""
    if not abi.knows_exit_check(lib):
        return None
    addresses = {name: abi.address_of(lib, f"{name}_x86_64") for name in (*FUNCTIONS, "tcg_gen_callN", "helper_check_exit_request")}
    slot = c_uint64.from_address(abi.linkage_slot(abi.address_of(lib, "translator_loop_x86_64") + abi.EXIT_CHECK_CALL))
    slot.value = pages.resident(call(addresses))
    return slot.value
