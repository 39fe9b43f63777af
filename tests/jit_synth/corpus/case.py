"""What a case is, and how an answer is judged."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jit_synth.values import Record, Scalar, Table, Text, Value
from kernel.telemetry import Kind

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """A request and its expected answer.

    Attributes:
        line: the request; words with blanks are quoted, `-Name value` are named arguments (values: a whole number or text).
        expected: a number or text; or rows as dictionaries, of which the answer must have at least these columns with these cells, in this order.
        upstream: the value in the pipe.
        unordered: the rows may come in any order.
        otherwise: another answer that means the request as well.
    """

    line: str
    expected: Callable[[], object]
    upstream: Value | None = None
    unordered: bool = False
    arguments: dict[str, Value] = field(default_factory=dict)
    otherwise: Callable[[], object] | None = None

    def words(self) -> tuple[tuple[str, ...], dict[str, Value]]:
        """Words and named arguments, as the shell would pass them."""
        words, arguments = [], dict(self.arguments)
        parts = shlex.split(self.line)
        while parts:
            part = parts.pop(0)
            if part.startswith("-") and part[1:2].isalpha():
                value = parts.pop(0) if parts and not parts[0].startswith("-") else None
                arguments[part[1:]] = (Scalar(True, Kind.BOOLEAN) if value is None else Scalar(int(value), Kind.INTEGER) if value.isdigit() else Text(value))
            else:
                words.append(part)
        return tuple(words), arguments


def agrees(case: Case, answer: Value) -> bool:
    """Whether the answer is the expected one. The shape is the command's own business, as long as the values are there."""
    return any(_is(case, wanted(), answer) for wanted in (case.expected, case.otherwise) if wanted is not None)


def _is(case: Case, expected: object, answer: Value) -> bool:
    columns, rows = _tabular(answer)
    if isinstance(expected, list):
        if not expected:
            return not rows
        if len(rows) != len(expected) or not set(expected[0]) <= set(columns):
            return False
        places = [columns.index(name) for name in expected[0]]
        found = [tuple(row[place] for place in places) for row in rows]
        wanted = [tuple(row.values()) for row in expected]
        if case.unordered:
            found, wanted = sorted(found, key=repr), sorted(wanted, key=repr)
        return all(_same(a, b) for one, other in zip(found, wanted, strict=True) for a, b in zip(one, other, strict=True))
    return len(rows) == 1 and len(rows[0]) == 1 and _same(rows[0][0], expected)


def _tabular(value: Value) -> tuple[list[str], list[tuple[object, ...]]]:
    match value:
        case Table(columns=columns, rows=rows):
            return [column.name for column in columns], [tuple(row) for row in rows]
        case Record(columns=columns, values=values):
            return [column.name for column in columns], [tuple(values)]
        case Scalar(value=scalar):
            return ["value"], [(scalar,)]
        case Text(text=text):
            return ["text"], [(text,)]
        case _:
            return [], []


def _same(found: object, wanted: object) -> bool:
    if isinstance(wanted, float) and isinstance(found, (int, float)):
        return abs(found - wanted) <= 1e-9 * max(1.0, abs(wanted))
    return found == wanted


def pick(rows: Rows, *names: str) -> Rows:
    """Rows with these columns only."""
    return [{name: row[name] for name in names} for row in rows]


def total(rows: Rows, name: str) -> Any:
    """The sum of a column."""
    return sum(row[name] for row in rows)


def by(rows: Rows, name: str, *, down: bool = True) -> Rows:
    """Rows sorted by a column."""
    return sorted(rows, key=lambda row: row[name], reverse=down)
