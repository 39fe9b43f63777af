"""A PS/2 keyboard of 102 keys, behind the keyboard controller (i8042.py).

Specification: IBM Personal System/2 Hardware Interface Technical Reference (1991), "Keyboard (101- and 102-Key)": commands, scan code sets 1 and 2, typematic.

Keys are named by Linux's numbers (linux/input-event-codes.h, KEY_*), the same that virtio-input uses; for the main block these are the codes of set 1.
keys.py has names for them.

Not modelled: scan code set 3 (asking for it is answered with RESEND), the time that bytes take on the wire.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from devices.core.clock import Deadline, VirtualClock

ACK, RESEND, ECHO, SELF_TEST_PASSED, OVERRUN = 0xFA, 0xFE, 0xEE, 0xAA, {1: 0xFF, 2: 0x00}
IDENTITY = (0xAB, 0x83)
BUFFER = 16                          # bytes of scan codes that the keyboard keeps while nobody takes them
RELEASE, EXTENDED = 0xF0, 0xE0       # prefixes of set 2
MS = 1_000_000                       # ns

SET_LEDS, DO_ECHO, SET_SCAN_CODES, READ_ID, SET_TYPEMATIC = 0xED, 0xEE, 0xF0, 0xF2, 0xF3
ENABLE, DISABLE, SET_DEFAULTS, DO_RESEND, RESET = 0xF4, 0xF5, 0xF6, 0xFE, 0xFF
TYPEMATIC_DEFAULT = 0x2B             # 10.9 a second after 500 ms
PAUSE, PRINT_SCREEN = 119, 99
KEY_LIMIT = 0x300                    # KEY_MAX + 1

# Set 2 by key number, from KEY_ESC (1) to KEY_KPDOT (83)
MAIN_BLOCK = bytes.fromhex(
    "76 16 1e 26 25 2e 36 3d 3e 46 45 4e 55 66 0d 15 1d 24 2d 2c 35 3c 43 44 4d 54 5b 5a 14 1c 1b 23 2b 34 33 3b 42 4b 4c 52 0e"
    "12 5d 1a 22 21 2a 32 31 3a 41 49 4a 59 7c 11 29 58 05 06 04 0c 03 0b 83 0a 01 09 77 7e 6c 75 7d 7b 6b 73 74 79 69 72 7a 70 71")
BEYOND = {86: 0x61, 87: 0x78, 88: 0x07}                                                        # 102nd key, F11, F12
WITH_PREFIX = {
    96: 0x5A, 97: 0x14, 98: 0x4A, 100: 0x11,                                                   # keypad Enter, right Ctrl, keypad /, right Alt
    102: 0x6C, 103: 0x75, 104: 0x7D, 105: 0x6B, 106: 0x74, 107: 0x69, 108: 0x72, 109: 0x7A, 110: 0x70, 111: 0x71,      # Home .. Delete
    125: 0x1F, 126: 0x27, 127: 0x2F}                                                           # left and right Windows keys, menu key
PAUSE_CODES = bytes.fromhex("e1 14 77 e1 f0 14 f0 77")                                         # when pressed; nothing when released

# Set 1 by code of set 2: what a keyboard controller translates with. 0x83 (F7) becomes 0x41.
TRANSLATION = bytes.fromhex(
    "ff 43 41 3f 3d 3b 3c 58 64 44 42 40 3e 0f 29 59 65 38 2a 70 1d 10 02 5a 66 71 2c 1f 1e 11 03 5b"
    "67 2e 2d 20 12 05 04 5c 68 39 2f 21 14 13 06 5d 69 31 30 23 22 15 07 5e 6a 72 32 24 16 08 09 5f"
    "6b 33 25 17 18 0b 0a 60 6c 34 35 26 27 19 0c 61 6d 73 28 74 1a 0d 62 6e 3a 36 1c 1b 75 2b 63 76"
    "55 56 77 78 79 7a 0e 7b 7c 4f 7d 4b 47 7e 7f 6f 52 53 50 4c 4d 48 01 45 57 4e 51 4a 37 49 46 54") + bytes(range(0x80, 0x100))
TRANSLATION = TRANSLATION[:0x83] + b"\x41\x54" + TRANSLATION[0x85:]


@dataclass
class KeyboardState:
    """What the keyboard remembers.

    Attributes:
        queue: bytes for the controller, oldest first.
        awaits: the command whose parameter comes next, 0 for none.
        scan_codes: the set, 1 or 2.
        scans: it reports keys.
        leds: bits 0 scroll, 1 num, 2 caps lock.
        typematic: bits 4-0 rate, 6-5 delay.
        repeats: the key held down that repeats, 0 for none; and the ns when it does next.
        last: the byte sent last, for RESEND.
    """

    queue: list[int] = field(default_factory=list)
    awaits: int = 0
    scan_codes: int = 2
    scans: bool = True
    leds: int = 0
    typematic: int = TYPEMATIC_DEFAULT
    repeats: int = 0
    repeat_at: int = 0
    last: int = 0


def scan_codes(key: int, pressed: bool) -> bytes:
    """What a key sends in set 2; nothing for a key that a PS/2 keyboard does not have."""
    if key == PAUSE:
        return PAUSE_CODES if pressed else b""
    if key == PRINT_SCREEN:
        return b"\xe0\x12\xe0\x7c" if pressed else b"\xe0\xf0\x7c\xe0\xf0\x12"
    code = MAIN_BLOCK[key - 1] if 1 <= key <= len(MAIN_BLOCK) and key not in (84, 85) else BEYOND.get(key, 0)
    prefix = b""
    if not code:
        code, prefix = WITH_PREFIX.get(key, 0), bytes((EXTENDED,))
    if not code:
        return b""
    return prefix + (bytes((code,)) if pressed else bytes((RELEASE, code)))


def translate(codes: bytes) -> bytes:
    """Set 2 as set 1: a release prefix becomes bit 7 of the code behind it."""
    out = bytearray()
    release = 0
    for code in codes:
        if code == RELEASE:
            release = 0x80
        else:
            out.append(TRANSLATION[code] | release)
            release = 0
    return bytes(out)


class Keyboard:
    """The keyboard over its state.

    Args:
        state: what it remembers.
        clock: for keys that repeat.
        ready: called when there is something in the queue.

    Attributes:
        heard: told of each key, before it acts, as `enter` takes it.
    """

    def __init__(self, state: KeyboardState, clock: VirtualClock, ready: Callable[[], None]) -> None:
        self.state = state
        self.heard: Callable[[bytes], None] | None = None
        self._clock = clock
        self._ready = ready
        self._deadline: Deadline | None = None

    def enter(self, data: bytes) -> None:
        """What `heard` was told: `+` or `-` and a key's number, in decimal. Raises ValueError."""
        sign, digits = data[:1], data[1:]
        if sign not in (b"+", b"-") or not digits.isdigit() or not 0 < int(digits[:5]) < KEY_LIMIT:
            raise ValueError(f"{data!r:.40} is no key")
        self.key(int(digits), sign == b"+")

    def key(self, key: int, pressed: bool) -> None:
        """A key goes down or up. It repeats by itself while it is down and no other has been pressed."""
        if self.heard is not None:
            self.heard(b"%b%d" % (b"+" if pressed else b"-", key))
        state = self.state
        if not state.scans:
            return
        self._type(key, pressed)
        if pressed and key != PAUSE:
            state.repeats, state.repeat_at = key, self._clock.now() + (1 + (state.typematic >> 5 & 3)) * 250 * MS
        elif key == state.repeats:
            state.repeats = 0
        self.arm()

    def receive(self, byte: int) -> None:
        """A byte from the controller: a command, or a command's parameter."""
        state = self.state
        if state.awaits and byte < SET_LEDS:
            command, state.awaits = state.awaits, 0
            self._parameter(command, byte)
            return
        state.awaits = 0
        if byte == DO_RESEND:
            self._answer(state.last)
        elif byte == DO_ECHO:
            self._answer(ECHO)
        elif byte in (SET_LEDS, SET_SCAN_CODES, SET_TYPEMATIC):
            state.awaits = byte
            self._answer(ACK)
        elif byte == READ_ID:
            self._answer(ACK, *IDENTITY)
        elif byte in (ENABLE, DISABLE, SET_DEFAULTS):
            state.queue.clear()
            if byte != ENABLE:
                self._defaults()
            state.scans = byte != DISABLE
            self._answer(ACK)
        elif byte == RESET:
            state.queue.clear()
            self._defaults()
            state.scans, state.leds = True, 0
            self._answer(ACK, SELF_TEST_PASSED)
        elif 0xF7 <= byte <= 0xFD:                          # key types of set 3: taken, without effect on sets 1 and 2
            self._answer(ACK)
        else:
            self._answer(RESEND)

    def _parameter(self, command: int, byte: int) -> None:
        state = self.state
        if command == SET_LEDS:
            state.leds = byte & 7
        elif command == SET_TYPEMATIC:
            state.typematic = byte & 0x7F
        elif byte == 0:                                     # which set is in use?
            self._answer(ACK, state.scan_codes)
            return
        elif byte in OVERRUN:
            state.scan_codes = byte
            state.queue.clear()
        else:
            self._answer(RESEND)
            return
        self._answer(ACK)

    def take(self) -> int:
        """The oldest byte of the queue, which is not empty."""
        self.state.last = self.state.queue.pop(0)
        return self.state.last

    def arm(self) -> None:
        """Wait for the next repetition."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._clock.at(self.state.repeat_at, self._repeat) if self.state.repeats else None

    def _repeat(self) -> None:
        state = self.state
        self._type(state.repeats, True)
        rate = state.typematic & 0x1F                       # period (8 + A) * 2^B * 4.17 ms
        state.repeat_at = self._clock.now() + (8 + (rate & 7)) * (1 << (rate >> 3)) * 4_170_000
        self.arm()

    def _type(self, key: int, pressed: bool) -> None:
        state = self.state
        codes = scan_codes(key, pressed)
        if state.scan_codes == 1:
            codes = translate(codes)
        if len(state.queue) + len(codes) <= BUFFER:
            state.queue += codes
        elif state.queue[-1] != OVERRUN[state.scan_codes]:
            state.queue.append(OVERRUN[state.scan_codes])
        if codes:
            self._ready()

    def _answer(self, *codes: int) -> None:
        self.state.queue += codes
        self._ready()

    def _defaults(self) -> None:
        state = self.state
        state.scan_codes, state.typematic, state.repeats, state.awaits = 2, TYPEMATIC_DEFAULT, 0, 0
        self.arm()
