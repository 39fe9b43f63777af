"""Builtins about the conversation itself: help, history, variables, the screen, and leaving."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.errors import KernelError
from kernel.telemetry import Column, Kind
from shell.context import describe
from shell.errors import ShellError, nearest_names, prose
from shell.render import shorten
from shell.signature import Builtin, Call, Example, Input, Parameter, Takes

if TYPE_CHECKING:
    from jit_synth.values import Value

CLEAR_SCREEN = "\x1b[2J\x1b[H"         # ECMA-48 ED 2, CUP
NAME_SPACE = 11                        # characters of the longest builtin that help lists, and one
OVERVIEW_END = ("A line reads: NAME arguments |> NAME arguments ...   help NAME: more about one.",
                "A name that is not here is worked out, compiled and checked on the spot;",
                "with -WhatIf it is shown and not run. Try: show the three busiest cpus")


def _help(call: Call) -> Value:
    from jit_synth.values import Text

    name = call.text("name")
    if not name:
        return Text(_overview(call))
    from shell.builtins import BY_NAME

    folded = name.casefold()
    builtin = next((known for key, known in BY_NAME.items() if key.casefold() == folded), None)
    source = next((known for key, known in call.context.sources.items() if key.casefold() == (builtin.source if builtin else folded)), None)
    columns = [] if source is None else [f"  {column.name:12} {column.kind.name.lower():9} {column.doc}" for column in source.columns]
    if builtin is not None:
        return Text("\n".join([describe_builtin(builtin), *(["columns:", *columns] if columns else [])]))
    if source is not None:
        return Text("\n".join([f"{source.name}: {source.doc}", *columns]))
    if name in call.context.learned:
        return Text(f"{name} was synthesized here: {call.context.learned[name]}\n{name} -WhatIf shows all of it")
    raise ShellError(f"there is no help on {name!r}", call.given("name")[0].span, nearest=nearest_names(name, [*BY_NAME, *call.context.sources]))


def _overview(call: Call) -> str:
    from shell.builtins import BY_NAME, GROUPS

    groups = [(title, {builtin.name: builtin.doc for builtin in builtins}) for title, builtins in GROUPS]
    groups.append(("other live data", {name: source.doc for name, source in call.context.sources.items() if name not in BY_NAME}))
    groups.append(("learned here", call.context.learned))
    lines = []
    for title, docs in groups:
        if docs:
            space = max(NAME_SPACE, *map(len, docs))
            lines += [f"{title}:", *(shorten(f"  {name:{space}} {doc}", call.out.width) for name, doc in docs.items())]
    return "\n".join([*lines, "", *("".join(prose(line, call.out.width)).rstrip() for line in OVERVIEW_END)])


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


def _variables(call: Call) -> Value:
    from jit_synth.values import Table

    columns = (Column("name", Kind.TEXT, "with its dollar"), Column("value", Kind.TEXT, "what it holds, in a few words"))
    return Table(columns, tuple((f"${name}", describe(value)) for name, value in call.context.variables.items()))


def _clear(call: Call) -> Value:
    from jit_synth.values import Nothing

    if call.out.colour:                                   # a terminal that knows no colours is no screen to clear
        call.out.write(CLEAR_SCREEN)
    return Nothing()


def _power_off(call: Call) -> Value:
    from jit_synth.values import Nothing

    try:
        call.context.actions.power_off()
    except KernelError as error:
        raise ShellError(str(error), call.stage.name_span) from None
    call.context.closed = True
    call.out.write("Powering off.\n")
    return Nothing()


def _reboot(call: Call) -> Value:
    from jit_synth.values import Nothing

    try:
        call.context.actions.reboot()
    except KernelError as error:
        raise ShellError(str(error), call.stage.name_span) from None
    call.context.closed = True
    call.out.write("Rebooting.\n")
    return Nothing()


CONVERSATION = (
    Builtin("help", "what there is, or all about one command", _help, Input.NOTHING, (Parameter("name", Takes.TEXT, "a command or a source"),), ("man",),
            (Example("help", "everything in one list"), Example("help sort", "usage, arguments and examples of one command"))),
    Builtin("history", "the lines typed so far", _history, Input.NOTHING, (Parameter("count", Takes.NUMBER, "the latest so many"),),
            examples=(Example("history 5", "the latest five"),)),
    Builtin("variables", "what has been kept: $name = pipeline", _variables, examples=(Example("variables", "names, and what they hold"),)),
    Builtin("clear", "an empty screen", _clear, aliases=("cls",), examples=(Example("clear", "start at the top again"),)),
    Builtin("poweroff", "switch the machine off by ACPI", _power_off, aliases=("shutdown", "exit"), examples=(Example("poweroff", "the end"),)),
    Builtin("reboot", "restart the machine", _reboot, aliases=("restart",), examples=(Example("reboot", "from the reset vector again"),)),
)
