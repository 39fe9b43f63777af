"""The state of a chip as plain data: out of a dataclass, and back into it with every shape checked.

Plain is what a snapshot can carry: bool, int, str, bytes, bytearray, None, lists, tuples and dictionaries of them, and dataclasses of them. A list that is
not empty after a reset has a fixed length; one that is empty is a queue of any length.
"""

from __future__ import annotations

import copy
import dataclasses
import types
import typing
from typing import Any

PLAIN = (bool, int, str, bytes)
_known: dict[Any, dict[str, Any]] = {}      # the types of the fields of dataclasses


class StateError(Exception):
    """A snapshot does not fit the chip; says which value and why, in one line."""


def save(state: Any) -> dict[str, Any]:
    """A deep copy of a dataclass as dictionaries."""
    return dataclasses.asdict(state)


def restore(into: Any, saved: object, fresh: Any, name: str) -> None:
    """Replace all of `into`, a dataclass, with what `save` gave; on an error it stays as it was.

    Args:
        fresh: a dataclass of the same type as after a reset, for the lengths of lists.
        name: what errors call it.

    Raises:
        StateError: a value is missing, unknown, or of the wrong shape.
    """
    rebuilt = _dataclass(type(into), saved, fresh, name)
    for item in dataclasses.fields(into):
        setattr(into, item.name, getattr(rebuilt, item.name))


def replace(into: Any, other: Any) -> None:
    """Give `into` deep copies of all values of `other`, of the same type."""
    for item in dataclasses.fields(into):
        setattr(into, item.name, copy.deepcopy(getattr(other, item.name)))


def _dataclass(kind: type[Any], saved: object, fresh: Any, name: str) -> Any:
    if not isinstance(saved, dict):
        raise StateError(f"{name}: {type(saved).__name__} instead of the values of {kind.__name__}")
    hints = _hints(kind)
    for missing in (key for key in hints if key not in saved):
        raise StateError(f"{name}.{missing} is missing")
    for unknown in (key for key in saved if key not in hints):
        raise StateError(f"{name}.{unknown} is unknown")
    values = {key: saved[key] if hint in PLAIN and type(saved[key]) is hint else _value(hint, saved[key], getattr(fresh, key, None), f"{name}.{key}")
              for key, hint in hints.items()}
    rebuilt = object.__new__(kind)
    for key, value in values.items():
        object.__setattr__(rebuilt, key, value)
    return rebuilt


def _hints(kind: type[Any]) -> dict[str, Any]:
    """The types of a dataclass's fields; worked out once, because machines are restored often."""
    known = _known.get(kind)
    if known is None:
        hints = typing.get_type_hints(kind)
        known = _known[kind] = {item.name: hints[item.name] for item in dataclasses.fields(kind)}
    return known


def _value(hint: Any, saved: object, fresh: Any, name: str) -> Any:
    """`saved` as a value of type `hint`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        for choice in arguments:
            try:
                return _value(choice, saved, fresh, name)
            except StateError:
                continue
    elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _dataclass(hint, saved, fresh, name)
    elif origin is list and isinstance(saved, list | tuple):
        _length(saved, fresh, name)
        if arguments[0] in PLAIN and all(type(item) is arguments[0] for item in saved):
            return list(saved)
        return [_value(arguments[0], item, fresh[at] if fresh else None, f"{name}[{at}]") for at, item in enumerate(saved)]
    elif origin is tuple and isinstance(saved, list | tuple):
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_value(arguments[0], item, None, f"{name}[{at}]") for at, item in enumerate(saved))
        if len(saved) == len(arguments):
            return tuple(_value(part, item, None, f"{name}[{at}]") for at, (part, item) in enumerate(zip(arguments, saved, strict=True)))
    elif origin is dict and isinstance(saved, dict):
        return {_value(arguments[0], key, None, name): _value(arguments[1], item, None, f"{name}[{key!r}]") for key, item in saved.items()}
    elif hint is bytearray and isinstance(saved, bytes | bytearray):
        _length(saved, fresh, name)
        return bytearray(saved)
    elif hint is type(None) and saved is None:
        return None
    elif hint in PLAIN and type(saved) is hint:
        return saved
    raise StateError(f"{name}: {type(saved).__name__} instead of {getattr(hint, '__name__', hint) if origin is None else hint}")


def _length(saved: Any, fresh: Any, name: str) -> None:
    if fresh and len(saved) != len(fresh):
        raise StateError(f"{name}: {len(saved)} values instead of {len(fresh)}")
