"""Values as text: the reference for what the emitted code must write, byte for byte.

Numbers for people have one decimal at most two, with the unit that suits them, computed in integers so that no two implementations differ.
CSV (RFC 4180, but lines end in LF) and JSON (RFC 8259) hold numbers in base units, reals with six decimals.
Widths count code points. A control character (C0, DEL) in a cell becomes a blank wherever the text is for people.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jit_synth.refusals import CommandStopped, StopKind
from jit_synth.values import Row, Shape, Type
from kernel.telemetry import Column, Kind

BAR_CELLS, FULL, EMPTY = 20, "█", "░"
VALUE_WIDTH = 12                       # cells of a record's value before its bar
NO_ROWS = "(no rows)"
SIZE_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
SHORT_DURATIONS = ((1_000, "us"), (1_000_000, "ms"), (1_000_000_000, "s"))
LONG_DURATIONS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))
REAL_LIMIT = 1e15                      # from here on a real is written with an exponent of ten


def present(style: str, kind: Type, rows: Sequence[Row]) -> str:
    """The text of a value in a style of `plan.STYLES`."""
    return _STYLES[style](kind, rows)


# --- one cell -----------------------------------------------------------------------------------------------------------

def human(cell: object, kind: Kind) -> str:
    """A cell for people."""
    if isinstance(cell, str):
        return "".join(" " if character < " " or character == "\x7f" else character for character in cell)
    if isinstance(cell, float):
        return percent(cell) if kind is Kind.RATIO else real(cell, 2)
    assert isinstance(cell, int)
    match kind:
        case Kind.BOOLEAN:
            return "yes" if cell else "no"
        case Kind.SIZE:
            return _signed(cell, size)
        case Kind.DURATION:
            return _signed(cell, duration)
        case Kind.ADDRESS:
            return f"0x{cell & 0xFFFF_FFFF_FFFF_FFFF:x}"
        case Kind.TIME:
            return calendar(cell)
        case _:
            return str(cell)


def _signed(cell: int, write: Callable[[int], str]) -> str:
    return "-" + write(-cell) if cell < 0 else write(cell)


def size(count: int) -> str:
    """Bytes, not negative: `512 B`, `1.5 KiB`."""
    if count < 1024:
        return f"{count} B"
    unit, rest = 0, count                                # rest in 1/1024 of the unit
    while rest >= 1 << 20 and unit < len(SIZE_UNITS) - 1:
        rest >>= 10
        unit += 1
    return f"{_tenths((rest * 10 + 512) >> 10)} {SIZE_UNITS[unit]}"


def duration(nanoseconds: int) -> str:
    """Nanoseconds, not negative: `740 ns`, `12.3 ms`, `3 min 05 s`, `2 h 07 min`, `3 d 04 h`."""
    if nanoseconds < 1_000:
        return f"{nanoseconds} ns"
    for unit, name in SHORT_DURATIONS:
        if nanoseconds < (60_000_000_000 if name == "s" else unit * 1_000):
            return f"{_tenths((nanoseconds * 10 + unit // 2) // unit)} {name}"
    seconds = nanoseconds // 1_000_000_000
    for unit, name, small, small_name in LONG_DURATIONS:
        if seconds >= unit:
            return f"{seconds // unit} {name} {seconds % unit // small:02} {small_name}"
    raise AssertionError("a minute is the smallest long duration")


def _tenths(count: int) -> str:
    return f"{count // 10}.{count % 10}"


def percent(ratio: float) -> str:
    """A ratio as `12.3 %`."""
    return real(ratio * 100.0, 1) + " %"


def real(number: float, decimals: int) -> str:
    """A real with so many decimals, halves away from zero; `1.25e+17` style exponents from REAL_LIMIT on."""
    if number - number != 0.0:
        raise CommandStopped(StopKind.NOT_FINITE)
    sign, magnitude, exponent = ("-" if number < 0.0 else ""), abs(number), 0
    if magnitude >= REAL_LIMIT:
        while magnitude >= 10.0:
            magnitude /= 10.0
            exponent += 1
    scale = 10 ** decimals
    if magnitude >= 1e12:                                # so that the scaled number stays exact in 64 bits
        whole, fraction = int(magnitude), 0
    else:
        scaled = int(magnitude * float(scale) + 0.5)
        whole, fraction = scaled // scale, scaled % scale
    return f"{sign}{whole}.{fraction:0{decimals}}" + (f"e+{exponent}" if exponent else "")


def calendar(nanoseconds: int) -> str:
    """Nanoseconds since 1970 as `2026-01-31 12:00:00`, UTC, in the proleptic Gregorian calendar."""
    seconds = nanoseconds // 1_000_000_000
    days, second = seconds // 86_400, seconds % 86_400
    days += 719_468                                      # days from 0000-03-01, where leap days end a year
    era, day_of_era = days // 146_097, days % 146_097
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153               # month, March = 0
    day = day_of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    return f"{year:04}-{month:02}-{day:02} {second // 3_600:02}:{second // 60 % 60:02}:{second % 60:02}"


def plain(cell: object, kind: Kind) -> str:
    """A number in base units for programs; text as it is."""
    if isinstance(cell, float):
        return real(cell, 6)
    if kind is Kind.BOOLEAN:
        return "true" if cell else "false"
    return str(cell)


def quote_csv(text: str) -> str:
    """RFC 4180 section 2: quoted if it has a comma, a quote or a line break."""
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\n\r') else text


def quote_json(text: str) -> str:
    """RFC 8259 section 7; control characters as \\u00XX."""
    return '"' + "".join("\\" + one if one in '"\\' else f"\\u00{ord(one):02x}" if one < " " else one for one in text) + '"'


def quote_markdown(text: str) -> str:
    """A bar would end the cell."""
    return text.replace("|", "\\|")


# --- whole values -------------------------------------------------------------------------------------------------------

def title(name: str) -> str:
    """A column's name as a label."""
    return name.replace("_", " ")


