"""From an operator with its holes filled to plan steps, over the type that is before it: where signatures are checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from jit_synth.patterns import Brick, Fill
from jit_synth.plan import Aggregate, Cell, Distinct, Fold, Format, Group, Keep, KeepAny, Map, Order, Reverse, Slice, Step
from jit_synth.present import whole_of
from jit_synth.senses import Leaf
from jit_synth.values import TEXT_COLUMN, Shape, Type
from jit_synth.vocabulary import is_numeric, total_of
from kernel.telemetry import Column, Kind

REAL_RESULT = {Kind.INTEGER: Kind.REAL}                      # the mean of integers is none
COUNT_COLUMN = Column("count", Kind.INTEGER, "how many rows")
SHARE_COLUMN = Column("share", Kind.RATIO, "part of the total")
TABLES = frozenset({Shape.TABLE})
OF_ONE = frozenset({"sum", "total", "minimum", "maximum", "proportion"})     # what one row has, too
FOLDABLE = frozenset({Shape.TABLE, Shape.RECORD, Shape.SCALAR})

Lowered = tuple[list[Step], Type]


class DoesNotFit(Exception):
    """The operator's signature does not fit what is before it."""


def lower_brick(brick: Brick, before: Type, leaf: Leaf) -> Lowered:
    """The steps of a brick, and the type after them. Raises: DoesNotFit."""
    steps: list[Step] = []
    kind = before
    for template in brick.operator.lowers:
        verb, variant = template.split(" ", 1) if " " in template else (template, "")
        more, kind = _VERBS[verb](variant, brick.fill, kind, leaf)
        steps += more
    return steps, kind


def take_columns(names: list[str], before: Type, leaf: Leaf, *, exactly: bool) -> Lowered:
    """The columns, behind those that tell rows apart unless exactly these are wanted. Raises: DoesNotFit."""
    _require(before.shape in FOLDABLE)
    identity = [] if exactly or before.shape is not Shape.TABLE else [name for name in leaf.facts.identity if name in before.names()]
    wanted = list(dict.fromkeys([*identity, *names]))
    places = [_place(before, name) for name in wanted]
    columns = tuple(before.columns[place] for place in places)
    shape = before.shape if before.shape is Shape.TABLE else Shape.SCALAR if len(columns) == 1 else Shape.RECORD
    if before.columns == columns and before.shape is shape:
        return [], before
    return [Map(tuple(Cell("column", (place,)) for place in places), columns, shape.value)], Type(shape, columns)


def _require(condition: bool) -> None:
    if not condition:
        raise DoesNotFit


def _place(before: Type, name: str) -> int:
    names = before.names()
    _require(name in names)
    return names.index(name)


def _column(fill: Fill, before: Type) -> int:
    """The place of the column that the words name, or of the only one there is."""
    column = fill.column or fill.key
    if column is not None:
        return _place(before, column.name)
    _require(len(before.columns) == 1)
    return 0


def _keep(variant: str, fill: Fill, before: Type, leaf: Leaf) -> Lowered:
    _require(before.shape is Shape.TABLE)
    comparison, _, hole = variant.partition(" ")
    if comparison in ("VALUE", "not", "contains") and fill.held is not None and hole in ("", "VALUE"):
        held = fill.held
        if held.comparison == "contains" and comparison == "not":
            raise DoesNotFit                                  # there is no step for it
        how = {"VALUE": held.comparison, "not": "not-equal", "contains": "contains"}[comparison]
        return [Keep(_place(before, held.column.name), how, held.constant)], before
    if comparison == "group":
        assert fill.held is not None
        return [Keep(0, "equal", fill.held.constant)], before
    if variant in ("zero", "not zero"):
        place = _column(fill, before)
        return [Keep(place, "equal" if variant == "zero" else "not-equal", _number(0, before.columns[place]))], before
    number = fill.number2 if hole == "NUMBER2" else fill.number
    assert number is not None
    if comparison == "identity":
        name = leaf.facts.identity[0] if leaf.facts.identity else ""
        _require(name in before.names() and before.columns[_place(before, name)].kind is Kind.INTEGER)
        return [Keep(_place(before, name), "equal", _number(number, before.columns[_place(before, name)]))], before
    if fill.column is not None:
        place = _place(before, fill.column.name)
    else:                                                     # "more than 3 MiB": the one column of that kind
        _require(fill.unit is not None)
        places = [place for place, column in enumerate(before.columns) if column.kind is fill.unit and is_numeric(column)]
        big = [place for place in places if before.columns[place].name == leaf.facts.big]
        _require(len(places) == 1 or bool(big))
        place = big[0] if big else places[0]
    return [Keep(place, comparison, _number(number, before.columns[place]))], before


