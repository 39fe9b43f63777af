"""Where the words of a request fit an operator's patterns: each fit is a brick, an operator with its holes filled, which accounts for some tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from jit_synth.intent import Token
from jit_synth.operators import LEAST, MANY, MEAN, MOST, OPERATORS, SUM, Operator, Rank
from jit_synth.present import whole_of
from jit_synth.senses import FREE_TEXT, Held, Leaf, Named, is_key
from jit_synth.vocabulary import HAVING_WORDS, QUALITIES, ROW_WORDS, facts_of, forms, is_identifier, is_numeric, singular
from kernel.telemetry import Column, Kind

GAP, SKIP = 0.05, 0.02                 # cost of a token between two items; of a word for a row or of having there
LITERAL_AS_WORD = 0.2                  # a named argument's value that is read as an operator's word
WITHOUT_UNIT = 0.3                     # a plain number for a size or duration, in base units
SMALLEST_WITHOUT_UNIT = 1000           # fewer bytes or nanoseconds are more likely a forgotten unit
COPULAS = frozenset({"is", "are", "was", "were", "be", "been", "that", "which", "who", "currently", "now"})
PREPOSITIONS = frozenset({"of", "with", "for", "from", "in", "on"})
UNIT_KINDS = frozenset({Kind.SIZE, Kind.DURATION})
COUNTING = frozenset({"take", "sum", "per-second"})
THINGS = ROW_WORDS | set(facts_of("system").mass)
SUPERLATIVES = frozenset({"top", "bottom", "maximum", "minimum"})
COUNT_ARGUMENTS = frozenset({"count", "first", "top", "limit", "last"})
HOW_MANY = frozenset(MANY.split("|"))
COUNT_WORDS = frozenset(f"{MANY}|{SUM}|{MEAN}|rate|per-second".split("|"))
SUPERLATIVE_WORDS = frozenset(f"{MOST}|{LEAST}".split("|"))
# The cost of a column that is called as another source's rows are, or as this one's; of interrupts for vectors; of what the system only counts.
OTHER_THING, ROW_WORD, COUNTED_AS_ROW, OF_SYSTEM = 0.4, 0.7, 0.5, 0.6
HOLES = frozenset("COUNTED MASS MEASURE COLUMN KEY TEXT PART IDENTIFIER ITSELF VALUE VALUE2 WORD NUMBER NUMBER2 COUNT QUALITY ROW +ROW".split())


@dataclass(frozen=True, slots=True)
class Fill:
    """What stands in an operator's holes. Columns are named; numbers are in base units; `count` None means as many as there are."""

    column: Column | None = None
    key: Column | None = None
    held: Held | None = None
    held2: Held | None = None
    word: str = ""
    number: int | float | None = None
    number2: int | float | None = None
    count: int | None = None
    descending: bool = True
    unit: Kind | None = None


@dataclass(frozen=True, slots=True)
class Brick:
    """An operator that the tokens in `mask` ask for."""

    operator: Operator
    fill: Fill
    mask: int
    cost: float
    mentions: bool = False              # the tokens tell which leaf is meant: a word for its rows, a column's name of several words

    def first(self) -> int:
        """The index of its first token."""
        return (self.mask & -self.mask).bit_length() - 1


def places_of(mask: int) -> list[int]:
    """The indices of the tokens in a mask."""
    return [place for place in range(mask.bit_length()) if mask >> place & 1]


@dataclass(frozen=True, slots=True)
class _Item:
    hole: str                           # one of HOLES, or ""
    words: frozenset[str]
    optional: bool
    gap: bool                           # other words may stand in front of it


@dataclass(frozen=True, slots=True)
class _Match:
    """A pattern's fit so far."""

    fill: Fill
    mask: int
    cost: float
    end: int
    mentions: bool = False
    has_count: bool = False
    plural: bool | None = None          # of the noun that a count would belong to


@cache
def parse_pattern(pattern: str) -> tuple[_Item, ...]:
    """The items of a pattern."""
    items, gap = [], False
    for word in pattern.split():
        if word == "..":
            gap = True
            continue
        name = word.rstrip("?")
        is_hole = name in HOLES
        items.append(_Item(name if is_hole else "", frozenset() if is_hole else frozenset(name.split("|")), name != word, gap))
        gap = False
    return tuple(items)


