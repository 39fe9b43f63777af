"""The console: a terminal at the far end of the serial line, with line editing that runs inside the system.

Two editors, chosen by the command line's `terminal=`: `prompt_toolkit` for a terminal (kernel/terminal.py, imported at the first prompt), and a plain
one for whatever is no terminal. What is typed while no prompt is open is kept for the next one; Ctrl-C then reaches `on_interrupt` instead.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Protocol

from kernel.drivers.uart16550 import Uart16550
from kernel.line_editor import CTRL_C, LineEditor
from kernel.log import Log

DEFAULT_COLUMNS, DEFAULT_ROWS = 80, 24
MIN_COLUMNS, MIN_ROWS, MAX_CELLS = 20, 2, 1000
MAX_TYPED_AHEAD = 64 << 10
ANSWER_TIMEOUT = 0.25               # seconds: what a terminal needs to tell its size over a slow connection
END_SEQUENCE = "\x18\x1b[m"              # CAN ends an escape sequence that was cut off (ECMA-48), and colours go
ASK_CURSOR = "\x1b[6n"              # ECMA-48 device status report: every vt100 answers with its cursor's position
ASK_SIZE = f"\x1b7\x1b[{MAX_CELLS - 1};{MAX_CELLS - 1}H{ASK_CURSOR}\x1b8"     # which in the far corner is the size; there are terminals that swap CSI 18 t
CURSOR_REPORT = re.compile(rb"\x1b\[(\d{1,5});(\d{1,5})R")
PLAIN = "plain"
NO_TERMINAL = {PLAIN, "dumb", "unknown"}        # of terminfo's names those that promise nothing


class Completion(Protocol):
    """A replacement for the last `replaces` characters before the cursor."""

    @property
    def text(self) -> str:
        """What comes in their place."""

    @property
    def replaces(self) -> int:
        """How many characters it replaces."""

    @property
    def doc(self) -> str:
        """What it is, in a few words."""


Completer = Callable[[str], Sequence[Completion]]


class Editor(Protocol):
    """Edits one line."""

    def feed(self, data: bytes) -> None:
        """What was typed."""

    def show_above(self, text: str) -> None:
        """Print, with the line that is being edited moved out of the way."""

    async def edit(self, message: str, completer: Completer | None, history: Sequence[str]) -> str:
        """The finished line. KeyboardInterrupt for Ctrl-C, EOFError for Ctrl-D on an empty line."""

    def take_rest(self) -> bytes:
        """What was typed after the end of the line."""


class Console:
    """One terminal on a serial line.

    Attributes:
        columns, rows: its size in characters.
        terminal: what kind it is, as in TERM; "plain" = no terminal.
        on_interrupt: called for Ctrl-C while no prompt is open.
        lost: typed bytes that found MAX_TYPED_AHEAD others waiting.
    """

    def __init__(self, uart: Uart16550, loop: asyncio.AbstractEventLoop, log: Log) -> None:
        self.columns, self.rows = DEFAULT_COLUMNS, DEFAULT_ROWS
        self.terminal = "vt100"
        self.on_interrupt: Callable[[], object] | None = None
        self.lost = 0
        self.answers_cursor = False             # the terminal reports its cursor's position when asked
        self._uart, self._loop, self._log = uart, loop, log
        self._typed = bytearray()
        self._delivery: asyncio.Handle | None = None
        self._editor: Editor | None = None
        self._editing = False
        self._asked: asyncio.Future[None] | None = None
        self._knows_terminal = self._knows_size = False
        uart.on_received = self.received

    @property
    def colour(self) -> bool:
        """Whether escape sequences are understood."""
        return self.terminal != PLAIN

    def configure(self, options: dict[str, str]) -> None:
        """Take `terminal=`, `columns=` and `rows=` from the kernel's command line; sizes out of bounds are ignored."""
        self.terminal = options.get("terminal") or self.terminal
        if self.terminal in NO_TERMINAL:
            self.terminal = PLAIN
        self._set_size(number(options.get("columns", "")), number(options.get("rows", "")))
        self._knows_size = "columns" in options and "rows" in options

    def write(self, text: str) -> None:
        """Print as is; \\n starts a new line. An open prompt is moved below it."""
        if self._editing and self._editor is not None:
            self._editor.show_above(text)
        else:
            self.write_line_ends(text)

    def write_line_ends(self, text: str) -> None:
        """Print with \\n as the terminal wants it."""
        self._uart.write(text.replace("\n", "\r\n").encode("utf-8", "replace"))

    def write_raw(self, text: str) -> None:
        """Print escape sequences and all."""
        self._uart.write(text.encode("utf-8", "replace"))

    async def prompt(self, message: str, *, completer: Completer | None = None, history: Sequence[str] = ()) -> str:
        """One edited line, without its end.

        Raises:
            KeyboardInterrupt: Ctrl-C.
            EOFError: Ctrl-D on an empty line.
        """
        assert not self._editing, "two prompts at once"
        if not self._typed or not self._knows_terminal:     # who types ahead shall not wait
            await self._ask_terminal()
        if self._editor is None:
            self._editor = self._make_editor()
        self._editing = True
        try:
            if self._typed:
                self._deliver_soon()
            return await self._editor.edit(message, completer, history)
        finally:
            self._editing = False
            self._typed[:0] = self._editor.take_rest()
            if CTRL_C in self._typed:                       # typed right behind the line: it is for what the line does
                self._deliver_soon()

    async def drain(self) -> None:
        """Wait until everything printed has left."""
        await self._uart.drain()

    def received(self, data: bytes) -> None:
        """Bytes from the line, in its interrupt: kept, and delivered when the loop runs."""
        room = MAX_TYPED_AHEAD - len(self._typed)
        if len(data) > room:
            self.lost += len(data) - room
            self._log.once("console", "more was typed than anybody reads: some of it is lost")
        self._typed += data[:room]
        self._deliver_soon()

    def _deliver_soon(self) -> None:
        if self._delivery is None:
            self._delivery = self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._delivery = None
        if self._asked is not None:
            self._look_for_answer(self._asked)
        elif self._editing and self._editor is not None:
            data, self._typed = bytes(self._typed), bytearray()
            self._editor.feed(data)
        elif CTRL_C in self._typed and self.on_interrupt is not None:
            del self._typed[:self._typed.rindex(CTRL_C) + 1]      # what was typed before it is withdrawn, too
            self._uart.discard()                                   # and so is what nobody wants to see any more, as a terminal line does (POSIX, INTR)
            if self.colour:
                self.write_raw(END_SEQUENCE)
            self.on_interrupt()

    async def _ask_terminal(self) -> None:
        """Ask whether it reports its cursor, and its size, which may have changed since the last prompt. Who does not answer once is not asked again."""
        if self.terminal == PLAIN or (self._knows_terminal and not self.answers_cursor):
            return
        self._knows_terminal, self.answers_cursor = True, False
        self._asked = self._loop.create_future()
        self.write_raw(ASK_CURSOR if self._knows_size else ASK_SIZE)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await self._asked
        except TimeoutError:
            pass
        finally:
            self._asked, self._knows_size = None, False

    def _look_for_answer(self, asked: asyncio.Future[None]) -> None:
        cursor = CURSOR_REPORT.search(self._typed)
        if cursor is None or asked.done():
            return
        if not self._knows_size:
            self._set_size(int(cursor[2]), int(cursor[1]))
        del self._typed[cursor.start():cursor.end()]
        self.answers_cursor = True
        asked.set_result(None)

    def _set_size(self, columns: int, rows: int) -> None:
        if MIN_COLUMNS <= columns <= MAX_CELLS:
            self.columns = columns
        if MIN_ROWS <= rows <= MAX_CELLS:
            self.rows = rows

    def _make_editor(self) -> Editor:
        if self.terminal == PLAIN:
            return LineEditor(self.write_line_ends)
        from kernel.terminal import TerminalEditor      # prompt_toolkit: a tenth of a second that only a person at a terminal needs

        return TerminalEditor(self, self._loop)


def number(text: str) -> int:
    """A decimal number, or 0 for what is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
