"""What a scenario can say: one machine, its console, and ways to let it run until something happens.

Every wait has an end in virtual time and raises `ScenarioFailure`, with what the console said last, when what was waited for has not happened by then.
With the instruction clock a scenario takes the same course, to the instruction, on every host.
"""

from __future__ import annotations

import builtins
import codecs
import re
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from devices.core.clock import SECOND, Deadline
from machine.machine import INSTRUCTIONS, Configuration, Machine
from machine.outcome import ExitReason, Outcome

if TYPE_CHECKING:
    from machine.boot import Boot
    from machine.screen import Screen

PATIENCE = 60.0                     # s of virtual time
CHARACTER = 86_806                  # ns: ten bits at 115200 baud
WATCHED = 4096                      # characters of output in which a pattern may stretch
TAIL = 30                           # lines of the console in a failure


class ScenarioFailure(AssertionError):
    """What was waited for did not happen; the message ends with the console's last lines."""


class Scenario:
    """A machine under a script. The first serial port is its console.

    Args:
        machine: halted; it is closed with the scenario.
        said: what its console has said already, and has been waited for.

    Attributes:
        console: all that the guest wrote to COM1, with plain ends of lines.
    """

    def __init__(self, machine: Machine, said: str = "") -> None:
        self.machine = machine
        self.console = said
        self._seen = len(said)                         # what has been waited for lies before
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._typed = bytearray()
        self._next_feed: Deadline | None = None
        self._reached: Callable[[], bool] = lambda: False
        machine.board.serial_out = self._hear

    @classmethod
    def boot(cls, boot: Boot, configuration: Configuration | None = None) -> Self:
        """A machine of its own, with the instruction clock unless a configuration says otherwise. Raises MachineError."""
        return cls(Machine(boot, configuration or Configuration(clock=INSTRUCTIONS)))

    # --- looking -----------------------------------------------------------------------------------------------------------------------
    @property
    def seconds(self) -> float:
        """Virtual time since power-on."""
        return self.machine.clock.now() / SECOND

    def screen(self) -> Screen:
        """What the monitor shows."""
        return self.machine.board.screen()

    # --- acting ------------------------------------------------------------------------------------------------------------------------
    def type(self, text: str) -> None:
        """Send `text` over the serial line while the machine runs, as fast as the guest takes it."""
        self._typed += text.encode()

    def fork(self) -> Scenario:
        """A scenario that goes on from here by itself. RAM is shared until one of the two writes to it."""
        copy = Scenario(self.machine.fork(), self.console)
        copy._seen = self._seen
        copy._typed += self._typed
        return copy

    def close(self) -> None:
        """Free the machine."""
        self.machine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: builtins.type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- waiting -----------------------------------------------------------------------------------------------------------------------
    def wait_for(self, pattern: str, within: float = PATIENCE) -> re.Match[str]:
        """Run until the console says something that matches `pattern` (MULTILINE), behind what was waited for before.

        The machine then stands behind the block of instructions that wrote the last byte of it.

        Args:
            pattern: of text with plain ends of lines; matched as output comes. A `$` at its end is the end of a line that has been written, not of what
                there is so far.
            within: seconds of virtual time.
        """
        at_line_end = pattern.endswith("$") and not pattern.endswith("\\$")
        expression = re.compile(pattern[:-1] + r"(?=\n)" if at_line_end else pattern, re.MULTILINE)
        found = expression.search(self.console, self._seen)

        def reached() -> bool:
            nonlocal found
            found = found or expression.search(self.console, max(self._seen, len(self.console) - WATCHED))
            return found is not None

        self._run(reached, f"the console to say {pattern!r}", within, by_output=True)
        assert found is not None
        self._seen = found.end()
        return found

    def wait_for_interrupt(self, vector: int, cpu: int | None = None, within: float = PATIENCE) -> int:
        """Run until a processor, or `cpu`, has taken interrupt `vector`. Returns which. It is noticed before the processor next reaches its local APIC."""
        taken: list[int] = []
        before = self.machine.engine.on_interrupt

        def on_interrupt(which: int, number: int) -> None:
            if before is not None:
                before(which, number)
            if number == vector and cpu in (None, which):
                taken.append(which)
                self._stop()

        self.machine.engine.on_interrupt = on_interrupt
        try:
            self._run(lambda: bool(taken), f"interrupt {vector:#x}" + ("" if cpu is None else f" on processor {cpu}"), within)
        finally:
            self.machine.engine.on_interrupt = before
        return taken[0]

    def wait_until(self, condition: Callable[[], bool], what: str = "a condition", within: float = PATIENCE) -> None:
        """Run until `condition` is true between two slices."""
        self._run(condition, what, within)

    def run_to(self, address: int, within: float = PATIENCE) -> int:
        """Run until a processor is about to execute the instruction at a linear address. Returns which."""
        from machine.debug.target import Target

        target = Target(self.machine)
        for cpu in range(target.cpus):
            target.stand(cpu)
        target.add_breakpoint(address)
        try:
            outcome = self._run(lambda: False, f"an instruction at {address:#x}", within, ExitReason.BREAK)
        finally:
            target.remove_breakpoint(address)
        return outcome.value

    def run_for(self, seconds: float) -> None:
        """Let so much virtual time pass; exactly so much with the instruction clock, unless the guest ends before, which is a failure."""
        self._run(None, f"{seconds:g} s to pass", seconds)

    def wait_for_end(self, within: float = PATIENCE) -> Outcome:
        """Run until the guest powers off, resets where it may not, writes to the debug-exit port, or has halted for good."""
        ended = (ExitReason.POWER_OFF, ExitReason.DEBUG_EXIT, ExitReason.RESET, ExitReason.SHUTDOWN, ExitReason.DEAD)
        return self._run(lambda: False, "the end", within, *ended)

    # --- how ---------------------------------------------------------------------------------------------------------------------------
    def _run(self, reached: Callable[[], bool] | None, what: str, within: float, *good: ExitReason, by_output: bool = False) -> Outcome:
        """Run until `reached`, a good end, or the deadline. Without `reached` the deadline is what is waited for."""
        late: list[bool] = []
        deadline = self.machine.clock.at(self.machine.clock.now() + round(within * SECOND), lambda: late.append(True))
        self._reached = reached if by_output and reached is not None else lambda: False

        def over() -> bool:
            self._feed()
            return bool(late) or (reached is not None and reached())

        try:
            outcome = self.machine.run(over)
        finally:
            deadline.cancel()
            self._reached = lambda: False
        if outcome.reason in good:
            return outcome
        if outcome.reason is ExitReason.CONDITION and (reached is None or reached()):
            return outcome
        why = f"within {within:g} s of virtual time" if late else f"before the machine stopped: {outcome.reason.value} {outcome.detail}".rstrip()
        raise ScenarioFailure(f"waited for {what}; it did not happen {why}\n{self.tail()}")

    def tail(self) -> str:
        """The console's last lines, for a message."""
        lines = self.console.splitlines()
        return "the console said nothing" if not lines else "the console's last lines:\n" + "\n".join(f"    {line}" for line in lines[-TAIL:])

    def _hear(self, data: bytes) -> None:
        piece = self._decoder.decode(data)
        if piece.startswith("\n"):
            self.console = self.console.removesuffix("\r")
        self.console += piece.replace("\r\n", "\n")
        if self._reached():
            self._stop()

    def _stop(self) -> None:
        """End the slice under way, and so the run, whose condition is true now."""
        if self.machine.engine.running:
            self.machine.wake()

    def _feed(self) -> None:
        """Typed characters, as many as the chip has room for; the rest in a moment."""
        room = min(self.machine.board.serial.space(), len(self._typed))
        if room > 0:
            self.machine.board.serial.receive(bytes(self._typed[:room]))
            del self._typed[:room]
        if self._typed and (self._next_feed is None or not self._next_feed.pending):
            self._next_feed = self.machine.clock.at(self.machine.clock.now() + CHARACTER, self._feed)
