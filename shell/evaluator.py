"""Runs a tree: values flow from stage to stage, a failing stage ends its pipeline, and every failure points at the text.

A stage's name is looked for among the builtins, then the live sources; what is neither goes to the synthesizer in the pipe's place, with the
value that is upstream. Between stages the kernel's loop gets its turn, so a long pipeline can be cancelled.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kernel.telemetry import Kind, Source
from shell.builtins import BY_NAME
from shell.conditions import compile_condition
from shell.context import Context, Output, as_table
from shell.errors import STATUS_DONE, ShellError, SyntaxMistake
from shell.parser import parse
from shell.refusals import refused, stopped
from shell.render import render
from shell.signature import SIGNS_OF_OTHER_SHELLS, Builtin, Input, Takes, bind, operand_text, refuse_redirection
from shell.syntax import Assignment, Command, Flag, Item, Literal, Pipeline, Stage, Statement, Variable, Where, Word
from shell.syntax import Value as ValueStage

if TYPE_CHECKING:
    from jit_synth import Command as SynthesizedCommand
    from jit_synth import Request
    from jit_synth.values import Value

WHAT_IF = "whatif"
ASSIGNING, COMPARING = ("=", "+=", ":="), ("<", ">")
CHARACTERS_AT_ONCE = 4096      # of a result, before the line has to have taken them
FEWEST_WORDS = 2               # so many bare words behind a filter's name at the head of a pipeline are a sentence, even if they could be its arguments
_BUILTINS_BY_FOLDED = {name.casefold(): builtin for name, builtin in BY_NAME.items()}


class Evaluator:
    """Executes text in a context and writes results and errors on an output."""

    def __init__(self, context: Context) -> None:
        self.context = context

    async def execute(self, text: str, out: Output) -> int:
        """Run every statement of `text`; one that fails does not keep the next from running.

        Returns:
            The worst status: 0 done, 1 refused or failed, 2 not understood.
        """
        try:
            script = parse(text)
        except ShellError as error:
            out.write(error.render(text, out.width))
            return error.status
        status = STATUS_DONE
        for statement in script.statements:
            try:
                await self._run_statement(statement, text, out)
            except ShellError as error:
                await _print(error.render(text, out.width), out)
                status = max(status, error.status)
            if self.context.closed:
                break
        return status

    async def _run_statement(self, statement: Statement, text: str, out: Output) -> None:
        if isinstance(statement, Assignment):
            value = await self._run_pipeline(statement.pipeline, text, out)
            if value is not None:
                self.context.variables[statement.name] = value
            return
        await _print(render(await self._run_pipeline(statement, text, out), out.width, out.colour), out)

    async def _run_pipeline(self, pipeline: Pipeline, text: str, out: Output) -> Value | None:
        """The value of the last stage; None if a -WhatIf stage answered instead of running."""
        value: Value | None = None
        for number, stage in enumerate(pipeline.stages):
            await asyncio.sleep(0)
            if isinstance(stage, Command) and _is_what_if(stage):
                await self._explain(stage, value, number == 0, text, out)
                return None
            value = await self._run_stage(stage, value, number == 0, text, out)
        return value

    async def _run_stage(self, stage: Stage, upstream: Value | None, is_head: bool, text: str, out: Output) -> Value:
        if isinstance(stage, ValueStage):
            return self._value(stage)
        if isinstance(stage, Where):
            return self._where(stage, upstream)
        builtin = _BUILTINS_BY_FOLDED.get(stage.name.casefold())
        if builtin is not None and not (is_head and _is_sentence(stage, builtin)):
            return self._run_builtin(builtin, stage, upstream, is_head, out)
        if is_head and not stage.items and (source := self._source(stage.name)) is not None:
            from jit_synth.values import Table

            return Table(source.columns, tuple(source.rows()))
        return await self._run_synthesized(stage, upstream, text)

    # --- the kinds of stage -----------------------------------------------------------------------------------------

    def _value(self, stage: ValueStage) -> Value:
        from jit_synth.values import Scalar, Text

        if isinstance(stage.operand, Variable):
            return self.context.variable(stage.operand.name, stage.span)
        if stage.operand.kind is Kind.TEXT:
            return Text(str(stage.operand.value))
        return Scalar(stage.operand.value, stage.operand.kind)

    def _where(self, stage: Where, upstream: Value | None) -> Value:
        from jit_synth.values import Table

        table = as_table(upstream, "where", stage.keyword_span)
        holds = compile_condition(stage.condition, table.columns, self.context)
        return Table(table.columns, tuple(row for row in table.rows if holds(row)))

    def _run_builtin(self, builtin: Builtin, stage: Command, upstream: Value | None, is_head: bool, out: Output) -> Value:
        call = bind(builtin, stage, self.context, out, upstream)
        if is_head and builtin.input is not Input.NOTHING:
            hint = f"for example: {builtin.examples[0].line}"
            raise ShellError(f"{stage.name} needs {builtin.input.value} from the pipe", stage.name_span, hint=hint)
        if not is_head and builtin.input is Input.NOTHING:
            raise ShellError(f"{stage.name} takes nothing from the pipe", stage.name_span, hint=f"it can begin a pipeline: {stage.name} |> ...")
        return builtin.run(call)

    async def _run_synthesized(self, stage: Command, upstream: Value | None, text: str) -> Value:
        _refuse_shell_habits(stage)
        from jit_synth import CommandStopped, Refusal, StopKind, SynthesisError

        request = self._request(stage, upstream, what_if=False)

        given_up: list[bool] = []
        made: list[SynthesizedCommand] = []               # not the context's list: after Ctrl-C this may go on beside the next line

        def search_and_run() -> Value | Refusal:
            resolution = self.context.synthesizer.resolve(request)
            if isinstance(resolution, Refusal):
                return resolution
            if given_up:                                      # Ctrl-C came while it was searched for
                raise CommandStopped(StopKind.INTERRUPTED)
            made.append(resolution)
            return resolution.run(upstream)

        try:
            result = await self.context.beside.run(search_and_run)
        except asyncio.CancelledError:
            given_up.append(True)
            raise
        except CommandStopped as stop:
            raise stopped(stop, stage) from None
        except SynthesisError as trouble:                 # a store or a key that is damaged, a module that fails its check
            raise ShellError(f"{stage.name}: {trouble}", stage.name_span) from None
        finally:
            self.context.synthesized += made
        if isinstance(result, Refusal):
            raise refused(result, stage, text, self._known_names())
        if not stage.items:                               # a sentence is no name to call again
            self.context.learned[stage.name] = str(made[0].plan)
        return result

    async def _explain(self, stage: Command, upstream: Value | None, is_head: bool, text: str, out: Output) -> None:
        """-WhatIf: the plan, its imports, its size and the evidence for it. Neither this stage nor a later one runs."""
        builtin = _BUILTINS_BY_FOLDED.get(stage.name.casefold())
        if builtin is not None and not (is_head and _is_sentence(stage, builtin)):
            raise ShellError(f"{builtin.name} is built in: there is nothing to synthesize", stage.span, hint=f"help {builtin.name} tells what it does")
        _refuse_shell_habits(stage)
        from jit_synth import Refusal, SynthesisError
        from jit_synth.values import Text

        request = self._request(stage, upstream, what_if=True)
        try:
            resolution = await self.context.beside.run(lambda: self.context.synthesizer.resolve(request))
        except SynthesisError as trouble:
            raise ShellError(f"{stage.name}: {trouble}", stage.name_span) from None
        if isinstance(resolution, Refusal):
            raise refused(resolution, stage, text, self._known_names())
        out.write(render(Text(resolution.explain()), out.width, out.colour))

    def _request(self, stage: Command, upstream: Value | None, what_if: bool) -> Request:
        """What the synthesizer is told: the words in order as typed, the named arguments, the value in the pipe."""
        from jit_synth import Request
        from jit_synth.values import Scalar

        builtin = _BUILTINS_BY_FOLDED.get(stage.name.casefold())
        words = [builtin.source if builtin is not None and builtin.source else stage.name]      # ps speaks of the tasks
        arguments: dict[str, Value] = {}
        items = list(stage.items)
        while items:
            item = items.pop(0)
            if not isinstance(item, Flag):
                words.append(operand_text(item, self.context))
            elif item.name.casefold() != WHAT_IF:
                has_value = bool(items) and not isinstance(items[0], Flag)
                arguments[item.name] = self._argument(items.pop(0)) if has_value else Scalar(True, Kind.BOOLEAN)
        return Request(tuple(words), arguments, upstream, what_if)

    def _argument(self, item: Item) -> Value:
        """A named argument as a value, with its unit's kind."""
        from jit_synth.values import Scalar, Text

        if isinstance(item, Variable):
            return self.context.variable(item.name, item.span)
        if isinstance(item, Literal) and item.kind is not Kind.TEXT:
            return Scalar(item.value, item.kind)
        assert not isinstance(item, Flag)
        return Text(operand_text(item, self.context))

    def _source(self, name: str) -> Source | None:
        folded = name.casefold()
        return next((source for known, source in self.context.sources.items() if known.casefold() == folded), None)

    def _known_names(self) -> list[str]:
        return [*BY_NAME, *self.context.sources, *self.context.learned]


