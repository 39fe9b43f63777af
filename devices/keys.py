"""Names of keys, as users say them: `a`, `enter`, `F1`, `ctrl-alt-delete`; and what a character takes on a keyboard with the US layout.

Keys are numbered as Linux does (linux/input-event-codes.h, KEY_*), the numbers that ps2_keyboard.py and virtio-input take.
"""

from __future__ import annotations

import difflib

LEFT_SHIFT = 42
_ROWS = ((1, "esc"), (2, "1 2 3 4 5 6 7 8 9 0 minus equal backspace tab q w e r t y u i o p [ ] enter ctrl a s d f g h j k l ; ' ` shift"),
         (43, "\\ z x c v b n m comma . / right-shift kp-multiply alt space caps-lock f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 num-lock scroll-lock"),
         (71, "kp-7 kp-8 kp-9 kp-minus kp-4 kp-5 kp-6 kp-plus kp-1 kp-2 kp-3 kp-0 kp-dot"), (86, "less f11 f12"),
         (96, "kp-enter right-ctrl kp-divide print-screen right-alt"), (102, "home up page-up left right end down page-down insert delete"),
         (119, "pause"), (125, "meta right-meta menu"))
KEYS = {name: first + offset for first, names in _ROWS for offset, name in enumerate(names.split())}
ALSO = {"escape": "esc", "return": "enter", "control": "ctrl", "left-ctrl": "ctrl", "left-shift": "shift", "left-alt": "alt", "alt-gr": "right-alt",
        "win": "meta", "super": "meta", "del": "delete", "ins": "insert", "pgup": "page-up", "pgdn": "page-down", "print": "print-screen",
        "-": "minus", "=": "equal", ",": "comma", " ": "space", "\t": "tab", "\n": "enter", "\b": "backspace"}
SHIFTED = dict(zip('!@#$%^&*()_+{}|:"~<>?', "1234567890-=[]\\;'`,./", strict=True))      # what Shift makes of a key


class UnknownKey(ValueError):
    """There is no key of that name; one line."""


def chord(names: str) -> tuple[int, ...]:
    """The keys of `names`, to be pressed in this order and released in the other: one key, or several with `-` between them.

    A single character is what it takes to type it: `A` is Shift and a, `?` is Shift and /. Raises UnknownKey.
    """
    if len(names) == 1 and (names.isascii() and names.isupper() or names in SHIFTED):
        return LEFT_SHIFT, _key(SHIFTED.get(names, names.lower()))
    keys: list[int] = []
    rest = names
    while rest:
        known = _number(rest)
        if known is not None:
            return *keys, known
        # the longest name in front of a `-`, because names such as page-up have one too
        cut = next((at for at in range(len(rest) - 1, 0, -1) if rest[at] == "-" and _number(rest[:at]) is not None), None)
        if cut is None:
            break
        keys.append(_key(rest[:cut]))
        rest = rest[cut + 1:]
    near = difflib.get_close_matches((rest or names).lower(), [*KEYS, *ALSO], 1)
    inside = f" in {names!r}" if rest and rest != names else ""
    raise UnknownKey(f"there is no key {rest or names!r}{inside}" + (f"; did you mean {near[0]}?" if near else ""))


def _number(name: str) -> int | None:
    name = name.lower()
    return KEYS.get(ALSO.get(name, name))


def _key(name: str) -> int:
    number = _number(name)
    assert number is not None
    return number
