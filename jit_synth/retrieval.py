"""What comes close and can be called: sources, their columns (`cpus |> select load`) and learned commands, by the likeness of their words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from jit_synth.intent import Token
from jit_synth.vocabulary import STOP_WORDS, VERBS, singular, source_words
from kernel.telemetry import Source

NEAREST = 4
CLOSE = 0.8                             # of difflib's ratio: a slip of the finger or two
UNDERSTOOD = 0.3                        # how much a word counts that is no trouble


def nearest(unknown: Sequence[Token], understood: Sequence[Token], sources: Mapping[str, Source], learned: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Sources, columns as the line that shows one (`cpus |> select load`), and learned commands, best first; what is like the unknown words counts most.

    `learned` has the words of each learned command.
    """
    weights = {token.word: UNDERSTOOD for token in understood} | {token.word: 1.0 for token in unknown}
    weights = {word: weight for word, weight in weights.items() if word and word not in VERBS["retrieve"]}
    scores: dict[str, float] = {}
    for name, text in _entries(sources, learned):
        said = text - STOP_WORDS
        score = 0.0
        is_column = name not in sources and name not in learned                     # worth naming only for a word that is not understood
        for word, weight in weights.items():
            if is_column and weight < 1.0:
                continue
            score += weight * (1.0 if word in said else max((_likeness(word, other) for other in said), default=0.0))
        if score:
            scores[name] = score / (1.0 if name in sources or name in learned else 1.1 + 0.05 * len(said))
    return tuple(sorted(scores, key=lambda name: (-scores[name], name))[:NEAREST])


def _likeness(word: str, other: str) -> float:
    """For a slip of the finger, less than for the word itself; 0 for another word."""
    if len(word) < 4 or abs(len(other) - len(word)) > 2:
        return 0.0
    ratio = difflib.SequenceMatcher(None, word, other).ratio()
    return 0.6 * ratio if ratio >= CLOSE or sorted(word) == sorted(other) else 0.0


def _entries(sources: Mapping[str, Source], learned: Mapping[str, Iterable[str]]) -> Iterable[tuple[str, set[str]]]:
    for name, words in learned.items():
        yield name, set(words)
    for name, source in sources.items():
        yield name, {name, *source_words(name)}
        for column in source.columns:
            yield f"{name} |> select {column.name}", {singular(part)[0] for part in column.name.split("_")} | {column.name}
