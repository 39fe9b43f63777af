"""Whatever is asked, there is an answer or a refusal, never a traceback; and what runs gives what the reference gives."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jit_synth import Command, CommandStopped, Refusal, Request
from jit_synth.interpret import interpret
from jit_synth.operators import OPERATORS
from jit_synth.patterns import parse_pattern
from jit_synth.values import Record, Scalar, Table, Text, Value, rows_of
from jit_synth.vocabulary import SOURCES
from kernel.telemetry import Kind
from tests.jit_synth.fixture import COLUMNS, ROWS, columns_of
from tests.jit_synth.score import a_synthesizer

KNOWN = sorted({word for operator in OPERATORS for pattern in operator.patterns for item in parse_pattern(pattern) for word in item.words}
               | {word for facts in SOURCES.values() for word in (*facts.row, *facts.counted, *facts.mass)}
               | {part for columns in COLUMNS.values() for name, _ in columns for part in (name, *name.split("_"))}
               | {"get", "running", "idle", "error", "virtio", "and", "or", "not", "of", "the", "busiest", "largest", "alpha"})
WORD = st.one_of(st.sampled_from(KNOWN), st.sampled_from(["3", "2.5", "10%", "2MiB", "100", "ms", "0x1af4", "-1", "9" * 30]))
ANYTHING = st.one_of(WORD, st.text(max_size=12))
PIPES: list[Value | None] = [None, None, None, Text("a b\nc\n"), Text(""), Scalar(5, Kind.SIZE), Record(columns_of("system"), ROWS["system"][0]),
                             *(Table(columns_of(name), tuple(ROWS[name])) for name in COLUMNS), Table(columns_of("tasks"), ()), Table((), ())]
SYNTHESIZER = a_synthesizer()


def ask(words: list[str], pipe: Value | None) -> None:
    resolution = SYNTHESIZER.resolve(Request(tuple(words), {}, pipe, what_if=True))
    if isinstance(resolution, Refusal):
        assert resolution.message and "\n" not in resolution.message and "its own checks" not in resolution.message
        return
    assert isinstance(resolution, Command) and resolution.explain()
    try:
        answer = rows_of(resolution.run(pipe))
    except CommandStopped:
        return
    expected = interpret(resolution.plan, {name: rows_of(Table(columns_of(name), tuple(ROWS[name]))) for name in COLUMNS}, rows_of(pipe))
    assert list(answer) == [tuple(row) for row in expected]


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(WORD, min_size=1, max_size=6), st.sampled_from(PIPES))
def test_known_words_in_any_order(words: list[str], pipe: Value | None) -> None:
    ask(words, pipe)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(ANYTHING, max_size=30), st.sampled_from(PIPES))
def test_anything_at_all(words: list[str], pipe: Value | None) -> None:
    ask(words, pipe)
