"""What a scenario can say: one machine, its console, and ways to let it run until something happens.

Every wait has an end in virtual time and raises `ScenarioFailure`, with what the console said last, when what was waited for has not happened by then.
With the instruction clock a scenario takes the same course, to the instruction, on every host.
"""

from __future__ import annotations

import builtins
import codecs
import re
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from devices.core.clock import SECOND
from devices.keys import chord
from machine.configuration import INSTRUCTIONS, Configuration
from machine.machine import Machine
from machine.outcome import ExitReason, Outcome

if TYPE_CHECKING:
    from machine.boot import Boot
    from machine.screen import Screen

PATIENCE = 60.0                     # s of virtual time
CHARACTER = 86_806                  # ns: ten bits at 115200 baud
HELD = 20_000_000                   # ns that a key or button is held, and then nothing is: shorter than the delay of a key that repeats
BUTTONS = {"left": 1, "right": 2, "middle": 4}
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
        self._next_feed = 0                            # ns before which no more of it is sent
        self._hands_free = 0                           # ns at which they can do the next thing
        self._acts: deque[tuple[int, str, bytes]] = deque()      # what hands do: when, and what at which inlet of the board
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

    def press(self, *chords: str) -> None:
        """Press keys on the keyboard while the machine runs, one after the other: `press("a", "enter")`, `press("ctrl-alt-delete")`, `press(*"Hello!")`.

        Keys with `-` between them go down in this order and up in the other. A single character is what it takes with the US layout. Raises `UnknownKey`.
        """
        for keys in [chord(names) for names in chords]:
            self._hand("keyboard", *(b"+%d" % key for key in keys))
            self._hand("keyboard", *(b"-%d" % key for key in reversed(keys)))

    def move_mouse(self, right: int, down: int, wheel: int = 0) -> None:
        """Move the mouse by so many counts, and turn its wheel towards the user, while the machine runs."""
        self._hand("mouse", b"%d %d %d 0" % (right, -down, wheel))

    def click(self, button: str = "left") -> None:
        """Press a button of the mouse, `left`, `right` or `middle`, and let go. Raises ValueError for another."""
        if button not in BUTTONS:
            raise ValueError(f"a mouse has no button {button!r}; it has {', '.join(BUTTONS)}")
        self._hand("mouse", b"0 0 0 %d" % BUTTONS[button])
        self._hand("mouse", b"0 0 0 0")

    def _hand(self, inlet: str, *pieces: bytes) -> None:
        """Something that hands do, a while after what they did before."""
        now = self.machine.clock.now()
        when = max(now, self._hands_free if self._acts else min(self._hands_free, now + HELD))       # the machine may have gone back
        self._hands_free = when + HELD
        self._acts += [(when, inlet, piece) for piece in pieces]

    def fork(self) -> Scenario:
        """A scenario that goes on from here by itself. RAM is shared until one of the two writes to it."""
        copy = Scenario(self.machine.fork(), self.console)
        copy._seen = self._seen
        copy._typed += self._typed
        copy._acts += self._acts
        copy._next_feed, copy._hands_free = self._next_feed, self._hands_free
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
        machine = self.machine
        deadline = machine.clock.now() + round(within * SECOND)
        late = met = False
        self._reached = reached if by_output and reached is not None else lambda: False

        def over() -> bool:
            nonlocal late, met
            self._act()
            machine.alarm = min([deadline, *self._next()])
            late, met = machine.clock.now() >= deadline, reached is not None and reached()
            return late or met

        try:
            outcome = machine.run(over)
        finally:
            machine.alarm = None
            self._reached = lambda: False
        if outcome.reason in good:
            return outcome
        if outcome.reason is ExitReason.CONDITION and (met or reached is None):
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

    def _act(self) -> None:
        """What hands do now; and typed characters, as many as the chip has room for."""
        board, now = self.machine.board, self.machine.clock.now()
        while self._acts and self._acts[0][0] <= now:
            _when, inlet, data = self._acts.popleft()
            board.inlets[inlet](data)
        if self._typed and not now < self._next_feed <= now + CHARACTER:
            room = min(board.serial.space(), len(self._typed))
            if room > 0:
                board.serial.receive(bytes(self._typed[:room]))
                del self._typed[:room]
            self._next_feed = now + CHARACTER

    def _next(self) -> list[int]:
        """When there is more of that to do."""
        return ([self._acts[0][0]] if self._acts else []) + ([self._next_feed] if self._typed else [])
