"""Plans: what a synthesized command does, as a chain of typed steps.

A plan starts with a leaf (the rows of a telemetry source, or the value in the pipe); every further step turns rows into rows. The steps are few
and primitive; the operators (`jit_synth.operators`), which are many, lower to them. Both lowerings, `interpret` and `wasm.lower`, know these steps only.
A plan has a canonical JSON form, which is signed with the module made from it, and a reading for people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any

from jit_synth.values import LARGEST_INTEGER, REAL_KINDS, SMALLEST_INTEGER, TEXT_COLUMN, Shape, Type
from kernel.telemetry import Column, Kind


class PlanError(ValueError):
    """A plan does not fit together, or its stored form is damaged."""


@dataclass(frozen=True, slots=True)
class Read:
    """The rows of a telemetry source, now."""

    source: str


@dataclass(frozen=True, slots=True)
class Upstream:
    """The value in the pipe."""


@dataclass(frozen=True, slots=True)
class Keep:
    """The rows whose cell compares so with a constant; `comparison` is one of COMPARISONS."""

    column: int
    comparison: str
    constant: int | float | str | bool


@dataclass(frozen=True, slots=True)
class KeepAny:
    """The rows whose cell equals one of some constants."""

    column: int
    constants: tuple[int | float | str, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """The rows sorted by a column, stable; text by code points."""

    column: int
    descending: bool


@dataclass(frozen=True, slots=True)
class Slice:
    """The first `count` rows, the last ones, or all but the first ones; `part` is first, last or skip."""

    part: str
    count: int


@dataclass(frozen=True, slots=True)
class Only:
    """The one row of a source that has no other, as a record."""


@dataclass(frozen=True, slots=True)
class Reverse:
    """The rows, last one first."""


@dataclass(frozen=True, slots=True)
class Distinct:
    """The rows without repetitions; the first of equals stays."""


@dataclass(frozen=True, slots=True)
class Cell:
    """How one cell of a new row is made of the old row; `how` is one of CELLS, `columns` its operands."""

    how: str
    columns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Map:
    """New rows, cell by cell."""

    cells: tuple[Cell, ...]
    columns: tuple[Column, ...]
    shape: str


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One number made of all rows; `how` is one of AGGREGATES, `columns` its operands."""

    how: str
    columns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Fold:
    """One row of aggregates."""

    aggregates: tuple[Aggregate, ...]
    columns: tuple[Column, ...]
    shape: str


@dataclass(frozen=True, slots=True)
class Group:
    """A row for each value of a key column, in the order in which they appear, with one aggregate of that group's rows (GROUPED)."""

    key: int
    aggregate: Aggregate
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """A text as a table of its lines (ended by LF) or words (separated by bytes up to 0x20)."""

    unit: str


@dataclass(frozen=True, slots=True)
class Format:
    """The value as text, in one of STYLES."""

    style: str


Step = Read | Upstream | Only | Keep | KeepAny | Order | Slice | Reverse | Distinct | Map | Fold | Group | Split | Format
STEPS: dict[str,
            type[Step]] = {step.__name__: step for step in (Read, Upstream, Only, Keep, KeepAny, Order, Slice, Reverse, Distinct, Map, Fold, Group, Split,
                                                            Format)}

COMPARISONS = {"equal": "=", "not-equal": "≠", "above": ">", "below": "<", "at-least": "≥", "at-most": "≤", "contains": "contains"}
CELLS = frozenset({"column", "share", "proportion", "complement", "per-second", "length"})
AGGREGATES = frozenset({"count", "distinct", "sum", "mean", "minimum", "maximum", "median", "range", "deviation", "proportion"})
GROUPED = frozenset({"count", "sum", "mean", "minimum", "maximum"})
STYLES = frozenset({"dashboard", "table", "list", "csv", "json", "markdown"})


