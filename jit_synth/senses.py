"""What the words of a request can name in one place: a leaf, that is a live source or the value in the pipe, with its columns and cells.

A sense has a cost: 0 for the very name, more for a synonym, a part of a name, a word inside a text. Costs are compared, nothing else is done with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from jit_synth.intent import Token
from jit_synth.plan import Step
from jit_synth.values import Row, Type
from jit_synth.vocabulary import (
    CELL_SYNONYMS, COLUMN_SYNONYMS, FUNCTION_WORDS, KIND_WORDS, SOURCE_WORDS, STOP_WORDS, Facts, facts_of,
    forms, is_identifier, is_numeric, singular, source_words)
from kernel.telemetry import Column, Kind

SYNONYM, STEM, PART, COMPOUND = 0.25, 0.15, 0.45, -0.4       # a name of several words says more than each of them alone
COUNTED = 0.1                          # "interrupts" for the column that counts them
EXACT_CELL, KNOWN_CELL, OTHER_CELL, WORD_IN_CELL, WORD_IN_PROSE = 0.0, 0.05, 0.15, 0.55, 0.8
LONGEST_CELL_NAME = 3                  # words of a cell that is named in full, as "host bridge"
SHORTEST_PART = 3                      # letters of a word that may be looked for inside a cell
FREE_TEXT = frozenset({"message", "text", "line"})      # columns that hold prose


@dataclass(frozen=True, slots=True)
class Named:
    """Tokens `start` to `end` name a column."""

    column: Column
    start: int
    end: int
    cost: float


@dataclass(frozen=True, slots=True)
class Held:
    """Tokens `start` to `end` name what a text column holds: `comparison` is equal or contains."""

    column: Column
    comparison: str
    constant: str
    start: int
    end: int
    cost: float


@dataclass(frozen=True)
class Leaf:
    """Where a plan begins.

    Attributes:
        steps, type: the first steps and what they give.
        input: the type of the value in the pipe, if the steps begin with it.
        source: the source's name; for the pipe's value the one that has the same columns; None if there is none.
        reads: the columns of the sources that the steps read.
        is_pipe: it is the value in the pipe.
        rows: what is there now, to look for cells that are named.
        words: words that name it beside those of its source.
        doc: what its source says of itself.
        parent: if it is a learned command, the SHA-256 of its module; and `cost`, what it cost to find it.
    """

    steps: tuple[Step, ...]
    type: Type
    input: Type
    source: str | None
    is_pipe: bool
    rows: Sequence[Row]
    reads: tuple[tuple[str, tuple[Column, ...]], ...] = ()
    words: frozenset[str] = frozenset()
    parent: str = ""
    cost: float = 0.0
    doc: str = ""

    @cached_property
    def facts(self) -> Facts:
        """What the vocabulary knows of it."""
        return facts_of(self.source)

    @cached_property
    def names(self) -> frozenset[str]:
        """Words for it or for its rows."""
        return self.words | (source_words(self.source) if self.source else frozenset())

    @cached_property
    def doc_words(self) -> frozenset[str]:
        """Words with which the source describes itself, and that are no column's, kind's or source's name."""
        words = {singular(word.strip(".,:;()'").removesuffix("'s").lower())[0] for word in self.doc.split()}
        columns = {part for column in self.type.columns for part in column.name.split("_")}
        return frozenset(word for word in words if len(word) > 2) - columns - KIND_WORDS.keys() - SOURCE_WORDS - STOP_WORDS - FUNCTION_WORDS

    @cached_property
    def row_words(self) -> frozenset[str]:
        """Words for one row."""
        return frozenset(self.facts.row) or self.names

    def named(self, tokens: Sequence[Token], start: int) -> list[Named]:
        """The columns that the tokens from `start` on can name, cheapest first."""
        found: list[Named] = []
        for column in self.type.columns:
            parts = tuple(singular(part)[0] for part in column.name.split("_"))
            match = self._match(parts, tokens, start)
            if match is not None:
                end, cost = match
                found.append(Named(column, start, end, cost))
                if end < len(tokens) and not tokens[end].literal and column.kind in KIND_WORDS.get(tokens[end].word, ()) and end - start == len(parts):
                    found.append(Named(column, start, end + 1, cost))
        if self.facts.counter and not tokens[start].literal and tokens[start].word in self.facts.counted:
            counter = next((column for column in self.type.columns if column.name == self.facts.counter), None)
            if counter is not None:
                found.append(Named(counter, start, start + 1, COUNTED))
                if start + 1 < len(tokens) and tokens[start + 1].word in ("count", "number", counter.name):
                    found.append(Named(counter, start, start + 2, 0.0))
        return sorted(found, key=lambda one: (one.cost, -one.end))

    def _match(self, parts: tuple[str, ...], tokens: Sequence[Token], start: int) -> tuple[int, float] | None:
        """The end and cost of a match of a column's name."""
        length = len(parts)
        window = tokens[start:start + length]
        if len(window) == length:
            for order in (parts, parts[::-1]) if length > 1 else (parts,):
                costs = [_word_cost(token, part) for token, part in zip(window, order, strict=True)]
                if None not in costs:
                    return start + length, sum(cost for cost in costs if cost is not None) + (COMPOUND if length > 1 else 0.0)
        if length > 1:
            cost = _word_cost(tokens[start], parts[-1])
            if cost is not None:
                return start + 1, cost + PART
        return None

    def held(self, tokens: Sequence[Token], start: int) -> list[Held]:
        """The cells that the tokens from `start` on can name."""
        found: list[Held] = []
        token = tokens[start]
        if token.number is not None:
            return found
        for index, column in enumerate(self.type.columns):
            if column.kind is Kind.TEXT:
                found += self._held_in(index, column, tokens, start)
        return found

    def _held_in(self, index: int, column: Column, tokens: Sequence[Token], start: int) -> Iterable[Held]:
        cells = self._cells[index]
        for length in range(LONGEST_CELL_NAME, 0, -1):
            window = tokens[start:start + length]
            if len(window) < length or any(token.number is not None and length == 1 for token in window):
                continue
            names = {joint.join(words) for joint in (" ", "-", "") for words in (tuple(token.text.lower() for token in window),
                                                                                tuple(token.word or token.text for token in window))}
            for name in names:
                if name in cells:
                    return [Held(column, "equal", cells[name], start, start + length, EXACT_CELL)]
        token = tokens[start]
        word = token.text.lower()
        for name, known in self.facts.values:
            if name == column.name and not token.literal:
                hit = next((value for value in known if value in (word, token.word)), None)
                other = CELL_SYNONYMS.get(word, "")
                if hit is not None or other in known:
                    return [Held(column, "equal", hit or other, start, start + 1, KNOWN_CELL if hit else OTHER_CELL)]
        if token.literal or len(word) < SHORTEST_PART or column.name in FREE_TEXT and not self._is_prose_word(index, word):
            return []
        hits = [one for one in (word, token.word) if one in self._words_inside[index]]
        return [Held(column, "contains", hits[-1], start, start + 1, WORD_IN_PROSE if column.name in FREE_TEXT else WORD_IN_CELL)] if hits else []

    def _is_prose_word(self, index: int, word: str) -> bool:
        return word in self._words_inside[index]

    @cached_property
    def _cells(self) -> Mapping[int, dict[str, str]]:
        """For each text column the cells there are, by their lower case."""
        return {index: {str(row[index]).lower(): str(row[index]) for row in self.rows if row[index]}
                for index, column in enumerate(self.type.columns) if column.kind is Kind.TEXT}

    @cached_property
    def _words_inside(self) -> Mapping[int, frozenset[str]]:
        """For each text column the words within its cells."""
        return {index: frozenset(word.strip(".,:;()") for cell in cells for word in cell.replace("-", " ").replace("_", " ").split())
                for index, cells in self._cells.items()}

    def measures(self) -> list[Column]:
        """The columns that can be measured."""
        return [column for column in self.type.columns if is_numeric(column)]


def _word_cost(token: Token, part: str) -> float | None:
    """How far a token is from a part of a column's name; None if it is another word."""
    if token.number is not None:
        return None
    if token.word == part or singular(token.text.lower())[0] == part:       # a literal keeps its plural
        return 0.0
    if any(form == part for form in forms(token.word)[1:]):
        return STEM
    if any(part in COLUMN_SYNONYMS.get(form, ()) for form in forms(token.word)):
        return SYNONYM
    return None


def is_key(column: Column) -> bool:
    """Whether rows can be grouped by it."""
    return column.kind in (Kind.TEXT, Kind.BOOLEAN) or is_identifier(column)
