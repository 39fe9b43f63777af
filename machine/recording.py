"""Recordings: what came to a machine from outside, as a file, and the machine's end to compare with (replay.py plays it).

    recorder = Recorder(machine, write)         # lines of text from now on, ended by `finish`
    player = read(path).player(machine)         # checks that the machine is the one that was recorded; `player.arrived` at the end

A recording is text, JSON a line. The first says what was recorded: {"folkering-recording": version, "board": [...], "seed": ..., "start": digest}. Then come

    [retired, picoseconds, inlet, text]     at an inlet of the board, characters of Latin-1; or what a debugger does:
                                            "step" CPU, "memory" ADDRESS BYTES (physical), "register" CPU NAME BYTES
    [retired, picoseconds, ""]              a cut; "turn" CPU is one before a turn's first instruction, when an interrupt may have been taken
    [retired, picoseconds]                  now and then: nothing came until then

and at last {"end": [retired, picoseconds], "digest": digest}. The digests are `checkpoint.digest`.

A recording whose last line is missing, because its process died, is played as far as it goes: to the last moment that it knows of.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devices.core.clock import PICOSECONDS, SECOND
from machine.checkpoint import Kind, board_of, describe, digest
from machine.outside import CUT, MEMORY, REGISTER, STEP, TURN
from machine.replay import Event, Journal, Player, ReplayError, moment_of

if TYPE_CHECKING:
    from machine.machine import Machine

FORMAT, VERSION = "folkering-recording", 3
LARGEST_LINE = 1 << 20                  # bytes; a FIFO takes sixteen
# a moment is written down where so many instructions or so much virtual time have passed since the last: about every second of the host's
SIGN_OF_LIFE, SIGN_OF_TIME = 50_000_000, 60 * SECOND * PICOSECONDS


class Recorder:
    """Writes a recording of a machine from now on.

    Args:
        machine: on the instruction clock.
        write: gets one line at a time.

    Raises:
        ReplayError: the machine is on the host's clock.
    """

    def __init__(self, machine: Machine, write: Callable[[bytes], None]) -> None:
        self._machine, self._write = machine, write
        self._latest = moment_of(machine)
        self._journal = Journal(machine, self._event)
        machine.flush.append(self._live)
        self._line({FORMAT: VERSION, "board": list(board_of(machine)), "seed": machine.configuration.schedule_seed, "start": digest(machine)})

    def finish(self) -> None:
        """The recording ends here, between two slices."""
        self._journal.close()
        self._machine.flush.remove(self._live)
        self._line({"end": list(moment_of(self._machine)), "digest": digest(self._machine)})

    def _event(self, event: Event) -> None:
        self._latest = event.moment
        self._line([event.retired, event.time, event.inlet, *([event.data.decode("latin-1")] if event.data else [])])

    def _live(self) -> None:
        retired, time = moment_of(self._machine)
        if retired - self._latest[0] >= SIGN_OF_LIFE or time - self._latest[1] >= SIGN_OF_TIME:
            self._latest = retired, time
            self._line([retired, time])

    def _line(self, value: Any) -> None:
        self._write(json.dumps(value).encode() + b"\n")


@dataclass(frozen=True, slots=True)
class Recording:
    """A file that was read.

    Attributes:
        name: of the file, for messages.
        board, seed, start: of the machine that was recorded; `start` is its digest.
        events: what came.
        last: the last moment that is known of; None if there is none, not even an end.
        digest: the machine's at the end, which is `last`; None where the recording breaks off.
        breaks_off: where and how, in words; empty if it does not.
    """

    name: str
    board: Kind
    seed: int | None
    start: str
    events: tuple[Event, ...]
    last: tuple[int, int] | None
    digest: str | None
    breaks_off: str = ""

    def player(self, machine: Machine) -> Player:
        """Plays it on a machine. Raises ReplayError if that is not what was recorded, saying how it differs."""
        if self.board != board_of(machine):
            raise ReplayError(f"recording {self.name}: it is of {describe(self.board)}, not of {describe(board_of(machine))}")
        if self.seed != machine.configuration.schedule_seed:
            raise ReplayError(f"recording {self.name}: its schedule seed is {_seed(self.seed)}, not {_seed(machine.configuration.schedule_seed)}")
        for event in self.events:
            if event.inlet not in (CUT, TURN, STEP, MEMORY, REGISTER) and event.inlet not in machine.board.inlets:
                raise ReplayError(f"recording {self.name}: this board has no inlet {event.inlet!r:.40}")
        if self.start != digest(machine):
            raise ReplayError(f"recording {self.name}: it began with something else in memory: another kernel, initrd, command line, firmware or snapshot")
        return Player(machine, self.events, self.last or moment_of(machine))

    def difference(self, machine: Machine, arrived: bool) -> str | None:
        """What is not as it was when the guest has ended or the machine has `arrived` at the recording's end: None, or one line."""
        if not arrived:
            return f"recording {self.name}: the guest ended at instruction {machine.stats.retired}, before the recording does"
        if self.digest in (None, digest(machine)):
            return None
        return f"recording {self.name}: the machine came to its end at the same instruction, with something else in memory, registers or chips"


