"""`where`: what a condition keeps, checked against the kinds of the table that is in the pipe."""

from __future__ import annotations

import pytest

from kernel.telemetry import LiveSource
from tests.shell.bench import Bench, columns, names, pointed_at


@pytest.mark.parametrize(("condition", "kept"), [
    ("id > 2", "3 4 5"), ("id >= 2 and id <= 3", "2 3"), ("id == 1 or id == 5", "1 5"), ("id != 1", "2 3 4 5"), ("3 < id", "4 5"), ("3 <= id", "3 4 5"),
    ("2 > id", "1"), ("2 >= id", "1 2"), ("3 == id", "3"), ("not id == 1 and not id == 2", "3 4 5"), ("not (id == 1 or id == 2)", "3 4 5"),
    ("id < 4.5", "1 2 3 4"), ("cpu == priority", ""), ("syscalls > memory", "4"[:0]),
    # text, without regard to case
    ("name == pulse", "1 2"), ('name == "PULSE"', "1 2"), ("NAME = echo", "5"), ("name != pulse", "3 4 5"), ("name contains LS", "1 2"),
    ("name starts-with p", "1 2 3"),
    ("name ends-with e", "1 2 3 4"), ("pulse contains name", "1 2"), ("name < f", "5"), ('name == ""', ""),
    # units
    ("time > 1s", "1 4"), ("time >= 740ms and time < 1min", "1 2"), ("time == 0", "3"), ("time > 0", "1 2 4 5"), ("memory >= 1MiB", "1 2 3"),
    ("memory == 512", "5"), ("memory < 1kB", "4 5"),
])
def test_rows_kept(bench: Bench, condition: str, kept: str) -> None:
    line = f"ps |> where {condition} |> select id"
    assert names(bench.rows(line)) == [*kept.split()] or (kept == "" and "(no rows)" in bench.done(line))


@pytest.mark.parametrize(("condition", "kept"), [("load > 50%", "0 2"), ("load > 0.5", "0 2"), ("load == 0", "3"), ("load >= 7%", "0 1 2"),
                                                 ("100% > load", "0 1 2 3")])
def test_ratios(bench: Bench, condition: str, kept: str) -> None:
    assert names(bench.rows(f"cpus |> where {condition} |> select id")) == kept.split()


def test_a_word_may_be_a_value_although_a_column_has_its_name(bench: Bench) -> None:
    assert bench.done("cpus |> where state == idle |> count") == "2\n"
    assert bench.done("cpus |> where state != idle and idle > 1s |> count") == "2\n"
    assert bench.done("ps |> where name == state |> count") == "0\n", "two columns of text are compared"


def test_addresses_and_reals(bench: Bench) -> None:
    assert bench.done("memory |> where base >= 0xFEE00000 |> count") == "1\n"
    assert bench.done("memory |> where base == 4096 |> count") == "1\n"
    assert bench.done("interrupts |> where rate > 50 and rate < 200 |> count") == "4\n"
    assert bench.done("interrupts |> where rate > 500% |> count") == "4\n"


def test_variables(bench: Bench) -> None:
    bench.done("$limit = 50%; $who = 'pulse'; $three = 3")
    assert bench.done("cpus |> where load > $limit |> count") == "2\n"
    assert bench.done("ps |> where name == $who and id < $three |> count") == "2\n"


def test_booleans_and_empty_cells(bench: Bench) -> None:
    rows: list[tuple[object, ...]] = [("a", True, 1), ("b", False, None), ("c", True, None)]
    bench.sources["flags"] = LiveSource("flags", "flags", columns("name TEXT", "ok BOOLEAN", "size SIZE"), lambda: rows)
    assert names(bench.rows("flags |> where ok |> select name")) == ["a", "c"]
    assert names(bench.rows("flags |> where not ok |> select name")) == ["b"]
    assert names(bench.rows("flags |> where ok == true |> select name")) == names(bench.rows("flags |> where ok != no |> select name")) == ["a", "c"]
    assert names(bench.rows("flags |> where size > 0 |> select name")) == ["a"], "an empty cell is not larger than anything"
    assert names(bench.rows("flags |> where size == 1 |> select name")) == ["a"]
    assert names(bench.rows("flags |> where size != 1 |> select name")) == ["b", "c"], "an empty cell is not 1"


@pytest.mark.parametrize(("line", "place", "message", "help_"), [
    ("ps |> where tiem > 1ms", "tiem", "there is no column 'tiem'", "nearest: time"),
    ("ps |> where (id == 1 and nam == 'x')", "nam", "there is no column 'nam'", "nearest: name"),
    ("ps |> where 1 == 1", "1", "there is no column '1'", "columns: id, name"),
    ("ps |> where time > 1", "1", "time is a duration and does not compare with an integer", "write it like 10ms or 1.5s"),
    ("ps |> where time > 4KiB", "4KiB", "time is a duration and does not compare with a size", "10ms"),
    ("ps |> where memory > 10ms", "10ms", "memory is a size and does not compare with a duration", "512 or 4KiB"),
    ("ps |> where memory > lots", "lots", "memory is a size and does not compare with text", "4KiB"),
    ("ps |> where memory > 4QiB", "4QiB", "4QiB is not a number with a unit", "units: ns us"),
    ("ps |> where name > 3", "3", "name is text and does not compare with an integer", '"text"'),
    ("ps |> where id contains 3", "id", "contains wants text", ""),
    ("ps |> where name", "name", "name is text: compare it with something", 'where name == "text"'),
    ("ps |> where time", "time", "time is a duration: compare it", "where time == 10ms"),
    ("ps |> where id == $nobody", "$nobody", "$nobody has no value", "$nobody = ps"),
    ("cpus |> where load > 10ms", "10ms", "load is a ratio", "50% or 0.5"),
    ("where load > 1", "where", "where needs a table from the pipe", "ps |> where"),
    ("uptime |> where value > 1", "where", "the pipe holds a single duration", ""),
])
def test_mistakes(bench: Bench, line: str, place: str, message: str, help_: str) -> None:
    report = bench.wrong(line)
    assert message in report and help_ in report
    assert pointed_at(line, report) == place


def test_a_table_is_no_single_value(bench: Bench) -> None:
    bench.done("$all = ps")
    assert "$all is a table of 8 columns and 5 rows, not a single value" in bench.wrong("ps |> where id == $all")
