"""Generated inputs: tables of a given type that are likely to tell two plans apart, and such as break careless ones. The same ones every time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from jit_synth.values import LARGEST_INTEGER, SMALLEST_INTEGER, Row, Shape, Type
from jit_synth.vocabulary import facts_of, is_identifier
from kernel.telemetry import Column, Kind

WORDS = ("alpha", "beta", "gamma", "delta", "running", "idle", "")
UTF8 = ("größe", "日本語", "e\u0301", "🦉 owl", "a,b\"c\n|\\", "\t\x01\x7f", " ", "ÿ")
LARGE_ROWS = 192                        # enough that quadratic costs show
SMALL_ROWS = 5


@dataclass(frozen=True, slots=True)
class Probe:
    """One generated input: what it is for, and its rows."""

    name: str
    rows: tuple[Row, ...]


def telling(kind: Type, source: str | None, constants: Sequence[object] = ()) -> list[Probe]:
    """Few, small inputs with ties and with what the plan looks for (`constants`) in them: to tell plans apart."""
    return [Probe(f"random {seed}", _rows(kind, source, constants, seed, 1 if kind.shape is not Shape.TABLE else SMALL_ROWS + seed)) for seed in (1, 2)]


def breaking(kind: Type, source: str | None, constants: Sequence[object] = ()) -> list[Probe]:
    """Empty, one row, large, UTF-8, the ends of every range: to break a lowering."""
    probes = [Probe("one row", _rows(kind, source, constants, 3, 1)), Probe("UTF-8", _filled(kind, UTF8, (0, 1, 2, 3))),
              Probe("zeros", _filled(kind, ("",), (0,))), Probe("ends of range", _filled(kind, ("\x00", "\U0010ffff"), (SMALLEST_INTEGER, LARGEST_INTEGER))),
              Probe("largest", _filled(kind, ("z" * 300,), (LARGEST_INTEGER, LARGEST_INTEGER - 1)))]
    if kind.shape is Shape.TABLE:
        return [Probe("empty", ()), *probes, Probe("large", _rows(kind, source, constants, 4, LARGE_ROWS))]
    if kind.shape is Shape.TEXT:
        texts = (("empty text", ""), ("line ends", "\n\n a\n b \nc"), ("large text", "lorem ipsum\n" * LARGE_ROWS))
        return [*probes, *(Probe(name, ((text,),)) for name, text in texts)]
    return [Probe(probe.name, probe.rows[:1]) for probe in probes]


def _rows(kind: Type, source: str | None, constants: Sequence[object], seed: int, count: int) -> tuple[Row, ...]:
    generator = random.Random(f"{seed} {kind}")
    known = dict(facts_of(source).values)
    return tuple(tuple(_cell(column, number, generator, known.get(column.name, ()), constants) for column in kind.columns) for number in range(count))


def _cell(column: Column, number: int, generator: random.Random, known: Sequence[str], constants: Sequence[object]) -> object:
    """A cell; one in four is a constant of the plan, so that its comparisons hold and fail."""
    fitting = [one for one in constants if _is_of_kind(one, column.kind)]
    if fitting and generator.random() < 0.25:
        return generator.choice(fitting)
    match column.kind:
        case Kind.TEXT:
            return generator.choice(known) if known else generator.choice(WORDS) + generator.choice(("", "", " two words"))
        case Kind.BOOLEAN:
            return generator.random() < 0.5
        case Kind.REAL:
            return round(generator.uniform(0, 100), 3)
        case Kind.RATIO:
            return round(generator.random(), 4)
        case _:
            return generator.randrange(8) if is_identifier(column) else number * 3 % 7 if generator.random() < 0.2 else generator.randrange(10_000_000_000)


def _filled(kind: Type, texts: Sequence[str], numbers: Sequence[int]) -> tuple[Row, ...]:
    """Rows that go through the texts and numbers."""
    rows = []
    for index in range(max(len(texts), len(numbers))):
        number = numbers[index % len(numbers)]
        cells: dict[Kind, object] = {Kind.TEXT: texts[index % len(texts)], Kind.BOOLEAN: bool(number & 1), Kind.REAL: float(number),
                                     Kind.RATIO: number / LARGEST_INTEGER}
        rows.append(tuple(cells.get(column.kind, number) for column in kind.columns))
    return tuple(rows)


def _is_of_kind(constant: object, kind: Kind) -> bool:
    if isinstance(constant, str) or kind is Kind.TEXT:
        return isinstance(constant, str) and kind is Kind.TEXT
    if isinstance(constant, bool) or kind is Kind.BOOLEAN:
        return isinstance(constant, bool) and kind is Kind.BOOLEAN
    return isinstance(constant, float) == (kind in (Kind.REAL, Kind.RATIO))
