"""The conversation: banner, prompt, history, completion, Ctrl-C and Ctrl-D; and the same lines without a person, from -c or a script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from kernel.errors import KernelError
from shell.completion import Completion, complete
from shell.errors import DEFAULT_WIDTH, STATUS_CANCELLED, STATUS_DONE, STATUS_FAILED, prose

if TYPE_CHECKING:
    from jit_synth import Command
    from shell import Shell
    from shell.context import Output

PROMPT = "folk> "
BANNER = "Folkering. help lists the commands; what is not there is worked out on the spot."
FAREWELL = "Ctrl-D: powering off. (Ctrl-C clears a line or stops a command.)"
CANCELLED = "^C\n"
MOST_HISTORY = 1000
NS_PER_MS = 1_000_000


class Console(Protocol):
    """The terminal, as kernel.console offers it."""

    async def prompt(self, message: str, *, completer: Callable[[str], Sequence[Completion]] | None = None, history: Sequence[str] = ()) -> str:
        """One edited line. KeyboardInterrupt for Ctrl-C, EOFError for Ctrl-D on an empty line."""

    def write(self, text: str) -> None:
        """Print as is."""

    async def drain(self) -> None:
        """Wait until everything printed has left."""


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

    async def settle(self) -> None:
        """Wait until it has left."""
        await self._console.drain()


class _Recorded:
    """An output that also keeps what is written."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self.pieces: list[str] = []

    @property
    def width(self) -> int:
        return self._out.width

    @property
    def colour(self) -> bool:
        return self._out.colour

    def write(self, text: str) -> None:
        self.pieces.append(text)
        self._out.write(text)

    async def settle(self) -> None:
        await self._out.settle()


@dataclass(frozen=True, slots=True)
class Report:
    """One line that was run: what came of it, in numbers and text.

    Attributes:
        milliseconds: from Enter to the prompt, in the kernel's time.
        synthesized: the commands that did not exist before, in the order of the pipe.
    """

    command: str
    status: int
    output: str
    milliseconds: float
    synthesized: tuple[Command, ...] = ()

    def as_plain(self) -> dict[str, object]:
        """The report for `--json`."""
        made: list[dict[str, object]] = [{"name": command.name, "plan": str(command.plan), "wasm_bytes": len(command.wasm), "imports": list(command.imports)}
                                         for command in self.synthesized]
        return {"command": self.command, "status": self.status, "output": self.output, "milliseconds": round(self.milliseconds, 3), "synthesized": made,
                "wasm_bytes": sum(len(command.wasm) for command in self.synthesized)}


@dataclass(slots=True)
class Session:
    """One conversation of a shell on a console.

    Attributes:
        clock: the kernel's time in nanoseconds, for the reports.
        broken: told what went wrong inside a command by our own mistake; the conversation goes on.
        reports: one for each line run, in order.
    """

    shell: Shell
    console: Console
    clock: Callable[[], int] = lambda: 0
    broken: Callable[[str, Exception], None] | None = None
    reports: list[Report] = field(default_factory=list)
    _running: asyncio.Task[int] | None = None
    _interrupted: bool = False

    @property
    def was_cancelled(self) -> bool:
        """Whether the last line ended by Ctrl-C."""
        return bool(self.reports) and self.reports[-1].status == STATUS_CANCELLED

    @property
    def out(self) -> Output:
        """Where results go."""
        return ConsoleOutput(self.console)

    def interrupt(self) -> bool:
        """Ctrl-C while a line runs: cancel it. Whether there was one."""
        if self._running is None or self._running.done():
            return False
        self._interrupted = True
        self._running.cancel()
        return True

    async def run_interactive(self) -> int:
        """Talk until the machine is switched off. Returns the status of the last line."""
        self._say(BANNER)
        status = STATUS_DONE
        context = self.shell.context
        while not context.closed:
            try:
                line = await self.console.prompt(PROMPT, completer=self.complete, history=context.history)
            except KeyboardInterrupt:
                continue                                  # the line is cleared; a fresh prompt follows
            except EOFError:
                try:
                    context.actions.power_off()
                except KernelError as error:
                    self._say(f"folk: {error}")
                    continue
                self._say(FAREWELL)
                context.closed = True
                break
            if line.strip():
                status = await self._run(line)
                del self.reports[:-1]                     # a conversation has no end, and nobody asks for its reports
        return status

    async def run_commands(self, commands: Iterable[str]) -> int:
        """Run lines as if typed, each echoed behind the prompt. All run, whatever fails, until one is cancelled; returns the worst status."""
        worst = STATUS_DONE
        for command in commands:
            if self.shell.context.closed or self.was_cancelled:
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

    def _say(self, line: str) -> None:
        out = self.out
        out.write("".join(prose(line, out.width)))

    async def _run(self, line: str) -> int:
        history = self.shell.context.history
        if not history or history[-1] != line:
            history.append(line)
            del history[:-MOST_HISTORY]
        return await self._execute(line)

    async def _execute(self, text: str) -> int:
        out = _Recorded(self.out)
        self.shell.context.synthesized.clear()
        started, self._interrupted = self.clock(), False
        self._running = asyncio.ensure_future(self.shell.execute(text, out))
        try:
            status = await self._running
        except asyncio.CancelledError:
            if not self._interrupted:
                raise                                     # the session itself is being cancelled, and the line with it
            out.write(CANCELLED)
            status = STATUS_CANCELLED
        except Exception as error:                        # our mistake: one line for the user, the rest for the log
            if self.broken is None:
                raise
            self.broken(text, error)
            out.write(f"folk: this failed by a mistake of the system's own: {type(error).__name__}: {error}\n")
            status = STATUS_FAILED
        finally:
            self._running = None
        took = (self.clock() - started) / NS_PER_MS
        self.reports.append(Report(text, status, "".join(out.pieces), took, tuple(self.shell.context.synthesized)))
        return status
