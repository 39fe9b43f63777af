"""Ports for those who debug a guest: POST codes, a debug console, and a way for a test guest to end the machine.

Sources: IBM PC/AT Technical Reference (manufacturing test port 0x80); Bochs/QEMU "debugcon" (0xE9 reads back 0xE9, firmware writes text to 0x402);
QEMU `isa-debug-exit` (0xF4: the emulator ends with 2 * value + 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from devices.core.log import AccessLog
from devices.core.registers import RW, WO, Chip, Layout, Register

KEPT_CODES = 256
CONSOLE_MARK = 0xE9                # what the console port reads: how a guest finds it


@dataclass
class PostState:
    """The last codes, oldest first, and how many were written in all."""

    code: int = 0
    codes: list[int] = field(default_factory=list)
    written: int = 0


class PostCodes(Chip[PostState]):
    """Port 0x80: a firmware says how far it is. It reads back what was written, as the DMA page register behind it does."""

    NAME = "post"
    BLOCKS = (Layout("port", 1, (Register("CODE", 0, 1, RW, doc="progress code"),)),)

    def on_CODE(self, value: int) -> None:
        state = self.state
        state.written += 1
        state.codes.append(value)
        if len(state.codes) > KEPT_CODES:
            del state.codes[0]


@dataclass
class NoState:
    """Nothing is kept."""


class DebugConsole(Chip[NoState]):
    """A port that takes text, one byte a write.

    Args:
        log: as every chip's.
        write: gets each byte.
    """

    NAME = "debugcon"
    BLOCKS = (Layout("port", 1, (Register("TEXT", 0, 1, RW, reset=CONSOLE_MARK, doc="a byte of text; reads 0xE9"),)),)

    def __init__(self, log: AccessLog, write: Callable[[bytes], None], name: str = "") -> None:
        super().__init__(log, name)
        self.write = write

    def on_TEXT(self, value: int) -> None:
        self.write(bytes((value,)))

    def peek_TEXT(self) -> int:
        return CONSOLE_MARK


class DebugExit(Chip[NoState]):
    """A port whose write ends the machine.

    Args:
        log: as every chip's.
        leave: gets the value, 32 bits.
    """

    NAME = "debug-exit"
    BLOCKS = (Layout("port", 4, (Register("EXIT", 0, 4, WO, doc="ends the machine"),)),)

    def __init__(self, log: AccessLog, leave: Callable[[int], None]) -> None:
        super().__init__(log)
        self.leave = leave

    def on_EXIT(self, value: int) -> None:
        self.leave(value)
