"""Requests that were once answered as if a word had not been said."""

from __future__ import annotations

import pytest

from jit_synth import Command, Keys, Refusal, RefusalKind, Request, Store, Synthesizer
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


def test_a_count_is_no_condition_on_a_column_of_that_name(synthesizer: Synthesizer) -> None:
    found = synthesizer.resolve(Request(("Select-Busiest",), {"Count": Scalar(2, Kind.INTEGER)}))
    assert not isinstance(found, Command) or "keep where" not in str(found.plan), "gave the interrupts that were taken twice"


def test_also_in_a_pipe(synthesizer: Synthesizer) -> None:
    cpus = sources()["cpus"]
    found = synthesizer.resolve(Request(("Select-Busiest",), {"Count": Scalar(2, Kind.INTEGER)}, Table(cpus.columns, tuple(cpus.rows()))))
    assert isinstance(found, Command) and str(found.plan) == f"the value in the pipe |> {BUSIEST}"


@pytest.mark.parametrize("words", [
    "running tasks on idle cpus",                          # two tables; only one of them was read
    "errors in the last 5 messages",                       # gave the last 5 errors
    "free regions", "tasks that make interrupts", "system tasks",
    "are all cpus running",                                # gave those that do
    "read the log into memory", "devices right of the network card",
    "drop task 3", "skip task 3",                          # left out three tasks
    "interrupts per task", "priority of cpu 1",
    "number of tasks with the highest priority", "tasks with the highest priority", "average load of the busiest cpus",
    "memory used by the system",
])
def test_a_word_that_no_step_serves_is_not_passed_over(synthesizer: Synthesizer, words: str) -> None:
    found = synthesizer.resolve(Request(tuple(words.split())))
    assert isinstance(found, Refusal) and found.kind in (RefusalKind.NO_OPERATOR, RefusalKind.AMBIGUOUS)


@pytest.mark.parametrize("words", ["free the memory", "Free-Memory", "load the cpus", "time the tasks", "run task 3", "add memory to task 3"])
def test_what_is_told_to_be_done_is_not_shown_instead(synthesizer: Synthesizer, words: str) -> None:
    found = synthesizer.resolve(Request(tuple(words.split())))
    assert isinstance(found, Refusal) and found.kind is RefusalKind.UNKNOWN_VERB and found.unknown[0] == words.replace("-", " ").split()[0]


@pytest.mark.parametrize(("words", "plan"), [
    ("free memory", "read system |> its one row |> take memory_free"),
    ("debug messages", "read log |> keep where level = 'debug'"),
    ("how many timer interrupts on cpu 1", "read interrupts |> keep where name = 'timer' |> keep where cpu = 1 |> sum of count"),
    ("cpus more than 20% busy", "read cpus |> keep where load > 0.2"),
    ("how long was cpu 1 idle", "read cpus |> keep where id = 1 |> take id, idle"),
    ("how much memory is reserved", "read memory |> keep where kind = 'reserved' |> sum of size"),
    ("how many cpus are idle", "read cpus |> keep where state = 'idle' |> count"),
    ("add up the memory of the tasks", "read tasks |> sum of memory"),
])
def test_each_word_has_its_step(synthesizer: Synthesizer, words: str, plan: str) -> None:
    found = synthesizer.resolve(Request(tuple(words.split())))
    assert isinstance(found, Command) and str(found.plan) == plan


def test_a_quantity_is_written_down_with_its_unit() -> None:
    arguments = {"Above": Scalar(2 << 20, Kind.SIZE), "Since": Scalar(1_500_000_000, Kind.DURATION), "Part": Scalar(0.07, Kind.RATIO),
                 "Count": Scalar(3, Kind.INTEGER)}
    assert Request(("Get-It",), arguments).prompt() == "Get-It -Above 2MiB -Since 1500ms -Part 7% -Count 3"


def test_what_is_near_can_be_called(synthesizer: Synthesizer) -> None:
    for words in ("reverse the sky", "Get-CpuLaod", "sorted as csv by tigers"):
        refusal = synthesizer.resolve(Request(tuple(words.split())))
        assert isinstance(refusal, Refusal)
        for name in refusal.nearest:
            source, _, column = name.partition(" |> select ")
            assert source in sources() and (not column or column in [one.name for one in sources()[source].columns])
