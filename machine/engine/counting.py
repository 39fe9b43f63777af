"""Counting instructions in line, for the instruction clock and for a debugger's steps.

Unicorn's own hook on every instruction brings RIP and all flags up to date first, which costs a helper or two an instruction: four fifths of a run's time. So
the count goes where QEMU marks the beginning of each instruction in a block: `i386_tr_insn_start` emits an `insn_start` by `tcg_gen_op2`, which the library
finds through a slot of its own. A stub in that slot passes everything on, and behind an `insn_start` of an engine that counts it compiles

    left -= 1
    if (left < 0) { interrupt_request |= HALT; icount_decr.high = -1; helper_check_exit_request(uc, 0); }

so that the engine is left before the instruction begins, as it is by `slices.stop`. The helper restores RIP and flags from the marks of the block.

For all engines of the process, told apart by the address of their `uc_struct` in a table, and only where the functions that it relies on are byte for byte
those that were studied. `tests/machine/engine/test_stubs.py` assembles the listing and compares.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import c_uint64

from machine.engine import abi, exit_check
from machine.engine.stubs import pages
from machine.engine.table import Table

FUNCTIONS = ("gen_new_label", "tcg_temp_new_internal", "tcg_const_i64", "tcg_const_i32", "tcg_gen_op3", "tcg_gen_addi_i64", "tcg_gen_brcondi_i64",
             "tcg_gen_ori_i32", "tcg_gen_op1", "tcg_temp_free_internal", "helper_check_exit_request", "tcg_gen_op2")
# tcg_gen_op2, which takes the context, an opcode and two arguments.
OP2_LISTING = """
    mov rax, {tcg_gen_op2}
    cmp esi, {op_insn_start}
    je marked
    jmp rax
marked:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    mov rbx, rdi
    call rax
    mov rdi, [rbx + {tcg_uc}]
    mov rax, {table}
    mov rax, [rax]
search:
    mov rdx, [rax]
    test rdx, rdx
    jz done
    cmp rdx, rdi
    je found
    add rax, 16
    jmp search
found:
    mov r12, [rax + 8]              # address of what is left
    mov rdi, rbx
    mov rax, {gen_new_label}
    call rax
    mov r13, rax
    mov rdi, rbx
    mov rsi, r12
    mov rax, {tcg_const_i64}
    call rax
    lea r14, [rbx + rax]
    mov rdi, rbx
    mov esi, 1                      # TCG_TYPE_I64, not local
    xor edx, edx
    mov rax, {tcg_temp_new_internal}
    call rax
    mov rbp, rax
    mov rdi, rbx
    mov esi, {op_ld_i64}
    mov rdx, rbp
    mov rcx, r14
    xor r8d, r8d
    mov rax, {tcg_gen_op3}
    call rax
    mov rdi, rbx
    mov rsi, rbp
    sub rsi, rbx
    mov rdx, rsi
    mov rcx, -1
    mov rax, {tcg_gen_addi_i64}
    call rax
    mov rdi, rbx
    mov esi, {op_st_i64}
    mov rdx, rbp
    mov rcx, r14
    xor r8d, r8d
    mov rax, {tcg_gen_op3}
    call rax
    mov rdi, rbx
    mov esi, {cond_ge}
    mov rdx, rbp
    sub rdx, rbx
    xor ecx, ecx
    mov r8, r13
    mov rax, {tcg_gen_brcondi_i64}
    call rax
    mov rdi, rbx
    mov rsi, rbp
    mov rax, {tcg_temp_free_internal}
    call rax
    mov rdi, rbx
    mov rsi, r14
    mov rax, {tcg_temp_free_internal}
    call rax
    mov r12, [rbx + {tcg_cpu_env}]
    add r12, rbx
    mov rdi, rbx
    xor esi, esi                    # TCG_TYPE_I32
    xor edx, edx
    mov rax, {tcg_temp_new_internal}
    call rax
    mov rbp, rax
    mov rdi, rbx
    mov esi, {op_ld_i32}
    mov rdx, rbp
    mov rcx, r12
    mov r8, {interrupt_request}
    mov rax, {tcg_gen_op3}
    call rax
    mov rdi, rbx
    mov rsi, rbp
    sub rsi, rbx
    mov rdx, rsi
    mov ecx, {halt}
    mov rax, {tcg_gen_ori_i32}
    call rax
    mov rdi, rbx
    mov esi, {op_st_i32}
    mov rdx, rbp
    mov rcx, r12
    mov r8, {interrupt_request}
    mov rax, {tcg_gen_op3}
    call rax
    mov rdi, rbx
    mov rsi, rbp
    mov rax, {tcg_temp_free_internal}
    call rax
    mov rdi, rbx
    mov esi, -1
    mov rax, {tcg_const_i32}
    call rax
    lea rbp, [rbx + rax]
    mov rdi, rbx
    mov esi, {op_st16_i32}
    mov rdx, rbp
    mov rcx, r12
    mov r8, {icount_decr_high}
    mov rax, {tcg_gen_op3}
    call rax
    mov rdi, rbx
    mov rsi, rbp
    mov rax, {tcg_temp_free_internal}
    call rax
    mov rdi, rbx
    mov rsi, {helper_check_exit_request}
    mov rax, {exit_check}
    call rax
    or byte ptr [r13], 1            # TCGLabel.present
    mov rdi, rbx
    mov esi, {op_set_label}
    mov rdx, r13
    mov rax, {tcg_gen_op1}
    call rax