@dataclass(frozen=True, slots=True)
class Plan:
    """A chain of steps and the type of its result. `input` is the type of the pipe's value if the plan reads it, `sources` the columns it reads by name."""

    steps: tuple[Step, ...]
    input: Type
    sources: tuple[tuple[str, tuple[Column, ...]], ...]

    def type(self) -> Type:
        """The type of the result. Raises: PlanError."""
        return self.types()[-1]

    def types(self) -> list[Type]:
        """The type after each step. Raises: PlanError."""
        types: list[Type] = []
        for step in self.steps:
            types.append(step_type(step, types[-1] if types else None, self))
        if not types:
            raise PlanError("the plan has no steps")
        return types

    def __str__(self) -> str:
        """The reading for people: `read cpus |> sort by load, largest first |> first 3`."""
        types = self.types()
        return " |> ".join(describe(step, types[index - 1] if index else None) for index, step in enumerate(self.steps))


def step_type(step: Step, before: Type | None, plan: Plan) -> Type:
    """The type after one step.

    Raises:
        PlanError: the step does not fit what is before it.
    """
    if isinstance(step, Read):
        columns = dict(plan.sources).get(step.source)
        if columns is None or before is not None:
            raise PlanError(f"the plan cannot read {step.source} here")
        return Type(Shape.TABLE, columns)
    if isinstance(step, Upstream):
        if before is not None or not plan.input.columns:
            raise PlanError("the plan has no value in the pipe")
        return plan.input
    if before is None:
        raise PlanError("the plan does not begin with its input")
    width = len(before.columns)
    match step:
        case Only():
            _require(before.shape is Shape.TABLE, step)
            return Type(Shape.RECORD, before.columns)
        case Keep(column=column, comparison=comparison, constant=constant):
            _require(column < width and comparison in COMPARISONS and _is_comparable(before.columns[column].kind, comparison, constant), step)
        case KeepAny(column=column, constants=constants):
            _require(column < width and bool(constants), step)
            _require(all(_is_comparable(before.columns[column].kind, "equal", constant) for constant in constants), step)
        case Order(column=column):
            _require(column < width, step)
        case Slice(part=part, count=count):
            _require(part in ("first", "last", "skip") and 0 <= count < 1 << 31, step)
        case Map(cells=cells, columns=columns, shape=shape):
            _require(len(cells) == len(columns) and all(cell.how in CELLS and all(index < width for index in cell.columns) for cell in cells), step)
            return Type(Shape(shape), columns)
        case Fold(aggregates=aggregates, columns=columns, shape=shape):
            _require(len(aggregates) == len(columns)
                     and all(one.how in AGGREGATES and all(index < width for index in one.columns) for one in aggregates), step)
            return Type(Shape(shape), columns)
        case Group(key=key, aggregate=aggregate, columns=columns):
            _require(key < width and aggregate.how in GROUPED and all(index < width for index in aggregate.columns) and len(columns) == 2, step)
            return Type(Shape.TABLE, columns)
        case Split(unit=unit):
            _require(before.shape is Shape.TEXT and unit in ("line", "word"), step)
            return Type(Shape.TABLE, (Column(unit, Kind.TEXT, f"a {unit} of the text"),))
        case Format(style=style):
            _require(style in STYLES and before.shape is not Shape.TEXT, step)
            return Type(Shape.TEXT, (TEXT_COLUMN,))
        case _:
            pass
    _require(before.shape is Shape.TABLE, step)
    return before


def _is_comparable(kind: Kind, comparison: str, constant: object) -> bool:
    """Whether cells of a kind compare so with the constant."""
    if kind is Kind.TEXT or comparison == "contains":
        return kind is Kind.TEXT and isinstance(constant, str)
    if kind is Kind.BOOLEAN:
        return isinstance(constant, bool) and comparison in ("equal", "not-equal")
    if isinstance(constant, bool) or not isinstance(constant, (int, float)):
        return False
    return isfinite(constant) if kind in REAL_KINDS else isinstance(constant, int) and SMALLEST_INTEGER <= constant <= LARGEST_INTEGER


def _require(condition: bool, step: Step) -> None:
    if not condition:
        raise PlanError(f"the step {step} does not fit")


