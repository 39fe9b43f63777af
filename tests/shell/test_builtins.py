"""The builtins: each example of each declaration, each result, each mistake."""

from __future__ import annotations

import json
import re

import pytest

from kernel.errors import KernelError
from kernel.telemetry import LiveSource
from shell.builtins import BUILTINS, BY_NAME
from shell.builtins.conversation import CLEAR_SCREEN
from shell.parser import parse
from shell.signature import Builtin, Takes
from tests.shell.bench import ROWS, Bench, names, pointed_at

EXAMPLES = [(builtin.name, example.line) for builtin in BUILTINS for example in builtin.examples]


@pytest.mark.parametrize(("name", "line"), EXAMPLES)
def test_declared_examples_work(bench: Bench, name: str, line: str) -> None:
    status, text = bench.run(line)
    assert status == 0, text
    assert text or name == "clear"
    assert not bench.resolver.requests, "an example must not need the synthesizer"
    assert name in line.replace("|>", " ").split()


@pytest.mark.parametrize("builtin", BUILTINS, ids=lambda builtin: builtin.name)
def test_declarations(builtin: Builtin) -> None:
    assert builtin.examples and builtin.doc and not builtin.doc.endswith(".")
    assert all(parameter.doc for parameter in builtin.parameters)
    assert not any(parameter.several for parameter in builtin.parameters[:-1] if parameter.takes is not Takes.SWITCH and len(builtin.parameters) == 1)
    assert parse(builtin.name if builtin.name != "where" else "ps |> where id == 1").statements
    assert builtin.source in ("", *ROWS)


def test_a_dozen_and_more() -> None:
    assert {"ps", "cpus", "memory", "interrupts", "log", "devices", "system", "uptime", "where", "select", "sort", "first", "count", "to-json", "help",
            "history",
            "clear", "poweroff", "reboot"} <= set(BY_NAME)


@pytest.mark.parametrize(("name", "source"), [("ps", "tasks"), ("processes", "tasks"), ("tasks", "tasks"), ("cpus", "cpus"), ("memory", "memory"),
                                              ("interrupts", "interrupts"),
                                              ("irqs", "interrupts"), ("log", "log"), ("dmesg", "log"), ("devices", "devices"), ("lspci", "devices"),
                                              ("PS", "tasks")])
def test_live_data(bench: Bench, name: str, source: str) -> None:
    listed, rows = ROWS[source]
    assert json.loads(bench.done(f"{name} |> to-json")) == [dict(zip([column.name for column in listed], row, strict=True)) for row in rows]


def test_live_data_is_read_at_each_call(bench: Bench) -> None:
    counts = iter(range(1, 10))
    bench.sources["tasks"] = LiveSource("tasks", "", ROWS["tasks"][0], lambda: [(next(counts), "a", "b", 0, 0, 0, 0, 0)])
    assert names(bench.rows("ps |> select id")) == ["1"]
    assert names(bench.rows("ps |> select id")) == ["2"]


def test_system_and_uptime(bench: Bench) -> None:
    record = json.loads(bench.done("system |> to-json -Compact"))
    assert (record["uptime"], record["idle"], record["memory_total"]) == (83_000_000_000, 0.875, 256 << 20)
    assert re.search(r"^idle +87.5 %$", bench.done("system"), re.MULTILINE)
    assert bench.done("uptime") == "1 min 23 s\n"
    assert bench.done("uptime |> to-json") == "83000000000\n"
    bench.sources["system"] = LiveSource("system", "", ROWS["system"][0], list)
    assert "does not tell its uptime" in bench.wrong("uptime")
    assert "(no rows)" in bench.done("system")
    del bench.sources["system"]
    assert "has no source 'system'" in bench.wrong("uptime")


def test_select(bench: Bench) -> None:
    assert bench.rows("ps |> select NAME id |> first 2") == [["pulse", "1"], ["pulse", "2"]]
    assert bench.done("system |> select cpus tasks").split() == ["cpus", "tasks", "----", "-----", "4", "5"]
    assert pointed_at("ps |> select name siez", bench.wrong("ps |> select name siez")) == "siez"


def test_sort(bench: Bench) -> None:
    assert names(bench.rows("ps |> sort time |> select id")) == ["3", "5", "2", "1", "4"]
    assert names(bench.rows("ps |> sort time -Descending |> select id")) == names(bench.rows("ps |> sort -desc time |> select id")) == ["4", "1", "2", "5", "3"]
    assert names(bench.rows("ps |> sort name id |> select id")) == ["5", "4", "3", "1", "2"], "without regard to case, then by the next column"
    assert names(bench.rows("ps |> sort -Column memory |> select id")) == ["4", "5", "3", "1", "2"], "equal rows keep their order"
    bench.sources["odd"] = LiveSource("odd", "", ROWS["memory"][0], lambda: [(2, None, "b", 0, 0), (1, 5, "a", 0, 0), (3, 1, "c", 0, 0)])
    assert names(bench.rows("odd |> sort size |> select base"), 0) == names(bench.rows("odd |> sort size |> select base"))
    assert names(bench.rows("odd |> sort size -Descending |> select kind")) == ["a", "c", "b"], "an empty cell comes last either way"


