"""What a running shell knows and may do: live sources, the synthesizer, power, variables, history. And what it prints on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from kernel.telemetry import Kind, Source
from shell.beside import AtOnce, Beside
from shell.errors import ShellError, nearest_names
from shell.syntax import Literal, Operand, Span, Word

if TYPE_CHECKING:
    from jit_synth import Command, Refusal, Request
    from jit_synth.values import Table, Value


class Output(Protocol):
    """Where a line's result is written."""

    @property
    def width(self) -> int:
        """Terminal cells in a line."""

    @property
    def colour(self) -> bool:
        """Whether escape sequences are understood."""

    def write(self, text: str) -> None:
        """Print as is; lines end in \\n."""

    async def settle(self) -> None:
        """Wait until what was written has left: a line takes its time, and what it cannot hold is lost."""


class Actions(Protocol):
    """What the shell may do to the whole system."""

    def power_off(self) -> None:
        """ACPI S5, as soon as what is printed has left. Raises: KernelError."""

    def reboot(self) -> None:
        """The FADT's reset, likewise. Raises: KernelError."""


class Resolver(Protocol):
    """The part of jit_synth.Synthesizer that the shell needs."""

    def resolve(self, request: Request) -> Command | Refusal:
        """A command that is ready to run, or the reason why there is none."""


@dataclass(slots=True)
class Context:
    """The state of one shell; it outlives a line."""

    sources: Mapping[str, Source]
    synthesizer: Resolver
    actions: Actions
    beside: Beside = field(default_factory=AtOnce)
    variables: dict[str, Value] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)
    learned: dict[str, str] = field(default_factory=dict)      # commands synthesized by this shell: name -> the plan in one line
    synthesized: list[Command] = field(default_factory=list)   # what the last line had synthesized, for its report
    closed: bool = False                                       # power_off or reboot was called: no further line runs

    def variable(self, name: str, span: Span) -> Value:
        """The value of `$name`, or an error at `span`."""
        if name not in self.variables:
            near = tuple(f"${near}" for near in nearest_names(name, self.variables))
            raise ShellError(f"${name} has no value", span, nearest=near, hint=f"give it one: ${name} = ps")
        return self.variables[name]

    def scalar(self, operand: Operand) -> tuple[object, Kind]:
        """One plain value and its kind; a bare word is text."""
        from jit_synth.values import Scalar, Text

        if isinstance(operand, Word):
            return operand.text, Kind.TEXT
        if isinstance(operand, Literal):
            return operand.value, operand.kind
        match self.variable(operand.name, operand.span):
            case Scalar(value=value, kind=kind):
                return value, kind
            case Text(text=text):
                return text, Kind.TEXT
            case other:
                raise ShellError(f"${operand.name} is {describe(other)}, not a single value", operand.span)


def describe(value: Value | None) -> str:
    """A value in two or three words, for messages: 'a table of 3 columns and 12 rows'."""
    from jit_synth.values import Record, Scalar, Table, Text

    match value:
        case Table(columns=columns, rows=rows):
            return f"a table of {len(columns)} columns and {len(rows)} rows"
        case Record():
            return "a record"
        case Text():
            return "text"
        case Scalar(kind=kind):
            return f"a single {kind.name.lower()}"
        case _:
            return "nothing"


def as_table(value: Value | None, verb: str, span: Span) -> Table:
    """The value as a table (a record is one row), or an error at `span` that says what `verb` was given instead."""
    from jit_synth.values import Record, Table

    match value:
        case Table():
            return value
        case Record(columns=columns, values=values):
            return Table(columns, (tuple(values),))
        case None:
            raise ShellError(f"{verb} needs a table from the pipe", span, hint=f"for example: ps |> {verb} ...")
        case _:
            raise ShellError(f"{verb} works on a table, and the pipe holds {describe(value)}", span)
