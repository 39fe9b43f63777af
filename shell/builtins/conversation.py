"""Builtins about the conversation itself: help, history, variables, the screen, and leaving."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.telemetry import Column, Kind
from shell.errors import ShellError, nearest_names
from shell.signature import Builtin, Call, Example, Input, Parameter, Takes

if TYPE_CHECKING:
    from jit_synth.values import Value

CLEAR_SCREEN = "\x1b[2J\x1b[H"         # ECMA-48 ED 2, CUP
OVERVIEW_END = """
A command reads:  NAME arguments |> NAME arguments |> ...      help NAME tells more about one.
A name that is not listed is worked out, compiled and checked on the spot; add -WhatIf to see how, without running it.
"""


def _help(call: Call) -> Value:
    from jit_synth.values import Text

    name = call.text("name")
    if not name:
        return Text(_overview(call))
    from shell.builtins import BY_NAME

    builtin = BY_NAME.get(name) or next((known for key, known in BY_NAME.items() if key.casefold() == name.casefold()), None)
    if builtin is not None:
        return Text(describe_builtin(builtin))
    source = call.context.sources.get(name)
    if source is not None:
        return Text("\n".join([f"{source.name}: {source.doc}", *(f"  {column.name:14} {column.kind.name.lower():9} {column.doc}" for column in source.columns)]))
    if name in call.context.learned:
        return Text(f"{name} was synthesized here: {call.context.learned[name]}\n{name} -WhatIf shows all of it")
    raise ShellError(f"there is no help on {name!r}", call.given("name")[0].span, nearest=nearest_names(name, [*BY_NAME, *call.context.sources]))


def _overview(call: Call) -> str:
    from shell.builtins import BUILTINS

    lines = [f"{builtin.name:12} {builtin.doc}" for builtin in BUILTINS]
    lines += [f"{name:12} {source.doc}" for name, source in call.context.sources.items() if name not in _builtin_names()]
    return "\n".join(lines) + "\n" + OVERVIEW_END


def _builtin_names() -> set[str]:
    from shell.builtins import BY_NAME

    return set(BY_NAME)


def describe_builtin(builtin: Builtin) -> str:
    """The help page of a builtin, from its declaration."""
    lines = [f"{builtin.name}: {builtin.doc}", f"  usage     {builtin.usage()}"]
    if builtin.input is not Input.NOTHING:
        lines.append(f"  from pipe {builtin.input.value}")
    if builtin.aliases:
        lines.append(f"  also      {', '.join(builtin.aliases)}")
    lines += [f"  {'-' + parameter.name:12} {parameter.doc}" for parameter in builtin.parameters]
    lines += [f"  e.g.      {example.line}   # {example.doc}" for example in builtin.examples]
    return "\n".join(lines)


def _history(call: Call) -> Value:
    from jit_synth.values import Table

    columns = (Column("line", Kind.INTEGER, "its number"), Column("command", Kind.TEXT, "what was typed"))
    count = call.count("count", len(call.context.history))
    numbered = list(enumerate(call.context.history, start=1))
    return Table(columns, tuple(numbered[max(0, len(numbered) - count):]))


def _clear(call: Call) -> Value:
    from jit_synth.values import Nothing

    if call.out.colour:                                   # a terminal that knows no colours is no screen to clear
        call.out.write(CLEAR_SCREEN)
    return Nothing()


def _power_off(call: Call) -> Value:
    from jit_synth.values import Nothing

    call.out.write("Powering off.\n")
    call.context.closed = True
    call.context.actions.power_off()
    return Nothing()


def _reboot(call: Call) -> Value:
    from jit_synth.values import Nothing

    call.out.write("Rebooting.\n")
    call.context.closed = True
    call.context.actions.reboot()
    return Nothing()


CONVERSATION = (
    Builtin("help", "what there is, or all about one command", _help, Input.NOTHING, (Parameter("name", Takes.TEXT, "a command or a source"),), ("man",),
            (Example("help", "everything in one list"), Example("help sort", "usage, arguments and examples of one command"))),
    Builtin("history", "the lines typed so far", _history, Input.NOTHING, (Parameter("count", Takes.NUMBER, "the latest so many"),), examples=(Example("history 5", "the latest five"),)),
    Builtin("clear", "an empty screen", _clear, aliases=("cls",), examples=(Example("clear", "start at the top again"),)),
    Builtin("poweroff", "switch the machine off by ACPI", _power_off, aliases=("shutdown", "exit"), examples=(Example("poweroff", "the end"),)),
    Builtin("reboot", "restart the machine", _reboot, aliases=("restart",), examples=(Example("reboot", "from the reset vector again"),)),
)
