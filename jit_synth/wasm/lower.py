"""From a plan to the source that `wasm.compiler` compiles, and to the module's bytes.

Rows lie in memory as `jit_synth.abi` describes: `base` is the address of the first row, `rows` how many there are, a row is eight bytes a column.
Each step becomes a few lines that turn one (base, rows) into the next; steps that shrink work in place, on the module's own copy of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from jit_synth.abi import CELL, HEADER, READ_SIGNATURE, STREAM_READ, STREAM_WRITE, WRITE_SIGNATURE, source_import
from jit_synth.interpret import WHOLE_MEANS, fold_ascii
from jit_synth.plan import Aggregate, Cell, Distinct, Fold, Format, Group, Keep, KeepAny, Map, Only, Order, Plan, Read, Reverse, Slice, Split, Step, Upstream
from jit_synth.values import REAL_KINDS, Shape, Type
from kernel.telemetry import Kind

if TYPE_CHECKING:
    from ast import FunctionDef

OPERATORS = {"equal": "==", "not-equal": "!=", "above": ">", "below": "<", "at-least": ">=", "at-most": "<="}


def lower(plan: Plan) -> str:
    """The plan's source text: `run` and what it needs beyond the routines."""
    return _Lowering(plan).source()


def compile_plan(plan: Plan) -> tuple[str, bytes]:
    """The source of a plan and the module made of it."""
    from jit_synth.wasm.compiler import compile_module, functions_of

    source = lower(plan)
    imports = {STREAM_READ: READ_SIGNATURE, STREAM_WRITE: WRITE_SIGNATURE,
               **{source_import(name): READ_SIGNATURE for name, _ in plan.sources}}
    return source, compile_module({**_routines(), **functions_of(source)}, imports)


@cache
def _routines() -> Mapping[str, FunctionDef]:
    from jit_synth.wasm.compiler import functions_of
    from jit_synth.wasm.routines import ROUTINES

    return functions_of(ROUTINES)


def load(kind: Kind, column: int, row: str = "row") -> str:
    """The source of a cell's value: f64 for reals, i64 for all else; a text cell is its address and length."""
    return f"{'loadf' if kind in REAL_KINDS else 'load64'}({row} + {column * CELL})"


def as_real(kind: Kind, column: int, row: str = "row") -> str:
    """The source of a cell's value as f64."""
    cell = load(kind, column, row)
    return cell if kind in REAL_KINDS else f"real({cell})"


def store(kind: Kind, column: int, value: str, row: str = "new") -> str:
    """The source that stores a cell."""
    return f"{'storef' if kind in REAL_KINDS else 'store64'}({row} + {column * CELL}, {value})"


def is_equal(kind: Kind, left: str, right: str) -> str:
    """The source of a comparison of two cells' values."""
    return f"compare_text({left}, {right}) == 0" if kind is Kind.TEXT else f"{left} == {right}"


