"""Commands of a console as data: their names, what they take, what they do; help and completion come from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from machine.errors import TargetError


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        names: the first is its own, the others are short for it.
        arguments: how they read.
        doc: what it does, in a line.
        run: does it: (the console, words). ValueError and IndexError mean that the words make no sense, TargetError that it cannot be done.
        topic: what it stands under in the help.
        more: what the line does not say.
        complete: what its words may be, for completion: (the console) -> words.
    """

    names: tuple[str, ...]
    arguments: str
    doc: str
    run: Callable[[Any, list[str]], None]
    topic: str = "looking"
    more: str = ""
    complete: Callable[[Any], Sequence[str]] = lambda console: ()


def find(commands: Sequence[Command], word: str) -> Command:
    """By a name, or the beginning of one that leaves no doubt. Raises TargetError."""
    exact = next((command for command in commands if word in command.names), None)
    if exact is not None:
        return exact
    begun = {command.names[0]: command for command in commands if any(name.startswith(word) for name in command.names)}
    if len(begun) == 1:
        return next(iter(begun.values()))
    if begun:
        raise TargetError(f"{word} may be {', '.join(sorted(begun))}")
    raise TargetError(f"there is no command {word}; `help` lists them")


def usage(command: Command) -> str:
    """How it is written."""
    return f"usage: {command.names[0]} {command.arguments}".rstrip()


def manual(command: Command) -> list[str]:
    """All that is known of one command."""
    short = ", ".join(command.names[1:])
    return [f"{command.names[0]} {command.arguments}".rstrip() + (f"        (short: {short})" if short else ""), f"  {command.doc}",
            *(f"  {line}" for line in command.more.splitlines())]


def overview(commands: Sequence[Command]) -> list[str]:
    """The list of commands, by topic."""
    names = {command: ", ".join(command.names) for command in commands}
    wide, wider = max(map(len, names.values())), max(len(command.arguments) for command in commands)
    lines: list[str] = []
    for topic in dict.fromkeys(command.topic for command in commands):
        lines.append(f"{topic}:")
        lines += [f"  {names[command]:{wide}}  {command.arguments:{wider}}  {command.doc}" for command in commands if command.topic == topic]
    return lines
