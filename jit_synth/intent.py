"""From a request to tokens: what was typed, as words in the singular, numbers with their kind, and the verb in front.

`Get-InterruptRate -Top 3`, `show the three busiest cpus` and `GetInterruptRate` all become one list. Words without a meaning of their own are left out;
every token that stays must be accounted for by the plan.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from jit_synth.values import Scalar, Text, Value
from jit_synth.vocabulary import NUMBER_WORDS, PHRASES, STOP_WORDS, singular, verb_class
from kernel.telemetry import Kind

MAX_TOKENS = 24
MAX_LENGTH = 1000                       # characters
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+(?:\.\d+)?", re.UNICODE)
_QUANTITY = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*([a-zA-Zµ%]*)")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,16}")
_FULL_QUANTITY = re.compile(_QUANTITY.pattern + r"\Z")
UNITS: dict[str, tuple[Kind, float]] = {
    "ns": (Kind.DURATION, 1), "us": (Kind.DURATION, 1e3), "µs": (Kind.DURATION, 1e3), "ms": (Kind.DURATION, 1e6), "s": (Kind.DURATION, 1e9),
    "second": (Kind.DURATION, 1e9), "millisecond": (Kind.DURATION, 1e6), "microsecond": (Kind.DURATION, 1e3), "nanosecond": (Kind.DURATION, 1),
    "minute": (Kind.DURATION, 60e9), "min": (Kind.DURATION, 60e9), "hour": (Kind.DURATION, 3600e9),
    "b": (Kind.SIZE, 1), "byte": (Kind.SIZE, 1), "kb": (Kind.SIZE, 1e3), "mb": (Kind.SIZE, 1e6), "gb": (Kind.SIZE, 1e9), "kib": (Kind.SIZE, 1 << 10),
    "mib": (Kind.SIZE, 1 << 20), "gib": (Kind.SIZE, 1 << 30), "%": (Kind.RATIO, 0.01), "percent": (Kind.RATIO, 0.01)}

WRITTEN = {Kind.SIZE: (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)),            # the largest unit that says it exactly
           Kind.DURATION: (("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1))}


@dataclass(frozen=True, slots=True)
class Request:
    """What the shell asks for.

    Attributes:
        words: the command's name and its operands, as typed.
        arguments: the named arguments, without the dash, in the order typed; a switch is a true BOOLEAN scalar.
        upstream: the value in the pipe, if there is one.
        what_if: the command is to be explained, not run; it is not remembered.
    """

    words: tuple[str, ...]
    arguments: Mapping[str, Value] = field(default_factory=dict)
    upstream: Value | None = None
    what_if: bool = False

    def prompt(self) -> str:
        """The request as one line of text, which is signed with what comes of it."""
        arguments = [f"-{name}" + ("" if value == Scalar(True, Kind.BOOLEAN) else f" {_shown(value)}") for name, value in self.arguments.items()]
        return " ".join([*self.words, *arguments])


@dataclass(frozen=True, slots=True)
class Token:
    """One word or number of a request.

    Attributes:
        text: as typed.
        word: in lower case and the singular; "" for a number.
        plural: whether it was a plural.
        number: the number, in base units if `kind` says which.
        kind: the kind that its unit tells, or None.
        literal: it is the value of a named argument or was quoted: a name, even if it is also a word.
        lead: the stop words directly in front of it, which tell what it belongs to.
    """

    text: str
    word: str
    plural: bool = False
    number: float | int | None = None
    kind: Kind | None = None
    literal: bool = False
    lead: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Intent:
    """The tokens of a request, and the class of its verb if the first token is one that asks for something ("" if not)."""

    tokens: tuple[Token, ...]
    verb: str
    is_verb_noun: bool


class BadRequest(ValueError):
    """The request cannot be read: too long, empty, or with an argument that is no word or number."""


def read_intent(request: Request) -> Intent:
    """The tokens of a request. Raises: BadRequest."""
    if not request.words or not any(word.strip() for word in request.words):
        raise BadRequest("there are no words")
    prompt = request.prompt()
    if len(prompt) > MAX_LENGTH:
        raise BadRequest(f"{len(prompt)} characters are too many; {MAX_LENGTH} is the most")
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        raise BadRequest("it is not valid Unicode")
    head = request.words[0]
    is_verb_noun = bool(re.fullmatch(r"[A-Za-z]+-[A-Za-z0-9-]+", head))
    tokens: list[Token] = []
    for word in request.words:
        tokens += _tokens(word, literal=False)
    for name, value in request.arguments.items():
        tokens += _tokens(name, literal=False)
        match value:
            case Scalar(value=True, kind=Kind.BOOLEAN):
                pass
            case Scalar(value=number, kind=kind) if isinstance(number, (int, float)):
                tokens.append(Token(str(number), "", False, number, kind if kind in (Kind.SIZE, Kind.DURATION, Kind.RATIO) else None, True))
            case Text(text=text) | Scalar(value=str(text)):
                tokens += _argument_tokens(text)
            case _:
                raise BadRequest(f"the argument -{name} is neither a word nor a number")
    tokens = _joined_units(_joined_phrases(tokens))
    verb = verb_class(tokens[0].text.lower()) if tokens else ""
    kept = _without_stop_words(tokens, keep_first=bool(verb))
    if not kept:
        raise BadRequest("the words say nothing")
    if len(kept) > MAX_TOKENS:
        raise BadRequest(f"{len(kept)} words are too many; {MAX_TOKENS} is the most")
    verb = verb_class(kept[0].text.lower()) if kept[0].number is None else ""
    return Intent(kept, verb, is_verb_noun)


def _without_stop_words(tokens: list[Token], *, keep_first: bool) -> tuple[Token, ...]:
    kept: list[Token] = []
    lead: tuple[str, ...] = ()
    asks = bool(tokens) and tokens[0].text.lower() in ("are", "is", "do", "does", "have", "has")
    for index, token in enumerate(tokens):
        word = token.text.lower()
        says_nothing = (word in STOP_WORDS and not (asks and word == "all")) or (word == "where" and index)      # "are all cpus idle" wants a yes or no
        if not token.literal and token.number is None and says_nothing and not (index == 0 and keep_first):
            lead = (*lead, word)
        else:
            kept.append(replace(token, lead=lead))
            lead = ()
    return tuple(kept)


def _argument_tokens(text: str) -> list[Token]:
    """The value of a named argument: a quantity, or names separated by commas; a name may have blanks."""
    return [_quantity(part, literal=True) or _word(part, literal=True) for part in (piece.strip() for piece in text.split(",")) if part]


def _tokens(word: str, literal: bool) -> list[Token]:
    stripped = word.strip().strip("?!.,;:'\"()")
    quantity = _quantity(stripped, literal)
    if quantity is not None:
        return [quantity]
    if " " in stripped:                                            # it was quoted
        return [_word(stripped, literal=True)]
    if stripped.lower() in UNITS:                                  # MiB is one word, not Mi and B
        return [_word(stripped, literal)]
    parts = _PARTS.findall(stripped)
    if "".join(parts) != re.sub(r"[-_]", "", stripped):             # signs that no part explains
        return [_word(stripped, literal)] if stripped else []
    return [_quantity(part, literal) or _word(part, literal) for part in parts]


def _quantity(text: str, literal: bool) -> Token | None:
    if _HEXADECIMAL.fullmatch(text):
        return Token(text, "", False, int(text, 16), None, literal)
    match = _FULL_QUANTITY.fullmatch(text)
    if match is None:
        named = NUMBER_WORDS.get(text.lower())
        return None if named is None or literal else Token(text, "", False, named)
    digits, unit = match.groups()
    if unit and unit.lower() not in UNITS:
        return None
    number: float | int = float(digits) if "." in digits else int(digits)
    return _with_unit(Token(text, "", False, number, None, literal), unit) if unit else Token(text, "", False, number, None, literal)


def _with_unit(token: Token, unit: str) -> Token:
    assert token.number is not None
    kind, factor = UNITS[unit.lower()]
    scaled = token.number * factor
    return Token(token.text, "", False, scaled if kind is Kind.RATIO else round(scaled), kind, token.literal)


def _word(text: str, literal: bool) -> Token:
    word, plural = (text.lower(), False) if literal else singular(text.lower())
    return Token(text, word, plural, None, None, literal)


def _joined_phrases(tokens: list[Token]) -> list[Token]:
    """`at least` and its like become one token."""
    joined: list[Token] = []
    index = 0
    while index < len(tokens):
        for length in (3, 2):
            part = tokens[index:index + length]
            name = PHRASES.get(tuple(token.text.lower() for token in part)) if len(part) == length and not any(token.literal for token in part) else None
            if name is not None:
                joined.append(Token(" ".join(token.text for token in part), name))
                index += length
                break
        else:
            joined.append(tokens[index])
            index += 1
    return joined


def _joined_units(tokens: list[Token]) -> list[Token]:
    """`10 ms`, `50 percent`: the number takes the unit behind it. A bare letter is no unit there."""
    joined: list[Token] = []
    for token in tokens:
        before = joined[-1] if joined else None
        if (before is not None and before.number is not None and before.kind is None and token.number is None and not token.literal
                and len(token.word) > 1 and token.word in UNITS):
            joined[-1] = _with_unit(Token(f"{before.text} {token.text}", "", False, before.number), token.word)
        else:
            joined.append(token)
    return joined


def _shown(value: Value) -> str:
    match value:
        case Scalar(value=int(number), kind=kind) if kind in WRITTEN:
            return next(f"{number // factor}{unit}" for unit, factor in WRITTEN[kind] if number % factor == 0)
        case Scalar(value=float(ratio), kind=Kind.RATIO):
            return f"{ratio * 100:.15g}%"
        case Scalar(value=scalar):
            return str(scalar)
        case Text(text=text):
            return text
        case _:
            return "(value)"
