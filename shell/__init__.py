"""FolkShell: pipelines of values over the live system; a command that does not exist yet is synthesized in its place."""

from __future__ import annotations

from collections.abc import Mapping

from kernel.telemetry import Source
from shell.beside import AtOnce, Beside
from shell.context import Actions, Context, Output, Resolver

__all__ = ["Actions", "Beside", "Context", "Output", "Resolver", "Shell"]


class Shell:
    """One shell: its variables, history and learned commands live as long as it does.

    Args:
        sources: the live data, by name; `Telemetry.sources` of the kernel.
        synthesizer: where unknown commands go.
        actions: what may be done to the whole system.
        beside: where searches and synthesized commands run; at once if not given.
    """

    def __init__(self, sources: Mapping[str, Source], synthesizer: Resolver, actions: Actions, beside: Beside | None = None) -> None:
        self.context = Context(sources, synthesizer, actions, beside or AtOnce())

    async def execute(self, line: str, out: Output) -> int:
        """Run a line or a script and print its results. Returns 0 done, 1 refused or failed, 2 not understood."""
        from shell.evaluator import Evaluator

        return await Evaluator(self.context).execute(line, out)
