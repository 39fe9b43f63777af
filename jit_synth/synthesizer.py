"""The door: a synthesizer that costs nothing until the first request comes.

Booting makes one; what searches, compiles, runs and signs is loaded when it is needed, or when there is time for it (`warm`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jit_synth.command import Command
    from jit_synth.intent import Request
    from jit_synth.keys import Keys
    from jit_synth.plan import Plan
    from jit_synth.refusals import Refusal
    from jit_synth.resolver import Resolver
    from jit_synth.store import Store
    from kernel.telemetry import Source


class Synthesizer:
    """Makes commands from what is asked for.

    Args:
        sources: the live data, by name.
        store: where accepted commands are kept.
        keys: what signs them, and what stored ones must be signed by.
        clock: ns since 1970, for the records.
        grants: capabilities that commands may have; `telemetry` grants every `telemetry.<source>`.
    """

    def __init__(self, sources: Mapping[str, Source], store: Store, keys: Keys, clock: Callable[[], int], grants: frozenset[str]) -> None:
        self._sources, self._store, self._keys, self._clock, self._grants = sources, store, keys, clock, grants

    def resolve(self, request: Request) -> Command | Refusal:
        """A command that is ready to run, or the reason why there is none. Nothing has run yet."""
        return self._resolver.resolve(request)

    def learned(self) -> Mapping[str, Plan]:
        """The accepted commands that later searches may build on, by what was asked."""
        return self._resolver.learned()

    def warm(self) -> None:
        """Load what the first request would wait for, some 80 ms; for a moment when nobody waits."""
        self._resolver.warm()

    @property
    def notes(self) -> list[str]:
        """One line for each stored skill that was refused, or that could not be stored."""
        return self._resolver.notes

    @cached_property
    def _resolver(self) -> Resolver:
        from jit_synth.resolver import Resolver

        return Resolver(self._sources, self._store, self._keys, self._clock, self._grants)
