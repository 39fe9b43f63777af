"""A command that was synthesized: what it is, why one may trust it, and how it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jit_synth.lineage import Record, Sealed, check
from jit_synth.plan import Plan, describe
from jit_synth.refusals import CommandStopped, StopKind
from jit_synth.values import Type, UntypedInput, Value, checked_rows, rows_of, type_of, value_of
from kernel.telemetry import Source

if TYPE_CHECKING:
    from jit_synth.keys import Keys
    from jit_synth.runtime import Program, Rows


@dataclass(frozen=True, slots=True)
class Command:
    """A command, linked and ready to run.

    Attributes:
        name: what it was asked for as.
        plan: what it does; `str(plan)` is its reading for people.
        record: its lineage record, checked.
        is_new: it was made for this request; otherwise it was known, and checked again.
    """

    name: str
    plan: Plan
    record: Record
    is_new: bool
    _sealed: Sealed
    _program: Program
    _sources: Mapping[str, Source]
    _keys: Keys
    _note: Callable[[str], None]

    @property
    def imports(self) -> tuple[str, ...]:
        """What the module imports, as `env.folk_rows_cpus`."""
        return self._program.imports

    @property
    def wasm(self) -> bytes:
        """The module."""
        return self._sealed.wasm

    @property
    def evidence(self) -> Mapping[str, Any]:
        """What was tried before it was signed, and with what outcome."""
        return self.record.evidence

    def run(self, upstream: Value | None) -> Value:
        """Run it on the live sources and this value in the pipe.

        Raises:
            CommandStopped: it has no result; says which limit, trap or input.
            LineageError: the module or its record were changed in memory.
        """
        check(self._sealed, self._keys, self.record.request)
        given: Rows | None = None
        if self.plan.input.columns:
            kind = type_of(upstream)
            if not is_same_input(kind, self.plan.input):
                raise CommandStopped(StopKind.BAD_INPUT, f"{kind} instead of {self.plan.input}")
            try:
                given = (self.plan.input.columns, rows_of(upstream))
            except UntypedInput as trouble:
                raise CommandStopped(StopKind.BAD_INPUT, str(trouble)) from None
        kind = self.plan.type()
        return value_of(kind, self._program.run(kind, self._live, given).rows)

    def _live(self, name: str) -> Rows:
        columns = dict(self.plan.sources)[name]
        try:
            return columns, checked_rows(columns, self._sources[name].rows())
        except UntypedInput as trouble:
            raise CommandStopped(StopKind.BAD_INPUT, f"{name}: {trouble}") from None

    def explain(self) -> str:
        """For -WhatIf: the plan, its imports, its size and the evidence for it."""
        types = self.plan.types()
        evidence = self.record.evidence
        probes = evidence["probes"]
        stops = [f"{name} {outcome}" for name, outcome in probes.items() if outcome != "agrees"]
        lines = [f"{self.record.prompt}", "plan"]
        for index, step in enumerate(self.plan.steps):
            lines.append(f"  {describe(step, types[index - 1] if index else None)}")
        lines += [f"gives      {types[-1]}",
                  f"imports    {', '.join(self.imports)}",
                  f"may        {', '.join(self.record.capabilities) or 'only read and write the pipe'}; nothing else can be linked",
                  f"module     {len(self.wasm)} bytes of WebAssembly, SHA-256 {self.record.wasm_sha256[:16]}...",
                  f"limits     {self.record.fuel:,} units of fuel; {evidence['fuel']:,} were used at most"
                  + (f", enough for about {evidence['rows_within_fuel']:,} rows" if evidence.get("rows_within_fuel") else ""),
                  f"evidence   interpreter and module agree on {len(probes)} inputs ({', '.join(probes)})"
                  + (f"; both stop on: {'; '.join(stops)}" if stops else ""),
                  f"laws       {', '.join(evidence['laws']) or 'none apply'}",
                  f"readings   {evidence['readings']} found, {evidence['explored']} partial plans looked at"
                  + (f"; the next best is {evidence['next']!r}" if evidence.get("next") else ""),
                  f"signed     by key {self.record.signer}, intent digest {self.record.intent_digest[:16]}...",
                  f"known      {'no, made now' if self.is_new else 'yes, checked again'}"]
        return "".join(line + "\n" for line in lines)


def is_same_input(given: Type, wanted: Type) -> bool:
    """Whether a plan made for one type takes a value of another: the documentation of columns does not matter."""
    return given.shape is wanted.shape and [(one.name, one.kind) for one in given.columns] == [(one.name, one.kind) for one in wanted.columns]
