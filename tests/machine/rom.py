"""Small firmware ROMs for tests: 16-bit code that runs from the reset vector."""

from __future__ import annotations

import keystone

SIZE, START = 0x1000, 0xF000                    # the last 4 KiB below 4 GiB; IP of the program, CS base 0xFFFF0000
RESET_IP = 0xFFF0
EIGHT_BITS = "mov dx, 0x3fb; mov al, 3; out dx, al;"        # after a reset a 16550A's characters have five


def rom(text: str) -> bytes:
    """A ROM of one page whose reset vector jumps to `text`, assembled at CS:0xF000."""
    assembler = keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_16)
    code, _ = assembler.asm(text, START)
    jump = b"\xe9" + (START - RESET_IP - 3 & 0xFFFF).to_bytes(2, "little")
    return bytes(code).ljust(RESET_IP & SIZE - 1, b"\xf4") + jump.ljust(16, b"\x90")


def say(text: str) -> str:
    """Assembly that writes text to COM1."""
    return EIGHT_BITS + "mov dx, 0x3f8;" + "".join(f"mov al, {ord(letter)}; out dx, al;" for letter in text)
