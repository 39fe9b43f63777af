"""The condition of `where`, checked against the columns of the table that really is in the pipe, then compiled to a predicate.

A duration wants a duration and a size a size: `time > 1` is refused with the units that would do. Text compares without regard to case.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel.telemetry import Column, Kind
from shell.errors import ShellError, nearest_names
from shell.quantities import EXAMPLE, NUMERIC, UNITS
from shell.syntax import AllOf, AnyOf, Comparator, Comparison, Condition, Not, Operand, Truth, Word

if TYPE_CHECKING:
    from shell.context import Context

Row = Sequence[object]
Predicate = Callable[[Row], bool]

ORDERED: dict[Comparator, Callable[[object, object], bool]] = {
    Comparator.EQUAL: operator.eq, Comparator.UNEQUAL: operator.ne,
    Comparator.LESS: operator.lt, Comparator.LESS_EQUAL: operator.le,          # type: ignore[dict-item]
    Comparator.GREATER: operator.gt, Comparator.GREATER_EQUAL: operator.ge,    # type: ignore[dict-item]
}
TEXTUAL: dict[Comparator, Callable[[str, str], bool]] = {
    Comparator.CONTAINS: lambda text, part: part in text,
    Comparator.STARTS_WITH: str.startswith,
    Comparator.ENDS_WITH: str.endswith,
}
MIRRORED = {Comparator.LESS: Comparator.GREATER, Comparator.GREATER: Comparator.LESS,
            Comparator.LESS_EQUAL: Comparator.GREATER_EQUAL, Comparator.GREATER_EQUAL: Comparator.LESS_EQUAL}
TRUTH = {"true": True, "yes": True, "false": False, "no": False}

PLAIN_NUMBERS = frozenset({Kind.INTEGER, Kind.REAL})
COMPARABLE_WITH_PLAIN = NUMERIC - {Kind.DURATION}      # a bare 5 may be 5 bytes, never 5 of some time unit


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of a comparison: how to get it from a row, and its kind."""

    get: Callable[[Row], object]
    kind: Kind
    is_column: bool
    constant: object = None


def compile_condition(condition: Condition, columns: Sequence[Column], context: Context) -> Predicate:
    """The predicate over a row of these columns.

    Raises:
        ShellError: an unknown column, or kinds that do not compare; it points at the operand.
    """
    match condition:
        case AllOf(conditions=parts):
            wanted = [compile_condition(part, columns, context) for part in parts]
            return lambda row: all(holds(row) for holds in wanted)
        case AnyOf(conditions=parts):
            wanted = [compile_condition(part, columns, context) for part in parts]
            return lambda row: any(holds(row) for holds in wanted)
        case Not(condition=inner):
            holds = compile_condition(inner, columns, context)
            return lambda row: not holds(row)
        case Truth(operand=operand):
            return _truth(operand, columns, context)
        case Comparison():
            return _comparison(condition, columns, context)


def find_column(word: str, columns: Sequence[Column]) -> int | None:
    """The index of the column of that name; case does not count."""
    folded = word.casefold()
    return next((index for index, column in enumerate(columns) if column.name.casefold() == folded), None)


def require_column(operand: Operand, columns: Sequence[Column], context: Context) -> int:
    """The index of the column that an operand names, or an error that names the nearest ones."""
    name = str(context.scalar(operand)[0])
    index = find_column(name, columns)
    if index is None:
        names = [column.name for column in columns]
        raise ShellError(f"there is no column {name!r}", operand.span, nearest=nearest_names(name, names), hint=f"columns: {', '.join(names)}")
    return index


def _truth(operand: Operand, columns: Sequence[Column], context: Context) -> Predicate:
    index = require_column(operand, columns, context)
    if columns[index].kind is not Kind.BOOLEAN:
        name = columns[index].name
        raise ShellError(f"{name} is {_kind(columns[index].kind)}: compare it with something", operand.span,
                         hint=f"for example: where {name} == {EXAMPLE[columns[index].kind]}")
    return lambda row: bool(row[index])


def _comparison(node: Comparison, columns: Sequence[Column], context: Context) -> Predicate:
    left, right = _side(node.left, columns, context), _side(node.right, columns, context)
    if not left.is_column and not right.is_column:
        require_column(node.left, columns, context)       # says which columns there are
        raise AssertionError("a word that names a column is a column")
    if not left.is_column and node.comparator not in TEXTUAL:
        mirrored = Comparison(node.right, MIRRORED.get(node.comparator, node.comparator), node.left, node.span)
        return _comparison(mirrored, columns, context)

    if node.comparator in TEXTUAL:
        if left.kind is not Kind.TEXT:
            raise ShellError(f"{node.comparator.value} wants text, and this is {_kind(left.kind)}", node.left.span)
        test = TEXTUAL[node.comparator]
        return lambda row: test(_folded(left.get(row)), _folded(right.get(row)))
    right = _fit(node, left, right)
    return _ordered(ORDERED[node.comparator], left, right, node.comparator is Comparator.UNEQUAL)


def _ordered(compare: Callable[[object, object], bool], left: _Side, right: _Side, if_empty: bool) -> Predicate:
    as_text = left.kind is Kind.TEXT

    def holds(row: Row) -> bool:
        a, b = left.get(row), right.get(row)
        if a is None or b is None:
            return if_empty                               # an empty cell equals nothing and precedes nothing
        return compare(_folded(a), _folded(b)) if as_text else compare(a, b)
    return holds


def _side(operand: Operand, columns: Sequence[Column], context: Context) -> _Side:
    if isinstance(operand, Word) and (index := find_column(operand.text, columns)) is not None:
        return _Side(operator.itemgetter(index), columns[index].kind, True)
    value, kind = context.scalar(operand)
    return _Side(lambda row: value, kind, False, value)


def _fit(node: Comparison, left: _Side, right: _Side) -> _Side:
    """The right side as the left's kind, or an error that says what would fit."""
    if left.kind is right.kind or {left.kind, right.kind} <= PLAIN_NUMBERS | {Kind.ADDRESS, Kind.SIZE}:
        return right
    if left.kind is Kind.TEXT and right.is_column and isinstance(node.right, Word):
        word = node.right.text                            # `state == idle` means the word, although there is a column idle: it is no text
        return _Side(lambda row: word, Kind.TEXT, False, word)
    if left.kind is Kind.BOOLEAN and isinstance(node.right, Word) and (truth := TRUTH.get(node.right.text.casefold())) is not None:
        return _Side(lambda row: truth, Kind.BOOLEAN, False)
    if right.kind in PLAIN_NUMBERS and (left.kind in COMPARABLE_WITH_PLAIN or right.constant == 0):
        return right
    if left.kind in PLAIN_NUMBERS and right.kind is Kind.RATIO:
        return right
    if isinstance(node.right, Word) and node.right.text[:1].isdigit():
        raise ShellError(f"{node.right.text} is not a number with a unit", node.right.span, hint=f"units: {' '.join(UNITS)}")
    column = node.left.text if isinstance(node.left, Word) else "this"
    raise ShellError(f"{column} is {_kind(left.kind)} and does not compare with {_kind(right.kind)}", node.right.span,
                     hint=f"write it like {EXAMPLE[left.kind]}")


def _folded(value: object) -> str:
    return str(value).casefold()


def _kind(kind: Kind) -> str:
    name = "text" if kind is Kind.TEXT else kind.name.lower()
    return name if name == "text" else f"{'an' if name[0] in 'aio' else 'a'} {name}"
