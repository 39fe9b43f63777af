"""A refusal of the synthesizer, and a command that was stopped, as errors that point at the text.

What was understood of the stage is underlined, the rest is not: the gap shows which word is the trouble.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from shell.errors import DEFAULT_WIDTH, STATUS_FAILED, ShellError, nearest_names, prose, underline
from shell.syntax import Command, Span

if TYPE_CHECKING:
    from jit_synth import CommandStopped, Refusal

MOST_NEAREST = 5
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|\w")       # Get-TopTasks: Get, Top, Tasks


class RefusedCommand(ShellError):
    """The synthesizer declined: nothing was installed, nothing ran."""

    def __init__(self, message: str, span: Span, marks: tuple[Span, ...], understood: str, *, nearest: Iterable[str], hint: str) -> None:
        super().__init__(message, span, nearest=nearest, hint=hint, status=STATUS_FAILED)
        self.marks, self.understood = marks, understood

    def render(self, text: str, width: int = DEFAULT_WIDTH) -> str:
        """The report; carets stand under what nothing accounts for, or under what was understood if every word is known."""
        place = underline(text, self.span, *self.marks, width=width)
        understood = prose(f"  understood: {self.understood or 'nothing of it'}", width)
        return "".join([*prose(f"folk: {self.message}", width), *(place if self.marks else place[:1]), *understood, *self.way_out(width)])


def refused(refusal: Refusal, stage: Command, text: str, known: Iterable[str]) -> RefusedCommand:
    """The error that reports a refusal at its stage; names of this shell are added to the nearest ones."""
    nearest = list(dict.fromkeys((*nearest_names(stage.name, known), *refusal.nearest)))[:MOST_NEAREST]
    return RefusedCommand(f"{stage.name}: {refusal.message} [{refusal.kind.name}]", stage.span, _marks(refusal.unknown or refusal.understood, stage, text),
                          ", ".join(refusal.understood), nearest=nearest, hint=refusal.hint)


def stopped(stop: CommandStopped, stage: Command) -> ShellError:
    """A command that ran out of fuel, memory or time, or trapped."""
    return ShellError(f"{stage.name} was stopped: {stop}", stage.name_span)


def _marks(phrases: Iterable[str], stage: Command, text: str) -> tuple[Span, ...]:
    """The places in the stage of the words that the phrases speak of; a plural matches its singular."""
    words = {_stem(word) for phrase in phrases for word in _PARTS.findall(phrase)}
    found = (Span(match.start(), match.end()) for match in _PARTS.finditer(text, stage.span.start, stage.span.end))
    return tuple(span for span in found if _stem(text[span.start:span.end]) in words)


def _stem(word: str) -> str:
    folded = word.casefold()
    return folded[:-1] if len(folded) > 3 and folded.endswith("s") else folded
