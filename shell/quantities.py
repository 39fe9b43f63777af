"""Numbers with units, read and written: `10ms`, `4KiB`, `50%` in; `1.2 s`, `3.1 MiB`, `37 %` out.

Base units are those of kernel.telemetry.Kind: a SIZE is in bytes, a DURATION in nanoseconds, a RATIO from 0 to 1.
Binary prefixes follow IEC 80000-13; k, M, G without an i are the decimal ones of the SI.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal

from kernel.telemetry import Kind

NS, US, MS, S = 1, 1_000, 1_000_000, 1_000_000_000
MINUTE, HOUR, DAY = 60 * S, 3600 * S, 86_400 * S

UNITS: dict[str, tuple[Kind, Decimal]] = {
    "ns": (Kind.DURATION, Decimal(NS)), "us": (Kind.DURATION, Decimal(US)), "µs": (Kind.DURATION, Decimal(US)),
    "ms": (Kind.DURATION, Decimal(MS)), "s": (Kind.DURATION, Decimal(S)), "min": (Kind.DURATION, Decimal(MINUTE)),
    "h": (Kind.DURATION, Decimal(HOUR)), "d": (Kind.DURATION, Decimal(DAY)),
    "B": (Kind.SIZE, Decimal(1)),
    "kB": (Kind.SIZE, Decimal(10**3)), "MB": (Kind.SIZE, Decimal(10**6)), "GB": (Kind.SIZE, Decimal(10**9)), "TB": (Kind.SIZE, Decimal(10**12)),
    "KiB": (Kind.SIZE, Decimal(1 << 10)), "MiB": (Kind.SIZE, Decimal(1 << 20)), "GiB": (Kind.SIZE, Decimal(1 << 30)),
    "TiB": (Kind.SIZE, Decimal(1 << 40)),
    "%": (Kind.RATIO, Decimal(1) / 100),
}
UNITS_BY_FOLDED = {name.casefold(): unit for name, unit in UNITS.items()}      # kib and KIB are meant as KiB; no two units differ by case alone

LONGEST_NUMBER = 64                     # characters; nothing in range has more, and Python refuses to read thousands
LARGEST_EXPONENT = 30                   # 1e30 is beyond anything measured here; a billion digits must not be computed
EXAMPLE = {Kind.DURATION: "10ms or 1.5s", Kind.SIZE: "512 or 4KiB", Kind.RATIO: "50% or 0.5", Kind.ADDRESS: "0xFEE00000",
           Kind.INTEGER: "3", Kind.REAL: "0.5", Kind.TEXT: '"text"', Kind.BOOLEAN: "true", Kind.TIME: "1.5e18"}
NUMERIC = frozenset({Kind.INTEGER, Kind.REAL, Kind.SIZE, Kind.DURATION, Kind.RATIO, Kind.ADDRESS, Kind.TIME})


class QuantityError(ValueError):
    """The number cannot be read; the message is one line for the user."""


def read_number(text: str) -> tuple[int | float, Kind]:
    """The value in base units, and its kind: INTEGER or REAL without a unit, ADDRESS if hexadecimal.

    `text` is a NUMBER of grammar.lark, which names the same units.

    Raises:
        QuantityError: a number out of range, or without digits.
    """
    plain = text.replace("_", "")
    if len(plain) > LONGEST_NUMBER:
        raise QuantityError(f"the number is too long: {len(plain)} digits")
    if plain.lstrip("+-")[:2].casefold() == "0x":
        digits = plain.lstrip("+-")[2:]
        if not digits:
            raise QuantityError(f"{text} has no digits")
        return int(plain, 16), Kind.ADDRESS
    number = plain.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZµ%")
    unit = plain[len(number):]
    value = Decimal(number)
    if abs(value.adjusted()) > LARGEST_EXPONENT:
        raise QuantityError(f"{text} is out of range")
    if not unit:
        return (int(number), Kind.INTEGER) if number.lstrip("+-").isdecimal() else (float(value), Kind.REAL)
    kind, factor = UNITS_BY_FOLDED[unit.casefold()]
    return (float(value * factor) if kind is Kind.RATIO else int(value * factor)), kind


def write_value(value: object, kind: Kind) -> str:
    """A cell for people: short, with its unit. None is an empty cell."""
    if value is None:
        return ""
    if isinstance(value, bool) or kind is Kind.BOOLEAN:
        return "yes" if value else "no"
    if not isinstance(value, (int, float)) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    match kind:
        case Kind.SIZE:
            return write_size(value)
        case Kind.DURATION:
            return write_duration(value)
        case Kind.RATIO:
            return f"{_significant(100 * value)} %"
        case Kind.ADDRESS:
            return f"{int(value):#010x}"
        case Kind.TIME:
            return _write_time(int(value))
        case _:
            return str(value) if isinstance(value, int) else _significant(value)


def write_size(count: float) -> str:
    """Bytes in the largest binary unit that leaves at least 1."""
    if abs(count) < 1 << 10:
        return f"{_significant(count)} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        count /= 1 << 10
        if abs(count) < 1000 or unit == "TiB":
            break
    return f"{_significant(count)} {unit}"


def write_duration(nanoseconds: float) -> str:
    """Nanoseconds as 740 ns, 12.3 ms, 1.2 s, 3 min 05 s, 2 h 07 min, 3 d 04 h."""
    if nanoseconds < 0:
        return "-" + write_duration(-nanoseconds)
    if nanoseconds == 0:
        return "0 s"
    for unit, size, above in (("ns", NS, US), ("µs", US, MS), ("ms", MS, S), ("s", S, MINUTE)):
        if nanoseconds < above and (text := _significant(nanoseconds / size)) != str(above // size):   # 999.96 ms is 1 s, not 1000 ms
            return f"{text} {unit}"
    seconds = round(nanoseconds / S)
    for unit, size, small_unit, small in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // small:02} {small_unit}"
    return f"{seconds} s"


def _significant(value: float) -> str:
    """Three significant digits or all the whole ones; no trailing zeros, no exponent."""
    magnitude = abs(value)
    text = f"{value:.{0 if magnitude >= 99.95 else 1 if magnitude >= 9.995 else 2}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def _write_time(nanoseconds: int) -> str:
    try:
        return datetime.fromtimestamp(nanoseconds // S, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return str(nanoseconds)
