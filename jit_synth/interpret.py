"""The reference lowering: a plan's steps carried out on Python values.

It is the definition of what the steps mean; `wasm.lower` must agree with it on every probe. Integers are signed 64 bits and overflow is a stop, not a
wrap; reals are binary64 and added in the order of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import sqrt

from jit_synth.plan import Aggregate, Cell, Distinct, Fold, Format, Group, Keep, KeepAny, Map, Only, Order, Plan, Read, Reverse, Slice, Split, Step, Upstream
from jit_synth.present import fraction, present
from jit_synth.refusals import CommandStopped, StopKind
from jit_synth.values import LARGEST_INTEGER, REAL_KINDS, SMALLEST_INTEGER, Row, Type
from kernel.telemetry import Column, Kind

Rows = Sequence[Row]
WHOLE_MEANS = frozenset({Kind.SIZE, Kind.DURATION})        # a mean of these stays whole; that of integers is a real


def interpret(plan: Plan, sources: Mapping[str, Rows], upstream: Rows) -> Rows:
    """The rows of the plan's result; `sources` and `upstream` hold checked rows.

    Raises:
        CommandStopped: OVERFLOW, NO_ROWS or NOT_FINITE.
    """
    rows: Rows = ()
    types = plan.types()
    for index, step in enumerate(plan.steps):
        rows = interpret_step(step, types[index - 1] if index else None, types[index], rows, sources, upstream)
    return finite(rows)


def finite(rows: Rows) -> Rows:
    """The rows, if every real in them is finite. Raises: CommandStopped."""
    for row in rows:
        for cell in row:
            if isinstance(cell, float) and cell - cell != 0.0:
                raise CommandStopped(StopKind.NOT_FINITE)
    return rows


def interpret_step(step: Step, before: Type | None, after: Type, rows: Rows, sources: Mapping[str, Rows], upstream: Rows) -> Rows:
    """One step."""
    match step:
        case Read(source=source):
            return sources[source]
        case Upstream():
            return upstream
        case Only():
            if not rows:
                raise CommandStopped(StopKind.NO_ROWS)
            return rows[:1]
        case Keep(column=column, comparison=comparison, constant=constant):
            holds = _COMPARISONS[comparison]
            return [row for row in rows if holds(row[column], constant)]
        case KeepAny(column=column, constants=constants):
            return [row for row in rows if row[column] in constants]
        case Order(column=column, descending=descending):
            return sorted(rows, key=lambda row: row[column], reverse=descending)  # type: ignore[arg-type,return-value]  # a column has one kind
        case Slice(part=part, count=count):
            return rows[:count] if part == "first" else rows[max(0, len(rows) - count):] if part == "last" else rows[count:]
        case Reverse():
            return rows[::-1]
        case Distinct():
            return list(dict.fromkeys(rows))
        case Map(cells=cells, columns=columns):
            makers = [_maker(cell, rows) for cell, column in zip(cells, columns, strict=True)]
            return [tuple([make(row) for make in makers]) for row in rows]
        case Fold(aggregates=aggregates, columns=columns):
            assert before is not None
            return [tuple([_aggregate(one, column, before, rows) for one, column in zip(aggregates, columns, strict=True)])]
        case Group(key=key, aggregate=aggregate, columns=columns):
            assert before is not None
            groups: dict[object, list[Row]] = {}
            for row in rows:
                groups.setdefault(row[key], []).append(row)
            return [(value, _aggregate(aggregate, columns[1], before, members)) for value, members in groups.items()]
        case Split(unit=unit):
            text = str(rows[0][0])
            return [(part,) for part in (_lines_of(text) if unit == "line" else _words_of(text))]
        case Format(style=style):
            assert before is not None
            return [(present(style, before, rows),)]


def _lines_of(text: str) -> list[str]:
    lines = text.split("\n")
    return lines[:-1] if not lines[-1] else lines


def _words_of(text: str) -> list[str]:
    words, word = [], ""
    for character in text:
        if character > " ":
            word += character
        elif word:
            words.append(word)
            word = ""
    return [*words, word] if word else words


# --- comparisons ---------------------------------------------------------------------------------------------------------

def fold_ascii(text: str) -> str:
    """A-Z as a-z, nothing else: what the emitted code can do without the Unicode tables."""
    return "".join(chr(ord(one) | 0x20) if "A" <= one <= "Z" else one for one in text)


def _number(cell: object) -> int | float:
    assert isinstance(cell, (int, float))
    return cell


_COMPARISONS: dict[str, Callable[[object, object], bool]] = {
    "equal": lambda cell, constant: cell == constant,
    "not-equal": lambda cell, constant: cell != constant,
    "above": lambda cell, constant: _number(cell) > _number(constant),
    "below": lambda cell, constant: _number(cell) < _number(constant),
    "at-least": lambda cell, constant: _number(cell) >= _number(constant),
    "at-most": lambda cell, constant: _number(cell) <= _number(constant),
    "contains": lambda cell, constant: fold_ascii(str(constant)) in fold_ascii(str(cell)),
}


# --- cells of a new row --------------------------------------------------------------------------------------------------

def _maker(cell: Cell, rows: Rows) -> Callable[[Row], object]:
    first = cell.columns[0]
    match cell.how:
        case "column":
            return lambda row: row[first]
        case "share":
            total = _total(rows, first)
            return lambda row: fraction(float(_number(row[first])), total)
        case "proportion":
            whole = cell.columns[1]
            return lambda row: fraction(float(_number(row[first])), float(_number(row[whole])))
        case "complement":
            return lambda row: 1.0 - _number(row[first])
        case "per-second":
            time = cell.columns[1]
            return lambda row: fraction(float(_number(row[first])) * 1e9, float(_number(row[time])))
        case _:
            return lambda row: len(str(row[first]))


def _total(rows: Rows, column: int) -> float:
    total = 0.0
    for row in rows:
        total += float(_number(row[column]))
    return total


# --- aggregates ----------------------------------------------------------------------------------------------------------

def _aggregate(aggregate: Aggregate, column: Column, before: Type, rows: Rows) -> object:
    if aggregate.how == "count":
        return len(rows)
    first = aggregate.columns[0]
    if aggregate.how == "distinct":
        return len({row[first] for row in rows})
    if aggregate.how == "proportion":
        return fraction(_total(rows, first), _total(rows, aggregate.columns[1]))
    cells = [_number(row[first]) for row in rows]
    is_real = before.columns[first].kind in REAL_KINDS
    if aggregate.how == "sum":
        return _sum(cells, is_real)
    if not cells:
        raise CommandStopped(StopKind.NO_ROWS)
    match aggregate.how:
        case "minimum":
            return min(cells)
        case "maximum":
            return max(cells)
        case "range":
            return _fits(max(cells) - min(cells), is_real)
        case "mean":
            return _divide(_sum(cells, is_real), len(cells), column.kind)
        case "median":                                           # of ordered rows
            middle = len(cells) // 2
            return _divide(_sum([cells[middle - 1 + len(cells) % 2], cells[middle]], is_real), 2, column.kind)
        case _:
            return _deviation(cells, column.kind)


def _sum(cells: Sequence[int | float], is_real: bool) -> int | float:
    if is_real:
        total = 0.0
        for cell in cells:
            total += cell
        return total
    whole = 0
    for cell in cells:
        whole = int(_fits(whole + cell, False))
    return whole


def _fits(number: int | float, is_real: bool) -> int | float:
    if not is_real and not SMALLEST_INTEGER <= number <= LARGEST_INTEGER:
        raise CommandStopped(StopKind.OVERFLOW)
    return number


def _divide(total: int | float, count: int, kind: Kind) -> int | float:
    """A mean: whole and towards zero for sizes and durations, else real."""
    if kind in WHOLE_MEANS:
        assert isinstance(total, int)
        return -(-total // count) if total < 0 else total // count
    return float(total) / float(count)


def _deviation(cells: Sequence[int | float], kind: Kind) -> int | float:
    """The standard deviation of the whole population; sizes and durations to the nearest whole."""
    count, mean, squares = float(len(cells)), 0.0, 0.0
    for cell in cells:
        mean += float(cell)
    mean /= count
    for cell in cells:
        difference = float(cell) - mean
        squares += difference * difference
    root = sqrt(squares / count)
    if kind not in WHOLE_MEANS:
        return root
    if root >= 9e18:
        raise CommandStopped(StopKind.OVERFLOW)
    return int(root + 0.5)