class _Lowering:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.functions: list[str] = []              # beside `run`
        self.lines: list[str] = []
        self.number = 0                              # makes names unique

    def source(self) -> str:
        types = self.plan.types()
        for index, step in enumerate(self.plan.steps):
            self.number = index
            self.step(step, types[index - 1] if index else types[0], types[index])
        last, final = self.plan.steps[-1], types[-1]
        if isinstance(last, Format):
            self.add(f"{STREAM_WRITE}(start, heap - start)")
        elif final.shape is Shape.TEXT:
            self.add(f"{STREAM_WRITE}(load32(base), load32(base + 4))")
        else:
            self.add(f"{STREAM_WRITE}(base, rows * {CELL * len(final.columns)})")
        return "".join(f"{function}\n\n" for function in self.functions) + "def run():\n" + "".join(f"    {line}\n" for line in self.lines)

    def add(self, *lines: str) -> None:
        self.lines += lines

    def each_row(self, stride: int, *body: str) -> None:
        """A loop over the rows; in the body `row` is a row's address."""
        self.add("i = 0", "while i < rows:", f"    row = base + i * {stride}", *(f"    {line}" for line in body), "    i += 1")

    def step(self, step: Step, before: Type, after: Type) -> None:
        stride = CELL * len(before.columns)
        match step:
            case Read(source=source):
                self.read(source_import(source))
            case Upstream():
                self.read(STREAM_READ)
            case Only():
                self.add("if rows == 0:", "    no_rows()", "rows = 1")
            case Keep():
                self.keep(f"if {self.holds(step, before)}:", stride)
            case KeepAny(column=column, constants=constants):
                self.keep(f"if {' or '.join(self.holds(Keep(column, 'equal', one), before) for one in constants)}:", stride)
            case Order(column=column, descending=descending):
                self.order(before.columns[column].kind, column, descending, stride)
            case Slice(part="first", count=count):
                self.add(f"rows = rows if rows < {count} else {count}")
            case Slice(part="last", count=count):
                self.add(f"if rows > {count}:", f"    base += (rows - {count}) * {stride}", f"    rows = {count}")
            case Slice(count=count):
                self.add(f"skipped = rows if rows < {count} else {count}", f"base += skipped * {stride}", "rows -= skipped")
            case Reverse():
                self.add(f"next = alloc(rows * {stride})")
                self.each_row(stride, f"copy(next + (rows - 1 - i) * {stride}, row, {stride})")
                self.add("base = next")
            case Distinct():
                self.distinct(before, stride)
            case Map():
                self.map(step, before, stride)
            case Fold(aggregates=aggregates, columns=columns):
                for number, (one, made) in enumerate(zip(aggregates, columns, strict=True)):
                    self.aggregate(one, before, made.kind, stride, f"result{self.number}_{number}")
                self.add(f"new = alloc({CELL * len(columns)})")
                self.add(*(store(made.kind, number, f"result{self.number}_{number}") for number, made in enumerate(columns)), "base = new", "rows = 1")
            case Group():
                self.group(step, before, stride)
            case Split(unit=unit):
                self.split(unit)
            case Format(style=style):
                from jit_synth.wasm.lower_text import lower_format

                functions, lines = lower_format(style, before)
                self.functions += functions
                self.add(*lines)

    def read(self, name: str) -> None:
        self.add(f"size = {name}(0, 0)", "base = alloc(size)", f"{name}(base, size)", "rows = load32(base)", f"base += {HEADER}")

    # --- rows ---------------------------------------------------------------------------------------------------------

    def keep(self, test: str, stride: int) -> None:
        self.add("kept = 0")
        self.each_row(stride, test, f"    copy(base + kept * {stride}, row, {stride})", "    kept += 1")
        self.add("rows = kept")

    def holds(self, step: Keep, before: Type) -> str:
        kind = before.columns[step.column].kind
        cell = load(kind, step.column)
        if step.comparison == "contains":
            return f"contains({cell}, cell({fold_ascii(str(step.constant))!r}))"
        if kind is Kind.TEXT:
            return f"compare_text({cell}, cell({str(step.constant)!r})) {OPERATORS[step.comparison]} 0"
        constant = repr(float(step.constant)) if kind in REAL_KINDS else repr(int(step.constant))
        return f"{cell} {OPERATORS[step.comparison]} {constant}"

    def distinct(self, before: Type, stride: int) -> None:
        equal = " and ".join(is_equal(column.kind, load(column.kind, index), load(column.kind, index, "other"))
                             for index, column in enumerate(before.columns))
        self.add("kept = 0")
        self.each_row(stride, "j = 0", "while j < kept:", f"    other = base + j * {stride}", f"    if {equal}:", "        break", "    j += 1",
                      "if j == kept:", f"    copy(base + kept * {stride}, row, {stride})", "    kept += 1")
        self.add("rows = kept")

    def order(self, kind: Kind, column: int, descending: bool, stride: int) -> None:
        """A stable bottom-up merge sort; `goes_before` is strict, so that equal rows keep their order."""
        left, right = load(kind, column, "a"), load(kind, column, "b")
        sign = ">" if descending else "<"
        test = f"compare_text({left}, {right}) {sign} 0" if kind is Kind.TEXT else f"{left} {sign} {right}"
        self.functions.append(MERGE_SORT.format(number=self.number, test=test, stride=stride))
        self.add(f"base = sort{self.number}(base, rows)")

    # --- cells --------------------------------------------------------------------------------------------------------

    def map(self, step: Map, before: Type, stride: int) -> None:
        width = CELL * len(step.columns)
        for cell in step.cells:
            if cell.how == "share":
                self.total(cell.columns[0], before, stride, f"total{self.number}_{cell.columns[0]}")
        self.add(f"next = alloc(rows * {width})")
        self.each_row(stride, f"new = next + i * {width}",
                      *(store(column.kind, number, self.cell(step.cells[number], before)) for number, column in enumerate(step.columns)))
        self.add("base = next")

    def cell(self, cell: Cell, before: Type) -> str:
        first = cell.columns[0]
        kind = before.columns[first].kind
        match cell.how:
            case "column":
                return load(kind, first)
            case "share":
                return f"fraction({as_real(kind, first)}, total{self.number}_{first})"
            case "complement":
                return f"1.0 - {load(kind, first)}"
            case "length":
                return f"wide(width(load32(row + {first * CELL}), load32(row + {first * CELL}) + load32(row + {first * CELL + 4})))"
        second = as_real(before.columns[cell.columns[1]].kind, cell.columns[1])
        scale = " * 1e9" if cell.how == "per-second" else ""
        return f"fraction({as_real(kind, first)}{scale}, {second})"

    def total(self, column: int, before: Type, stride: int, result: str) -> None:
        self.add(f"{result} = 0.0")
        self.each_row(stride, f"{result} += {as_real(before.columns[column].kind, column)}")

    # --- aggregates ---------------------------------------------------------------------------------------------------

    def aggregate(self, one: Aggregate, before: Type, result_kind: Kind, stride: int, result: str) -> None:
        """Lines that leave the aggregate of all rows in the variable `result`."""
        if one.how == "count":
            self.add(f"{result} = wide(rows)")
            return
        first = one.columns[0]
        kind = before.columns[first].kind
        cell, is_real = load(kind, first), kind in REAL_KINDS
        if one.how not in ("sum", "distinct", "proportion"):
            self.add("if rows == 0:", "    no_rows()")
        match one.how:
            case "sum" | "mean":
                self.add(f"{result}_sum = {'0.0' if is_real else 'wide(0)'}")
                self.each_row(stride, f"{result}_sum = {_plus(f'{result}_sum', cell, is_real)}")
                self.add(f"{result} = {f'{result}_sum' if one.how == 'sum' else _mean(f'{result}_sum', 'wide(rows)', is_real, result_kind)}")
            case "minimum" | "maximum" | "range":
                least, most = f"{result}_least", f"{result}_most"
                self.add("row = base", f"{least} = {cell}", f"{most} = {cell}")
                self.each_row(stride, f"if {cell} < {least}:", f"    {least} = {cell}", f"if {cell} > {most}:", f"    {most} = {cell}")
                difference = f"{most} - {least}" if is_real else f"subtract({most}, {least})"
                self.add(f"{result} = {least if one.how == 'minimum' else most if one.how == 'maximum' else difference}")
            case "median":
                self.add(f"row = base + ((rows >> 1) - 1 + rows % 2) * {stride}", f"{result}_low = {cell}", f"row = base + (rows >> 1) * {stride}")
                self.add(f"{result} = {_mean(_plus(f'{result}_low', cell, is_real), 'wide(2)', is_real, result_kind)}")
            case "deviation":
                self.total(first, before, stride, f"{result}_mean")
                number = as_real(kind, first)
                self.add(f"{result}_mean = {result}_mean / real(wide(rows))", f"{result}_squares = 0.0")
                self.each_row(stride, f"{result}_squares += ({number} - {result}_mean) * ({number} - {result}_mean)")
                root = f"sqrt({result}_squares / real(wide(rows)))"
                self.add(f"{result}_root = {root}")
                if result_kind in WHOLE_MEANS:
                    self.add(f"if {result}_root >= 9e18:", "    overflow()", f"{result} = whole({result}_root + 0.5)")
                else:
                    self.add(f"{result} = {result}_root")
            case "proportion":
                self.total(first, before, stride, f"{result}_part")
                self.total(one.columns[1], before, stride, f"{result}_whole")
                self.add(f"{result} = fraction({result}_part, {result}_whole)")
            case "distinct":
                self.add(f"{result} = wide(0)")
                self.each_row(stride, "j = 0", "while j < i:", f"    if {is_equal(kind, cell, load(kind, first, f'base + j * {stride}'))}:", "        break",
                              "    j += 1", f"{result} += wide(j == i)")

    def group(self, step: Group, before: Type, stride: int) -> None:
        """Groups lie in rows of three cells: key, what is aggregated so far, how many rows."""
        key_kind, how = before.columns[step.key].kind, step.aggregate.how
        key = load(key_kind, step.key)
        self.add("next = alloc(rows * 24)", "groups = 0")
        body = ["j = 0", "while j < groups:", f"    if {is_equal(key_kind, load(key_kind, 0, 'next + j * 24'), key)}:", "        break", "    j += 1",
                "new = next + j * 24", "if j == groups:", "    groups += 1", f"    {store(key_kind, 0, key)}", "    store64(new + 8, 0)",
                "    store64(new + 16, 0)"]
        if how != "count":
            kind = before.columns[step.aggregate.columns[0]].kind
            cell, kept = load(kind, step.aggregate.columns[0]), load(kind, 1, "new")
            if how in ("sum", "mean"):
                body.append(store(kind, 1, _plus(kept, cell, kind in REAL_KINDS)))
            else:
                body += [f"if load64(new + 16) == 0 or {cell} {'<' if how == 'minimum' else '>'} {kept}:", f"    {store(kind, 1, cell)}"]
        self.each_row(stride, *body, "store64(new + 16, load64(new + 16) + 1)")
        self.add("base = next", "rows = groups")
        result = step.columns[1].kind
        if how == "count":
            value = "load64(row + 16)"
        elif how == "mean":
            value = _mean(load(kind, 1), "load64(row + 16)", kind in REAL_KINDS, result)
        else:
            value = load(kind, 1)
        self.each_row(24, "new = base + i * 16", f"store64(new, {'load64(row)'})", store(result, 1, value))

    def split(self, unit: str) -> None:
        """A cell for each part, allocated one after the other; parts point into the text."""
        self.add("place = load32(base)", "end = place + load32(base + 4)", "base = alloc(0)", "rows = 0", "while place < end:")
        skip = ["if load8(place) <= 32:", "    place += 1", "else:"] if unit == "word" else ["if 1:"]
        stops = "load8(place) > 32" if unit == "word" else "load8(place) != 10"
        body = ["row = alloc(8)", "store32(row, place)", f"while place < end and {stops}:", "    place += 1", "store32(row + 4, place - load32(row))",
                "rows += 1", *(["place += 1"] if unit == "line" else [])]
        self.add(*(f"    {line}" for line in skip), *(f"        {line}" for line in body))


def _plus(left: str, right: str, is_real: bool) -> str:
    return f"{left} + {right}" if is_real else f"add({left}, {right})"


def _mean(total: str, count: str, is_real: bool, result: Kind) -> str:
    if result in WHOLE_MEANS:
        return f"{total} // {count}"
    return f"{f'({total})' if is_real else f'real({total})'} / real({count})"


MERGE_SORT = '''
def goes_before{number}(a: i32, b: i32) -> i32:
    return {test}

def sort{number}(base: i32, rows: i32) -> i32:
    other = alloc(rows * {stride})
    length = 1
    while length < rows:
        start = 0
        while start < rows:
            left = start
            middle = start + length if start + length < rows else rows
            right = middle
            end = middle + length if middle + length < rows else rows
            while start < end:
                from_right = left >= middle
                if left < middle and right < end:
                    from_right = goes_before{number}(base + right * {stride}, base + left * {stride})
                if from_right:
                    copy(other + start * {stride}, base + right * {stride}, {stride})
                    right += 1
                else:
                    copy(other + start * {stride}, base + left * {stride}, {stride})
                    left += 1
                start += 1
        swapped = base
        base = other
        other = swapped
        length = length << 1
    return base
'''
