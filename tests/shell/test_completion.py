"""What Tab offers."""

from __future__ import annotations

import pytest

from kernel.telemetry import LiveSource
from shell.completion import MAX_COMPLETIONS, complete, split_stages
from tests.shell.bench import Bench, columns


def offered(bench: Bench, before: str) -> list[str]:
    """What the text would become."""
    offers = complete(before, bench.shell.context)
    assert all(one.text.endswith(" ") == (len(offers) == 1) for one in offers), "a blank follows what is the only one"
    return [before[:len(before) - one.replaces] + one.text.rstrip() for one in offers]


@pytest.mark.parametrize(("before", "after"), [
    ("up", ["uptime"]), ("  up", ["  uptime"]), ("UP", ["uptime"]), ("ps; up", ["ps; uptime"]), ("$x = up", ["$x = uptime"]), ("ps\nup", ["ps\nuptime"]),
    ("ps |> so", ["ps |> sort"]), ("ps|>so", ["ps|>sort"]), ("ps |>\n so", ["ps |>\n sort"]), ("ps |> up", []), ("so", []),
    ("ps |> sort ti", ["ps |> sort time"]), ("tasks |> sort TI", ["tasks |> sort time"]), ("ps |> select name ti", ["ps |> select name time"]),
    ("ps |> sort time -", ["ps |> sort time -Column", "ps |> sort time -Descending"]), ("ps |> sort -de", ["ps |> sort -Descending"]),
    ("Get-It -", ["Get-It -WhatIf"]),
    ("ps |> where ti", ["ps |> where time"]), ("ps |> where (ti", ["ps |> where (time"]), ("ps |> where id==1 and ti", ["ps |> where id==1 and time"]),
    ("ps |> where not ti", ["ps |> where not time"]), ("ps |> where na", ["ps |> where name"]),
    ("ps |> where name == pu", ["ps |> where name == pulse"]), ("ps |> where name == ", ["ps |> where name == Echo", "ps |> where name == idle",
                                                                                         "ps |> where name == probe", "ps |> where name == pulse"]),
    ("ps |> where name contains pr", ["ps |> where name contains probe"]), ("log |> where message == no", ['log |> where message == "no HPET table"']),
    ("ps |> where time == ", []),
    ("help so", ["help sort"]), ("help up", ["help uptime"]),
    ("ps |> group state |> sort co", ["ps |> group state |> sort count"]),
    ("ps |> select name id |> sort ", ["ps |> select name id |> sort id", "ps |> select name id |> sort name"]),
    ("ps |> Get-It |> sort ti", []), ("ps |> count |> sort ti", []),
    ('echo "ps |> so', []), ("echo 'up", []), ("ps # up", []), ("# up", []), ("ps |> first ", []), ("don't up", []),
    ('echo "a |> b" |> so', ['echo "a |> b" |> sort']), ("ps # a |> b\n|> so", ["ps # a |> b\n|> sort"]), ("it's; up", ["it's; uptime"]),
])
def test_offers(bench: Bench, before: str, after: list[str]) -> None:
    assert offered(bench, before) == after


def test_everything_at_the_start(bench: Bench) -> None:
    everything = offered(bench, "")
    assert {"ps", "cpus", "help", "poweroff", "tasks"} <= set(everything) and "sort" not in everything
    filters = offered(bench, "ps |> ")
    assert "ps |> where" in filters and "ps |> to-json" in filters and "ps |> cpus" not in filters


def test_every_offer_has_its_doc(bench: Bench) -> None:
    for before in ("", "ps |> ", "ps |> sort ", "ps |> sort -"):
        assert all(one.doc for one in complete(before, bench.shell.context))


def test_variables_and_learned_commands(bench: Bench) -> None:
    bench.done("$busy = cpus |> where load > 50%; $n = 3")
    bench.shell.context.learned["Get-Top"] = "the top"
    assert offered(bench, "$b") == ["$busy"] and offered(bench, "cpus |> first $") == ["cpus |> first $busy", "cpus |> first $n"]
    assert offered(bench, "$busy |> sort lo") == ["$busy |> sort load"] and offered(bench, "$n |> sort lo") == []
    assert offered(bench, "Get") == ["Get-Top"] and offered(bench, "ps |> get") == ["ps |> Get-Top"]


def test_values_that_no_bare_word_holds_are_quoted(bench: Bench) -> None:
    values = ['say "hi"', "back\\slash", "\x1b[2J", "plain", "日本"]
    bench.sources["odd"] = LiveSource("odd", "", columns("name TEXT"), lambda: [(value,) for value in values])
    assert offered(bench, "odd |> where name == ") == ['odd |> where name == "back\\\\slash"', 'odd |> where name == "say \\"hi\\""',
                                                       "odd |> where name == plain", "odd |> where name == 日本"]


def test_offers_are_bounded(bench: Bench) -> None:
    bench.sources["many"] = LiveSource("many", "", columns("name TEXT"), lambda: [(f"n{number}",) for number in range(5000)])
    assert len(offered(bench, "many |> where name == n")) == MAX_COMPLETIONS


def test_stages() -> None:
    assert split_stages("ps |> sort a") == ["ps ", " sort a"]
    assert split_stages("x; ps") == [" ps"]
    assert split_stages('"a |> b" |> c') == ['"a |> b" ', " c"]
    assert split_stages('"open') is split_stages("'open") is split_stages("x #c") is None
    assert split_stages("") == [""]
