"""What comes close: operators, sources, columns and learned commands by the likeness of their words to those of a request."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from jit_synth.intent import Token
from jit_synth.operators import OPERATORS
from jit_synth.vocabulary import STOP_WORDS, VERBS, singular, source_words
from kernel.telemetry import Source

NEAREST = 4
CLOSE = 0.8                             # of difflib's ratio: a slip of the finger or two
_SPLIT = str.maketrans("-_|:,()", "       ")


def nearest(tokens: Sequence[Token], sources: Mapping[str, Source], learned: Iterable[str]) -> tuple[str, ...]:
    """Names of operators, sources (`cpus.load` for a column) and learned commands, best first."""
    words = {token.word for token in tokens if token.word and token.word not in VERBS["retrieve"]}
    if not words:
        return ()
    scores: dict[str, float] = {}
    for name, text in _entries(sources, learned):
        said = text - STOP_WORDS
        score = 0.0
        for word in words:
            if word in said:
                score += 1.0
            elif len(word) > 3:
                score += max((_likeness(word, other) for other in said if abs(len(other) - len(word)) < 3), default=0.0)
        if score:
            scores[name] = score / (1 + 0.05 * len(said))
    return tuple(sorted(scores, key=lambda name: (-scores[name], name))[:NEAREST])


def corrections(tokens: Sequence[Token], known: Iterable[str]) -> dict[str, str]:
    """For words that nothing knows: the known word that was probably meant."""
    vocabulary = sorted(set(known))
    found = {}
    for token in tokens:
        if len(token.word) > 3 and token.word not in vocabulary:
            close = difflib.get_close_matches(token.word, vocabulary, 1, CLOSE)
            if close:
                found[token.text] = close[0]
    return found


def _likeness(word: str, other: str) -> float:
    """For a slip of the finger, less than for the word itself; 0 for another word."""
    ratio = difflib.SequenceMatcher(None, word, other).ratio()
    return 0.6 * ratio if ratio >= CLOSE or sorted(word) == sorted(other) else 0.0


def _entries(sources: Mapping[str, Source], learned: Iterable[str]) -> Iterable[tuple[str, set[str]]]:
    for name in learned:
        yield name, {singular(word.lower())[0] for word in name.translate(_SPLIT).split()}
    for name, source in sources.items():
        yield name, {name, *source_words(name)}
        for column in source.columns:
            yield f"{name}.{column.name}", {singular(part)[0] for part in column.name.split("_")} | {column.name}
    for operator in OPERATORS:
        words = {word for pattern in operator.patterns for word in pattern.lower().translate(_SPLIT).replace("?", "").replace("+", "").split()}
        yield operator.name, words | set(operator.name.split("-"))
