"""Names of keys."""

from __future__ import annotations

import string

import pytest

from devices.keys import ALSO, KEYS, UnknownKey, chord
from devices.ps2_keyboard import scan_codes


def test_every_key_has_a_scan_code_and_one_name() -> None:
    assert len(set(KEYS.values())) == len(KEYS) == 105, "102, and two Windows keys and a menu key"
    assert all(scan_codes(key, True) for key in KEYS.values())
    assert all(name in KEYS and also not in KEYS for also, name in ALSO.items())


@pytest.mark.parametrize(("names", "keys"), [
    ("a", (30,)), ("A", (42, 30)), ("?", (42, 53)), ("-", (12,)), (" ", (57,)), ("\n", (28,)), ("enter", (28,)),
    ("Return", (28,)), ("F1", (59,)), ("f12", (88,)),
    ("ctrl-alt-delete", (29, 56, 111)), ("Ctrl-Alt-Del", (29, 56, 111)), ("ctrl--", (29, 12)),
    ("right-ctrl-page-up", (97, 104)), ("shift-alt-gr-x", (42, 100, 45)),
])
def test_what_users_say(names: str, keys: tuple[int, ...]) -> None:
    assert chord(names) == keys


def test_every_printable_character_can_be_typed() -> None:
    typed = {chord(character) for character in string.digits + string.ascii_letters + string.punctuation + " \t\n"}
    assert len(typed) == 10 + 52 + 32 + 3


@pytest.mark.parametrize(("names", "message"), [
    ("", "there is no key ''"), ("entr", "there is no key 'entr'; did you mean enter?"),
    ("ctrl-alt-delet", "'delet' in 'ctrl-alt-delet'; did you mean delete?"),
    ("ctrl-", "'ctrl-'"), ("-a", "'-a'"), ("é", "'é'"), ("ctrl-alt-", "'ctrl-alt-'"),
])
def test_what_is_no_key(names: str, message: str) -> None:
    with pytest.raises(UnknownKey) as caught:
        chord(names)
    assert message in str(caught.value) and "\n" not in str(caught.value)
