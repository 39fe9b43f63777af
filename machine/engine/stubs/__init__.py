"""Native code that Unicorn calls in the guest's place: exceptions, #UD, SYSCALL, the region look-up, the instruction count and the end of a slice.

QEMU's functions leave by `longjmp` when delivery itself faults, and a `longjmp` must not cross a Python frame; and a page fault that
entered Python would cost ten times what it costs QEMU. So these hooks are a few bytes of host code each, in one executable page.
Unicorn needs executable memory for its own translations, so where this page is refused Unicorn cannot run either.
`tests/machine/engine/test_stubs.py` assembles the listings of these files and compares them with the bytes.

Calling convention: System V AMD64 (rdi, rsi, rdx, rcx, r8, r9; rax back).
"""
