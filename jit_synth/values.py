"""The values that flow through a pipe, and their types.

A value is a scalar with a kind, a record, a table, text or nothing. Kinds and columns are those of `kernel.telemetry`; numbers are in base units
(bytes, nanoseconds, 0..1). Every value also has a plain tabular form, `columns` and `rows`, which is what the synthesizer computes on:
a record is one row, a scalar or a text is one row of one column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from kernel.telemetry import Column, Kind

Row = tuple[object, ...]

REAL_KINDS = frozenset({Kind.REAL, Kind.RATIO})                 # held as IEEE 754 binary64; every other number is a signed 64-bit integer
TEXT_COLUMN = Column("text", Kind.TEXT, "the text")
SMALLEST_INTEGER, LARGEST_INTEGER = -(1 << 63), (1 << 63) - 1


class Shape(Enum):
    """What a value looks like to its user."""

    NOTHING = "nothing"
    SCALAR = "scalar"
    RECORD = "record"
    TABLE = "table"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number, word, time or size."""

    value: object
    kind: Kind


@dataclass(frozen=True, slots=True)
class Record:
    """One row with named fields; `values[i]` belongs to `columns[i]`."""

    columns: Sequence[Column]
    values: Sequence[object]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of equal columns."""

    columns: Sequence[Column]
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Text:
    """Text that is meant to be read as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """The result of a command that only acts."""


Value = Scalar | Record | Table | Text | Nothing


@dataclass(frozen=True, slots=True)
class Type:
    """What is known of a value before it exists: its shape and its columns."""

    shape: Shape
    columns: tuple[Column, ...] = ()

    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)

    def __str__(self) -> str:
        """`table(id integer, load ratio)`, `scalar(ratio)`, `text`."""
        if self.shape in (Shape.TEXT, Shape.NOTHING):
            return str(self.shape.value)
        if self.shape is Shape.SCALAR:
            return f"scalar({self.columns[0].kind.name.lower()})"
        return f"{self.shape.value}({', '.join(f'{column.name} {column.kind.name.lower()}' for column in self.columns)})"


class UntypedInput(Exception):
    """A value cannot be computed on: a cell is empty, of another kind than its column, or out of range. The message names it."""


def type_of(value: Value | None) -> Type:
    """The type of a value; None is nothing."""
    match value:
        case Table(columns=columns):
            return Type(Shape.TABLE, tuple(columns))
        case Record(columns=columns):
            return Type(Shape.RECORD, tuple(columns))
        case Scalar(kind=kind):
            return Type(Shape.SCALAR, (Column("value", kind, "the value"),))
        case Text():
            return Type(Shape.TEXT, (TEXT_COLUMN,))
        case _:
            return Type(Shape.NOTHING)


def rows_of(value: Value | None) -> tuple[Row, ...]:
    """The tabular form of a value: checked rows, numbers as exactly int or float.

    Raises:
        UntypedInput: a cell that does not fit its column.
    """
    match value:
        case Table(columns=columns, rows=rows):
            return checked_rows(columns, rows)
        case Record(columns=columns, values=values):
            return checked_rows(columns, [tuple(values)])
        case Scalar(value=scalar, kind=kind):
            return checked_rows((Column("value", kind, ""),), [(scalar,)])
        case Text(text=text):
            return checked_rows((TEXT_COLUMN,), [(text,)])
        case _:
            return ()


def value_of(kind: Type, rows: Sequence[Row]) -> Value:
    """A value from its tabular form; the inverse of `rows_of`."""
    match kind.shape:
        case Shape.TABLE:
            return Table(kind.columns, tuple(rows))
        case Shape.RECORD:
            return Record(kind.columns, rows[0])
        case Shape.SCALAR:
            return Scalar(rows[0][0], kind.columns[0].kind)
        case Shape.TEXT:
            return Text(str(rows[0][0]))
        case Shape.NOTHING:
            return Nothing()


def checked_rows(columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> tuple[Row, ...]:
    """Rows whose cells fit their columns; an absent text becomes the empty text.

    Raises:
        UntypedInput: a cell of another kind, an absent number, an integer beyond 64 bits, a real that is not finite.
    """
    if len({column.name for column in columns}) != len(columns):
        raise UntypedInput("two columns have the same name")
    checks = [_CHECKS.get(column.kind, _integer) for column in columns]
    checked = []
    for number, row in enumerate(rows):
        if len(row) != len(columns):
            raise UntypedInput(f"row {number} has {len(row)} cells for {len(columns)} columns")
        try:
            checked.append(tuple([check(cell) for check, cell in zip(checks, row, strict=True)]))
        except UntypedInput:
            for column, check, cell in zip(columns, checks, row, strict=True):
                try:
                    check(cell)
                except UntypedInput as trouble:
                    raise UntypedInput(f"column {column.name}, row {number}: {trouble}") from None
            raise
    return tuple(checked)


def _text(cell: object) -> str:
    if cell is None:
        return ""
    if not isinstance(cell, str):
        raise UntypedInput(f"{_shown(cell)} is not text")
    if not cell.isascii():
        try:
            cell.encode()
        except UnicodeEncodeError:
            raise UntypedInput("the text is not valid Unicode") from None
    return cell


def _integer(cell: object) -> int:
    if isinstance(cell, float) and cell.is_integer():              # an average of sizes that happens to be whole
        cell = int(cell)
    if not isinstance(cell, int):
        raise UntypedInput("it is empty" if cell is None else f"{_shown(cell)} is not a whole number")
    if not SMALLEST_INTEGER <= cell <= LARGEST_INTEGER:
        raise UntypedInput(f"{cell:#x} does not fit 64 bits")
    return int(cell)


def _boolean(cell: object) -> bool:
    if not isinstance(cell, bool):
        raise UntypedInput("it is empty" if cell is None else f"{_shown(cell)} is neither true nor false")
    return cell


def _real(cell: object) -> float:
    if isinstance(cell, bool) or not isinstance(cell, (int, float)):
        raise UntypedInput("it is empty" if cell is None else f"{_shown(cell)} is not a number")
    try:
        real = float(cell)
    except OverflowError:
        real = float("inf")
    if real - real != 0.0:                                         # infinities and NaN
        raise UntypedInput(f"{_shown(cell)} is not a finite number")
    return real


def _shown(cell: object) -> str:
    text = repr(cell)
    return text if len(text) <= 40 else text[:37] + "..."


def _whole(cell: object) -> int:
    """Sizes and durations: an average has a fraction of a byte or nanosecond, which nobody measured."""
    return _integer(round(cell) if isinstance(cell, float) and cell - cell == 0.0 else cell)


_CHECKS = {Kind.TEXT: _text, Kind.BOOLEAN: _boolean, Kind.REAL: _real, Kind.RATIO: _real, Kind.SIZE: _whole, Kind.DURATION: _whole}
