"""What may come next: commands at the head of a stage, columns where columns are wanted, switches behind a dash.

Columns are those of the source at the head of the pipeline, as far as that is known without running anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from kernel.telemetry import Column
from shell.signature import Builtin, Takes

if TYPE_CHECKING:
    from shell.context import Context

_STAGE_START = re.compile(r"(?:^|;|\n|\|>|=)\s*(\S*)$")
_LAST_WORD = re.compile(r"[^\s|;()<>=!]*$")
MAX_COMPLETIONS = 50


class Completion(NamedTuple):
    """A replacement for the last `replaces` characters before the cursor."""

    text: str
    replaces: int
    doc: str


def complete(before_cursor: str, context: Context) -> list[Completion]:
    """The completions at the end of this text, best first; none inside a string or a comment."""
    from shell.builtins import BY_NAME

    if _inside_string(before_cursor):
        return []
    if head := _STAGE_START.search(before_cursor):
        return _matching(head.group(1), _commands(context, is_head="|>" not in re.split(r"[;\n]", before_cursor)[-1]))

    pipeline = re.split(r"[;\n]", before_cursor)[-1]
    stages = pipeline.split("|>")
    word = _LAST_WORD.search(before_cursor)
    prefix = word.group() if word else ""
    verb = stages[-1].split(maxsplit=1)[0]
    builtin = BY_NAME.get(verb.casefold())
    if prefix.startswith("-"):
        return _matching(prefix, _switches(builtin))
    if prefix.startswith("$"):
        return _matching(prefix, ((f"${name}", "a variable") for name in context.variables))
    if verb.casefold() == "help":
        return _matching(prefix, _commands(context, is_head=True))
    if builtin is not None and any(parameter.takes in (Takes.COLUMN, Takes.CONDITION) for parameter in builtin.parameters):
        return _matching(prefix, ((column.name, column.doc) for column in _columns_at_head(stages[0], context)))
    return []


def _commands(context: Context, is_head: bool) -> list[tuple[str, str]]:
    """Names that may begin a stage: filters behind a pipe, sources at the head, learned commands anywhere."""
    from shell.builtins import BY_NAME
    from shell.signature import Input

    fitting = [(name, builtin.doc) for name, builtin in BY_NAME.items() if (builtin.input is Input.NOTHING) == is_head]
    sources = [(name, source.doc) for name, source in context.sources.items() if name not in BY_NAME] if is_head else []
    return [*fitting, *sources, *context.learned.items()]


def _switches(builtin: Builtin | None) -> list[tuple[str, str]]:
    if builtin is None:
        return [("-WhatIf", "show the plan and the evidence, run nothing")]
    return [(f"-{parameter.name.capitalize()}", parameter.doc) for parameter in builtin.parameters]


def _columns_at_head(stage: str, context: Context) -> tuple[Column, ...]:
    from shell.builtins import SOURCE_OF

    words = stage.rpartition("=")[2].split()
    name = SOURCE_OF.get(words[0].casefold(), words[0]) if words else ""
    source = context.sources.get(name)
    return source.columns if source else ()


def _matching(prefix: str, candidates: Iterable[tuple[str, str]]) -> list[Completion]:
    folded = prefix.casefold()
    found = [Completion(text, len(prefix), doc) for text, doc in candidates if text.casefold().startswith(folded)]
    return sorted(found)[:MAX_COMPLETIONS]


def _inside_string(text: str) -> bool:
    quote = ""
    escaped = False
    for position, character in enumerate(text):
        if escaped:
            escaped = False
        elif quote:
            escaped = character == "\\"
            quote = "" if character == quote else quote
        elif character == "#" and (position == 0 or text[position - 1].isspace()):
            return True                                   # a comment: nothing to complete either
        elif character == '"' or character == "'" and (position == 0 or not text[position - 1].isalnum()):
            quote = character
    return bool(quote)
