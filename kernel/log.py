"""The kernel's log: a ring of records, and its mirror on the console while the system boots.

During boot every record of level INFO and above is shown as `[FACILITY] message`; afterwards only what a person should not miss.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

CAPACITY = 2048
MAX_MESSAGE = 512
ONCE_LIMIT = 32                 # kinds of mistakes of one facility that are told apart


class Level(IntEnum):
    """How much a record matters."""

    DEBUG = 0
    INFO = 1
    WARNING = 2
    ERROR = 3


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the log; `time` in ns since boot."""

    time: int
    facility: str
    level: Level
    message: str

    def __str__(self) -> str:
        return f"[{self.facility.upper()}] {self.message}"


class Log:
    """The last records, oldest first.

    Attributes:
        records: the ring.
        dropped: records that fell out of it.
        repeated: mistakes that `once` did not tell again.
        now: kernel time in ns.
        mirror: shows one line, or None.
        mirror_from: the least level that is shown.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.records: deque[Record] = deque(maxlen=capacity)
        self.dropped = 0
        self.repeated = 0
        self.now: Callable[[], int] = lambda: 0
        self.mirror: Callable[[str], None] | None = None
        self.mirror_from = Level.INFO
        self._seen: dict[str, set[str]] = {}

    def add(self, facility: str, level: Level, message: str) -> None:
        """Keep a record and show it if it matters enough."""
        if len(self.records) == self.records.maxlen:
            self.dropped += 1
        if message[:len(facility) + 2].lower() == f"{facility}: ":      # an error's text names its room, and so does the record
            message = message[len(facility) + 2:]
        record = Record(self.now(), facility, level, printable(message[:MAX_MESSAGE]))
        self.records.append(record)
        if self.mirror is not None and level >= self.mirror_from:
            self.mirror(str(record))

    def debug(self, facility: str, message: str) -> None:
        """For those who look closely."""
        self.add(facility, Level.DEBUG, message)

    def info(self, facility: str, message: str) -> None:
        """A step of normal life."""
        self.add(facility, Level.INFO, message)

    def warning(self, facility: str, message: str) -> None:
        """Something went wrong and was contained."""
        self.add(facility, Level.WARNING, message)

    def error(self, facility: str, message: str) -> None:
        """Something the user must know."""
        self.add(facility, Level.ERROR, message)

    def once(self, facility: str, message: str) -> None:
        """A guest's mistake: one warning for each kind, so that a loop of mistakes does not wash the log away."""
        seen = self._seen.setdefault(facility, set())
        if message in seen or len(seen) >= ONCE_LIMIT:
            self.repeated += 1
            return
        seen.add(message)
        self.warning(facility, message)
        if len(seen) == ONCE_LIMIT:
            self.warning(facility, "and so on: further mistakes are counted, not told")


def counted(number: int, noun: str) -> str:
    """How many of something, in words that fit: '1 CPU', '4 CPUs'."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def printable(text: str) -> str:
    """Text of a guest's that may be shown on a terminal: no control characters, and so no escape sequences."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