def describe(step: Step, before: Type | None) -> str:
    """One step for people."""
    names = before.names() if before is not None else ()
    match step:
        case Read(source=source):
            return f"read {source}"
        case Upstream():
            return "the value in the pipe"
        case Keep(column=column, comparison=comparison, constant=constant):
            return f"keep where {names[column]} {COMPARISONS[comparison]} {constant!r}"
        case KeepAny(column=column, constants=constants):
            return f"keep where {names[column]} is {' or '.join(repr(constant) for constant in constants)}"
        case Order(column=column, descending=descending):
            return f"sort by {names[column]}, {'largest' if descending else 'smallest'} first"
        case Slice(part=part, count=count):
            return f"{part} {count}"
        case Only():
            return "its one row"
        case Reverse():
            return "reverse"
        case Distinct():
            return "distinct"
        case Map(cells=cells, columns=columns):
            return "take " + ", ".join(_describe_cell(cell, column, names) for cell, column in zip(cells, columns, strict=True))
        case Fold(aggregates=aggregates):
            return ", ".join(_describe_aggregate(one, names) for one in aggregates)
        case Group(key=key, aggregate=aggregate):
            return f"{_describe_aggregate(aggregate, names)} for each {names[key]}"
        case Split(unit=unit):
            return f"split into {unit}s"
        case Format(style=style):
            return f"format as {style}"


def _describe_cell(cell: Cell, column: Column, names: Sequence[str]) -> str:
    if cell.how == "column":
        return names[cell.columns[0]]
    return f"{column.name} ({cell.how} of {', '.join(names[index] for index in cell.columns)})"


def _describe_aggregate(aggregate: Aggregate, names: Sequence[str]) -> str:
    return f"{aggregate.how} of {', '.join(names[index] for index in aggregate.columns)}" if aggregate.columns else aggregate.how


# --- the canonical form: plain values that JSON can hold ---------------------------------------------------------------

def plan_to_plain(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values; `plan_from_plain` is the inverse."""
    return {"steps": [{"step": type(step).__name__, **_plain(step)} for step in plan.steps],
            "input": type_to_plain(plan.input),
            "sources": [[name, [_column_to_plain(column) for column in columns]] for name, columns in plan.sources]}


def plan_from_plain(plain: Mapping[str, Any]) -> Plan:
    """A plan from its plain form.

    Raises:
        PlanError: it is none, or its steps do not fit together.
    """
    try:
        steps = tuple(_step_from_plain(step) for step in plain["steps"])
        sources = tuple((str(name), tuple(_column_from_plain(column) for column in columns)) for name, columns in plain["sources"])
        plan = Plan(steps, type_from_plain(plain["input"]), sources)
    except (KeyError, TypeError, ValueError, IndexError) as trouble:
        raise PlanError(f"the plan is damaged: {trouble}") from None
    plan.types()
    return plan


def type_to_plain(kind: Type) -> dict[str, Any]:
    """A type as JSON values."""
    return {"shape": kind.shape.value, "columns": [_column_to_plain(column) for column in kind.columns]}


def type_from_plain(plain: Mapping[str, Any]) -> Type:
    """The inverse of `type_to_plain`."""
    return Type(Shape(plain["shape"]), tuple(_column_from_plain(column) for column in plain["columns"]))


def _plain(step: Step) -> dict[str, Any]:
    plain = asdict(step)
    if isinstance(step, (Map, Fold, Group)):
        plain["columns"] = [_column_to_plain(column) for column in step.columns]
    return plain


def _column_to_plain(column: Column) -> list[str]:
    return [column.name, column.kind.name, column.doc]


def _column_from_plain(plain: Sequence[str]) -> Column:
    return Column(plain[0], Kind[plain[1]], plain[2])


def _step_from_plain(plain: Mapping[str, Any]) -> Step:
    kind = STEPS[plain["step"]]
    values: dict[str, Any] = {field.name: plain[field.name] for field in fields(kind)}
    if "columns" in values:
        values["columns"] = tuple(_column_from_plain(column) for column in values["columns"])
    if "constants" in values:
        values["constants"] = tuple(values["constants"])
    if "cells" in values:
        values["cells"] = tuple(Cell(cell["how"], tuple(cell["columns"])) for cell in values["cells"])
    if "aggregates" in values:
        values["aggregates"] = tuple(Aggregate(one["how"], tuple(one["columns"])) for one in values["aggregates"])
    if "aggregate" in values:
        values["aggregate"] = Aggregate(values["aggregate"]["how"], tuple(values["aggregate"]["columns"]))
    return kind(**values)
