"""Host input, recorded with the moment at which it came, and played back at exactly that moment: the same run again, on the instruction clock.

    journal = Journal(machine)                  # from now on, in memory; what going backwards is built on
    Player(machine, journal.events)             # a machine that stands where the journal began goes the same way, and hears nothing else

`recording.py` keeps the same in a file. A machine that comes to the end of one stands there, once; what it does beyond is its own.

A moment is a count of retired instructions, of all processors, and a virtual time, which goes on alone while all processors are halted. Everything else is
the machine's own and repeats by itself: chips, interrupts, turns. Turns that were cut short from outside are noted, too, although that changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devices.core.clock import PICOSECONDS
from machine.errors import MachineError, TargetError
from machine.outside import CUT, MEMORY, REGISTER, STEP, TURN

if TYPE_CHECKING:
    from machine.machine import Machine


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

    def serve(self) -> str | None:
        """Hand over what came at this moment. Returns why the machine is to stand, if it is. Raises ReplayError where something is past, or makes no sense."""
        now = moment_of(self._machine)
        while self._next < len(self._events) and self._events[self._next].moment <= now:
            event = self._events[self._next]
            if event.inlet != CUT and event.moment != now:
                raise self._astray(event.moment, now)
            if event.inlet in (STEP, TURN):
                return None                                    # those have their own places, see `step` and `bound`
            self._next += 1
            try:
                self._hand_over(event)
            except (ValueError, TargetError) as error:
                raise self._senseless(event, error) from None
        if self._end is None or self.arrived or self._next < len(self._events) or now < self._end:
            return None
        if now != self._end:
            raise self._astray(self._end, now)
        self.arrived = True
        return "the recording goes no further"

    def _hand_over(self, event: Event) -> None:
        if event.inlet == CUT:
            return
        if event.inlet not in (MEMORY, REGISTER):
            self._machine.board.inlets[event.inlet](event.data)
            return
        from machine.debug.registers import BY_NAME
        from machine.debug.target import Target

        target, words = Target(self._machine), event.data.decode("latin-1").split(" ")
        if event.inlet == MEMORY:
            address, data = words
            target.write_physical(int(address, 16), bytes.fromhex(data))
        else:
            cpu, name, data = words
            target.vcpu(int(cpu))
            if name not in BY_NAME:
                raise ValueError(f"there is no register {name!r:.40}")
            target.write_register(int(cpu), BY_NAME[name], bytes.fromhex(data))

    def step(self) -> bool:
        """A single step that was recorded at this moment is taken. Raises ReplayError for a processor that there is not."""
        event = self._events[self._next] if self._next < len(self._events) else None
        if event is None or event.inlet != STEP or event.moment != moment_of(self._machine):
            return False
        if not event.data.isdigit() or int(event.data[:5]) >= len(self._machine.engine.vcpus):
            raise self._senseless(event, f"there is no processor {event.data!r:.40}")
        self._machine.step(int(event.data))
        return True

    def stepping(self, cpu: int) -> None:
        """If it is the recorded step, it has come."""
        event = self._events[self._next] if self._next < len(self._events) else None
        if event is not None and event.inlet == STEP and event.moment == moment_of(self._machine) and event.data == b"%d" % cpu:
            self._next += 1

    def bound(self) -> int | None:
        """The count of instructions at which something comes next. Raises ReplayError if it should have come before."""
        moment = self._coming()
        if moment == moment_of(self._machine) and self._next < len(self._events) and self._events[self._next].inlet == TURN:
            self._next += 1
            return moment[0]                                   # the turn begins, and is cut before its first instruction
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

    @staticmethod
    def _senseless(event: Event, why: object) -> ReplayError:
        return ReplayError(f"what was recorded at instruction {event.retired} makes no sense: {event.inlet}: {why}")

    def _astray(self, expected: tuple[int, int], found: tuple[int, int]) -> ReplayError:
        return ReplayError(f"the replay has gone astray: what was recorded at instruction {expected[0]}, {expected[1]} ps, finds the machine at "
                           f"instruction {found[0]}, {found[1]} ps")


def moment_of(machine: Machine) -> tuple[int, int]:
    """(instructions retired, ps of virtual time)."""
    return machine.stats.retired, machine.time.save()
