"""`python -m tests.jit_synth.score`: the figures of docs/synthesis.md. Each request is asked of a synthesizer that has learned nothing, in a warm process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from jit_synth import CommandStopped, Keys, Refusal, Request, Store, Synthesizer
from tests.jit_synth.corpus import development, further, held_out, refused, strangers
from tests.jit_synth.corpus.case import Case, agrees
from tests.jit_synth.fixture import sources

PARTS = {"development": (*development.CASES, *further.CASES), "held out": held_out.CASES, "strangers": strangers.CASES}
HOPELESS = {"refused": refused.CASES, "of strangers": strangers.REFUSED}


def a_synthesizer() -> Synthesizer:
    """One that has learned nothing."""
    return Synthesizer(sources(), Store(None), Keys(), lambda: 1_700_000_000_000_000_000, frozenset({"telemetry"}))


def outcome(synthesizer: Synthesizer, case: Case) -> str:
    """`solved`, `wrong` or `refused`."""
    words, arguments = case.words()
    resolution = synthesizer.resolve(Request(words, arguments, case.upstream))
    if isinstance(resolution, Refusal):
        return "refused"
    try:
        return "solved" if agrees(case, resolution.run(case.upstream)) else "wrong"
    except CommandStopped:
        return "wrong"


def score(cases: Sequence[Case]) -> tuple[dict[str, int], list[float]]:
    """How many requests ended how, and how long each took, in seconds from request to answer."""
    counts, times = {"solved": 0, "wrong": 0, "refused": 0}, []
    for case in cases:
        synthesizer = a_synthesizer()
        synthesizer.warm()
        start = time.perf_counter()
        counts[outcome(synthesizer, case)] += 1
        times.append(time.perf_counter() - start)
    return counts, times


def main() -> None:
    """Print a line for each part."""
    for name, cases in PARTS.items():
        counts, times = score(cases)
        answered = counts["solved"] + counts["wrong"]
        print(f"{name:12} {len(cases):3} requests: {counts}, precision {counts['solved'] / answered:.3f}, coverage {counts['solved'] / len(cases):.2f}, "
              f"median {statistics.median(times) * 1e3:.1f} ms, slowest {max(times) * 1e3:.1f} ms")
    for name, requests in HOPELESS.items():
        kinds = []
        for hopeless in requests:
            words, arguments = Case(hopeless.line, list).words()
            resolution = a_synthesizer().resolve(Request(words, arguments, hopeless.upstream))
            kinds.append("answered" if not isinstance(resolution, Refusal) else "right kind" if resolution.kind in hopeless.kinds else "other kind")
        print(f"{name:12} {len(kinds):3} requests: {({kind: kinds.count(kind) for kind in sorted(set(kinds))})}")


if __name__ == "__main__":
    main()