@cache
def _by_word() -> dict[str, list[tuple[Operator, tuple[_Item, ...]]]]:
    """Patterns by a word that they cannot do without; "" for those without such a word."""
    index: dict[str, list[tuple[Operator, tuple[_Item, ...]]]] = {}
    for operator in OPERATORS:
        for pattern in operator.patterns:
            items = parse_pattern(pattern)
            needed = next((item.words for item in items if item.words and not item.optional), frozenset({""}))
            for word in needed:
                index.setdefault(word, []).append((operator, items))
    return index


def bricks_of(tokens: Sequence[Token], leaf: Leaf) -> list[Brick]:
    """All bricks that the tokens give over a leaf; of those that differ in cost only, the cheapest."""
    index, words = _by_word(), {"", *(word for token in tokens for word in (token.word, token.text.lower()) if token.number is None)}
    found: dict[tuple[str, Fill, int], Brick] = {}
    seen: set[tuple[str, tuple[_Item, ...]]] = set()
    for word in sorted(words):
        for operator, items in index.get(word, ()):
            if (operator.name, items) in seen:
                continue
            seen.add((operator.name, items))
            for start in range(len(tokens)):
                for match in _matches(items, tokens, leaf, start):
                    brick = _brick(operator, match, tokens, leaf)
                    if brick is None:
                        continue
                    key = (operator.name, brick.fill, brick.mask)
                    if key not in found or found[key].cost > brick.cost:
                        found[key] = brick
    return sorted(found.values(), key=lambda brick: (brick.operator.rank, brick.first(), brick.cost))


def _brick(operator: Operator, match: _Match, tokens: Sequence[Token], leaf: Leaf) -> Brick | None:
    fill, cost = match.fill, operator.cost + match.cost
    if not match.has_count:
        plural = match.plural if match.plural is not None else _is_several(tokens, (match.mask & -match.mask).bit_length(), match.end, leaf)
        fill = replace(fill, count=None if plural else 1)
    at = (match.mask & -match.mask).bit_length() - 1
    first = tokens[at]
    if operator.name in SUPERLATIVES:
        misread = _misread(operator, at, tokens, leaf)
        if misread and operator.rank is Rank.FOLD and any(token.plural and token.word in leaf.row_words for token in tokens[:at]):
            return None                 # "tasks with the highest priority" are no number
        cost += misread
    if operator.name == "where" and COPULAS & set(first.lead):
        cost -= 0.3                     # "tasks that are sleeping"
    if operator.name not in COUNTING and leaf.facts.single and fill.column is not None and singular(fill.column.name)[0] in ROW_WORDS:
        cost += 1.0                     # the system's row only counts tasks
    if operator.rank is Rank.TAKE and leaf.facts.single and first.word in ROW_WORDS and not first.plural and match.end < len(tokens):
        cost += 1.0                     # "cpu idle percentage" is not about how many CPUs there are
    if operator.rank is Rank.KEEP and fill.number is not None and fill.column is None and not match.mentions:
        if match.end < len(tokens) and "of" in tokens[match.end].lead and leaf.named(tokens, match.end):
            return None                 # "more than 3 MiB of ..." says of what
        cost += 0.5                     # "more than 3 MiB", of what is left open
    if operator.rank is Rank.TAKE and fill.column is not None and fill.column.name == leaf.facts.counter and not tokens[match.end - 1].plural:
        cost += 1.0                     # "interrupt count" is one number, "interrupt counts" are many
    if operator.rank is Rank.TAKE and match.end == len(tokens) and first.plural and not first.lead and first.word in ROW_WORDS - leaf.names and len(tokens) > 1:
        cost += 1.0                     # "cpu tasks" are tasks
    if fill.key is not None and fill.key.kind is Kind.TEXT and fill.key.name in ROW_WORDS - leaf.names:
        return None                     # what a CPU ran just now is no key: "interrupts per task"
    if operator.name == "how-long" and fill.column is not None and fill.column.kind is not Kind.DURATION:
        return None
    if operator.rank is Rank.TAKE and _stands_before_row(tokens, match, leaf) and tokens[match.end].plural:
        return None                     # "free regions" are not the regions' free bytes, but which regions they are is not said
    places = places_of(match.mask)
    said = {tokens[place].word for place in places}
    if operator.rank is Rank.KEEP and any(place - 1 in places and _says_how_many(tokens[place - 1], tokens[place]) for place in places[1:]):
        return None                     # -Count 2 is no condition on the column `count`
    last = tokens[match.end - 1]
    if not leaf.is_pipe and leaf.facts.single and last.plural and last.word in ROW_WORDS and not said & COUNT_WORDS:
        return None                     # "tasks that cause interrupts", "system tasks" are not what the system's row counts
    if operator.name in SUPERLATIVES and operator.rank is Rank.ORDER and fill.count is None and not said & {"most", "least", "top", "bottom", "by", "fewest"}:
        return None                     # "tasks with the highest priority" share it; those with a lower one are none of them
    if _stands_before_row(tokens, match, leaf) and (operator.rank is Rank.TAKE or (fill.held is None and leaf.held(tokens, match.end - 1))):
        cost += 0.6                     # "idle cpus" are not the cpus' idle times
    if operator.rank is Rank.TAKE and first.lead and first.lead[-1] in COPULAS and leaf.held(tokens, at):
        cost += 0.5                     # "which cpu is idle"
    return Brick(operator, fill, match.mask, cost, match.mentions)