def _keep_any(variant: str, fill: Fill, before: Type, leaf: Leaf) -> Lowered:
    _require(before.shape is Shape.TABLE)
    if variant == "VALUE":
        assert fill.held is not None and fill.held2 is not None
        _require(fill.held.comparison == "equal")
        return [KeepAny(_place(before, fill.held.column.name), (fill.held.constant, fill.held2.constant))], before
    name = leaf.facts.identity[0] if variant == "identity" and leaf.facts.identity else fill.column.name if fill.column is not None else ""
    place = _place(before, name)
    assert fill.number is not None and fill.number2 is not None
    _require(before.columns[place].kind is Kind.INTEGER)
    return [KeepAny(place, tuple(_number(number, before.columns[place]) for number in (fill.number, fill.number2)))], before


def _number(number: int | float, column: Column) -> int | float:
    if column.kind in (Kind.REAL, Kind.RATIO):
        return float(number)
    _require(number == int(number) and -(1 << 63) <= number < 1 << 63)
    return int(number)


def _order(variant: str, fill: Fill, before: Type, leaf: Leaf) -> Lowered:
    _require(before.shape is Shape.TABLE)
    direction, _, name = variant.partition(" ")
    if direction in ("busy", "idle"):
        name = leaf.facts.busy
        if not name:                                          # an unknown table: what it measures, if that is one thing
            measures = [column.name for column in before.columns if is_numeric(column)]
            _require(len(measures) == 1)
            name = measures[0]
    if name:
        return [Order(_place(before, name), direction != "idle")], before
    if fill.column is None and fill.key is None and len(before.columns) == 2 and before.columns[1] in (COUNT_COLUMN, SHARE_COLUMN):
        place = 1                                             # groups are sorted by what was made of them
    else:
        place = _column(fill, before)
    return [Order(place, fill.descending if direction == "quality" else direction == "down")], before


def _slice(variant: str, fill: Fill, before: Type, leaf: Leaf) -> Lowered:
    _require(before.shape is Shape.TABLE)
    part, _, constant = variant.partition(" ")
    count = int(constant) if constant else fill.count
    return ([] if count is None else [Slice(part, count)]), before


def _reverse(variant: str, fill: Fill, before: Type, leaf: Leaf) -> Lowered:
    _require(before.shape is Shape.TABLE)
    return [Reverse()], before


def _distinct(variant: str, fill: Fill, before: Type, leaf: Leaf) -> Lowered:
    _require(before.shape is Shape.TABLE)
    return [Distinct()], before


def _only(variant: str, fill: Fill, before: Type, leaf: Leaf) -> Lowered:
    assert fill.column is not None
    return take_columns([fill.column.name], before, leaf, exactly=True)


def _take(variant: str, fill: Fill, before: Type, leaf: Leaf) -> Lowered:
    return take_columns([variant], before, leaf, exactly=True)


def _map(variant: str, fill: Fill, before: Type, leaf: Leaf) -> Lowered:
    if variant == "group-share":
        shares = (before.columns[0], SHARE_COLUMN)
        return [Map((Cell("column", (0,)), Cell("share", (1,))), shares, "table")], Type(Shape.TABLE, shares)
    _require(before.shape in FOLDABLE)
    place = _column(fill, before)
    column = before.columns[place]
    if variant == "length":
        _require(column.kind is Kind.TEXT)
        cell, made = Cell("length", (place,)), Column("length", Kind.INTEGER, f"characters of {column.name}")
    elif variant == "complement":
        _require(column.kind is Kind.RATIO)
        cell, made = Cell("complement", (place,)), Column(f"not_{column.name}", Kind.RATIO, f"what {column.name} leaves")
    elif variant == "proportion":
        whole = whole_of(before.columns, place)
        _require(whole is not None)
        assert whole is not None
        cell, made = Cell("proportion", (place, whole)), Column(f"{column.name}_share", Kind.RATIO, f"{column.name} of {before.columns[whole].name}")
    elif variant == "per-second":
        time = next((index for index, one in enumerate(before.columns) if one.name in ("uptime", "time") and one.kind is Kind.DURATION), None)
        _require(time is not None and column.kind is Kind.INTEGER)
        assert time is not None
        cell, made = Cell("per-second", (place, time)), Column(f"{column.name}_per_second", Kind.REAL, f"{column.name} by {before.columns[time].name}")
    else:
        _require(before.shape is Shape.TABLE and is_numeric(column))
        cell, made = Cell("share", (place,)), SHARE_COLUMN
    if before.shape is not Shape.TABLE:
        return [Map((cell,), (made,), "scalar")], Type(Shape.SCALAR, (made,))
    identity = [_place(before, name) for name in leaf.facts.identity if name in before.names()] or list(range(len(before.columns)))
    if variant == "length":
        identity = [place]
    columns = (*(before.columns[index] for index in identity), made)
    return [Map((*(Cell("column", (index,)) for index in identity), cell), columns, "table")], Type(Shape.TABLE, columns)