def whole_of(columns: Sequence[Column], index: int) -> int | None:
    """The column that this one is a part of: `memory_total` for `memory_used`, `total` or `size` for `used`. The index, or None."""
    column = columns[index]
    stem, _, last = column.name.rpartition("_")
    if last not in ("used", "free") or column.kind not in (Kind.SIZE, Kind.INTEGER):
        return None
    wanted = (f"{stem}_total",) if stem else ("total", "size")
    return next((other for other, candidate in enumerate(columns) if candidate.name in wanted and candidate.kind is column.kind), None)


def fraction(part: float, whole: float) -> float:
    """Part of whole; nothing of nothing is 0."""
    return part / whole if whole != 0.0 else 0.0


def bar(ratio: float) -> str:
    """`[█████░░░░░]` of BAR_CELLS cells; below 0 is empty, above 1 is full."""
    cells = int(min(max(ratio, 0.0), 1.0) * BAR_CELLS + 0.5)
    return f"[{FULL * cells}{EMPTY * (BAR_CELLS - cells)}]"


def is_numeric(kind: Kind) -> bool:
    """Whether cells are aligned to the right."""
    return kind not in (Kind.TEXT, Kind.BOOLEAN)


def bar_column(columns: Sequence[Column]) -> int | None:
    """The column of a table that its dashboard draws: the first ratio."""
    return next((index for index, column in enumerate(columns) if column.kind is Kind.RATIO), None)


def _dashboard(kind: Type, rows: Sequence[Row]) -> str:
    if kind.shape is Shape.TABLE:
        return _aligned(kind, rows, bar_column(kind.columns))
    row, lines = rows[0], []
    labels = max(len(title(column.name)) for column in kind.columns)
    for index, (cell, column) in enumerate(zip(row, kind.columns, strict=True)):
        line = f"{title(column.name):{labels}}  "
        text = human(cell, column.kind)
        whole = whole_of(kind.columns, index)
        if column.kind is Kind.RATIO:
            assert isinstance(cell, float)
            line += f"{text:>{VALUE_WIDTH}}  {bar(cell)}"
        elif whole is not None:
            ratio = fraction(_float(cell), _float(row[whole]))
            line += f"{text:>{VALUE_WIDTH}}  {bar(ratio)} {percent(ratio)}"
        elif is_numeric(column.kind):
            line += f"{text:>{VALUE_WIDTH}}"
        else:
            line += text
        lines.append(line)
    return _lines(lines)


def _table(kind: Type, rows: Sequence[Row]) -> str:
    return _aligned(kind, rows, None)


def _aligned(kind: Type, rows: Sequence[Row], drawn: int | None) -> str:
    columns = kind.columns
    written = [[human(cell, column.kind) for cell, column in zip(row, columns, strict=True)] for row in rows]
    widths = [max([len(title(column.name)), *(len(row[index]) for row in written)]) for index, column in enumerate(columns)]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(f"{cell:{'>' if is_numeric(column.kind) else '<'}{width}}" for cell, column, width in zip(cells, columns, widths, strict=True))

    lines = [line([title(column.name) for column in columns])]
    for row, cells in zip(rows, written, strict=True):
        lines.append(line(cells) + ("" if drawn is None else "  " + bar(_float(row[drawn]))))
    return _lines(lines if rows else [*lines, NO_ROWS])


def _list(kind: Type, rows: Sequence[Row]) -> str:
    blocks = [_lines([f"{title(column.name)}: {human(cell, column.kind)}" for cell, column in zip(row, kind.columns, strict=True)]) for row in rows]
    return "\n".join(blocks)


def _csv(kind: Type, rows: Sequence[Row]) -> str:
    header = ",".join(quote_csv(column.name) for column in kind.columns)
    return _lines([header, *(",".join(quote_csv(plain(cell, column.kind)) for cell, column in zip(row, kind.columns, strict=True)) for row in rows)])


def _json(kind: Type, rows: Sequence[Row]) -> str:
    def one(cell: object, column: Column) -> str:
        return quote_json(cell) if isinstance(cell, str) else plain(cell, column.kind)

    if kind.shape is Shape.SCALAR:
        return one(rows[0][0], kind.columns[0])
    objects = ["{" + ", ".join(f"{quote_json(column.name)}: {one(cell, column)}" for cell, column in zip(row, kind.columns, strict=True)) + "}" for row in rows]
    return objects[0] if kind.shape is Shape.RECORD else "[" + ",\n ".join(objects) + "]\n"


def _markdown(kind: Type, rows: Sequence[Row]) -> str:
    header = "| " + " | ".join(quote_markdown(title(column.name)) for column in kind.columns) + " |"
    rule = "|" + "|".join("---:" if is_numeric(column.kind) else "---" for column in kind.columns) + "|"
    return _lines([header, rule, *("| " + " | ".join(quote_markdown(human(cell, column.kind)) for cell, column in zip(row, kind.columns, strict=True)) + " |"
                                   for row in rows)])


def _float(cell: object) -> float:
    assert isinstance(cell, (int, float))
    return float(cell)


def _lines(lines: Sequence[str]) -> str:
    return "".join(line + "\n" for line in lines)


_STYLES: dict[str, Callable[[Type, Sequence[Row]], str]] = {
    "dashboard": _dashboard, "table": _table, "list": _list, "csv": _csv, "json": _json, "markdown": _markdown}