def _misread(operator: Operator, at: int, tokens: Sequence[Token], leaf: Leaf) -> float:
    """`cpu with the highest load` is a row, `cpu max load` and `highest cpu load` are numbers: the cost of reading it the other way."""
    place = next((index for index, token in enumerate(tokens) if token.number is None and token.word in SUPERLATIVE_WORDS), at)
    nouns = leaf.row_words | set(leaf.facts.counted)
    row_before = any(token.number is None and token.word in nouns for token in tokens[:place])
    is_apart = bool(tokens[place].lead) or place == 0 or tokens[place - 1].word not in nouns
    is_row = row_before and is_apart
    if operator.rank is Rank.FOLD:
        return 0.6 if is_row else 0.0
    return 0.6 if row_before and not is_apart else 0.0


def _is_several(tokens: Sequence[Token], start: int, end: int, leaf: Leaf) -> bool:
    """Whether what a superlative belongs to is several: `busiest cpus`, `newest warnings`, `top tasks by memory`; nothing said is one."""
    noun = next((token for token in tokens[start:] if token.number is None and token.word in leaf.names), None)
    noun = noun or next((token for token in tokens[end:] if token.number is None), None) or next((token for token in tokens if token.word in leaf.names), None)
    is_counted = any(_says_how_many(*pair) for pair in zip(tokens[end:], tokens[end + 1:], strict=False))
    return is_counted or (noun is not None and noun.plural)


def _says_how_many(before: Token, token: Token) -> bool:
    """Whether it is the value of -Count, -First and the like."""
    return token.literal and token.number is not None and token.kind is None and before.word in COUNT_ARGUMENTS


def _stands_before_row(tokens: Sequence[Token], match: _Match, leaf: Leaf) -> bool:
    return match.end < len(tokens) and tokens[match.end].word in leaf.facts.row and not tokens[match.end].lead and not tokens[match.end - 1].plural


def _matches(items: Sequence[_Item], tokens: Sequence[Token], leaf: Leaf, start: int) -> Iterator[_Match]:
    first = items[0]
    for match in _item(first, tokens, leaf, _Match(Fill(), 0, 0.0, start)):
        yield from _rest(items, 1, tokens, leaf, match)
    if first.optional and len(items) > 1:
        yield from _matches(items[1:], tokens, leaf, start)