def _group(variant: str, fill: Fill, before: Type, leaf: Leaf) -> Lowered:
    _require(before.shape is Shape.TABLE)
    how, _, by_value = variant.partition(" ")
    key_column = fill.held.column if by_value and fill.held is not None and fill.held.comparison == "equal" else fill.key
    _require(key_column is not None)
    assert key_column is not None
    key = _place(before, key_column.name)
    if how == "count":
        name = COUNT_COLUMN if key_column.name != COUNT_COLUMN.name else replace(COUNT_COLUMN, name="rows")
        columns = (before.columns[key], name)
        return [Group(key, Aggregate("count", ()), columns)], Type(Shape.TABLE, columns)
    assert fill.column is not None
    place = _place(before, fill.column.name)
    column = before.columns[place]
    _require(place != key and is_numeric(column))
    columns = (before.columns[key], replace(_result(how, column), name=column.name))
    return [Group(key, Aggregate(how, (place,)), columns)], Type(Shape.TABLE, columns)


def _result(how: str, column: Column) -> Column:
    """The column that an aggregate of a column makes."""
    kind = column.kind
    if how in ("mean", "median", "deviation"):
        kind = REAL_RESULT.get(kind, kind)
    elif how == "sum" and kind is Kind.RATIO:
        kind = Kind.REAL
    return Column(f"{how}_{column.name}", kind, f"the {how} of {column.name}")


def _fold(variant: str, fill: Fill, before: Type, leaf: Leaf) -> Lowered:
    _require(before.shape in FOLDABLE)
    if variant == "count":
        _require(before.shape is Shape.TABLE)
        return _folded([Aggregate("count", ())], [COUNT_COLUMN])
    if variant == "distinct":
        column = fill.column or fill.key
        place = _place(before, column.name) if column is not None else _column(fill, before)
        _require(before.shape is Shape.TABLE)
        return _folded([Aggregate("distinct", (place,))], [Column("count", Kind.INTEGER, f"different values of {before.columns[place].name}")])
    place = _column(fill, before)
    column = before.columns[place]
    _require(is_numeric(column) and (before.shape is Shape.TABLE or variant in OF_ONE))
    if variant == "proportion":
        whole = whole_of(before.columns, place)
        _require(whole is not None)
        assert whole is not None
        return _folded([Aggregate("proportion", (place, whole))],
                       [Column(f"{column.name}_share", Kind.RATIO, f"{column.name} of {before.columns[whole].name}")])
    if variant == "extremes":
        return _folded([Aggregate(how, (place,)) for how in ("minimum", "maximum")], [_result(how, column) for how in ("minimum", "maximum")])
    if variant == "summary":
        hows = ["sum", "mean", "minimum", "maximum"] if total_of(leaf.source, column) == "sum" else ["mean", "minimum", "maximum"]
        return _folded([Aggregate("count", ()), *(Aggregate(how, (place,)) for how in hows)], [COUNT_COLUMN, *(_result(how, column) for how in hows)])
    how = variant if variant != "total" else total_of(leaf.source, column)
    _require(bool(how))
    if how == "sum":
        _require(total_of(leaf.source, column) == "sum" or column.kind is Kind.RATIO)      # positions in time have no sum
    return _folded([Aggregate(how, (place,))], [_result(how, column)])


def _folded(aggregates: list[Aggregate], columns: list[Column]) -> Lowered:
    shape = Shape.SCALAR if len(columns) == 1 else Shape.RECORD
    return [Fold(tuple(aggregates), tuple(columns), shape.value)], Type(shape, tuple(columns))


def _format(variant: str, fill: Fill, before: Type, leaf: Leaf) -> Lowered:
    _require(before.shape in FOLDABLE)
    return [Format(variant)], Type(Shape.TEXT, (TEXT_COLUMN,))


_VERBS: dict[str, Callable[[str, Fill, Type, Leaf], Lowered]] = {
    "keep": _keep, "keep-any": _keep_any, "order": _order, "slice": _slice, "reverse": _reverse, "distinct": _distinct, "only": _only, "take": _take,
    "map": _map, "group": _group,
    "fold": _fold, "format": _format}
