"""What is tried before a module is signed: both lowerings on every probe, the operators' laws, determinism, fuel against input size.

The evidence goes into the lineage record. One disagreement, and nothing is installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jit_synth.interpret import finite, interpret_step
from jit_synth.laws import LAWS
from jit_synth.plan import Keep, KeepAny, Plan
from jit_synth.probes import LARGE_ROWS, Probe, breaking, telling
from jit_synth.refusals import CommandStopped, StopKind, SynthesisError
from jit_synth.runtime import Program
from jit_synth.search import Span
from jit_synth.values import Row, Shape, Type
from kernel.telemetry import Column

STEEPEST = 5.0                          # fuel for twice the rows, as a factor: more than quadratic is a mistake of ours


class Disagreement(SynthesisError):
    """The lowerings differ, a law is broken, or a run is not like the other: our mistake, and a reason not to install."""


def validate(plan: Plan, spans: Sequence[Span], program: Program, live: Mapping[str, Sequence[Row]], upstream: Sequence[Row]) -> dict[str, Any]:
    """Try the module.

    Args:
        plan: what it shall do; `spans` are its operators and their steps.
        spans: see there.
        program: the module, linked.
        live: the rows of the sources now; `upstream` those in the pipe.
        upstream: see there.

    Returns:
        The evidence: outcomes by probe, laws, fuel, as plain values.

    Raises:
        Disagreement: what differs, and on which probe.
    """
    kind, source = _input(plan)
    constants = _constants(plan)
    probes = [Probe("live", tuple(live[source]) if source else tuple(upstream)), *telling(kind, source, constants), *breaking(kind, source, constants)]
    outcomes: dict[str, str] = {}
    fuel: dict[str, int] = {}
    laws: set[str] = set()
    for probe in probes:
        expected = _interpreted(plan, spans, probe, laws)
        outcomes[probe.name], fuel[probe.name] = _compared(plan, program, probe, expected)
    again = _compared(plan, program, probes[0], _interpreted(plan, (), probes[0], set()))
    if again != (outcomes["live"], fuel["live"]):
        raise Disagreement("the module does not do twice the same")
    evidence: dict[str, Any] = {"probes": outcomes, "laws": sorted(laws), "fuel": max(fuel.values())}
    if "large" in fuel:
        evidence["rows_within_fuel"] = _reach(plan, program, kind, source)
    return evidence


def _input(plan: Plan) -> tuple[Type, str]:
    """The type of what the plan reads, and the source's name; "" for the pipe."""
    if plan.sources:
        name, columns = plan.sources[0]
        return Type(Shape.TABLE, columns), name
    return plan.input, ""


def _interpreted(plan: Plan, spans: Sequence[Span], probe: Probe, laws: set[str]) -> list[Row] | StopKind:
    """The reference's answer; the laws of each operator are checked on the way."""
    types, rows_after = plan.types(), list[Sequence[Row]]()
    rows: Sequence[Row] = ()
    sources = {name: probe.rows for name, _ in plan.sources}

    def run(start: int, end: int, given: Sequence[Row]) -> Sequence[Row]:
        for index in range(start, end):
            given = interpret_step(plan.steps[index], types[index - 1] if index else None, types[index], given, sources, probe.rows)
        return given

    try:
        for index in range(len(plan.steps)):
            rows = run(index, index + 1, rows)
            rows_after.append(rows)
        finite(rows)
    except CommandStopped as stop:
        return stop.kind
    for span in spans:
        if span.start == span.end:
            continue
        before, after = rows_after[span.start - 1], rows_after[span.end - 1]
        for name in span.operator.laws:
            def again(given: Sequence[Row], span: Span = span) -> Sequence[Row]:
                return run(span.start, span.end, given)

            if not LAWS[name](plan.steps[span.start:span.end], types[span.start - 1], before, types[span.end - 1], after, again):
                raise Disagreement(f"{span.operator.name} breaks its law {name!r} on the probe {probe.name!r}")
            laws.add(name)
    return [tuple(row) for row in rows]


def _compared(plan: Plan, program: Program, probe: Probe, expected: list[Row] | StopKind) -> tuple[str, int]:
    """The outcome on a probe, if the module's is the reference's, and the fuel that it took. Raises: Disagreement."""
    columns: Sequence[Column] = plan.sources[0][1] if plan.sources else plan.input.columns
    result: list[Row] | StopKind
    spent = 0
    try:
        run = program.run(plan.type(), lambda name: (columns, probe.rows), (columns, probe.rows) if plan.input.columns else None)
        result, spent = run.rows, run.fuel
    except CommandStopped as stop:
        result = stop.kind
    if result != expected:
        raise Disagreement(f"the two lowerings differ on the probe {probe.name!r}: {_shown(expected)} and {_shown(result)}")
    return ("agrees" if not isinstance(expected, StopKind) else f"stops: {expected.name}"), spent


def _reach(plan: Plan, program: Program, kind: Type, source: str) -> int:
    """About how many rows the fuel suffices for, from its growth when there are twice the rows. Raises: Disagreement (too steep)."""
    rows = next(probe for probe in breaking(kind, source, _constants(plan)) if probe.name == "large").rows
    half = rows[:LARGE_ROWS // 2]
    if any(isinstance(step, (Keep, KeepAny)) for step in plan.steps):
        rows = half + half                                    # so that of twice the rows twice as many are kept
    less, fuel = (_compared(plan, program, probe, _interpreted(plan, (), probe, set()))[1] for probe in (Probe("half", half), Probe("double", rows)))
    if not less or not fuel:
        return 0                        # it stopped: there is nothing to measure
    growth = fuel / less
    if growth > STEEPEST:
        raise Disagreement(f"twice the rows take {growth:.1f} times the fuel")
    count, spent = LARGE_ROWS, float(fuel)
    while spent * max(growth, 1.01) < program.limits.fuel and count < 1 << 24:
        count, spent = count * 2, spent * max(growth, 1.01)
    return count


def _constants(plan: Plan) -> list[object]:
    singles = [step.constant for step in plan.steps if isinstance(step, Keep)]
    return [*singles, *(constant for step in plan.steps if isinstance(step, KeepAny) for constant in step.constants)]


def _shown(result: list[Row] | StopKind) -> str:
    text = result.name if isinstance(result, StopKind) else str(result)
    return text if len(text) <= 120 else text[:117] + "..."
