"""What FolkShell's text means, as plain data: the tree that the parser makes and the evaluator walks.

Every node knows the span of the text it came from, so that whatever goes wrong later can still point at it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from kernel.telemetry import Kind


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of character offsets in the text that was typed."""

    start: int
    end: int

    def to(self, other: Span) -> Span:
        """The range from here to the end of `other`."""
        return Span(self.start, max(self.end, other.end))


@dataclass(frozen=True, slots=True)
class Literal:
    """A quoted string or a number. Numbers with a unit are in base units: nanoseconds, bytes, 0..1; `typed` is what stood there."""

    value: str | int | float
    kind: Kind
    span: Span
    typed: str


@dataclass(frozen=True, slots=True)
class Word:
    """A bare word: a column, a switch's value or a piece of a sentence; the command decides."""

    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Variable:
    """`$name`, without the dollar."""

    name: str
    span: Span


@dataclass(frozen=True, slots=True)
class Flag:
    """`-Name`, without the dash. Whether the operand after it is its value is the command's declaration to say."""

    name: str
    span: Span


Operand = Literal | Word | Variable
Item = Operand | Flag


@dataclass(frozen=True, slots=True)
class Command:
    """A stage: a name and what follows it, in the order typed."""

    name: str
    items: tuple[Item, ...]
    name_span: Span
    span: Span


class Comparator(Enum):
    """How a condition compares; the value is the canonical spelling."""

    EQUAL = "=="
    UNEQUAL = "!="
    LESS = "<"
    LESS_EQUAL = "<="
    GREATER = ">"
    GREATER_EQUAL = ">="
    CONTAINS = "contains"
    STARTS_WITH = "starts-with"
    ENDS_WITH = "ends-with"


COMPARATOR_SPELLINGS = {
    **{comparator.value: comparator for comparator in Comparator},
    "=": Comparator.EQUAL, "<>": Comparator.UNEQUAL, "-eq": Comparator.EQUAL, "-ne": Comparator.UNEQUAL,
    "-lt": Comparator.LESS, "-le": Comparator.LESS_EQUAL, "-gt": Comparator.GREATER, "-ge": Comparator.GREATER_EQUAL,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """`left comparator right`."""

    left: Operand
    comparator: Comparator
    right: Operand
    span: Span


@dataclass(frozen=True, slots=True)
class Truth:
    """A boolean column used as a condition by itself."""

    operand: Operand
    span: Span


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a condition."""

    condition: Condition
    span: Span


@dataclass(frozen=True, slots=True)
class AllOf:
    """Conditions joined by `and`."""

    conditions: tuple[Condition, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Conditions joined by `or`."""

    conditions: tuple[Condition, ...]
    span: Span


Condition = Comparison | Truth | Not | AllOf | AnyOf


@dataclass(frozen=True, slots=True)
class Where:
    """The stage that keeps the rows for which a condition holds."""

    condition: Condition
    keyword_span: Span
    span: Span


@dataclass(frozen=True, slots=True)
class Value:
    """A string, a number or a variable at the head of a pipeline."""

    operand: Literal | Variable
    span: Span


Stage = Command | Where | Value


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Stages joined by `|>`; each one's value is the next one's input."""

    stages: tuple[Stage, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Assignment:
    """`$name = pipeline`."""

    name: str
    pipeline: Pipeline
    span: Span


Statement = Pipeline | Assignment


@dataclass(frozen=True, slots=True)
class Script:
    """Statements in the order typed, and the text they point into."""

    statements: tuple[Statement, ...]
    text: str
