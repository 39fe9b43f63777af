"""The corpus: how many requests are solved, wrong, refused. Precision when answering is a gate; coverage is the score, with a floor that only rises."""

from __future__ import annotations

import pytest

from jit_synth import Refusal, Request
from jit_synth.operators import OPERATORS
from tests.jit_synth.corpus import development, held_out, refused, strangers
from tests.jit_synth.corpus.case import Case
from tests.jit_synth.score import PARTS, a_synthesizer, outcome

PRECISION = 0.95
FLOORS = {"development": 96, "held out": 30, "strangers": 43}


@pytest.mark.parametrize("part", PARTS)
def test_precision_when_answering(part: str, record_property: pytest.RecordProperty) -> None:
    synthesizer = a_synthesizer()
    outcomes = [outcome(synthesizer, case) for case in PARTS[part]]
    counts = {name: outcomes.count(name) for name in ("solved", "wrong", "refused")}
    for name, count in counts.items():
        record_property(f"{part}: {name}", count)
    assert counts["solved"] >= FLOORS[part], counts
    assert counts["solved"] / (counts["solved"] + counts["wrong"]) >= PRECISION, counts


@pytest.mark.parametrize("hopeless", [*refused.CASES, *strangers.REFUSED], ids=lambda case: case.line)
def test_what_cannot_be_answered_is_refused_by_kind(hopeless: refused.Hopeless) -> None:
    words, arguments = Case(hopeless.line, list).words()
    resolution = a_synthesizer().resolve(Request(words, arguments, hopeless.upstream))
    assert isinstance(resolution, Refusal), str(getattr(resolution, "plan", ""))
    assert resolution.kind in hopeless.kinds, resolution
    assert resolution.message and "\n" not in resolution.message


def test_the_corpus_is_large_enough_and_no_case_is_an_operator() -> None:
    assert len(development.CASES) >= 30 and len(held_out.CASES) >= 30 and len(refused.CASES) >= 20
    assert len(strangers.CASES) + len(strangers.REFUSED) == 60
    names = {operator.name for operator in OPERATORS}
    assert not names & {case.line.lower() for part in PARTS.values() for case in part}


def test_the_order_of_requests_does_not_matter() -> None:
    """Learned commands may shorten a search; they must not change an answer."""
    forward, backward = a_synthesizer(), a_synthesizer()
    cases = [case for case in PARTS["development"] if case.upstream is None][::2]
    first = [outcome(forward, case) for case in cases]
    assert [outcome(backward, case) for case in reversed(cases)][::-1] == first
