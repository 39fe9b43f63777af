"""Executable memory for native code, and 64-bit values in their places."""

from __future__ import annotations

import ctypes
import mmap
import platform
import struct

from machine.errors import EngineError


def imm64(value: int) -> bytes:
    """A 64-bit value as it stands in code."""
    return struct.pack("<Q", value)


def fill(code: str, **values: int) -> bytes:
    """Machine code in hexadecimal, with 64-bit values in their places."""
    return bytes.fromhex(code.format(**{name: imm64(value).hex() for name, value in values.items()}))


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