def _rest(items: Sequence[_Item], index: int, tokens: Sequence[Token], leaf: Leaf, match: _Match) -> Iterator[_Match]:
    if index == len(items):
        yield match
        return
    item = items[index]
    if item.optional:
        yield from _rest(items, index + 1, tokens, leaf, match)
    place, cost = match.end, match.cost
    while place < len(tokens):
        for step in _item(item, tokens, leaf, replace(match, end=place, cost=cost)):
            yield from _rest(items, index + 1, tokens, leaf, step)
        is_bare = item.hole == "NUMBER" and bool(items[index - 1].hole)                  # "load of cpu 0" is no load of 0
        is_counted = tokens[place].plural and tokens[place].word in leaf.facts.row and item.hole == "MEASURE" and HOW_MANY & items[index - 1].words
        # "per cpu": the row itself is the key; "how many cpus": it is what is counted
        if _is_skippable(tokens[place], leaf) and "per" not in items[index - 1].words and not is_bare and not is_counted:
            cost += SKIP
        elif item.gap:
            cost += GAP
        else:
            break
        place += 1


def _is_skippable(token: Token, leaf: Leaf) -> bool:
    return not token.literal and token.number is None and (token.word in leaf.names or any(form in HAVING_WORDS for form in forms(token.word)))


def _item(item: _Item, tokens: Sequence[Token], leaf: Leaf, match: _Match) -> Iterable[_Match]:
    """The fits of one item at the match's end."""
    start = match.end
    if start >= len(tokens):
        return
    token = tokens[start]
    if not item.hole:
        word = token.word if token.word in item.words else token.text.lower()
        if token.number is None and word in item.words:
            yield _extended(match, start, start + 1, LITERAL_AS_WORD if token.literal else 0.0)
        return
    match item.hole:
        case "ROW" | "+ROW":
            is_row, is_apart = token.word in leaf.row_words, bool(PREPOSITIONS & set(token.lead))
            is_noun = token.number is None and not token.literal and (is_row or token.word in leaf.facts.counted)
            if is_noun and not (item.hole == "+ROW" and is_apart):
                yield replace(_extended(match, start, start + 1, 0.0 if is_row else COUNTED_AS_ROW), mentions=True, plural=token.plural)
        case "VALUE":
            for held in leaf.held(tokens, start):
                if match.fill.column is None or match.fill.column == held.column:
                    yield replace(_extended(match, start, held.end, held.cost), fill=replace(match.fill, held=held))
        case "VALUE2":
            for held in leaf.held(tokens, start):
                first = match.fill.held
                if first is not None and first.column == held.column and first.comparison == held.comparison == "equal" and first.constant != held.constant:
                    yield replace(_extended(match, start, held.end, held.cost), fill=replace(match.fill, held2=held))
        case "WORD":
            if token.number is None:
                for column in _text_columns(match.fill.column, leaf):
                    held = Held(column, "contains", token.text, start, start + 1, 0.0)
                    yield replace(_extended(match, start, start + 1, 0.0), fill=replace(match.fill, held=held))
        case "NUMBER" | "NUMBER2":
            yield from _number(item.hole, token, leaf, match)
        case "COUNT":
            before = tokens[start - 1] if start and match.mask else None
            is_name = before is not None and before.word in leaf.row_words and not before.plural and not token.literal       # "skip task 3" is no count
            if not is_name and isinstance(token.number, int) and token.kind is None and 0 <= token.number < 1 << 31:
                yield replace(_extended(match, start, start + 1, 0.0), fill=replace(match.fill, count=token.number), has_count=True)
        case "COUNTED":
            counter = next((column for column in leaf.type.columns if column.name == leaf.facts.counter), None)
            if counter is not None and not token.literal and token.word in leaf.facts.counted:
                yield replace(_extended(match, start, start + 1, 0.0), fill=replace(match.fill, column=counter), mentions=True)
        case "MASS":
            size = next((column for column in leaf.type.columns if column.name == leaf.facts.big), None)
            if size is not None and not token.literal and token.word in leaf.facts.mass:
                yield replace(_extended(match, start, start + 1, 0.0), fill=replace(match.fill, key=size), mentions=True)
        case "QUALITY":
            yield from _quality(token, leaf, match)
        case _:
            is_elsewhere = token.word in THINGS and not token.literal and item.hole == "COLUMN"
            extra = ROW_WORD if token.word in leaf.row_words else (OF_SYSTEM if leaf.facts.single else OTHER_THING) if is_elsewhere else 0.0
            for named in leaf.named(tokens, start):
                yield from _named(item.hole, replace(named, cost=named.cost + extra), leaf, replace(match, mentions=match.mentions or token.word in leaf.names))


