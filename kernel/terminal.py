"""`prompt_toolkit` at the far end of a serial line: it reads what the UART receives and writes what the UART sends.

Nothing here is a file descriptor of the host. Keys come from `feed`, through prompt_toolkit's own vt100 parser; its timers run on the kernel's loop
and therefore on the machine's time. Imported only when a person is at a terminal.
"""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, TextIO, cast

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input.base import Input
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.input.typeahead import get_typeahead
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.shortcuts import CompleteStyle

if TYPE_CHECKING:
    from kernel.console import Completer as Complete
    from kernel.console import Console


class LineInput(Input):
    """What arrives on the line, as prompt_toolkit's keys."""

    def __init__(self) -> None:
        self._keys: list[KeyPress] = []
        self._parser = Vt100Parser(self._keys.append)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._ready: Callable[[], None] | None = None

    def feed(self, data: bytes) -> None:
        """Bytes from the line."""
        self._parser.feed(self._decoder.decode(data))
        if self._ready is not None:
            self._ready()

    def read_keys(self) -> list[KeyPress]:
        """The keys since the last call."""
        keys = self._keys[:]
        self._keys.clear()                              # in place: the parser holds its append
        return keys

    def flush_keys(self) -> list[KeyPress]:
        """Nothing more followed an ESC: it was the key itself."""
        self._parser.flush()
        return self.read_keys()

    @contextmanager
    def attach(self, input_ready_callback: Callable[[], None]) -> Generator[None, None, None]:
        """Call back whenever keys are there."""
        previous, self._ready = self._ready, input_ready_callback
        if self._keys:                                  # typed before anybody looked
            asyncio.get_running_loop().call_soon(input_ready_callback)
        try:
            yield
        finally:
            self._ready = previous

    @contextmanager
    def detach(self) -> Generator[None, None, None]:
        """Keep keys back meanwhile."""
        previous, self._ready = self._ready, None
        try:
            yield
        finally:
            self._ready = previous

    def raw_mode(self) -> AbstractContextManager[None]:
        """A serial line is always raw."""
        return nullcontext()

    def cooked_mode(self) -> AbstractContextManager[None]:
        """A serial line is always raw."""
        return nullcontext()

    @property
    def closed(self) -> bool:
        """A line does not end."""
        return False

    def fileno(self) -> int:
        """There is no descriptor."""
        raise NotImplementedError("a serial line of the machine has no descriptor on the host")

    def typeahead_hash(self) -> str:
        """One line, one store of what was typed ahead."""
        return f"line-{id(self)}"


class LineOutput:
    """The part of a text file that Vt100_Output writes to."""

    encoding = "utf-8"

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def write(self, text: str) -> int:
        """Send."""
        self._write(text)
        return len(text)

    def flush(self) -> None:
        """Everything is on its way already."""

    def isatty(self) -> bool:
        """The far end is a terminal."""
        return True


class ShellCompleter(Completer):
    """The shell's completions in prompt_toolkit's terms."""

    def __init__(self, complete: Complete) -> None:
        self._complete = complete

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Completions of the text before the cursor."""
        for one in self._complete(document.text_before_cursor):
            yield Completion(one.text, start_position=-one.replaces, display_meta=one.doc)


class TerminalEditor:
    """Line editing for a person at a terminal: history, search, completion, all of Emacs's keys."""

    def __init__(self, console: Console, loop: asyncio.AbstractEventLoop) -> None:
        self._console, self._loop = console, loop
        self._input = LineInput()
        self._output = Vt100_Output(
            cast("TextIO", LineOutput(console.write_raw)), lambda: Size(rows=console.rows, columns=console.columns),
            term=console.terminal, enable_bell=False)
        self._session: PromptSession[str] | None = None
        self._above: list[str] = []

    async def edit(self, message: str, completer: Complete | None, history: Sequence[str]) -> str:
        """The finished line. Raises: KeyboardInterrupt, EOFError."""
        self._output.enable_cpr = self._console.answers_cursor
        session: PromptSession[str] = PromptSession(
            message, input=self._input, output=self._output, history=InMemoryHistory(history),
            completer=None if completer is None else ShellCompleter(completer), complete_while_typing=False,
            complete_style=CompleteStyle.COLUMN if self._console.answers_cursor else CompleteStyle.READLINE_LIKE)
        session.app.max_render_postpone_time = None     # it would be measured on the host's clock
        self._session = session
        try:
            return await session.prompt_async(handle_sigint=False, set_exception_handler=False)
        finally:
            self._session = None
            self._show_rest()

    def feed(self, data: bytes) -> None:
        """What was typed."""
        self._input.feed(data)

    def show_above(self, text: str) -> None:
        """Print above the prompt; lines that come together are shown together."""
        self._above.append(text)
        if len(self._above) == 1:
            self._loop.call_soon(self._print_above)

    def take_rest(self) -> bytes:
        """What was typed behind the end of the line. The console keeps it, because a Ctrl-C there is for what the line does."""
        return "".join(key.data for key in get_typeahead(self._input)).encode("utf-8", "surrogateescape")

    def _print_above(self) -> None:
        app = None if self._session is None else self._session.app
        if app is None or app.context is None:
            self._show_rest()
        else:
            app.context.copy().run(run_in_terminal, self._show_rest)

    def _show_rest(self) -> None:
        above, self._above = self._above, []
        text = "".join(above)
        if text:
            self._console.write_line_ends(text if text.endswith("\n") else text + "\n")
