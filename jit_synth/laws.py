"""The laws that operators declare, as predicates on what went in and what came out. They know nothing of how an operator works.

A law is checked on every probe on which the plan gives an answer; one violation, and nothing is installed.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

from jit_synth.plan import Aggregate, Fold, Group, Map, Order, Step
from jit_synth.present import REAL_LIMIT
from jit_synth.values import REAL_KINDS, Row, Shape, Type
from kernel.telemetry import Kind

Rows = Sequence[Row]
Law = Callable[[Sequence[Step], Type, Rows, Type, Rows, Callable[[Rows], Rows]], bool]      # steps, type and rows before, type and rows after, run again
TOLERANCE = 1e-6


def _subset(steps: Sequence[Step], before: Type, old: Rows, after: Type, new: Rows, again: Callable[[Rows], Rows]) -> bool:
    return not Counter(new) - Counter(old)


def _permutation(steps: Sequence[Step], before: Type, old: Rows, after: Type, new: Rows, again: Callable[[Rows], Rows]) -> bool:
    return Counter(new) == Counter(old)


def _sorted(steps: Sequence[Step], before: Type, old: Rows, after: Type, new: Rows, again: Callable[[Rows], Rows]) -> bool:
    order = next(step for step in steps if isinstance(step, Order))
    pairs = pairwise(new)
    return all(a[order.column] >= b[order.column] if order.descending else a[order.column] <= b[order.column] for a, b in pairs)  # type: ignore[operator]


def _idempotent(steps: Sequence[Step], before: Type, old: Rows, after: Type, new: Rows, again: Callable[[Rows], Rows]) -> bool:
    return list(again(new)) == list(new)


def _same_count(steps: Sequence[Step], before: Type, old: Rows, after: Type, new: Rows, again: Callable[[Rows], Rows]) -> bool:
    return len(old) == len(new)


def _at_most_same(steps: Sequence[Step], before: Type, old: Rows, after: Type, new: Rows, again: Callable[[Rows], Rows]) -> bool:
    return len(new) == len(set(new)) <= len(old)


def _at_most_one(steps: Sequence[Step], before: Type, old: Rows, after: Type, new: Rows, again: Callable[[Rows], Rows]) -> bool:
    return len(new) <= 1


def _shares_add_up(steps: Sequence[Step], before: Type, old: Rows, after: Type, new: Rows, again: Callable[[Rows], Rows]) -> bool:
    """Shares of numbers that are not negative add up to 1, or to 0 if there is nothing to share."""
    shares = [float(str(row[-1])) for row in new]
    return any(share < 0 or share > 1 for share in shares) or abs(sum(shares) - 1) < TOLERANCE or not any(shares)


def _groups_are_distinct(steps: Sequence[Step], before: Type, old: Rows, after: Type, new: Rows, again: Callable[[Rows], Rows]) -> bool:
    group = next(step for step in steps if isinstance(step, Group))
    return [row[0] for row in new] == list(dict.fromkeys(row[group.key] for row in old))


def _groups_add_up(steps: Sequence[Step], before: Type, old: Rows, after: Type, new: Rows, again: Callable[[Rows], Rows]) -> bool:
    group = next(step for step in steps if isinstance(step, Group))
    total = sum(_number(row[1]) for row in new)
    whole = len(old) if group.aggregate == Aggregate("count", ()) else sum(_number(row[group.aggregate.columns[0]]) for row in old)
    size = _size(old, group.aggregate.columns[0]) if group.aggregate.columns else len(old)
    return abs(total - whole) <= TOLERANCE * max(1.0, size)


def _between(steps: Sequence[Step], before: Type, old: Rows, after: Type, new: Rows, again: Callable[[Rows], Rows]) -> bool:
    fold = next(step for step in steps if isinstance(step, Fold))
    cells = [_number(row[fold.aggregates[0].columns[0]]) for row in old]
    result, slack = _number(new[0][0]), TOLERANCE * max(1.0, *(abs(cell) for cell in cells))
    return min(cells) - slack <= result <= max(cells) + slack


def _ratio(steps: Sequence[Step], before: Type, old: Rows, after: Type, new: Rows, again: Callable[[Rows], Rows]) -> bool:
    """Part and whole are as large as they are: the ratio times the whole is the part."""
    step = steps[-1]
    assert isinstance(step, (Fold, Map))
    part, whole = step.aggregates[0].columns if isinstance(step, Fold) else step.cells[0].columns
    parts, wholes = (sum(_number(row[place]) for row in old) for place in (part, whole))
    slack = TOLERANCE * max(1.0, _size(old, part), _size(old, whole))          # sums of reals that cancel out keep the error of their terms
    return abs(wholes) <= slack or abs(_number(new[0][0]) * wholes - parts) <= slack * max(1.0, abs(_number(new[0][0])))


def _json(steps: Sequence[Step], before: Type, old: Rows, after: Type, new: Rows, again: Callable[[Rows], Rows]) -> bool:
    """A reader of JSON gets the cells back."""
    plain = json.loads(str(new[0][0]))
    if before.shape is Shape.SCALAR:
        return _same_cell(plain, old[0][0], before.columns[0].kind)
    objects = [plain] if before.shape is Shape.RECORD else plain
    if len(objects) != len(old):
        return False
    pairs = [(one, row) for one, row in zip(objects, old, strict=True)]
    return all(_same_cell(one[column.name], row[place], column.kind) for one, row in pairs for place, column in enumerate(before.columns))


def _csv(steps: Sequence[Step], before: Type, old: Rows, after: Type, new: Rows, again: Callable[[Rows], Rows]) -> bool:
    """A reader of CSV gets the texts back, in as many rows. One whose only cell is empty is an empty line, which readers skip."""
    read = [row for row in csv.reader(io.StringIO(str(new[0][0]), newline="")) if row]
    texts = [place for place, column in enumerate(before.columns) if column.kind is Kind.TEXT]
    written = [row for row in old if len(row) > 1 or row[0] != ""]
    if read[0] != [column.name for column in before.columns] or len(read) - 1 != len(written):
        return False
    return all(row[place] == other[place] for row, other in zip(read[1:], written, strict=True) for place in texts)


def _line_for_each(steps: Sequence[Step], before: Type, old: Rows, after: Type, new: Rows, again: Callable[[Rows], Rows]) -> bool:
    """Every row of a table is one line behind the header, every column of a record is one; no cell breaks a line."""
    return str(new[0][0]).count("\n") == (max(len(old), 1) + 1 if before.shape is Shape.TABLE else len(before.columns))


def _header_and_rows(steps: Sequence[Step], before: Type, old: Rows, after: Type, new: Rows, again: Callable[[Rows], Rows]) -> bool:
    """A line for each row behind at most two of header; one in the place of no rows."""
    return len(old) < str(new[0][0]).count("\n") <= len(old) + 2


def _labels(steps: Sequence[Step], before: Type, old: Rows, after: Type, new: Rows, again: Callable[[Rows], Rows]) -> bool:
    text = str(new[0][0])
    return not old or all(column.name.replace("_", " ") in text for column in before.columns)


def _lines_law(steps: Sequence[Step], before: Type, old: Rows, after: Type, new: Rows, again: Callable[[Rows], Rows]) -> bool:
    text = str(old[0][0])
    return "\n".join(str(row[0]) for row in new) == text.removesuffix("\n") or (not new and not text)


def _words_law(steps: Sequence[Step], before: Type, old: Rows, after: Type, new: Rows, again: Callable[[Rows], Rows]) -> bool:
    return "".join(str(row[0]) for row in new) == "".join(one for one in str(old[0][0]) if one > " ") and all(row[0] for row in new)


LAWS: dict[str, Law] = {
    "subset": _subset, "permutation": _permutation, "sorted": _sorted, "idempotent": _idempotent, "same-count": _same_count, "at-most-same": _at_most_same,
    "at-most-one": _at_most_one, "shares-add-up": _shares_add_up, "groups-are-distinct": _groups_are_distinct, "groups-add-up": _groups_add_up,
    "between": _between, "ratio": _ratio, "json": _json, "csv": _csv, "table": _header_and_rows, "dashboard": _line_for_each, "markdown": _header_and_rows,
    "list": _labels, "lines": _lines_law, "words": _words_law}


def _size(rows: Rows, place: int) -> float:
    return float(sum(abs(_number(row[place])) for row in rows))


def _number(cell: object) -> int | float:
    assert isinstance(cell, (int, float))
    return cell


def _same_cell(read: object, cell: object, kind: Kind) -> bool:
    if kind in REAL_KINDS:
        number = _number(cell)
        return abs(_number(read) - number) <= (1e-6 if abs(number) < 1e12 else 1.0 if abs(number) < REAL_LIMIT else 1e-5 * abs(number))
    return read == cell