done:
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
"""
OP2_CODE = ("48b8 {tcg_gen_op2} 81fe810000007402ffe053554154415541564889fbffd0488bbb7099000048b8 {table} "
            "488b00488b104885d20f84fd0100004839fa74064883c010ebe94c8b60084889df48b8 {gen_new_label} ffd04989c54889df4c89e648b8 {tcg_const_i64} "
            "ffd04c8d34034889dfbe0100000031d248b8 {tcg_temp_new_internal} ffd04889c54889dfbe490000004889ea4c89f14531c048b8 {tcg_gen_op3} "
            "ffd04889df4889ee4829de4889f248c7c1ffffffff48b8 {tcg_gen_addi_i64} ffd04889dfbe4d0000004889ea4c89f14531c048b8 {tcg_gen_op3} "
            "ffd04889dfbe030000004889ea4829da31c94d89e848b8 {tcg_gen_brcondi_i64} ffd04889df4889ee48b8 {tcg_temp_free_internal} ffd04889df4c89f648b8 "
            "{tcg_temp_free_internal} ffd04c8ba3f09800004901dc4889df31f631d248b8 {tcg_temp_new_internal} "
            "ffd04889c54889dfbe0d0000004889ea4c89e149c7c0cc75ffff48b8 {tcg_gen_op3} ffd04889df4889ee4829de4889f2b92000000048b8 {tcg_gen_ori_i32} "
            "ffd04889dfbe100000004889ea4c89e149c7c0cc75ffff48b8 {tcg_gen_op3} ffd04889df4889ee48b8 {tcg_temp_free_internal} ffd04889dfbeffffffff48b8 "
            "{tcg_const_i32} ffd0488d2c034889dfbe0f0000004889ea4c89e149c7c0f2ffffff48b8 {tcg_gen_op3} ffd04889df4889ee48b8 {tcg_temp_free_internal} "
            "ffd04889df48be {helper_check_exit_request} 48b8 {exit_check} ffd041804d00014889dfbe010000004c89ea48b8 {tcg_gen_op1} ffd0415e415d415c5d5bc3")


def op2(addresses: dict[str, int]) -> bytes:
    """`tcg_gen_op2`, which compiles the count behind each mark.

    Args:
        addresses: of `FUNCTIONS` without suffix, `table` (a pointer to the table) and `exit_check` (that stub).
    """
    return pages.fill(OP2_CODE, **addresses)


@functools.cache
def table(lib: ctypes.CDLL) -> Table | None:
    """Which engines count, by `uc_struct`, and where what is left stands; None if the library is not the one that was studied.

    What is translated already does not know of changes.
    """
    check = exit_check.install(lib)
    if check is None or not abi.knows_insn_start(lib):
        return None
    found = Table()
    addresses = {name: abi.address_of(lib, f"{name}_x86_64") for name in FUNCTIONS}
    slot = c_uint64.from_address(abi.linkage_slot(abi.address_of(lib, "gen_intermediate_code_x86_64") + abi.INSN_START_JUMP))
    slot.value = pages.resident(op2({**addresses, "table": ctypes.addressof(found.pointer), "exit_check": check}))
    return found
