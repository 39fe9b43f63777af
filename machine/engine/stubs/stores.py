"""Which region an address is in, and when a store must look for translations of what it overwrites."""

from __future__ import annotations

import struct

from machine.engine.stubs.pages import fill, imm64

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


def store(asked: int, quick: int, sticky: int) -> bytes:
    """`uc_struct.memory_mapping` as `notdirty_write` asks it; to be followed by `region`.

    Args:
        asked: the return address there.
        quick: address of a byte; 0 switches this off.
        sticky: address of the `MemoryRegion` for pages with translations.
    """
    return fill(STORE_CODE, asked=asked, quick=quick, sticky=sticky)


def protect(tlb_flush: int, original: int) -> bytes:
    """`tlb_protect_code`, for every alias of the page."""
    return fill(PROTECT_CODE, tlb_flush=tlb_flush, original=original)


def region(high_base: int, high_end: int, high_region: int, low_end: int, low_region: int, original: int) -> bytes:
    """`uc_struct.memory_mapping`: RAM's region without a search, everything else by the original function."""
    return (b"\x48\xb8" + imm64(high_base) + b"\x48\x39\xc6\x72\x1a" + b"\x48\xb8" + imm64(high_end) + b"\x48\x39\xc6\x73\x0b"
            + b"\x48\xb8" + imm64(high_region) + b"\xc3" + b"\x48\x81\xfe" + struct.pack("<i", low_end) + b"\x73\x0b"
            + b"\x48\xb8" + imm64(low_region) + b"\xc3" + b"\x48\xb8" + imm64(original) + b"\xff\xe0")
