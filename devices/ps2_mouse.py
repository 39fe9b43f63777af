"""A PS/2 mouse, behind the keyboard controller (i8042.py).

Specification: IBM Personal System/2 Hardware Interface Technical Reference (1991), "Mouse"; Microsoft's IntelliMouse extensions: the sample rates 200, 100, 80
turn on the wheel (identity 3), 200, 200, 80 two more buttons (identity 4).

Not modelled: the time between reports that the sample rate asks for (each movement is reported when it happens, movements that wait add up).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

ACK, RESEND, SELF_TEST_PASSED = 0xFA, 0xFE, 0xAA
SET_SCALING_1, SET_SCALING_2, SET_RESOLUTION, READ_STATUS, SET_STREAM, READ_DATA = 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xEB
END_WRAP, SET_WRAP, SET_REMOTE, READ_ID, SET_RATE, ENABLE, DISABLE, SET_DEFAULTS, DO_RESEND, RESET = 0xEC, 0xEE, 0xF0, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xFE, 0xFF
RATES = (10, 20, 40, 60, 80, 100, 200)
KNOCKS = {(200, 100, 80): (0, 3), (200, 200, 80): (3, 4)}      # last three rates: identity needed, identity gained
PLAIN, WHEEL, BUTTONS_5 = 0, 3, 4
LIMIT = 255                          # counts that a report can carry
FARTHEST = 1 << 20                   # counts in one movement from outside; reports carry at most 255 each
BUFFER = 16                          # bytes of reports that wait; later movements add up
SCALE_2 = (0, 1, 1, 3, 6, 9)         # counts that 2:1 scaling makes of 0..5; beyond, twice as many


@dataclass
class MouseState:
    """What the mouse remembers.

    Attributes:
        queue: bytes for the controller, oldest first.
        awaits: the command whose parameter comes next, 0 for none.
        identity: 0, 3 or 4.
        rates: the last three sample rates.
        resolution: 0..3: 1, 2, 4, 8 counts a millimetre.
        reports, remote, wrap, doubles: ENABLE, SET_REMOTE, SET_WRAP, SET_SCALING_2 hold.
        x, y, z: counts not reported yet, right, up and towards the user positive.
        buttons: bits 0 left, 1 right, 2 middle, 3 and 4 the side buttons.
        changed: there is something to report.
        last: the byte sent last.
    """

    queue: list[int] = field(default_factory=list)
    awaits: int = 0
    identity: int = PLAIN
    rates: tuple[int, int, int] = (0, 0, 100)
    resolution: int = 2
    reports: bool = False
    remote: bool = False
    wrap: bool = False
    doubles: bool = False
    x: int = 0
    y: int = 0
    z: int = 0
    buttons: int = 0
    changed: bool = False
    last: int = 0


class Mouse:
    """The mouse over its state.

    Args:
        state: what it remembers.
        ready: called when there is something in the queue.

    Attributes:
        heard: told of each movement and button, before it acts, as `enter` takes it.
    """

    def __init__(self, state: MouseState, ready: Callable[[], None]) -> None:
        self.state = state
        self.heard: Callable[[bytes], None] | None = None
        self._ready = ready

    def enter(self, data: bytes) -> None:
        """What `heard` was told: counts to the right, up and of the wheel, and the buttons that are down, in decimal. Raises ValueError."""
        words = data.split(b" ")
        numbers = [int(word) for word in words if word.removeprefix(b"-").isdigit() and len(word) <= len(b"%d" % -FARTHEST)]
        if not len(words) == len(numbers) == 4 or max(map(abs, numbers[:3])) > FARTHEST or not 0 <= numbers[3] <= 0x1F:
            raise ValueError(f"{data!r:.40} is no movement")
        self.move(*numbers)

    def move(self, right: int, up: int, wheel: int = 0, buttons: int | None = None) -> None:
        """Movement in counts since the last call, at most `FARTHEST`, and the buttons that are down now (None: as before)."""
        right, up, wheel = (max(-FARTHEST, min(FARTHEST, counts)) for counts in (right, up, wheel))
        state = self.state
        buttons = state.buttons if buttons is None else buttons & 0x1F
        if self.heard is not None:
            self.heard(b"%d %d %d %d" % (right, up, wheel, buttons))
        if right or up or wheel or buttons != state.buttons:
            state.x, state.y, state.z, state.buttons, state.changed = state.x + right, state.y + up, state.z + wheel, buttons, True
            self._stream()
            self._ready()

    def receive(self, byte: int) -> None:
        """A byte from the controller."""
        state = self.state
        if state.wrap and byte not in (RESET, END_WRAP):
            self._answer(byte)
            return
        if state.awaits:
            command, state.awaits = state.awaits, 0
            self._parameter(command, byte)
            return
        if byte == RESET:
            state.queue.clear()
            self._defaults()
            state.identity, state.remote, state.wrap = PLAIN, False, False
            self._answer(ACK, SELF_TEST_PASSED, state.identity)
        elif byte in (SET_RESOLUTION, SET_RATE):
            state.awaits = byte
            self._answer(ACK)
        elif byte == READ_STATUS:
            buttons = (state.buttons & 1) << 2 | (state.buttons & 4) >> 1 | (state.buttons & 2) >> 1
            self._answer(ACK, state.remote << 6 | state.reports << 5 | state.doubles << 4 | buttons, state.resolution, state.rates[2])
        elif byte == READ_ID:
            self._answer(ACK, state.identity)
        elif byte == READ_DATA:
            self._answer(ACK, *self._report())
        elif byte == DO_RESEND:
            self._answer(state.last)
        else:
            self._switch(byte)

    def _switch(self, byte: int) -> None:
        """Commands that only change a mode."""
        state = self.state
        if byte in (SET_SCALING_1, SET_SCALING_2):
            state.doubles = byte == SET_SCALING_2
        elif byte in (SET_STREAM, SET_REMOTE):
            state.remote = byte == SET_REMOTE
            self._forget()
        elif byte in (SET_WRAP, END_WRAP):
            state.wrap = byte == SET_WRAP
        elif byte in (ENABLE, DISABLE):
            state.reports = byte == ENABLE
            self._forget()
        elif byte == SET_DEFAULTS:
            self._defaults()
        else:
            self._answer(RESEND)
            return
        self._answer(ACK)

    def _parameter(self, command: int, byte: int) -> None:
        state = self.state
        if command == SET_RESOLUTION and byte <= 3:
            state.resolution = byte
        elif command == SET_RATE and byte in RATES:
            state.rates = (state.rates[1], state.rates[2], byte)
            needed, gained = KNOCKS.get(state.rates, (-1, 0))
            if state.identity == needed:
                state.identity = gained
        else:
            self._answer(RESEND)
            return
        self._answer(ACK)

    def take(self) -> int:
        """The oldest byte of the queue, which is not empty."""
        state = self.state
        state.last = state.queue.pop(0)
        self._stream()
        return state.last

    def _stream(self) -> None:
        """Stream mode: report what has happened, in as many packets as it takes and the buffer holds."""
        state = self.state
        while state.changed and state.reports and not state.remote and not state.wrap and len(state.queue) <= BUFFER - 4:
            state.queue += self._report()

    def _report(self) -> list[int]:
        """A movement packet: buttons, signs and overflows; right; up; and with a wheel its counts and the side buttons."""
        state = self.state
        x, y = (max(-LIMIT, min(LIMIT, counts)) for counts in (state.x, state.y))
        z = max(-8, min(7, state.z))
        state.x, state.y, state.z = state.x - x, state.y - y, state.z - z
        state.changed = state.x != 0 or state.y != 0 or (state.z != 0 and state.identity != PLAIN)
        if state.doubles and not state.remote:
            x, y = _doubled(x), _doubled(y)
        packet = [0x08 | state.buttons & 7 | (x < 0) << 4 | (y < 0) << 5, x & 0xFF, y & 0xFF]
        if state.identity == WHEEL:
            packet.append(z & 0xFF)
        elif state.identity == BUTTONS_5:
            packet.append(z & 0xF | (state.buttons & 0x18) << 1)
        return packet

    def _answer(self, *codes: int) -> None:
        self.state.queue += codes
        self._ready()

    def _forget(self) -> None:
        """Movement before a change of mode is not reported."""
        state = self.state
        state.x = state.y = state.z = 0
        state.changed = False

    def _defaults(self) -> None:
        state = self.state
        state.rates, state.resolution, state.doubles, state.reports, state.remote, state.awaits = (0, 0, 100), 2, False, False, False, 0
        self._forget()


def _doubled(counts: int) -> int:
    size = abs(counts)
    size = SCALE_2[size] if size < len(SCALE_2) else min(2 * size, LIMIT)
    return -size if counts < 0 else size
