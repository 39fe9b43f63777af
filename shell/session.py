"""The conversation: banner, prompt, history, completion, Ctrl-C and Ctrl-D; and the same lines without a person, from -c or a script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from shell.completion import Completion, complete
from shell.errors import STATUS_CANCELLED, STATUS_DONE

if TYPE_CHECKING:
    from shell import Shell

PROMPT = "folk> "
BANNER = "Folkering. help lists the commands; what is not there is worked out on the spot. Ctrl-D powers off.\n"
FAREWELL = "Ctrl-D: powering off. (Ctrl-C clears a line or stops a command.)\n"
CANCELLED = "^C\n"
DEFAULT_WIDTH = 80


class Console(Protocol):
    """The terminal, as kernel.console offers it."""

    async def prompt(self, message: str, *, completer: Callable[[str], Sequence[Completion]] | None = None, history: Sequence[str] = ()) -> str:
        """One edited line. KeyboardInterrupt for Ctrl-C, EOFError for Ctrl-D on an empty line."""

    def write(self, text: str) -> None:
        """Print as is."""


class ConsoleOutput:
    """A console as what a shell prints on."""

    def __init__(self, console: Console, colour: bool | None = None) -> None:
        self._console = console
        self.colour = bool(getattr(console, "colour", False)) if colour is None else colour

    @property
    def width(self) -> int:
        """The console's columns, or 80 where it does not know."""
        return int(getattr(self._console, "columns", 0) or DEFAULT_WIDTH)

    def write(self, text: str) -> None:
        """Print as is."""
        if text:
            self._console.write(text)


class Session:
    """One conversation of a shell on a console."""

    def __init__(self, shell: Shell, console: Console) -> None:
        self.shell, self.console = shell, console
        self.out = ConsoleOutput(console)
        self._running: asyncio.Task[int] | None = None

    def interrupt(self) -> bool:
        """Ctrl-C while a line runs: cancel it. Whether there was one."""
        if self._running is None or self._running.done():
            return False
        self._running.cancel()
        return True

    async def run_interactive(self) -> int:
        """Talk until the machine is switched off. Returns the status of the last line."""
        self.out.write(BANNER)
        status = STATUS_DONE
        while not self.shell.context.closed:
            try:
                line = await self.console.prompt(PROMPT, completer=self.complete, history=self.shell.context.history)
            except KeyboardInterrupt:
                continue                                  # the line is cleared; a fresh prompt follows
            except EOFError:
                self.out.write(FAREWELL)
                self.shell.context.closed = True
                self.shell.context.actions.power_off()
                break
            if line.strip():
                status = await self._run(line)
        return status

    async def run_commands(self, commands: Iterable[str]) -> int:
        """Run lines as if typed, each echoed behind the prompt. All run, whatever fails; returns the worst status."""
        worst = STATUS_DONE
        for command in commands:
            if self.shell.context.closed:
                break
            self.out.write(f"{PROMPT}{command}\n")
            worst = max(worst, await self._run(command))
        return worst

    async def run_script(self, text: str) -> int:
        """Run a file's text as one program: it is parsed as a whole first, so that a mistake in its last line stops the first."""
        return await self._execute(text)

    def complete(self, before_cursor: str) -> Sequence[Completion]:
        """What may stand at the end of this text."""
        return complete(before_cursor, self.shell.context)

    async def _run(self, line: str) -> int:
        history = self.shell.context.history
        if not history or history[-1] != line:
            history.append(line)
        return await self._execute(line)

    async def _execute(self, text: str) -> int:
        self._running = asyncio.ensure_future(self.shell.execute(text, self.out))
        try:
            return await self._running
        except asyncio.CancelledError:
            if not self._running.cancelled():
                raise                                     # the session itself is being cancelled, not the line
            self.out.write(CANCELLED)
            return STATUS_CANCELLED
        finally:
            self._running = None
