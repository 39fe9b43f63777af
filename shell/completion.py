"""What may come next: commands at the head of a stage, columns where columns are wanted, a column's values behind a comparison, switches behind a dash.

Nothing is run for it: columns are followed through the pipe from the source or variable at its head as far as that is known; of the live data only
the source at the head is read, and only for a column's values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from kernel.telemetry import Column, Kind
from shell.conditions import find_column
from shell.signature import Builtin, Input, Takes

if TYPE_CHECKING:
    from shell.context import Context

MAX_COMPLETIONS = 50
MOST_VALUES = 1000                     # rows looked at for a column's values
SAME_COLUMNS = frozenset({"where", "sort", "first", "last", "reverse", "distinct"})

_ASSIGNMENT = re.compile(r"\s*\$\w+\s*=(?!=)\s*")
_LAST_WORD = re.compile(r"[^\s()<>=!]*$")
_COMPARED = re.compile(r"(\w[^\s|;\"'~<>=!()&]*)\s*(?:==|!=|<>|=|\s(?:contains|starts-with|ends-with|-eq|-ne)\s)\s*$", re.IGNORECASE)
_GOES_ON = re.compile(r"(?:\s|#[^\n]*\n)*\|>")
_BARE = re.compile(r"\w[\w.:-]*")


class Completion(NamedTuple):
    """A replacement for the last `replaces` characters before the cursor."""

    text: str
    replaces: int
    doc: str


def complete(before_cursor: str, context: Context) -> list[Completion]:
    """The completions at the end of this text, best first; none inside a string or a comment."""
    from shell.builtins import BY_NAME

    stages = split_stages(before_cursor)
    if stages is None:
        return []
    if assignment := _ASSIGNMENT.match(stages[0]):
        stages[0] = stages[0][assignment.end():]
    current = stages[-1].lstrip()
    if not re.search(r"\s", current):
        return _matching(current, [*_names(context, is_head=len(stages) == 1), *(_variables(context) if len(stages) == 1 else ())])

    found = _LAST_WORD.search(current)
    prefix = found.group() if found else ""
    verb = current.split(maxsplit=1)[0].casefold()
    builtin = BY_NAME.get(verb)
    if prefix.startswith("-"):
        return _matching(prefix, _switches(builtin))
    if prefix.startswith("$"):
        return _matching(prefix, _variables(context))
    if builtin is not None and builtin.name == "help":
        return _matching(prefix, _names(context, is_head=None))
    if builtin is not None and any(parameter.takes in (Takes.COLUMN, Takes.CONDITION) for parameter in builtin.parameters):
        columns = columns_of(stages[:-1], context)
        compared = _COMPARED.search(current[:len(current) - len(prefix)]) if builtin.name == "where" else None
        if compared:
            return _matching(prefix, _values(compared.group(1), stages[:-1], columns, context))
        return _matching(prefix, ((column.name, column.doc) for column in columns))
    return []


def split_stages(text: str) -> list[str] | None:
    """The stages of the statement that the text ends in, without comments; None if it ends inside a string or a comment."""
    stages, quote, position = [""], "", 0
    while position < len(text):
        character = text[position]
        at_word = position == 0 or text[position - 1].isspace() or text[position - 1] in "(=|>"
        length = 1
        if quote:
            length = 2 if character == "\\" else 1
            quote = "" if character == quote else quote
        elif character == '"' or (character == "'" and at_word):
            quote = character
        elif character == "#" and at_word:
            end = text.find("\n", position)
            if end < 0:
                return None
            position = end
            continue
        elif text.startswith("|>", position):
            stages.append("")
            position += 2
            continue
        elif character == ";" or (character == "\n" and stages[-1].strip() and not _GOES_ON.match(text, position)):
            stages, position = [""], position + 1         # a line that ends in a pipe goes on, and so does one before a pipe
            continue
        stages[-1] += text[position:position + length]
        position += length
    return None if quote else stages


def columns_of(stages: Sequence[str], context: Context) -> tuple[Column, ...]:
    """The columns of what these stages give, as far as that is known."""
    from shell.builtins import BY_NAME, SOURCE_OF

    if not stages:
        return ()
    columns = _columns_at_head(stages[0].split(), context, SOURCE_OF)
    for stage in stages[1:]:
        verb, *words = stage.split() or [""]
        builtin = BY_NAME.get(verb.casefold())
        name = builtin.name if builtin else ""
        chosen = tuple(columns[index] for word in words if (index := find_column(word, columns)) is not None)
        if name == "select":
            columns = chosen
        elif name == "group":
            columns = (*chosen[:1], Column("count", Kind.INTEGER, "rows with this value"))
        elif name not in SAME_COLUMNS:
            return ()
    return columns


def _columns_at_head(words: Sequence[str], context: Context, source_of: dict[str, str]) -> tuple[Column, ...]:
    if not words:
        return ()
    if words[0].startswith("$"):
        return tuple(getattr(context.variables.get(words[0][1:]), "columns", ()))
    source = context.sources.get(source_of.get(words[0].casefold(), words[0].casefold()))
    return source.columns if source else ()


def _values(name: str, stages: Sequence[str], columns: Sequence[Column], context: Context) -> list[tuple[str, str]]:
    """What a text column of the source at the head holds now; a value that is no bare word is quoted."""
    from shell.builtins import SOURCE_OF

    words = stages[0].split() if stages else []
    source = context.sources.get(SOURCE_OF.get(words[0].casefold(), words[0].casefold())) if words else None
    index = find_column(name, columns)
    if source is None or index is None or columns[index].kind is not Kind.TEXT:
        return []
    place = find_column(columns[index].name, source.columns)
    if place is None:
        return []
    values = dict.fromkeys(str(row[place]) for row in source.rows()[:MOST_VALUES])
    return [(value if _BARE.fullmatch(value) else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"', "") for value in values if value.isprintable()]


def _names(context: Context, *, is_head: bool | None) -> list[tuple[str, str]]:
    """Names that may begin a stage: filters behind a pipe, sources at the head, learned commands anywhere; all of them if `is_head` is None."""
    from shell.builtins import BY_NAME

    fitting = [(name, builtin.doc) for name, builtin in BY_NAME.items() if is_head is None or (builtin.input is Input.NOTHING) == is_head]
    sources = [(name, source.doc) for name, source in context.sources.items() if name not in BY_NAME] if is_head is not False else []
    return [*fitting, *sources, *context.learned.items()]


def _variables(context: Context) -> list[tuple[str, str]]:
    from shell.context import describe

    return [(f"${name}", describe(value)) for name, value in context.variables.items()]


def _switches(builtin: Builtin | None) -> list[tuple[str, str]]:
    if builtin is None:
        return [("-WhatIf", "show the plan and the evidence, run nothing")]
    return [(f"-{parameter.name.capitalize()}", parameter.doc) for parameter in builtin.parameters if parameter.takes is not Takes.CONDITION]


def _matching(prefix: str, candidates: Iterable[tuple[str, str]]) -> list[Completion]:
    folded = prefix.casefold()
    found = sorted({(text, doc) for text, doc in candidates if text.lstrip('"').casefold().startswith(folded)},
                   key=lambda one: (one[0].casefold(), one))
    end = " " if len(found) == 1 else ""                  # nothing else can be meant: the next word may follow
    return [Completion(text + end, len(prefix), doc) for text, doc in found[:MAX_COMPLETIONS]]
