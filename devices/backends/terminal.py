"""The user's terminal as the other end of a serial line.

In raw mode every key reaches the guest, but for Ctrl-A, which is the way out: Ctrl-A x leaves, Ctrl-A h helps, Ctrl-A Ctrl-A sends one. The mode that the
terminal had is put back whatever happens: on `restore`, at the interpreter's end, and before the process dies of a signal.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import termios
import types
from collections.abc import Callable
from typing import Any, Protocol

from devices.backends.output import CHUNK, Gathered

ESCAPE = 0x01                        # Ctrl-A
FATAL_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
HELP = b"\r\n[Ctrl-A x  leave    Ctrl-A Ctrl-A  send a Ctrl-A    Ctrl-A h  this help]\r\n"
# indices of what termios.tcgetattr returns
IFLAG, OFLAG, CFLAG, LFLAG, CC = 0, 1, 2, 3, 6


class SerialLine(Protocol):
    """The chip at the other end."""

    def space(self) -> int:
        """Bytes that it takes now."""

    def receive(self, data: bytes) -> object:
        """Bytes arrive; no more than `space`."""


class Terminal(Gathered):
    """Host input and output for one serial line.

    Args:
        line: the chip.
        leave: what Ctrl-A x calls.
        source, sink: file descriptors; `source` None takes no input.

    Attributes:
        farewell: what is typed when the input, a file or a pipe, has ended: Ctrl-D, say, for a shell.
    """

    def __init__(self, line: SerialLine, leave: Callable[[], None], source: int | None = 0, sink: int = 1) -> None:
        super().__init__()
        self.farewell = b""
        self._line, self._leave = line, leave
        self._source, self._sink = source, sink
        self._saved: list[Any] | None = None
        self._before: dict[int, object] = {}
        self._escaped = False
        self._backlog = bytearray()
        self._sink_gone = False

    # --- the terminal's mode -----------------------------------------------------------------------------------------------------------
    @property
    def interactive(self) -> bool:
        """Whether a person may be at the keyboard."""
        return self._source is not None and os.isatty(self._source)

    def make_raw(self) -> None:
        """Hand every key to the guest, if there is a terminal. CR and LF go out as they are."""
        if not self.interactive or self._saved is not None:
            return
        assert self._source is not None
        self._saved = termios.tcgetattr(self._source)
        mode = termios.tcgetattr(self._source)
        mode[IFLAG] &= ~(termios.BRKINT | termios.ICRNL | termios.INPCK | termios.ISTRIP | termios.IXON)
        mode[OFLAG] &= ~termios.OPOST
        mode[CFLAG] |= termios.CS8
        mode[LFLAG] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN | termios.ISIG)
        mode[CC][termios.VMIN], mode[CC][termios.VTIME] = 1, 0
        atexit.register(self.restore)
        for number in FATAL_SIGNALS:
            self._before[number] = signal.signal(number, self._dying)
        termios.tcsetattr(self._source, termios.TCSADRAIN, mode)

    def restore(self) -> None:
        """The terminal as it was. May be called any number of times."""
        if self._saved is None or self._source is None:
            return
        saved, self._saved = self._saved, None
        with contextlib.suppress(termios.error, OSError):             # a terminal that has hung up has no mode any more
            termios.tcsetattr(self._source, termios.TCSADRAIN, saved)
        atexit.unregister(self.restore)
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]   # what signal.signal gave us
        self._before.clear()

    def _dying(self, number: int, _frame: types.FrameType | None) -> None:
        self.restore()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    # --- input ---------------------------------------------------------------------------------------------------------------------------
    def fileno(self) -> int | None:
        """What to wait on; None after the end of the input, and while the chip has no room."""
        return None if self._backlog else self._source

    def pump(self) -> bool:
        """Take what has been typed to the chip. True if some is left that it has no room for."""
        if self._source is not None and not self._backlog and select.select([self._source], [], [], 0)[0]:
            try:
                data = os.read(self._source, CHUNK)
            except OSError:
                data = b""
            if data:
                self._backlog += self._without_escapes(data) if self.interactive else data
            else:
                self._source = None
                self._end_of_input()
        room = min(self._line.space(), len(self._backlog))
        if room > 0:
            self._line.receive(bytes(self._backlog[:room]))
            del self._backlog[:room]
        return bool(self._backlog)

    def _end_of_input(self) -> None:
        """A file or pipe has ended, or the terminal has hung up, and then nobody is there to see more."""
        self._backlog += self.farewell
        if self._saved is not None:
            self._leave()

    def _without_escapes(self, data: bytes) -> bytes:
        passed = bytearray()
        for byte in data:
            if not self._escaped:
                if byte == ESCAPE:
                    self._escaped = True
                else:
                    passed.append(byte)
                continue
            self._escaped = False
            match byte:
                case 0x78 | 0x58:                                     # x, X
                    self._leave()
                    return bytes(passed)
                case 0x68 | 0x48 | 0x3F:                              # h, H, ?
                    self.write(HELP)
                case 0x01 | 0x61:                                     # Ctrl-A, a
                    passed.append(ESCAPE)
                case _:
                    self.write(HELP)
        return bytes(passed)

    # --- output --------------------------------------------------------------------------------------------------------------------------
    def _put(self, data: bytes) -> None:
        """A sink that has gone away ends the run."""
        while data and not self._sink_gone:
            try:
                data = data[os.write(self._sink, data):]
            except BlockingIOError:
                select.select([], [self._sink], [], 1.0)
            except OSError:                                           # whoever read it has left: so do we
                self._sink_gone = True
                self._leave()

    def close(self) -> None:
        """Put the terminal's mode back."""
        self.restore()
