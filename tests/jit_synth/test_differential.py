"""The two lowerings of a plan agree: the reference interpreter and the emitted WebAssembly, over random typed plans and tables."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jit_synth.interpret import interpret
from jit_synth.plan import (AGGREGATES, GROUPED, STYLES, Aggregate, Cell, Distinct, Fold, Format, Group, Keep, KeepAny, Map, Order, Plan, Reverse, Slice, Split,
                            Step,
                            Upstream,
                            plan_from_plain, plan_to_plain, step_type)
from jit_synth.present import whole_of
from jit_synth.refusals import CommandStopped, StopKind
from jit_synth.runtime import Program
from jit_synth.values import LARGEST_INTEGER, REAL_KINDS, SMALLEST_INTEGER, TEXT_COLUMN, Row, Shape, Type
from jit_synth.wasm.lower import compile_plan
from kernel.telemetry import Column, Kind

INTEGERS = st.one_of(st.integers(-3, 3), st.sampled_from([1023, 1024, 1_048_575, 999, 59_999_999_999, 60_000_000_000, SMALLEST_INTEGER, LARGEST_INTEGER]),
                     st.integers(SMALLEST_INTEGER, LARGEST_INTEGER))
REALS = st.one_of(st.sampled_from([0.0, -0.0, 0.005, 0.5, 1.0, -1.5, 1e12, 1e15, 9.99e14, 1e300, 5e-324]),
                  st.floats(allow_nan=False, allow_infinity=False, width=64))
TEXTS = st.one_of(st.sampled_from(["", "a", "A", "running", "größe", "日本", "a|b", 'q"uote', "li\nne", "\x00", "\x7f"]), st.text(max_size=6))
CELLS: dict[Kind, st.SearchStrategy[Any]] = {Kind.TEXT: TEXTS, Kind.BOOLEAN: st.booleans(), Kind.REAL: REALS, Kind.RATIO: st.one_of(REALS, st.floats(0, 1))}
NUMERIC = frozenset(Kind) - {Kind.TEXT, Kind.BOOLEAN}
NAMES = ("a", "total", "used", "memory_used", "memory_total", "free", "z")


def cells(kind: Kind) -> st.SearchStrategy[Any]:
    return CELLS.get(kind, INTEGERS)


@st.composite
def inputs(draw: st.DrawFn) -> tuple[Type, list[Row]]:
    shape = draw(st.sampled_from([Shape.TABLE, Shape.TABLE, Shape.TABLE, Shape.RECORD, Shape.SCALAR, Shape.TEXT]))
    if shape is Shape.TEXT:
        return Type(shape, (TEXT_COLUMN,)), [(draw(st.one_of(TEXTS, st.text(alphabet="ab \n\té", max_size=20))),)]
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=1 if shape is Shape.SCALAR else 4, unique=True))
    columns = tuple(Column(name, draw(st.sampled_from(Kind)), "") for name in names)
    rows = draw(st.lists(st.tuples(*(cells(column.kind) for column in columns)), min_size=0 if shape is Shape.TABLE else 1,
                         max_size=7 if shape is Shape.TABLE else 1))
    return Type(shape, columns), rows


def a_column(draw: st.DrawFn, before: Type, kinds: frozenset[Kind] = frozenset(Kind)) -> int | None:
    places = [place for place, column in enumerate(before.columns) if column.kind in kinds]
    return draw(st.sampled_from(places)) if places else None


def result_kind(how: str, kind: Kind) -> Kind:
    if how in ("count", "distinct"):
        return Kind.INTEGER
    if how == "proportion":
        return Kind.RATIO
    if how in ("mean", "median", "deviation") and kind not in (Kind.SIZE, Kind.DURATION):
        return Kind.RATIO if kind is Kind.RATIO else Kind.REAL
    return kind


def an_aggregate(draw: st.DrawFn, before: Type, hows: frozenset[str]) -> tuple[Aggregate, Kind] | None:
    how = draw(st.sampled_from(sorted(hows)))
    if how == "count":
        return Aggregate(how, ()), Kind.INTEGER
    first = a_column(draw, before, frozenset(Kind) if how == "distinct" else NUMERIC)
    if first is None:
        return None
    second = a_column(draw, before, NUMERIC)
    columns = (first, second if second is not None else first) if how == "proportion" else (first,)
    return Aggregate(how, columns), result_kind(how, before.columns[first].kind)


def a_step(draw: st.DrawFn, before: Type) -> list[Step]:
    """One step (or a few that belong together) that fits; none if the one that was drawn does not."""
    if before.shape is Shape.TEXT:
        return [Split(draw(st.sampled_from(["line", "word"])))]
    choice = draw(st.sampled_from(["keep", "keep-any", "order", "slice", "reverse", "distinct", "map", "fold", "group", "median", "format"]))
    is_table = before.shape is Shape.TABLE
    if choice == "format":
        return [Format(draw(st.sampled_from(sorted(STYLES))))]
    if choice == "fold":
        drawn = [one for one in (an_aggregate(draw, before, AGGREGATES - {"median"}) for _ in range(draw(st.integers(1, 3)))) if one]
        columns = tuple(Column(f"r{number}", kind, "") for number, (_, kind) in enumerate(drawn))
        return [Fold(tuple(one for one, _ in drawn), columns, "record")] if drawn else []
    if choice == "map":
        return a_map(draw, before)
    if not is_table:
        return []
    column = a_column(draw, before)
    assert column is not None
    kind = before.columns[column].kind
    if choice == "keep":
        comparisons = ["equal", "not-equal", "contains"] if kind is Kind.TEXT else ["equal", "not-equal"] if kind is Kind.BOOLEAN else \
            ["equal", "not-equal", "above", "below", "at-least", "at-most"]
        return [Keep(column, draw(st.sampled_from(comparisons)), draw(cells(kind)))]
    if choice == "keep-any":
        return [KeepAny(column, tuple(draw(st.lists(cells(kind), min_size=1, max_size=3))))]
    if choice == "order":
        return [Order(column, draw(st.booleans()))]
    if choice == "slice":
        return [Slice(draw(st.sampled_from(["first", "last", "skip"])), draw(st.sampled_from([0, 1, 2, 5, 100, (1 << 31) - 1])))]
    if choice in ("reverse", "distinct"):
        return [Reverse() if choice == "reverse" else Distinct()]
    if choice == "median":
        measured = a_column(draw, before, NUMERIC)
        if measured is None:
            return []
        made = Column("median", result_kind("median", before.columns[measured].kind), "")
        return [Order(measured, False), Fold((Aggregate("median", (measured,)),), (made,), "scalar")]
    one = an_aggregate(draw, before, GROUPED)
    return [Group(column, one[0], (Column("key", kind, ""), Column("made", one[1], "")))] if one else []


def a_map(draw: st.DrawFn, before: Type) -> list[Step]:
    made: list[tuple[Cell, Kind]] = []
    for _ in range(draw(st.integers(1, 3))):
        how = draw(st.sampled_from(["column", "share", "proportion", "complement", "per-second", "length"]))
        kinds = {"column": frozenset(Kind), "length": frozenset({Kind.TEXT}), "complement": frozenset(REAL_KINDS)}.get(how, NUMERIC)
        first, second = a_column(draw, before, kinds), a_column(draw, before, NUMERIC)
        if first is None or second is None and how in ("proportion", "per-second"):
            continue
        columns = (first, second) if how in ("proportion", "per-second") and second is not None else (first,)
        made.append((Cell(how, columns),
                     before.columns[first].kind if how == "column" else Kind.INTEGER if how == "length" else Kind.RATIO if how != "per-second" else Kind.REAL))
    columns_made = tuple(Column(f"m{number}", kind, "") for number, (_, kind) in enumerate(made))
    return [Map(tuple(cell for cell, _ in made), columns_made, before.shape.value if before.shape is not Shape.SCALAR else "record")] if made else []


@st.composite
def cases(draw: st.DrawFn) -> tuple[Plan, list[Row]]:
    kind, rows = draw(inputs())
    plan = Plan((Upstream(),), kind, ())
    before = kind
    for _ in range(draw(st.integers(1, 4))):
        for step in a_step(draw, before):
            before = step_type(step, before, plan)
            plan = Plan((*plan.steps, step), kind, ())
        if isinstance(plan.steps[-1], Format):
            break
    return plan, rows


def reference(plan: Plan, rows: list[Row]) -> object:
    try:
        return [tuple(row) for row in interpret(plan, {}, rows)]
    except CommandStopped as stop:
        return stop.kind


def typed(result: object) -> object:
    """A result whose numbers also differ by their type; zero has no sign."""
    return [[(type(cell), cell) for cell in row] for row in result] if isinstance(result, list) else result


def emitted(plan: Plan, rows: list[Row]) -> object:
    program = Program(compile_plan(plan)[1], frozenset())
    try:
        return program.run(plan.type(), lambda name: pytest.fail(name), (plan.input.columns, rows)).rows
    except CommandStopped as stop:
        return stop.kind


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_interpreter_and_module_agree(case: tuple[Plan, list[Row]]) -> None:
    plan, rows = case
    assert typed(reference(plan, rows)) == typed(emitted(plan, rows)), plan


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases())
def test_a_plan_survives_its_canonical_form(case: tuple[Plan, list[Row]]) -> None:
    import json
    plan, _ = case
    assert plan_from_plain(json.loads(json.dumps(plan_to_plain(plan)))) == plan


ONE = (Column("n", Kind.INTEGER, ""),)


@pytest.mark.parametrize(("how", "rows", "stop"), [
    ("sum", [(LARGEST_INTEGER,), (1,)], StopKind.OVERFLOW), ("sum", [(SMALLEST_INTEGER,), (-1,)], StopKind.OVERFLOW), ("mean", [], StopKind.NO_ROWS),
    ("range", [(SMALLEST_INTEGER,), (1,)], StopKind.OVERFLOW), ("maximum", [], StopKind.NO_ROWS), ("deviation", [], StopKind.NO_ROWS)])
def test_both_stop_alike_at_the_edges(how: str, rows: list[Row], stop: StopKind) -> None:
    plan = Plan((Upstream(), Fold((Aggregate(how, (0,)),), (Column("r", result_kind(how, Kind.INTEGER), ""),), "scalar")), Type(Shape.TABLE, ONE), ())
    assert reference(plan, rows) is stop and emitted(plan, rows) is stop


def test_two_thousand_rows() -> None:
    columns = (Column("id", Kind.INTEGER, ""), Column("name", Kind.TEXT, ""))
    rows: list[Row] = [(number * 7919 % 10_007, f"näme {number % 50}") for number in range(2_000)]
    plan = Plan((Upstream(), Order(0, True), Group(1, Aggregate("sum", (0,)), (columns[1], Column("s", Kind.INTEGER, ""))), Order(1, False), Slice("last", 3)),
                Type(Shape.TABLE, columns), ())
    assert reference(plan, rows) == emitted(plan, rows)


def test_a_part_knows_its_whole() -> None:
    columns = (Column("memory_total", Kind.SIZE, ""), Column("memory_used", Kind.SIZE, ""), Column("used", Kind.SIZE, ""), Column("size", Kind.SIZE, ""))
    assert [whole_of(columns, place) for place in range(4)] == [None, 0, 3, None]
