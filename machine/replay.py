"""Host input, recorded with the moment at which it came, and played back at exactly that moment: the same run again, on the instruction clock.

    journal = Journal(machine)                  # from now on, in memory; what going backwards is built on
    Player(machine, journal.events)             # a machine that stands where the journal began goes the same way, and hears nothing else

    recorder = Recorder(machine, write)         # the same as lines of text, ended by `finish`
    player = read(path).player(machine)         # checks that the machine is the one that was recorded; `player.arrived` at the end

A moment is a count of retired instructions, of all processors, and a virtual time, which goes on alone while all processors are halted. Everything else is
the machine's own and repeats by itself: chips, interrupts, turns. What is recorded beside input is each turn that was cut short from outside, because where a
slice ends decides where an interrupt that is pending then is taken.

A recording is text, JSON a line. The first says what was recorded: {"folkering-recording": version, "board": [...], "seed": ..., "start": digest}; then come
[retired, picoseconds, inlet, characters as Latin-1], or [retired, picoseconds, ""] for a cut; then {"end": [retired, picoseconds], "digest": digest}. The
digests are `checkpoint.digest`. A recording whose last line is missing, because its process died, can be played as far as it goes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devices.core.clock import PICOSECONDS
from machine.checkpoint import Kind, board_of, describe, digest
from machine.errors import MachineError
from machine.machine import CUT

if TYPE_CHECKING:
    from machine.machine import Machine

FORMAT, VERSION = "folkering-recording", 2
LARGEST_LINE = 1 << 20                  # bytes; a FIFO takes sixteen


class ReplayError(MachineError):
    """A recording that cannot be used, or a machine that does not come to where one was made; in one line."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something from outside: bytes at an inlet of the board, or with inlet `CUT` the end of a slice.

    Attributes:
        retired: instructions since power-on.
        time: ps of virtual time.
    """

    retired: int
    time: int
    inlet: str = CUT
    data: bytes = b""

    @property
    def moment(self) -> tuple[int, int]:
        """When: (retired, time)."""
        return self.retired, self.time


class Journal:
    """What comes to a machine from outside, from now on.

    Args:
        machine: on the instruction clock.
        tell: gets each event.

    Attributes:
        events: in order.
        paused: nothing is written down while it is set.

    Raises:
        ReplayError: the machine is on the host's clock.
    """

    def __init__(self, machine: Machine, tell: Callable[[Event], None] | None = None) -> None:
        if not machine.engine.counted:
            raise ReplayError("with the host's clock no run repeats; record with the instruction clock")
        self.events: list[Event] = []
        self.paused = False
        self._machine, self._tell = machine, tell
        machine.listeners.append(self._note)

    def close(self) -> None:
        """Write down no more."""
        self._machine.listeners.remove(self._note)

    def _note(self, inlet: str, data: bytes) -> None:
        if self.paused:
            return
        if self._machine.engine.running:
            raise ReplayError(f"input at {inlet} in the middle of a slice cannot be recorded")
        event = Event(*moment_of(self._machine), inlet, data)
        self.events.append(event)
        if self._tell is not None:
            self._tell(event)


class Player:
    """What came from outside comes again. It is the machine's script from now on, until `close`.

    Args:
        machine: stands where the events began.
        events: in order.
        end: the moment at which the recording ended, if it did.

    Attributes:
        arrived: the machine has come to `end`.
    """

    def __init__(self, machine: Machine, events: Sequence[Event], end: tuple[int, int] | None = None) -> None:
        if not machine.engine.counted:
            raise ReplayError("with the host's clock no run repeats; replay with the instruction clock")
        self.arrived = False
        self._machine, self._events, self._end = machine, events, end
        self._next = 0
        machine.script = self

    def close(self) -> None:
        """The machine is its own again."""
        if self._machine.script is self:
            self._machine.script = None

    @property
    def position(self) -> int:
        """How many events have come."""
        return self._next

    def seek(self, position: int) -> None:
        """The machine has gone back to where so many events had come."""
        self._next, self.arrived = position, False

    def serve(self) -> None:
        """Hand over what came at this moment. Raises ReplayError where one is past, or an inlet is unknown."""
        now = moment_of(self._machine)
        while self._next < len(self._events) and self._events[self._next].moment <= now:
            event = self._events[self._next]
            self._next += 1
            if event.inlet != CUT:
                if event.moment != now:
                    raise self._astray(event.moment, now)
                try:
                    self._machine.board.inlets[event.inlet](event.data)
                except ValueError as error:
                    raise ReplayError(f"what was recorded at instruction {event.retired} makes no sense: {event.inlet}: {error}") from None
        if self._end is not None and self._next == len(self._events) and now >= self._end:
            if now != self._end:
                raise self._astray(self._end, now)
            self.arrived = True

    def bound(self) -> int | None:
        """The count of instructions at which something comes next. Raises ReplayError if it should have come before."""
        moment = self._coming()
        if moment is not None and moment[0] <= self._machine.stats.retired:
            raise self._astray(moment, moment_of(self._machine))
        return None if moment is None else moment[0]

    def wakes(self) -> int | None:
        """When something comes to a machine that stands, ns."""
        moment = self._coming()
        return None if moment is None or moment[0] != self._machine.stats.retired else -(-moment[1] // PICOSECONDS)

    def _coming(self) -> tuple[int, int] | None:
        if self._next < len(self._events):
            return self._events[self._next].moment
        return None if self.arrived else self._end

    def _astray(self, expected: tuple[int, int], found: tuple[int, int]) -> ReplayError:
        return ReplayError(f"the replay has gone astray: what was recorded at instruction {expected[0]}, {expected[1]} ps, finds the machine at "
                           f"instruction {found[0]}, {found[1]} ps")


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
        self._journal = Journal(machine, self._event)
        self._line({FORMAT: VERSION, "board": list(board_of(machine)), "seed": machine.configuration.schedule_seed, "start": digest(machine)})

    def finish(self) -> None:
        """The recording ends here, between two slices."""
        self._journal.close()
        self._line({"end": list(moment_of(self._machine)), "digest": digest(self._machine)})

    def _event(self, event: Event) -> None:
        self._line([event.retired, event.time, event.inlet, *([event.data.decode("latin-1")] if event.data else [])])

    def _line(self, value: Any) -> None:
        self._write(json.dumps(value).encode() + b"\n")


@dataclass(frozen=True, slots=True)
class Recording:
    """A file that was read. `end` and `digest` are None where its process died."""

    name: str
    board: Kind
    seed: int | None
    start: str
    events: tuple[Event, ...]
    end: tuple[int, int] | None
    digest: str | None

    def player(self, machine: Machine) -> Player:
        """Plays it on a machine. Raises ReplayError if that is not what was recorded, saying how it differs."""
        if self.board != board_of(machine):
            raise ReplayError(f"recording {self.name}: it is of {describe(self.board)}, not of {describe(board_of(machine))}")
        if self.seed != machine.configuration.schedule_seed:
            raise ReplayError(f"recording {self.name}: its schedule seed is {_seed(self.seed)}, not {_seed(machine.configuration.schedule_seed)}")
        for event in self.events:
            if event.inlet != CUT and event.inlet not in machine.board.inlets:
                raise ReplayError(f"recording {self.name}: this board has no inlet {event.inlet!r}")
        if self.start != digest(machine):
            raise ReplayError(f"recording {self.name}: it began with something else in memory: another kernel, initrd, command line, firmware or snapshot")
        return Player(machine, self.events, self.end)

    def difference(self, machine: Machine, arrived: bool) -> str | None:
        """What is not as it was when the guest has ended or the machine has `arrived` at the recording's end: None, or one line."""
        if self.digest is None:
            return None
        if not arrived:
            return f"recording {self.name}: the guest ended at instruction {machine.stats.retired}, before the recording does"
        if self.digest == digest(machine):
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
    try:
        head = json.loads(next(lines, b"null"))
        version = head[FORMAT]
        if version == VERSION:
            board_name, board_version, cpus, memory, clock, cards = head["board"]
            board = str(board_name), int(board_version), int(cpus), int(memory), str(clock), tuple(str(card) for card in cards)
            seed, start = None if head["seed"] is None else int(head["seed"]), str(head["start"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ReplayError(f"recording {name}: this is no recording") from None
    if version != VERSION:
        raise ReplayError(f"recording {name}: version {version}; this program reads version {VERSION}")
    events: list[Event] = []
    end: tuple[int, int] | None = None
    digest_at_end: str | None = None
    latest = (0, 0)
    for number, line in enumerate(lines, 2):
        if not line.endswith(b"\n"):
            break                                         # its process died while it wrote this
        try:
            event, digest_at_end = _line(line)
        except (ValueError, RecursionError) as error:
            raise ReplayError(f"recording {name}: line {number} is damaged ({error})") from None
        if end is not None or event.retired < latest[0] or event.time < latest[1]:
            raise ReplayError(f"recording {name}: line {number} is damaged ({'time goes back' if end is None else 'something follows the end'})")
        latest = event.moment
        if digest_at_end is None:
            events.append(event)
        else:
            end = event.moment
    return Recording(name, board, seed, start, tuple(events), end, digest_at_end)


def _line(line: bytes) -> tuple[Event, str | None]:
    """An event, or the end's moment and its digest. Raises ValueError."""
    match json.loads(line):
        case [int(retired), int(time), ""]:
            return Event(retired, time), None
        case [int(retired), int(time), str(inlet), str(data)] if inlet != CUT:
            return Event(retired, time, inlet, data.encode("latin-1")), None
        case {"end": [int(retired), int(time)], "digest": str(found)}:
            return Event(retired, time), found
        case _:
            raise ValueError("this is no event")


def moment_of(machine: Machine) -> tuple[int, int]:
    """(instructions retired, ps of virtual time)."""
    return machine.stats.retired, machine.time.save()


def _seed(seed: int | None) -> str:
    return "none" if seed is None else str(seed)
