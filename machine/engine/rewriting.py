"""Code that rewrites the block that it is in.

A store into the block under way is not made: QEMU drops the block, goes back to before the instruction, and begins it again as a block of its own. So who
counts instructions and who looks for breakpoints sees it twice: a slice with room for one instruction would end without having executed any, for ever, and how
many a program has would depend on where it was stopped. The library leaves there by `cpu_loop_exit_noexc`, which it finds through a linkage slot. A stub in
that slot gives the count back and lets the instruction pass its breakpoint, as `lone.AGAIN_LISTING` does.

For all engines of the process, told apart by their processor, and only where the function that leaves is byte for byte the one that was studied.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import c_uint64

from machine.engine import abi
from machine.engine.stubs import pages
from machine.engine.table import Table

# void cpu_loop_exit_noexc(cpu)
LISTING = """
    mov rax, {site}
    cmp [rsp], rax
    jne other
    mov rax, {table}
    mov rax, [rax]
search:
    mov rdx, [rax]
    test rdx, rdx
    jz other
    cmp rdx, rdi
    je found
    add rax, 16
    jmp search
found:
    mov rax, [rax + 8]              # what is left of the slice; behind it the address to pass
    add qword ptr [rax], 1
    mov rcx, [rdi + {env_eip}]
    add rcx, [rdi + {env_cs_base}]
    mov [rax + 8], rcx
other:
    mov rax, {original}
    jmp rax
"""
CODE = ("48b8 {site} 48390424753a48b8 {table} 488b00488b104885d274254839fa74064883c010ebed488b400848830001488b8fd08a000048038f288b00004889480848b8 "
        "{original} ffe0")


def stub(site: int, table: int, original: int) -> bytes:
    """`cpu_loop_exit_noexc`. `site` is where its call from there returns to; `table` holds the address of the pairs."""
    return pages.fill(CODE, site=site, table=table, original=original)


@functools.cache
def table(lib: ctypes.CDLL) -> Table | None:
    """By processor: where what is left of the slice stands, and behind it `Engine.place`. None if the library is not the one that was studied."""
    if not abi.knows_rewriting(lib):
        return None
    found = Table()
    site = abi.address_of(lib, "tb_invalidate_phys_page_range_x86_64") + abi.REWRITING_CALL
    slot = c_uint64.from_address(abi.linkage_slot(site))
    slot.value = pages.resident(stub(site + abi.CALL_LENGTH, ctypes.addressof(found.pointer), abi.address_of(lib, "cpu_loop_exit_noexc_x86_64")))
    return found
