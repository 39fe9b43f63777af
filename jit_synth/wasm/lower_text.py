"""The lowering of the formats: source that writes a value as text, as `jit_synth.present` defines it.

Labels, separators and the choice of a unit are decided here, from the columns; the emitted code measures, pads, converts and escapes.
"""

from __future__ import annotations

from collections.abc import Sequence

from jit_synth.abi import CELL
from jit_synth.present import NO_ROWS, VALUE_WIDTH, bar_column, is_numeric, quote_csv, quote_json, quote_markdown, title, whole_of
from jit_synth.values import REAL_KINDS, Shape, Type
from kernel.telemetry import Column, Kind

HUMAN = {Kind.TEXT: "put_clean", Kind.INTEGER: "put_integer", Kind.REAL: "put_hundredths", Kind.BOOLEAN: "put_boolean", Kind.SIZE: "put_size",
         Kind.DURATION: "put_duration", Kind.RATIO: "put_percent", Kind.ADDRESS: "put_address", Kind.TIME: "put_time"}
PLAIN = {Kind.REAL: "put_six", Kind.RATIO: "put_six", Kind.BOOLEAN: "put_truth"}

Source = tuple[list[str], list[str]]           # functions, lines of `run`


def lower_format(style: str, before: Type) -> Source:
    """Functions and lines that leave the text between `start` and `heap`."""
    functions, lines = _STYLES[style](before) if style in _STYLES else ([], [])
    return functions, ["start = heap", *lines]


def _value(column: Column, index: int) -> str:
    return f"{'loadf' if column.kind in REAL_KINDS else 'load64'}(row + {index * CELL})"


def _real(column: Column, index: int) -> str:
    return _value(column, index) if column.kind in REAL_KINDS else f"real({_value(column, index)})"


def _human(column: Column, index: int) -> str:
    return f"{HUMAN[column.kind]}({_value(column, index)})"


def _put(text: str) -> str:
    return f"put({text!r})"


def _loop(stride: int, body: Sequence[str]) -> list[str]:
    return ["i = 0", "while i < rows:", f"    row = base + i * {stride}", *(f"    {line}" for line in body), "    i += 1"]


def _stride(kind: Type) -> int:
    return len(kind.columns) * CELL


def _dashboard(kind: Type) -> Source:
    if kind.shape is Shape.TABLE:
        return _aligned(kind, bar_column(kind.columns))
    labels = max(len(title(column.name)) for column in kind.columns)
    lines = ["if rows == 0:", "    no_rows()", "row = base"]
    for index, column in enumerate(kind.columns):
        lines.append(_put(f"{title(column.name):{labels}}  "))
        if not is_numeric(column.kind):
            lines += [_human(column, index), _put("\n")]
            continue
        lines += ["mark = heap", _human(column, index), f"pad_left(mark, {VALUE_WIDTH})"]
        whole = whole_of(kind.columns, index)
        if column.kind is Kind.RATIO:
            lines += [_put("  "), f"put_bar({_value(column, index)})"]
        elif whole is not None:
            lines += [_put("  "), f"ratio = fraction({_real(column, index)}, {_real(kind.columns[whole], whole)})", "put_bar(ratio)", _put(" "),
                      "put_percent(ratio)"]
        lines.append(_put("\n"))
    return [PAD_LEFT], lines


def _table(kind: Type) -> Source:
    return _aligned(kind, None)


def _aligned(kind: Type, drawn: int | None) -> Source:
    """Two passes: each cell is written once to be measured and thrown away, and once for good."""
    lines = [f"width{index} = {len(title(column.name))}" for index, column in enumerate(kind.columns)]
    measure, write, header = list[str](), list[str](), list[str]()
    for index, column in enumerate(kind.columns):
        label = title(column.name)
        fill = f"put_blanks(width{index} - {len(label)})"
        gap = [_put("  ")] * (index > 0)
        header += [*gap, fill, _put(label)] if is_numeric(column.kind) else [*gap, _put(label), fill]
        measure += [f"put_cell{index}(row)", f"width{index} = wider(width{index}, start)", "heap = start"]
        align = f"pad_left(mark, width{index})" if is_numeric(column.kind) else f"put_blanks(width{index} - width(mark, heap))"
        write += [*gap, "mark = heap", f"put_cell{index}(row)", align]
    if drawn is not None:
        write += [_put("  "), f"put_bar({_real(kind.columns[drawn], drawn)})"]
    lines += [*_loop(_stride(kind), measure), *header, _put("\n"), *_loop(_stride(kind), [*write, _put("\n")]), "if rows == 0:",
              f"    {_put(NO_ROWS + chr(10))}"]
    cells = [f"def put_cell{index}(row: i32):\n    {_human(column, index)}" for index, column in enumerate(kind.columns)]
    return [PAD_LEFT, WIDER, *cells], lines


def _list(kind: Type) -> Source:
    body = ["if i:", f"    {_put(chr(10))}"]
    for index, column in enumerate(kind.columns):
        body += [_put(f"{title(column.name)}: "), _human(column, index), _put("\n")]
    return [], _loop(_stride(kind), body)


def _csv(kind: Type) -> Source:
    body = list[str]()
    for index, column in enumerate(kind.columns):
        body += [_put(",")] * (index > 0) + [_plain(column, index, "put_cell_csv")]
    return [], [_put(",".join(quote_csv(column.name) for column in kind.columns) + "\n"), *_loop(_stride(kind), [*body, _put("\n")])]


def _json(kind: Type) -> Source:
    if kind.shape is Shape.SCALAR:
        return [], ["if rows == 0:", "    no_rows()", "row = base", _plain(kind.columns[0], 0, "put_cell_json")]
    one = list[str]()
    for index, column in enumerate(kind.columns):
        one += [_put(("{" if index == 0 else ", ") + quote_json(column.name) + ": "), _plain(column, index, "put_cell_json")]
    one.append(_put("}"))
    if kind.shape is Shape.RECORD:
        return [], ["if rows == 0:", "    no_rows()", "row = base", *one]
    return [], [_put("["), *_loop(_stride(kind), ["if i:", f"    {_put(',' + chr(10) + ' ')}", *one]), _put("]\n")]


def _markdown(kind: Type) -> Source:
    header = "| " + " | ".join(quote_markdown(title(column.name)) for column in kind.columns) + " |\n"
    rule = "|" + "|".join("---:" if is_numeric(column.kind) else "---" for column in kind.columns) + "|\n"
    body = [_put("| ")]
    for index, column in enumerate(kind.columns):
        cell = f"put_cell_markdown({_value(column, index)})" if column.kind is Kind.TEXT else _human(column, index)
        body += [_put(" | ")] * (index > 0) + [cell]
    return [], [_put(header + rule), *_loop(_stride(kind), [*body, _put(" |\n")])]


def _plain(column: Column, index: int, quoted: str) -> str:
    return f"{quoted if column.kind is Kind.TEXT else PLAIN.get(column.kind, 'put_integer')}({_value(column, index)})"


_STYLES = {"dashboard": _dashboard, "table": _table, "list": _list, "csv": _csv, "json": _json, "markdown": _markdown}

# What was written from `mark` on is moved to the right, so that it ends in column `columns`.
PAD_LEFT = '''
def pad_left(mark: i32, columns: i32):
    end = heap
    missing = columns - width(mark, end)
    if missing > 0:
        heap = end + missing
        room()
        copy(mark + missing, mark, end - mark)
        fill(mark, 32, missing)
'''
WIDER = '''
def wider(columns: i32, start: i32) -> i32:
    written = width(start, heap)
    return written if written > columns else columns
'''
