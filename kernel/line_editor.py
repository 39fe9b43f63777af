"""A line discipline without escape sequences: for pipes, logs and terminals that understand nothing.

It echoes, and knows Backspace, Ctrl-U (clear), Ctrl-W (word), Ctrl-C, Ctrl-D and the three line ends. Escape sequences of cursor keys are swallowed.
"""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernel.console import Completer

CTRL_C, CTRL_D, BACKSPACE, ENTER, NEW_LINE, CTRL_U, CTRL_W, ESCAPE, DELETE = 0x03, 0x04, 0x08, 0x0D, 0x0A, 0x15, 0x17, 0x1B, 0x7F
RUB_OUT = "\b \b"
MAX_LINE = 64 << 10


class LineEditor:
    """Edits one line after the other.

    Args:
        write: prints; \\n starts a new line.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._message = ""
        self._line = ""
        self._rest = bytearray()
        self._done: asyncio.Future[str] | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._after_return = False          # the \n of \r\n belongs to the line before
        self._sequence = ""                 # of an escape sequence: what has come so far

    async def edit(self, message: str, completer: Completer | None, history: Sequence[str]) -> str:
        """The finished line. Raises: KeyboardInterrupt, EOFError."""
        self._message, self._line = message, ""
        self._done = asyncio.get_running_loop().create_future()
        self._write(message)
        try:
            return await self._done
        finally:
            self._done = None

    def feed(self, data: bytes) -> None:
        """What was typed; whatever follows the end of the line is kept for the next."""
        for at, byte in enumerate(data):
            if self._done is None or self._done.done():
                self._rest += data[at:]
                return
            self._key(byte, self._done)

    def show_above(self, text: str) -> None:
        """Print on lines of its own, then the prompt again."""
        self._write(f"\n{text}" + ("" if text.endswith("\n") else "\n") + self._message + self._line)

    def take_rest(self) -> bytes:
        """What was typed after the end of the line."""
        rest = bytes(self._rest)
        self._rest.clear()
        return rest

    def _key(self, byte: int, done: asyncio.Future[str]) -> None:
        after_return, self._after_return = self._after_return, byte == ENTER
        if self._sequence:
            self._swallow(byte)
        elif byte == ESCAPE:
            self._sequence = "\x1b"
        elif byte == ENTER or (byte == NEW_LINE and not after_return):
            self._write("\n")
            done.set_result(self._line)
        elif byte == CTRL_C:
            self._write("^C\n")
            done.set_exception(KeyboardInterrupt())
        elif byte == CTRL_D:
            if not self._line:
                self._write("\n")
                done.set_exception(EOFError())
        elif byte in (BACKSPACE, DELETE):
            self._erase(1)
        elif byte == CTRL_U:
            self._erase(len(self._line))
        elif byte == CTRL_W:
            stripped = self._line.rstrip()
            self._erase(len(self._line) - len(stripped[:stripped.rfind(" ") + 1]))
        elif byte >= 0x20 or byte == 0x09:
            self._insert(self._decoder.decode(bytes((byte if byte != 0x09 else 0x20,))))

    def _swallow(self, byte: int) -> None:
        """ESC alone takes one more byte; after ESC [ or ESC O the sequence ends at its final byte (ECMA-48, 5.4)."""
        introducer = self._sequence == "\x1b" and byte in b"[O"
        self._sequence += chr(byte)
        if not introducer and not (len(self._sequence) > 2 and 0x20 <= byte < 0x40):
            self._sequence = ""

    def _insert(self, text: str) -> None:
        if text and len(self._line) < MAX_LINE:
            self._line += text
            self._write(text)

    def _erase(self, count: int) -> None:
        count = min(count, len(self._line))
        self._line = self._line[:len(self._line) - count]
        self._write(RUB_OUT * count)
