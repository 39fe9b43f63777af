"""How a synthesis or a run ends without a result: refusals are typed, and so are stops."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class RefusalKind(Enum):
    """Why there is no command for a request."""

    UNKNOWN_VERB = "the verb is not known"
    NO_OPERATOR = "no operator accounts for all the words"
    UNTYPED_INPUT = "the value in the pipe cannot be computed on"
    AMBIGUOUS = "the words mean two things that differ"
    BUDGET = "the search ended before an answer"
    NEEDS_CAPABILITY = "a capability was not granted"
    TOOLCHAIN_MISSING = "what runs or signs commands is missing"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is none: nothing was installed, nothing ran.

    Attributes:
        kind: the type of the refusal.
        message: one line for the user.
        understood: the words of the request that have a meaning here, in their order.
        nearest: names of operators, commands or sources that come close, best first.
        hint: what would help; may be empty.
        unknown: the words that nothing accounts for, in their order; empty if every word is known, or if something else is the trouble.
    """

    kind: RefusalKind
    message: str
    understood: tuple[str, ...] = ()
    nearest: tuple[str, ...] = ()
    hint: str = ""
    unknown: tuple[str, ...] = ()


class StopKind(Enum):
    """Why a running command has no result."""

    FUEL = "it used up its fuel: it would run too long, perhaps for ever"
    MEMORY = "it asked for more memory than it may have"
    TIME = "it ran longer than it may"
    INTERRUPTED = "it was interrupted"
    STACK = "it called itself too deeply"
    OVERFLOW = "a number does not fit 64 bits"
    NO_ROWS = "there are no rows to compute on"
    NOT_FINITE = "the result is not a finite number"
    BAD_ACCESS = "it reached outside its memory"
    BAD_RESULT = "its result is not what its plan says"
    BAD_INPUT = "its input is not what it was made for"
    TRAP = "it gave up"


class CommandStopped(Exception):
    """A command was stopped while it ran. `kind` says why; the text is one line for the user."""

    def __init__(self, kind: StopKind, detail: str = "") -> None:
        super().__init__(f"{kind.value} ({detail})" if detail else kind.value)
        self.kind = kind


class SynthesisError(Exception):
    """Something about a module, a record or a key is not as it must be; the message names it and the reason."""


class ToolchainMissing(SynthesisError):
    """A library that runs or signs modules is not installed or does not load."""


class LinkError(SynthesisError):
    """A module imports what it was not granted; `capability` is its name."""

    def __init__(self, message: str, capability: str) -> None:
        super().__init__(message)
        self.capability = capability


class LineageError(SynthesisError):
    """A module or its record fails the check that precedes every load."""
