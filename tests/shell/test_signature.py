"""How what was typed is bound to a declaration, and what is said when it does not fit."""

from __future__ import annotations

import pytest

from tests.shell.bench import Bench, pointed_at


@pytest.mark.parametrize(("line", "place", "message", "help_"), [
    ("ps |> sort time -Decending", "-Decending", "sort has no -Decending", "nearest: -descending"),
    ("ps |> sort time -x", "-x", "sort has no -x", "usage: sort COLUMN... [-descending]"),
    ("ps |> sort", "", "sort needs a column", "usage: sort COLUMN..."),
    ("ps |> sort -Descending", "", "sort needs a column", "usage"),
    ("ps |> sort -Column", "-Column", "-column needs a value", "usage"),
    ("ps |> sort -Column -Descending", "-Column", "-column needs a value", "usage"),
    ("ps |> first 3 4 5", "4 5", "first has no use for this", "usage: first [NUMBER]"),
    ("ps |> first three", "three", "count is a whole number, 0 or more", "for example: first 3"),
    ("ps |> first -3", "-3", "count is a whole number", "first 3"),
    ("ps |> first 1.5", "1.5", "count is a whole number", "first 3"),
    ("ps |> first 3ms", "3ms", "count is a whole number", "first 3"),
    ("ps |> count all", "all", "count has no use for this", "usage: count"),
    ("ps |> group state name", "name", "group has no use for this", "usage: group COLUMN"),
    ("ps 5", "5", "ps has no use for this", "usage: ps"),
    ("ps -ef", "-ef", "ps has no -ef", "usage: ps"),
    ("ps -WhatIf", "ps -WhatIf", "ps is built in: there is nothing to synthesize", "help ps"),
    ("ps > file", ">", "> means nothing here", "$x = ps"),
    ("ps >> file", ">>", ">> means nothing here", "$x = ps"),
    ("ps && cpus", "&&", "&& means nothing here", "ps; cpus"),
    ("ps &", "&", "& means nothing here", "every command runs to its end"),
    ("Get-It >> file", ">>", ">> means nothing here", "$x = ps"),
    ("sort time", "sort", "sort needs a table from the pipe", "for example: ps |> sort name"),
    ("ps |> cpus", "cpus", "cpus takes nothing from the pipe", "it can begin a pipeline: cpus |> ..."),
    ("ps |> help", "help", "help takes nothing from the pipe", ""),
    ("uptime |> sort value", "sort", "sort works on a table, and the pipe holds a single duration", ""),
    ("'text' |> first", "first", "first works on a table, and the pipe holds text", ""),
    ("echo |> sort name |> first", "sort", "the pipe holds text", ""),
])
def test_mistakes(bench: Bench, line: str, place: str, message: str, help_: str) -> None:
    report = bench.wrong(line)
    assert message in report and help_ in report
    assert pointed_at(line, report) == place


@pytest.mark.parametrize("line", ["x = 5", "busy = cpus |> where load > 50%", "my-list += ps"])
def test_assignments_without_a_dollar(bench: Bench, line: str) -> None:
    report = bench.wrong(line, status=2)
    assert "this is no assignment: a variable begins with $" in report and f"${line.split(maxsplit=1)[0].replace('-', '_')} = ps" in report


def test_flags_are_known_by_their_beginning_and_in_any_case(bench: Bench) -> None:
    for flag in ("-Descending", "-descending", "-DESC", "-d"):
        assert bench.done(f"ps |> sort id {flag} |> first |> select id").split()[-1] == "5"
    assert "may be -column or -descending" not in bench.run("ps |> sort id -")[1]


def test_a_column_may_come_from_a_variable(bench: Bench) -> None:
    bench.done("$by = 'time'")
    assert bench.done("ps |> sort $by -Descending |> first |> select id").split()[-1] == "4"
    bench.done("$n = 2")
    assert bench.done("ps |> first $n |> count") == "2\n"
