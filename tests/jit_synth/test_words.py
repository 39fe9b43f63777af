"""From typing to tokens, and what numbers look like to people."""

from __future__ import annotations

import pytest

from jit_synth.intent import BadRequest, Request, read_intent
from jit_synth.plan import Plan, PlanError, plan_from_plain
from jit_synth.present import calendar, duration, percent, real, size
from jit_synth.values import Scalar, Shape, Table, Text, Type, UntypedInput, rows_of
from kernel.telemetry import Column, Kind


def words(line: str) -> list[str]:
    return [token.word or str(token.number) for token in read_intent(Request(tuple(line.split()))).tokens]


@pytest.mark.parametrize(("line", "expected"), [
    ("Get-InterruptRate", ["get", "interrupt", "rate"]), ("GetInterruptRate", ["get", "interrupt", "rate"]),
    ("get interrupt rates", ["get", "interrupt", "rate"]),
    ("Get-CPULoad", ["get", "cpu", "load"]), ("show the three busiest cpus", ["show", "3", "busiest", "cpu"]), ("memory_total", ["memory", "total"]),
    ("tasks with at least 2 MiB of memory", ["task", "at-least", str(2 << 20), "memory"]), ("load above 50%", ["load", "above", "0.5"]),
    ("vendor 0x1af4", ["vendor", "6900"]), ("processes, please!", ["process"]), ("how many different states", ["how-many", "different", "state"])])
def test_tokens(line: str, expected: list[str]) -> None:
    assert words(line) == expected


def test_a_named_argument_is_a_name_even_if_it_is_a_word() -> None:
    intent = read_intent(Request(("Get-Tasks",), {"Name": Text("top"), "Count": Scalar(3, Kind.INTEGER), "Descending": Scalar(True, Kind.BOOLEAN)}))
    assert [(token.word, token.literal) for token in intent.tokens if token.number is None] == \
        [("get", False), ("task", False), ("name", False), ("top", True), ("count", False), ("descending", False)]


@pytest.mark.parametrize("request_", [Request(()), Request(("",)), Request(("the", "of")), Request(("a",) * 3), Request(tuple(["cpu"] * 25)),
                                      Request(("x",), {"t": Table((), ())})])
def test_what_is_no_request(request_: Request) -> None:
    with pytest.raises(BadRequest):
        read_intent(request_)


@pytest.mark.parametrize(("text", "expected"), [
    (size(0), "0 B"), (size(1023), "1023 B"), (size(1536), "1.5 KiB"), (size(1 << 20), "1.0 MiB"), (size((1 << 63) - 1), "8.0 EiB"),
    (duration(999), "999 ns"), (duration(1_500), "1.5 us"), (duration(59_949_999_999), "59.9 s"), (duration(60_000_000_000), "1 min 00 s"),
    (duration(3_600_000_000_000), "1 h 00 min"), (duration(90_000_000_000_000), "1 d 01 h"), (percent(0.1234), "12.3 %"), (real(-0.005, 2), "-0.01"),
    (real(1e15, 2), "1.00e+15"), (calendar(0), "1970-01-01 00:00:00"), (calendar(951_782_400_000_000_000), "2000-02-29 00:00:00"),
    (calendar(-1), "1969-12-31 23:59:59")])
def test_numbers_for_people(text: str, expected: str) -> None:
    assert text == expected


@pytest.mark.parametrize(("kind", "cell", "reason"), [
    (Kind.INTEGER, None, "empty"), (Kind.INTEGER, 1 << 63, "64 bits"), (Kind.INTEGER, "1", "whole number"), (Kind.REAL, float("nan"), "finite"),
    (Kind.REAL, True, "not a number"), (Kind.TEXT, 3, "not text"), (Kind.TEXT, "\ud800", "Unicode"), (Kind.BOOLEAN, 1, "neither")])
def test_cells_that_cannot_be_computed_on(kind: Kind, cell: object, reason: str) -> None:
    with pytest.raises(UntypedInput, match=f"column c, row 1: .*{reason}"):
        rows_of(Table((Column("c", kind, ""),), (({Kind.TEXT: "", Kind.BOOLEAN: True}.get(kind, 0),), (cell,))))


@pytest.mark.parametrize("plain", [
    {}, {"steps": [], "input": {"shape": "nothing", "columns": []}, "sources": []},
    {"steps": [{"step": "Exec"}], "input": {"shape": "nothing", "columns": []}, "sources": []},
    {"steps": [{"step": "Read", "source": "x"}], "input": {"shape": "nothing", "columns": []}, "sources": []},
    {"steps": [{"step": "Upstream"}, {"step": "Order", "column": 5, "descending": True}], "input": {"shape": "table", "columns": [["a", "TEXT", ""]]},
     "sources": []}])
def test_damaged_plans_are_refused(plain: dict[str, object]) -> None:
    with pytest.raises(PlanError):
        plan_from_plain(plain)


def test_a_plan_without_steps_is_none() -> None:
    with pytest.raises(PlanError):
        Plan((), Type(Shape.NOTHING), ()).type()
