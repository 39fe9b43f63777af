"""Builtins that make text of values."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kernel.telemetry import Column
from shell.signature import Builtin, Call, Example, Input, Parameter, Takes

if TYPE_CHECKING:
    from jit_synth.values import Value

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def to_plain(value: Value | None) -> Json:
    """A value as JSON has it: numbers in base units (bytes, nanoseconds, 0..1), a table as a list of objects."""
    from jit_synth.values import Record, Scalar, Table, Text

    match value:
        case Table(columns=columns, rows=rows):
            return [_object(columns, row) for row in rows]
        case Record(columns=columns, values=values):
            return _object(columns, values)
        case Scalar(value=scalar):
            return _cell(scalar)
        case Text(text=text):
            return text
        case _:
            return None


def _object(columns: Sequence[Column], row: Sequence[object]) -> dict[str, Json]:
    return {column.name: _cell(cell) for column, cell in zip(columns, row, strict=True)}


def _cell(cell: object) -> Json:
    if isinstance(cell, float) and not math.isfinite(cell):
        return None                                       # JSON has no infinities
    return cell if cell is None or isinstance(cell, (bool, int, float, str)) else str(cell)


def _to_json(call: Call) -> Value:
    from jit_synth.values import Text

    return Text(json.dumps(to_plain(call.input), indent=None if call.has("compact") else 2, ensure_ascii=False, allow_nan=False))


def _echo(call: Call) -> Value:
    from jit_synth.values import Text

    return Text(call.text("text"))


TEXT = (
    Builtin("to-json", "the value as JSON, numbers in base units (bytes, ns, 0..1)", _to_json, Input.ANY,
            (Parameter("compact", Takes.SWITCH, "on one line"),), ("ConvertTo-Json",),
            (Example("ps |> to-json", "all tasks as a list of objects"), Example("uptime |> to-json -Compact", "nanoseconds since the start"))),
    Builtin("echo", "its arguments as text", _echo, Input.NOTHING, (Parameter("text", Takes.TEXT, "what to say", several=True),),
            examples=(Example("echo hello", "a word"), Example('echo "two\\nlines"', "quoted, with an escape"))),
)
