"""Requests that were once answered as if a word had not been said."""

from __future__ import annotations

import pytest

from jit_synth import Command, Keys, Request, Store, Synthesizer
from jit_synth.values import Scalar, Table
from kernel.telemetry import Kind
from tests.jit_synth.fixture import sources

BUSIEST = "sort by load, largest first |> first 2"


@pytest.fixture
def synthesizer() -> Synthesizer:
    return Synthesizer(sources(), Store(None), Keys(None), lambda: 0, frozenset({"telemetry"}))


@pytest.mark.parametrize(("words", "plan"), [
    ("count the tasks that run", "read tasks |> keep where state = 'running' |> count"),
    ("tasks that run", "read tasks |> keep where state = 'running'"),
    ("which tasks sleep", "read tasks |> keep where state = 'sleeping'"),
    ("tasks that wait", "read tasks |> keep where state = 'waiting'"),
    ("show running tasks", "read tasks |> keep where state = 'running'"),
    ("the longest running task", "read tasks |> sort by time, largest first |> first 1"),
])
def test_what_tasks_do_is_their_state(synthesizer: Synthesizer, words: str, plan: str) -> None:
    found = synthesizer.resolve(Request(tuple(words.split())))
    assert isinstance(found, Command) and str(found.plan) == plan


@pytest.mark.parametrize(("head", "argument"), [("Get-BusiestCpus", "Count"), ("Get-BusiestCpu", "Count"), ("Get-BusiestCpu", "First")])
def test_a_count_says_how_many_a_superlative_gives(synthesizer: Synthesizer, head: str, argument: str) -> None:
    found = synthesizer.resolve(Request((head,), {argument: Scalar(2, Kind.INTEGER)}))
    assert isinstance(found, Command) and str(found.plan) == f"read cpus |> {BUSIEST}"


def test_also_in_a_pipe(synthesizer: Synthesizer) -> None:
    cpus = sources()["cpus"]
    found = synthesizer.resolve(Request(("Select-Busiest",), {"Count": Scalar(2, Kind.INTEGER)}, Table(cpus.columns, tuple(cpus.rows()))))
    assert isinstance(found, Command) and str(found.plan) == f"the value in the pipe |> {BUSIEST}"
