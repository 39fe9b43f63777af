"""The operators are sound data, and each of them can be reached by words."""

from __future__ import annotations

import pytest

from jit_synth.intent import Request, read_intent
from jit_synth.keys import Keys
from jit_synth.laws import LAWS
from jit_synth.operators import BY_NAME, OPERATORS, Rank
from jit_synth.patterns import parse_pattern
from jit_synth.resolver import Resolver
from jit_synth.store import Store
from jit_synth.values import Table, Text, Value, rows_of, type_of
from tests.jit_synth.fixture import ROWS, columns_of, sources

WORDS: dict[str, str] = {
    "where-adjective": "Get-SleepingTasks", "where-named": "log with level error", "where": "tasks that are ready", "where-not": "tasks not running",
    "where-either": "show warnings and errors", "where-numbers": "tasks on cpu 1 or 2", "where-rows": "load of cpu 0 and cpu 1",
    "where-contains": 'messages containing "reset"', "where-above": "cpus with load above 20%", "where-below": "tasks with memory below 1MiB",
    "where-at-least": "tasks with at least 1100 syscalls", "where-at-most": "tasks with at most 540 syscalls", "where-number": "tasks on cpu 2",
    "where-not-number": "tasks not on cpu 2", "where-measure": "tasks with priority 64", "where-row": "task 3",
    "where-between": "tasks with syscalls between 500 and 1000",
    "where-none": "tasks without syscalls",
    "where-some": "tasks with some syscalls", "share": "share of memory of tasks", "part-of-whole": "proportion used per region",
    "per-second": "syscalls per second",
    "complement": "complement of the cpu load", "length": "length of the messages", "count-by": "count tasks by state",
    "sum-by": "sum of memory by state of tasks",
    "mean-by": "average memory of tasks by state", "minimum-by": "lowest memory of tasks by state", "maximum-by": "highest memory of tasks by state",
    "share-by": "share of memory of tasks by state", "count-share-by": "share of tasks by state", "share-of-value": "percentage of running tasks",
    "most-common": "most common class of devices", "sort": "sort tasks by name", "sort-down": "sort tasks by name descending", "ranked": "tasks by memory",
    "top": "task with the highest memory", "bottom": "task with the lowest memory", "superlative": "busiest cpu", "most-busy": "two most busy tasks",
    "least-busy": "least busy task", "longest": "longest message", "top-rows": "top tasks", "first": "first two tasks", "so-many": "3 tasks",
    "last": "last 2 messages",
    "skip": "skip 2 tasks",
    "reverse": "reverse the tasks", "take": "names of tasks", "listed": "tasks by state", "listed-count-by": "tasks by state",
    "distinct-values": "different states of the tasks", "count": "how many tasks",
    "count-distinct": "number of different states of tasks", "sum": "total memory of tasks", "mean": "average load", "minimum": "lowest load",
    "maximum": "highest load",
    "median": "median load", "counted": "how many timer interrupts", "amount": "how much memory is usable", "range": "range of the load",
    "deviation": "standard deviation of load", "total": "Measure-Load",
    "utilization": "percentage of memory used",
    "extremes": "minimum and maximum load", "summary": "describe the load", "as-json": "tasks as format json", "as-csv": "format csv of the tasks",
    "as-markdown": "show tasks as markdown", "as-table": "format tasks table", "as-list": "format tasks list", "as-dashboard": "cpus as dashboard"}
PIPED: dict[str, tuple[str, Value]] = {
    "lines": ("Count-Lines", Text("a\nb\n")), "words": ("Count-Words", Text("a b")), "pipe": ("Count-Rows", Table(columns_of("tasks"), tuple(ROWS["tasks"]))),
    "distinct": ("Get-UniqueLines", Text("a\nb\na\n")), "only": ("Get-SystemStats", Text("")), "read": ("Get-Tasks", Text(""))}


def spans(line: str, upstream: Value | None) -> set[str]:
    resolver = Resolver(sources(), Store(None), Keys(), lambda: 0, frozenset({"telemetry"}))
    found = resolver.find(read_intent(Request(tuple(line.replace('"', "").split()))), type_of(upstream), rows_of(upstream), resolver.live())
    assert found.candidates, f"{line!r} has no plan"
    best = [candidate for candidate in found.candidates if candidate.cost == found.candidates[0].cost]
    return {span.operator.name for candidate in best for span in candidate.spans}


@pytest.mark.parametrize("name", WORDS)
def test_words_reach_the_operator(name: str) -> None:
    assert name in spans(WORDS[name], None)


@pytest.mark.parametrize("name", ["distinct"])
def test_words_reach_the_operator_over_the_pipe(name: str) -> None:
    assert name in spans(*PIPED[name])


def test_every_operator_has_a_way_to_be_asked_for() -> None:
    untested = {operator.name for operator in OPERATORS if operator.rank is not Rank.LEAF} - set(WORDS) - set(PIPED)
    untested -= {"take-each", "how-long"}                                 # is recorded as take
    assert not untested


def test_there_are_at_least_forty_and_no_two_are_named_alike() -> None:
    assert len(OPERATORS) == len(BY_NAME) >= 40


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda one: one.name)
def test_an_operator_is_sound(operator: object) -> None:
    from jit_synth.operators import Operator
    assert isinstance(operator, Operator)
    assert operator.doc and operator.takes and operator.gives and operator.lowers and operator.cost > 0
    assert all(law in LAWS for law in operator.laws)
    assert all(parse_pattern(pattern) for pattern in operator.patterns)
    assert operator.patterns or operator.rank is Rank.LEAF
