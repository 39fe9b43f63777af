"""Numbers with units, in and out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.telemetry import Kind
from shell.quantities import DAY, HOUR, MINUTE, MS, S, UNITS, QuantityError, read_number, write_value

KIB, MIB, GIB, TIB = (1 << shift for shift in (10, 20, 30, 40))


@pytest.mark.parametrize(("value", "kind", "text"), [
    (0, Kind.DURATION, "0 s"), (1, Kind.DURATION, "1 ns"), (740, Kind.DURATION, "740 ns"), (999, Kind.DURATION, "999 ns"), (12_345, Kind.DURATION, "12.3 µs"),
    (999_960, Kind.DURATION, "1 ms"), (12_300_000, Kind.DURATION, "12.3 ms"), (999_960_000, Kind.DURATION, "1 s"), (1_234_000_000, Kind.DURATION, "1.23 s"),
    (59 * S, Kind.DURATION, "59 s"), (59_960 * MS, Kind.DURATION, "1 min 00 s"), (185 * S, Kind.DURATION, "3 min 05 s"),
    (2 * HOUR + 7 * MINUTE, Kind.DURATION, "2 h 07 min"),
    (3 * DAY + 4 * HOUR, Kind.DURATION, "3 d 04 h"), (-5 * MS, Kind.DURATION, "-5 ms"), (1500.5, Kind.DURATION, "1.5 µs"),
    (0, Kind.SIZE, "0 B"), (512, Kind.SIZE, "512 B"), (1023, Kind.SIZE, "1023 B"), (KIB, Kind.SIZE, "1 KiB"), (1536, Kind.SIZE, "1.5 KiB"),
    (999 * KIB, Kind.SIZE, "999 KiB"), (1000 * KIB, Kind.SIZE, "0.98 MiB"), (24 * MIB, Kind.SIZE, "24 MiB"), (GIB, Kind.SIZE, "1 GiB"),
    (5000 * TIB, Kind.SIZE, "5000 TiB"), (-KIB, Kind.SIZE, "-1 KiB"),
    (0.0, Kind.RATIO, "0 %"), (0.5, Kind.RATIO, "50 %"), (0.12345, Kind.RATIO, "12.3 %"), (1.0, Kind.RATIO, "100 %"), (0.999, Kind.RATIO, "99.9 %"),
    (0xFEE00000, Kind.ADDRESS, "0xfee00000"), (0x1000, Kind.ADDRESS, "0x00001000"), (1 << 40, Kind.ADDRESS, "0x10000000000"),
    (1_769_860_800 * S, Kind.TIME, "2026-01-31 12:00:00"), (10**30, Kind.TIME, str(10**30)),
    (True, Kind.BOOLEAN, "yes"), (False, Kind.BOOLEAN, "no"), (1, Kind.BOOLEAN, "yes"),
    (42, Kind.INTEGER, "42"), (10**20, Kind.INTEGER, str(10**20)), (2.5, Kind.REAL, "2.5"), (1 / 3, Kind.REAL, "0.33"), (100.25, Kind.REAL, "100"),
    (-0.001, Kind.REAL, "0"),
    (float("inf"), Kind.REAL, "inf"), (float("nan"), Kind.RATIO, "nan"), ("text", Kind.TEXT, "text"), ("odd", Kind.SIZE, "odd"), (None, Kind.SIZE, ""),
])
def test_values_for_people(value: object, kind: Kind, text: str) -> None:
    assert write_value(value, kind) == text


@pytest.mark.parametrize("text", ["1e31", "-1e31", "1e-31", "0x", "1" * 65, "0x" + "F" * 70])
def test_numbers_out_of_range(text: str) -> None:
    with pytest.raises(QuantityError):
        read_number(text)


def test_every_unit_reads_without_regard_to_case() -> None:
    for unit, (kind, factor) in UNITS.items():
        for spelling in (unit, unit.upper() if unit != "µs" else unit, unit.lower()):
            assert read_number(f"3{spelling}") == (pytest.approx(float(3 * factor)), kind)


@settings(derandomize=True, deadline=None)
@given(st.integers(-10**18, 10**18))
def test_integers_are_exact(number: int) -> None:
    assert read_number(str(number)) == (number, Kind.INTEGER)
    assert read_number(f"{number}ns") == (number, Kind.DURATION)
    assert read_number(f"{number}KiB") == (number << 10, Kind.SIZE)


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 10**18))
def test_durations_for_people_are_short(number: int) -> None:
    text = write_value(number, Kind.DURATION)
    assert len(text) <= 14
    assert not text.startswith(("1000 ", "60 s", "60 min", "24 h"))


@settings(derandomize=True, deadline=None)
@given(st.one_of(st.integers(), st.floats()), st.sampled_from(Kind))
def test_no_number_is_too_odd_to_be_written(value: float, kind: Kind) -> None:
    assert write_value(value, kind).isprintable()