def test_first_last_reverse_distinct_count(bench: Bench) -> None:
    assert names(bench.rows("ps |> first |> select id")) == ["1"]
    assert names(bench.rows("ps |> head 2 |> select id")) == ["1", "2"]
    assert names(bench.rows("ps |> first -Count 99 |> select id")) == ["1", "2", "3", "4", "5"]
    assert names(bench.rows("ps |> last 2 |> select id")) == names(bench.rows("ps |> tail 2 |> select id")) == ["4", "5"]
    assert "(no rows)" in bench.done("ps |> last 0") and "(no rows)" in bench.done("ps |> first 0")
    assert names(bench.rows("ps |> reverse |> select id")) == ["5", "4", "3", "2", "1"]
    assert names(bench.rows("ps |> select state |> distinct")) == ["running", "ready", "sleeping"]
    assert bench.done("ps |> count") == "5\n" and bench.done("ps |> where id > 9 |> count") == "0\n"


def test_group_and_measure(bench: Bench) -> None:
    assert bench.rows("ps |> group state") == [["running", "3"], ["ready", "1"], ["sleeping", "1"]]
    measured = json.loads(bench.done("ps |> measure memory |> to-json"))
    assert measured == {"count": 5, "sum": (5 << 20) + 512, "average": ((5 << 20) + 512) / 5, "smallest": 0, "largest": 2 << 20}
    assert json.loads(bench.done("ps |> where id > 9 |> measure time |> to-json")) == {"count": 0, "sum": 0, "average": None, "smallest": None, "largest": None}
    assert bench.done("ps |> measure id").split()[:6] == ["count", "5", "sum", "15", "average", "3"]
    report = bench.wrong("ps |> measure name")
    assert "name has nothing to add up" in report and "measurable here: id, cpu, time" in report


def test_columns(bench: Bench) -> None:
    assert bench.rows("cpus |> select load id |> columns") == [["load", "ratio", "the", "load"], ["id", "integer", "the", "id"]]


def test_to_json(bench: Bench) -> None:
    bench.sources["odd"] = LiveSource("odd", "", ROWS["interrupts"][0], lambda: [(1, 'a"\u00e9\x00', 0, 10**20, float("inf"))])
    assert json.loads(bench.done("odd |> to-json")) == [{"vector": 1, "name": 'a"\u00e9\x00', "cpu": 0, "count": 10**20, "rate": None}]
    assert bench.done("odd |> ConvertTo-Json -Compact").count("\n") == 1
    assert bench.done("'text' |> to-json") == '"text"\n'
    assert bench.done("50% |> to-json") == "0.5\n"
    assert "needs a value from the pipe" in bench.wrong("to-json")


def test_echo(bench: Bench) -> None:
    assert bench.done("echo two  words 'and one' 10ms 0x10") == "two words and one 10ms 0x10\n"
    bench.done("$n = 3; $t = 'text'")
    assert bench.done("echo $n $t") == "3 text\n"
    assert bench.done(r'echo "a\nb"') == "a\nb\n"
    assert bench.done("echo") == ""


def test_help(bench: Bench) -> None:
    overview = bench.done("help")
    for builtin in BUILTINS:
        assert re.search(rf"^  {re.escape(builtin.name)} +{re.escape(builtin.doc)}$", overview, re.MULTILINE)
    for builtin in BUILTINS:
        for name in (builtin.name, *builtin.aliases):
            page = bench.done(f"help {name}")
            assert page.startswith(f"{builtin.name}: {builtin.doc}") and f"usage     {builtin.name}" in page
            assert all(example.line in page for example in builtin.examples)
    assert "load" in bench.done("help CPUS")
    bench.sources["fans"] = LiveSource("fans", "the fans", ROWS["cpus"][0], list)
    assert "the fans" in bench.done("help") and bench.done("help Fans").startswith("fans: the fans\n")
    report = bench.wrong("help frist")
    assert "there is no help on 'frist'" in report and "nearest: first" in report
    assert all(len(line) <= 80 for line in overview.splitlines())


def test_history_and_variables(bench: Bench) -> None:
    bench.shell.context.history += ["ps", "cpus", "log"]
    assert bench.rows("history") == [["1", "ps"], ["2", "cpus"], ["3", "log"]]
    assert bench.rows("history 2") == [["2", "cpus"], ["3", "log"]]
    bench.done("$busy = cpus |> where load > 50%; $n = 3")
    assert bench.rows("variables") == [["$busy", *"a table of 9 columns and 2 rows".split()], ["$n", "a", "single", "integer"]]


def test_clear(bench: Bench) -> None:
    assert bench.done("clear") == ""
    bench.screen.colour = True
    assert bench.done("cls") == CLEAR_SCREEN


@pytest.mark.parametrize(("line", "asked", "says"), [("poweroff", "off", "Powering off."), ("shutdown", "off", "Powering off."),
                                                     ("exit", "off", "Powering off."),
                                                     ("reboot", "reboot", "Rebooting.")])
def test_leaving(bench: Bench, line: str, asked: str, says: str) -> None:
    assert bench.done(f"{line}; echo still here") == says + "\n", "nothing runs after it"
    assert bench.power.asked == [asked] and bench.shell.context.closed


@pytest.mark.parametrize("line", ["poweroff", "reboot"])
def test_a_machine_that_cannot_be_left(bench: Bench, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise KernelError("power: the firmware does not say how")
    monkeypatch.setattr(bench.power, "power_off", refuse)
    monkeypatch.setattr(bench.power, "reboot", refuse)
    assert "the firmware does not say how" in bench.wrong(line)
    assert not bench.shell.context.closed
    assert bench.done("echo on") == "on\n"