def _is_what_if(stage: Command) -> bool:
    return any(isinstance(item, Flag) and item.name.casefold() == WHAT_IF for item in stage.items)


def _is_sentence(stage: Command, builtin: Builtin) -> bool:
    """`count the tasks that run`, `ps on cpu 2`: words behind the name of a filter or a source, which it does not take, are a sentence and not a call."""
    items = [item for item in stage.items if not (isinstance(item, Flag) and item.name.casefold() == WHAT_IF)]
    if (builtin.input is Input.NOTHING and not builtin.source) or any(isinstance(item, Flag) for item in items):
        return False
    if items and isinstance(items[0], Word) and items[0].text in SIGNS_OF_OTHER_SHELLS:
        return False                                      # log > file
    words = sum(isinstance(item, Word) and item.text[0].isalpha() for item in items)
    return words >= FEWEST_WORDS or (words > 0 and not _could_take(builtin, items))


def _could_take(builtin: Builtin, items: Sequence[Item]) -> bool:
    """Whether the items could be the builtin's positional arguments."""
    parameters = [parameter for parameter in builtin.parameters if parameter.takes is not Takes.SWITCH]
    if any(parameter.several for parameter in parameters):
        return True
    return len(items) <= len(parameters) and not any(parameter.takes is Takes.NUMBER and isinstance(item, Word)
                                                     for parameter, item in zip(parameters, items, strict=False))


def _refuse_shell_habits(stage: Command) -> None:
    """What other shells have and this one writes otherwise; a synthesizer would only wonder about the signs.

    Raises:
        ShellError: `x = ps`, `gs >> file`, `gs && ls`. Not `>`: in a sentence it compares.
    """
    if stage.items and isinstance(stage.items[0], Word) and stage.items[0].text in ASSIGNING:
        name = re.sub(r"\W", "_", stage.name)
        raise SyntaxMistake("this is no assignment: a variable begins with $", stage.name_span, hint=f"for example: ${name} = ps")
    refuse_redirection(item for item in stage.items if not (isinstance(item, Word) and item.text in COMPARING))


async def _print(text: str, out: Output) -> None:
    """Long results in pieces, no faster than they are shown; Ctrl-C is heard between them."""
    for start in range(0, len(text), CHARACTERS_AT_ONCE):
        out.write(text[start:start + CHARACTERS_AT_ONCE])
        await out.settle()