def _named(hole: str, named: Named, leaf: Leaf, match: _Match) -> Iterator[_Match]:
    column = named.column
    fits = {"MEASURE": is_numeric(column), "COLUMN": True, "KEY": is_key(column), "TEXT": column.kind is Kind.TEXT, "IDENTIFIER": is_identifier(column),
            "ITSELF": column.kind is Kind.TEXT and (match.fill.held is None or match.fill.held.column == column),
            "PART": whole_of(leaf.type.columns, list(leaf.type.columns).index(column)) is not None}
    if not fits[hole]:
        return
    if hole == "IDENTIFIER" and match.fill.column not in (None, column):
        return
    if hole in ("MEASURE", "COLUMN", "IDENTIFIER") and match.fill.number is not None:      # "above 3 MiB of memory"
        extra = _number_cost(match.fill.number, match.fill.unit, column)
        if extra is None:
            return
        match = replace(match, cost=match.cost + extra)
    fill = replace(match.fill, key=column) if hole == "KEY" else replace(match.fill, column=column)
    yield replace(_extended(match, named.start, named.end, named.cost), fill=fill, mentions=match.mentions or named.cost < 0)


def _number(hole: str, token: Token, leaf: Leaf, match: _Match) -> Iterator[_Match]:
    if token.number is None:
        return
    extended = _extended(match, match.end, match.end + 1, 0.0)
    if hole == "NUMBER2":
        if token.kind is not match.fill.unit:
            return
        yield replace(extended, fill=replace(match.fill, number2=token.number))
        return
    fill = replace(match.fill, number=token.number, unit=token.kind)
    if match.fill.column is None:
        yield replace(extended, fill=fill)
        return
    extra = _number_cost(token.number, token.kind, match.fill.column)
    if extra is not None:
        yield replace(extended, cost=extended.cost + extra, fill=fill)


def _number_cost(number: int | float, unit: Kind | None, column: Column) -> float | None:
    """How far-fetched it is to compare the column with the number; None if it is nonsense."""
    if unit is not None:
        return 0.0 if unit is column.kind or (unit is Kind.RATIO and column.kind is Kind.REAL) else None
    if column.kind in UNIT_KINDS:
        return None if 0 < abs(number) < SMALLEST_WITHOUT_UNIT else WITHOUT_UNIT
    if column.kind is Kind.RATIO:
        return 0.0 if 0 <= number <= 1 else None
    return None if column.kind in (Kind.TEXT, Kind.BOOLEAN, Kind.TIME) or (isinstance(number, float) and column.kind is not Kind.REAL) else 0.0


def _quality(token: Token, leaf: Leaf, match: _Match) -> Iterator[_Match]:
    quality, descending = QUALITIES.get(token.word or "", ("", True))
    name = {"busy": leaf.facts.busy, "big": leaf.facts.big, "new": leaf.facts.new}.get(quality, "")
    for column in leaf.type.columns:
        if column.name == name:
            yield replace(_extended(match, match.end, match.end + 1, 0.0), fill=replace(match.fill, column=column, descending=descending))


def _text_columns(given: Column | None, leaf: Leaf) -> list[Column]:
    """Where a word is looked for if no column is named: in prose, or in the only text column."""
    if given is not None:
        return [given]
    texts = [column for column in leaf.type.columns if column.kind is Kind.TEXT]
    prose = [column for column in texts if column.name in FREE_TEXT]
    return prose or (texts if len(texts) == 1 else [])


def _extended(match: _Match, start: int, end: int, cost: float) -> _Match:
    return replace(match, mask=match.mask | (1 << end) - (1 << start), cost=match.cost + cost, end=end)