def read(path: str | Path) -> Recording:
    """A recording. Raises ReplayError in one line."""
    try:
        with Path(path).open("rb") as file:
            return _parse(str(path), iter(lambda: file.readline(LARGEST_LINE), b""))
    except OSError as error:
        raise ReplayError(f"recording {path}: {error.strerror or error}") from None


def _parse(name: str, lines: Iterator[bytes]) -> Recording:
    board, seed, start = _head(name, next(lines, b""))
    events: list[Event] = []
    last: tuple[int, int] | None = None
    found: str | None = None
    number = 1
    for number, line in enumerate(lines, 2):
        def damaged(what: object, number: int = number) -> ReplayError:
            return ReplayError(f"recording {name}: line {number} is damaged ({what})")

        if len(line) == LARGEST_LINE:
            raise damaged("it is too long")
        if found is not None:
            raise damaged("something follows the end")
        if not line.endswith(b"\n"):
            return Recording(name, board, seed, start, tuple(events), last, None, f"in the middle of line {number}")
        try:
            event, found = _line(line)
        except (ValueError, RecursionError) as error:
            raise damaged(error) from None
        if event.retired < (last or (0, 0))[0] or event.time < (last or (0, 0))[1]:
            raise damaged("time goes back")
        last = event.moment
        if event.data or event.inlet == CUT:
            events.append(event)
    return Recording(name, board, seed, start, tuple(events), last, found, "" if found is not None else f"after line {number}, without an end")


def _head(name: str, line: bytes) -> tuple[Kind, int | None, str]:
    """What was recorded."""
    if not line:
        raise ReplayError(f"recording {name}: the file is empty")
    try:
        head = json.loads(line)
        version = head[FORMAT]
        if version == VERSION:
            board_name, board_version, cpus, memory, clock, cards = head["board"]
            board = str(board_name), int(board_version), int(cpus), int(memory), str(clock), tuple(str(card) for card in cards)
            return board, None if head["seed"] is None else int(head["seed"]), str(head["start"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise ReplayError(f"recording {name}: this is no recording") from None
    raise ReplayError(f"recording {name}: version {version!r:.40}; this program reads version {VERSION}")


def _line(line: bytes) -> tuple[Event, str | None]:
    """An event, with inlet `NOTHING` a moment at which there was none, and with a digest the end. Raises ValueError."""
    match json.loads(line):
        case [int(retired), int(time)]:
            return Event(retired, time, NOTHING), None
        case [int(retired), int(time), ""]:
            return Event(retired, time), None
        case [int(retired), int(time), str(inlet), str(data)] if inlet != CUT and data:
            return Event(retired, time, inlet, data.encode("latin-1")), None
        case {"end": [int(retired), int(time)], "digest": str(found)}:
            return Event(retired, time, NOTHING), found
        case _:
            raise ValueError("this is no event")


NOTHING = "nothing"


def _seed(seed: int | None) -> str:
    return "none" if seed is None else str(seed)
