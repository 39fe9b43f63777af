"""How a builtin is declared, and how what was typed is bound to the declaration.

A builtin is data: name, aliases, parameters, one line of doc, examples. Help, completion, argument errors and a test per example come from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from kernel.telemetry import Kind
from shell.errors import ShellError, nearest_names
from shell.syntax import Command, Flag, Item, Literal, Operand, Span, Variable, Word

if TYPE_CHECKING:
    from jit_synth.values import Value
    from shell.context import Context, Output


NO_REDIRECTION = "there are no files to redirect to yet; a value is kept in a variable: $x = ps"
SIGNS_OF_OTHER_SHELLS = {">": NO_REDIRECTION, ">>": NO_REDIRECTION, "<": NO_REDIRECTION, "2>": NO_REDIRECTION,
                         "&&": "one command after another: ps; cpus", "&": "every command runs to its end before the next"}


class Takes(Enum):
    """What a parameter accepts; the value is how usage writes it."""

    COLUMN = "COLUMN"
    NUMBER = "NUMBER"
    TEXT = "TEXT"
    CONDITION = "CONDITION"
    SWITCH = ""


class Input(Enum):
    """What a builtin wants from the pipe."""

    NOTHING = "nothing"
    TABLE = "a table"
    ANY = "a value"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. Positional ones are filled in order; every one can be named, -Name value."""

    name: str
    takes: Takes
    doc: str
    required: bool = False
    several: bool = False          # takes all that is left

    def usage(self) -> str:
        """As it stands in a usage line: [-Descending], COLUMN..., [NUMBER]."""
        text = f"-{self.name}" if self.takes is Takes.SWITCH else self.takes.value + ("..." if self.several else "")
        return text if self.required else f"[{text}]"


@dataclass(frozen=True, slots=True)
class Example:
    """A line that works on any running system, and what it is good for. Every one of them is run as a test."""

    line: str
    doc: str


@dataclass(frozen=True, slots=True)
class Builtin:
    """A command that is part of the shell."""

    name: str
    doc: str
    run: Callable[[Call], Value]
    input: Input = Input.NOTHING
    parameters: tuple[Parameter, ...] = ()
    aliases: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    source: str = ""                                      # the telemetry source whose columns its result has

    def usage(self) -> str:
        """`sort COLUMN... [-Descending]`."""
        return " ".join([self.name, *(parameter.usage() for parameter in self.parameters)])


@dataclass(slots=True)
class Call:
    """One run of a builtin: its input, its bound arguments, and where it was written."""

    context: Context
    out: Output
    input: Value | None
    stage: Command
    switches: frozenset[str] = frozenset()
    operands: dict[str, list[Operand]] = field(default_factory=dict)

    def has(self, switch: str) -> bool:
        """Whether -switch was given."""
        return switch in self.switches

    def given(self, parameter: str) -> list[Operand]:
        """The operands bound to a parameter, in the order typed."""
        return self.operands.get(parameter, [])

    def count(self, parameter: str, default: int) -> int:
        """A whole number, 0 or more."""
        given = self.given(parameter)
        if not given:
            return default
        value, kind = self.context.scalar(given[0])
        if kind is not Kind.INTEGER or not isinstance(value, int) or value < 0:
            raise ShellError(f"{parameter} is a whole number, 0 or more", given[0].span, hint=f"for example: {self.stage.name} 3")
        return value

    def text(self, parameter: str, default: str = "") -> str:
        """The operands of a parameter as text, joined by blanks."""
        given = self.given(parameter)
        return " ".join(operand_text(operand, self.context) for operand in given) if given else default


def operand_text(operand: Operand, context: Context) -> str:
    """What an operand says as text; a number as it was typed, `10ms` and not 10000000."""
    if isinstance(operand, Word):
        return operand.text
    if isinstance(operand, Literal) and operand.kind is not Kind.TEXT:
        return operand.typed
    return str(context.scalar(operand)[0])


def bind(builtin: Builtin, stage: Command, context: Context, out: Output, upstream: Value | None) -> Call:
    """Match the items of a stage with the builtin's parameters.

    Raises:
        ShellError: an unknown flag, a missing value or argument, one too many; it points at the item.
    """
    call = Call(context, out, upstream, stage)
    switches: set[str] = set()
    positional: list[Operand] = []
    items: list[Item] = list(stage.items)
    while items:
        item = items.pop(0)
        if not isinstance(item, Flag):
            positional.append(item)
            continue
        parameter = _parameter_of(item, builtin)
        if parameter.takes is Takes.SWITCH:
            switches.add(parameter.name)
        elif items and not isinstance(items[0], Flag):
            call.operands.setdefault(parameter.name, []).append(_operand(items.pop(0)))
        else:
            raise ShellError(f"-{parameter.name} needs a value", item.span, hint=f"usage: {builtin.usage()}")
    call.switches = frozenset(switches)

    for parameter in builtin.parameters:
        if parameter.takes is Takes.SWITCH or parameter.name in call.operands:
            continue
        taken, positional = (positional, []) if parameter.several else (positional[:1], positional[1:])
        if taken:
            call.operands[parameter.name] = taken
        elif parameter.required:
            end = Span(stage.span.end, stage.span.end)     # where it is missing
            raise ShellError(f"{builtin.name} needs {_article(parameter.name)}", end, hint=f"usage: {builtin.usage()}")
    refuse_redirection(positional)
    if positional:
        raise ShellError(f"{builtin.name} has no use for this", positional[0].span.to(positional[-1].span), hint=f"usage: {builtin.usage()}")
    return call


def refuse_redirection(items: Iterable[Item]) -> None:
    """Signs of other shells among operands that nobody takes, by name.

    Raises:
        ShellError: at the sign.
    """
    for item in items:
        if isinstance(item, Word) and item.text in SIGNS_OF_OTHER_SHELLS:
            raise ShellError(f"{item.text} means nothing here", item.span, hint=SIGNS_OF_OTHER_SHELLS[item.text])


def _operand(item: Item) -> Operand:
    assert isinstance(item, Literal | Word | Variable)
    return item


def _parameter_of(flag: Flag, builtin: Builtin) -> Parameter:
    """By full name or by any unambiguous beginning, as PowerShell does; case does not count."""
    folded = flag.name.casefold()
    begun = [parameter for parameter in builtin.parameters if parameter.name.casefold().startswith(folded)]
    exact = [parameter for parameter in begun if parameter.name.casefold() == folded]
    if len(exact or begun) == 1:
        return (exact or begun)[0]
    names = [f"-{parameter.name}" for parameter in builtin.parameters]
    if begun:
        raise ShellError(f"-{flag.name} may be {' or '.join(f'-{parameter.name}' for parameter in begun)}", flag.span)
    hint = f"usage: {builtin.usage()}"
    if folded == "whatif":
        hint = "-WhatIf explains a command that is to be synthesized; this one is built in: " + f"help {builtin.name}"
    raise ShellError(f"{builtin.name} has no -{flag.name}", flag.span, nearest=nearest_names(f"-{flag.name}", names), hint=hint)


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def names_of(builtins: Iterable[Builtin]) -> list[str]:
    """All names and aliases."""
    return [name for builtin in builtins for name in (builtin.name, *builtin.aliases)]
