"""What a machine knows of the world around it: host input, what was recorded of it, and a bell that ends a wait."""

from __future__ import annotations

import os
import select
from typing import Protocol

LONGEST_SLEEP = 3600.0              # s
CUT = ""                            # in the place of an inlet's name: a turn was cut short from outside
TURN = "turn"                       # the same, before its first instruction: it was begun, and an interrupt perhaps taken
STEP, MEMORY, REGISTER = "step", "memory", "register"     # inlets that are none of the board's: what a debugger does


class HostInput(Protocol):
    """Something of the host's that the guest hears of: a terminal, a socket."""

    def fileno(self) -> int | None:
        """What to wait on, None once nothing more can come."""

    def pump(self) -> bool:
        """Move what is there towards the chip. True if some is left that the chip has no room for."""


class Script(Protocol):
    """Host input that was recorded, in its own time. Raises ReplayError where the machine does not come to where it was recorded."""

    def serve(self) -> str | None:
        """Between slices: hand over what came at this moment. Returns why the machine is to stand here, if it is."""

    def bound(self) -> int | None:
        """The count of instructions at which a slice must end because something comes next."""

    def step(self) -> bool:
        """Between slices: take a single step of a processor, if one comes at this moment; `Machine.step` asks `stepping`."""

    def stepping(self, cpu: int) -> None:
        """A single step of a processor is taken; if that is what comes at this moment, it has come."""

    def wakes(self) -> int | None:
        """While all processors stand: when something comes next, ns of virtual time; None if more instructions must retire before."""


class Bell:
    """Ends a wait of the machine's own thread, from any thread or signal handler. Rung while nobody waits, it ends the next wait."""

    def __init__(self) -> None:
        self._waiting = self._rung = False
        self._open()

    def _open(self) -> None:
        self._process = os.getpid()
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def ring(self) -> None:
        """Enough is waited for."""
        self._rung = True
        if self._waiting:
            try:
                os.write(self._write, b"w")
            except BlockingIOError:
                pass                        # it is full of rings that nobody has heard yet

    def wait(self, readers: list[int], seconds: float) -> None:
        """Until it is rung, one of the file descriptors can be read, or so much time has passed."""
        if self._process != os.getpid():    # forked off: the parent's bell is its own
            self.close()
            self._open()
        self._waiting = True                # from here on a ring is written down, so none falls between the look and the wait
        if self._rung:
            seconds = 0.0
        self._rung = False
        ready, _, _ = select.select([self._read, *readers], [], [], seconds)
        self._waiting = False
        if self._read in ready:
            os.read(self._read, 4096)

    def close(self) -> None:
        """Nobody waits any more."""
        for end in (self._read, self._write):
            os.close(end)
