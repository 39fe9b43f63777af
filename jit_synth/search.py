"""The search: plans that account for every word of a request, built bottom-up from typed operators.

It starts with the leaves, the live sources and the value in the pipe, and applies operators in the order of their rank, those whose words are in the
request and whose signature fits what is there. Two partial plans that account for the same words and give the same answers on the live value and on
generated probes are one: the cheaper stays (observational equivalence). A plan is complete when what is left of the request are words without a
meaning of their own here: the verb of retrieval, words for the rows, "and" between two of a kind. Nothing is ever dropped silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from jit_synth.intent import Intent, Token
from jit_synth.interpret import interpret_step
from jit_synth.lowering import DoesNotFit, lower_brick, take_columns
from jit_synth.operators import BY, BY_NAME, OPERATORS, Operator, Rank
from jit_synth.patterns import Brick, bricks_of, parse_pattern, places_of
from jit_synth.plan import Fold, Keep, Plan, PlanError, Slice, Step, step_type
from jit_synth.refusals import CommandStopped, StopKind
from jit_synth.senses import Leaf
from jit_synth.values import Row, Shape, Type
from jit_synth.vocabulary import ACTING_VERBS, CELL_SYNONYMS, CELL_WORDS, HAVING_WORDS, SOURCE_WORDS, VERBS, WHOLE_WORDS, facts_of, forms, is_identifier
from kernel.telemetry import Kind

MOST_STATES = 3000                      # partial plans looked at before the search gives up
FARTHEST = 2.35                         # a reading that costs more is a guess
MARGIN = 0.35                           # two readings closer than this are equally good
LEAF_UNSAID, SINGLE_UNSAID = 1.0, 0.5   # a source that no word names; less for the one about the whole system
FILLER, WHOLE, EPITHET, FROM_DOC = 0.1, 0.1, 0.1, 0.3
TAKE_AGAIN = 0.5                        # a second column without "and"
SEVERAL = frozenset({Rank.KEEP, Rank.TAKE})
COORDINATED = frozenset({Rank.KEEP, Rank.TAKE})
OTHER_SOURCES = SOURCE_WORDS - frozenset(facts_of("system").mass)      # "system load" speaks of all CPUs
DETERMINERS = frozenset("the a an all any my our this that these those".split())
AMONG = frozenset("in of from among on".split())
BY_WORDS = frozenset(BY.split("|"))
OPERATOR_WORDS = frozenset(word for operator in OPERATORS for pattern in operator.patterns for item in parse_pattern(pattern) for word in item.words)
PIPE_WORDS = frozenset("row item object record entry value it result element thing input pipe output".split())
VERB_NEEDS: dict[str, frozenset[Rank]] = {        # what a verb that is not accounted for by an operator must come with
    "retrieve": frozenset(), "measure": frozenset({Rank.FOLD, Rank.GROUP, Rank.DERIVE}), "format": frozenset({Rank.FORMAT}), "compare": frozenset({Rank.TAKE}),
    "select": frozenset({Rank.KEEP, Rank.TAKE, Rank.ORDER, Rank.CUT, Rank.DISTINCT}), "search": frozenset({Rank.KEEP}),
    "count": frozenset(), "group": frozenset({Rank.GROUP}), "limit": frozenset({Rank.CUT})}

Answer = tuple[Row, ...] | StopKind
World = Mapping[str, Sequence[Row]]     # the rows of each source; PIPE is the value in the pipe
PIPE = ""


@dataclass(frozen=True, slots=True)
class Span:
    """An operator's steps in a plan: `start` up to, but not including, `end`."""

    operator: Operator
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A complete plan.

    Attributes:
        plan, cost: what it does, and how far-fetched it is to read the words so.
        answers: what it gives in each world.
        leaf: where it begins.
        spans: its operators, and for each where its steps begin and end.
    """

    plan: Plan
    cost: float
    answers: tuple[Answer, ...]
    leaf: Leaf
    spans: tuple[Span, ...]

    def differs_from(self, other: Candidate) -> int | None:
        """The first world in which the two answer differently; None if there is none. To show more or fewer columns of the same rows is no difference.

        Generated worlds do not know that what two sources tell hangs together; if two sources give the same telling answer live, that decides.
        """
        ours, theirs = self.plan.type(), other.plan.type()
        if self.leaf.source != other.leaf.source and _is_telling(self.answers[0]) and _say_the_same(ours, self.answers[0], theirs, other.answers[0]):
            return None
        pairs = enumerate(zip(self.answers, other.answers, strict=True))
        return next((number for number, (one, another) in pairs if not _say_the_same(ours, one, theirs, another)), None)


@dataclass(slots=True)
class Found:
    """What a search came to: complete plans, cheapest first; how many partial ones it saw; the tokens of the best partial one; whether it ran out of budget.

    `is_command`: a reading was left out because the words tell somebody to do something.
    """

    candidates: list[Candidate] = field(default_factory=list)
    explored: int = 0
    understood: int = 0
    exhausted: bool = False
    is_command: bool = False


@dataclass(frozen=True, slots=True)
class _State:
    steps: tuple[Step, ...]
    type: Type
    mask: int
    cost: float
    bricks: tuple[Brick, ...]
    takes: tuple[str, ...]
    answers: tuple[Answer, ...]
    spans: tuple[Span, ...] = ()


def search(intent: Intent, leaves: Sequence[Leaf], worlds: Callable[[Leaf], Sequence[World]], budget: int = MOST_STATES) -> Found:
    """All complete plans over the leaves."""
    found = Found()
    for leaf in leaves:
        search_leaf = _Search(intent, leaf, found, budget)
        if search_leaf.is_hopeful():
            search_leaf.worlds = worlds(leaf)
            search_leaf.run()
        if found.exhausted:
            break
    found.candidates.sort(key=lambda one: (one.cost, len(one.plan.steps), str(one.plan)))
    return found


class _Search:
    """One leaf's search."""

    def __init__(self, intent: Intent, leaf: Leaf, found: Found, budget: int) -> None:
        self.intent, self.tokens, self.leaf, self.found, self.budget = intent, intent.tokens, leaf, found, budget
        self.worlds: Sequence[World] = ()
        self.bricks = bricks_of(self.tokens, leaf)
        self.meant = 0                                        # tokens that some operator could account for
        self.held = 0                                         # and those that name a cell
        for brick in self.bricks:
            self.meant |= brick.mask
            self.held |= brick.mask if brick.fill.held is not None else 0
        self.leaf_is_named = any(self.names_leaf(token) for token in self.tokens)
        self.fillers = [self.filler_cost(index, token) for index, token in enumerate(self.tokens)]
        self.all = (1 << len(self.tokens)) - 1
        self.filled = sum(1 << index for index, cost in enumerate(self.fillers) if cost is not None)
        self.said = sum(1 << index for index, token in enumerate(self.tokens) if self.names_leaf(token))

    def is_hopeful(self) -> bool:
        """Whether every token could be accounted for."""
        covered = self.filled
        for brick in self.bricks:
            covered |= brick.mask
        if covered.bit_count() > self.found.understood.bit_count():
            self.found.understood = covered
        return covered == self.all

    def run(self) -> None:
        states = [_State(self.leaf.steps, self.leaf.type, 0, 0.0, (), (), tuple(self.begin(world) for world in self.worlds))]
        for rank in Rank:
            bricks = [brick for brick in self.bricks if brick.operator.rank is rank]
            if rank is not Rank.LEAF and bricks:
                states = self.cheapest([after for state in states for after in self.extended(state, bricks, several=rank in SEVERAL)])
            if rank is Rank.TAKE:
                states = self.cheapest([after for state in states for after in self.taken(state)])
        for state in states:
            self.complete(state)

    def extended(self, state: _State, bricks: Sequence[Brick], *, several: bool) -> Iterator[_State]:
        """The state as it is, and after one brick, or after several in the order of the words."""
        yield state
        for index, brick in enumerate(bricks):
            if state.mask & brick.mask or self.found.exhausted:
                continue
            after = self.applied(state, brick)
            if after is not None:
                yield from self.extended(after, bricks[index + 1:] if several else (), several=several)

    def applied(self, state: _State, brick: Brick) -> _State | None:
        self.found.explored += 1
        if self.found.explored > self.budget:
            self.found.exhausted = True
            return None
        cost, mask = state.cost + brick.cost, state.mask | brick.mask
        if brick.operator.lowers == ("take",):
            assert brick.fill.column is not None
            return replace(state, mask=mask, cost=cost, bricks=(*state.bricks, brick), takes=(*state.takes, brick.fill.column.name))
        if brick.operator.rank > Rank.TAKE and brick.operator.rank is not Rank.FORMAT and state.takes and brick.operator.rank is not Rank.DISTINCT:
            return None                                       # a column that is shown is not folded away
        try:
            steps, kind = lower_brick(brick, state.type, self.leaf)
            answers = self.advance(state, steps)
        except (DoesNotFit, PlanError):                       # by the operator's signature, or by a step's
            return None
        if any(_contradicts(one, other) for one in steps for other in state.steps):
            return None                                       # "warnings and errors" are not rows that are both
        spans = (*state.spans, Span(brick.operator, len(state.steps), len(state.steps) + len(steps)))
        return _State((*state.steps, *steps), kind, mask, cost, (*state.bricks, brick), state.takes, answers, spans)

    def taken(self, state: _State) -> Iterator[_State]:
        """The columns that were named become the rows' columns."""
        if not state.takes:
            yield state
            return
        is_distinct = any(brick.operator.rank is Rank.DISTINCT for brick in self.bricks)      # what tells rows apart makes all of them distinct
        exactly = self.intent.verb == "select" or is_distinct or (self.leaf.is_pipe and self.leaf.source is None)
        try:
            steps, kind = take_columns(list(state.takes), state.type, self.leaf, exactly=exactly)
        except DoesNotFit:
            return
        cost, spans = state.cost + self.crowding(state), (*state.spans, Span(BY_NAME["take"], len(state.steps), len(state.steps) + len(steps)))
        yield _State((*state.steps, *steps), kind, state.mask, cost, state.bricks, state.takes, self.advance(state, steps), spans)

    def crowding(self, state: _State) -> float:
        bricks = sorted((brick for brick in state.bricks if brick.operator.rank is Rank.TAKE), key=Brick.first)
        return sum(TAKE_AGAIN for one, other in pairwise(bricks)
                   if not self.tokens[other.first()].literal and not any(token.word == "and" for token in self.tokens[one.first():other.first()]))

    def cheapest(self, states: list[_State]) -> list[_State]:
        """One state for each set of tokens and behaviour."""
        best: dict[tuple[object, ...], _State] = {}
        for state in states:
            key = (state.mask, state.type, state.takes, state.answers)
            if key not in best or best[key].cost > state.cost:
                best[key] = state
        return list(best.values())

    def complete(self, state: _State) -> None:
        """Count the state among the candidates if what is left of the request needs no operator."""
        cost, ranks = state.cost, {brick.operator.rank for brick in state.bricks}
        if self.is_command(state) or self.is_out_of_order(state) or self.is_undone(state):
            return
        for index, token in enumerate(self.tokens):
            if state.mask >> index & 1:
                continue
            filler = self.fillers[index]
            if filler is None or (token.word == "and" and not self.joins(index, state)) or (index == 0 and not self.verb_is_served(token, ranks)):
                return
            if not state.bricks and index and not self.names_leaf(token) and self.has(token):
                return
            cost += filler
        is_said = self.said & ~state.mask or any(brick.mentions for brick in state.bricks)
        if not is_said and not self.leaf.is_pipe:
            cost += SINGLE_UNSAID if self.leaf.facts.single else LEAF_UNSAID
        if not is_said and not self.leaf.is_pipe and not self.is_evoked(state):
            return                                            # nothing in the words asks for this source
        if any(brick.operator.name == "count" for brick in state.bricks) and self.counts_what_rows_count(state):
            return
        if self.leaf.is_pipe and (len(state.steps) == 1 or not (state.bricks or any(token.word in self.leaf.names for token in self.tokens))):
            return                                            # to hand on what is in the pipe is no command
        if cost > FARTHEST:
            return
        plan = Plan(state.steps, self.leaf.input, self.leaf.reads)
        self.found.candidates.append(Candidate(plan, round(cost + self.leaf.cost, 6), state.answers, self.leaf, state.spans))

    def has(self, token: Token) -> bool:
        """Whether it is a word of having, which says nothing alone: "memory used by the system"."""
        return any(form in HAVING_WORDS for form in forms(token.word))

    def is_command(self, state: _State) -> bool:
        """`free the memory`, `load the cpus`: a word in front that names a measure or a cell, and then a thing, tells somebody to do it."""
        first, second = self.tokens[0], self.tokens[1] if len(self.tokens) > 1 else None
        brick = next((brick for brick in state.bricks if brick.mask in (0b1, 0b11)), None)
        if brick is None or second is None or first.lead:
            return False
        if brick.fill.held is not None:
            is_told = first.word in CELL_SYNONYMS and first.word in ACTING_VERBS                    # "run task 3", but "debug messages"
        else:
            is_measure = brick.operator.rank is Rank.TAKE and brick.fill.column is not None and brick.fill.column.kind is not Kind.TEXT
            is_told = is_measure and (first.word in ACTING_VERBS if self.intent.is_verb_noun else bool(DETERMINERS & set(second.lead[:1])))
        self.found.is_command = self.found.is_command or is_told
        return is_told

    def is_out_of_order(self, state: _State) -> bool:
        """`errors in the last 5 messages` are not the last 5 errors: plans filter first, and words that want it otherwise are not served."""
        kept = 0
        for brick in state.bricks:
            kept |= brick.mask if brick.operator.rank is Rank.KEEP else 0
        for brick in state.bricks:
            first = brick.first()
            is_slice = brick.operator.rank in (Rank.CUT, Rank.ORDER) and any(step.startswith("slice") for step in brick.operator.lowers)
            if is_slice and AMONG & set(self.tokens[first].lead) and kept & (1 << first) - 1:
                return True
        return False

    def is_undone(self, state: _State) -> bool:
        """A superlative that neither a number nor a singular bounds, of which something is then counted or added up: the order would be lost."""
        ordered = any(brick.operator.rank is Rank.ORDER for brick in state.bricks)
        return ordered and any(isinstance(step, Fold) for step in state.steps) and not any(isinstance(step, Slice) for step in state.steps)

    def is_evoked(self, state: _State) -> bool:
        """Whether the words name something that the leaf has, though not the leaf; and no other source is named by them."""
        if any(brick.fill.held is not None and brick.fill.held.comparison == "contains" for brick in state.bricks):
            return False
        by_key = 0                                            # "on cpu 2" names no source
        for brick in state.bricks:
            column = brick.fill.column
            is_number = brick.operator.rank is Rank.KEEP and column is not None and is_identifier(column)
            if is_number and column is not None and column.name in OTHER_SOURCES and "of" in self.tokens[brick.first()].lead:
                return False                                  # "priority of cpu 1": a CPU has none
            if is_number or (brick.fill.key is not None and any(self.tokens[place].word in BY_WORDS for place in places_of(brick.mask))):
                by_key |= brick.mask
        others = [token for index, token in enumerate(self.tokens) if not by_key >> index & 1 and token.word in OTHER_SOURCES and not token.literal]
        if others and not self.leaf.facts.single:
            return False
        return any(_is_evocative(brick) for brick in state.bricks)

    def counts_what_rows_count(self, state: _State) -> bool:
        """`how many interrupts` does not ask for the number of vectors."""
        words = [token.word for index, token in enumerate(self.tokens) if self.said >> index & 1]
        return bool(words) and all(word in self.leaf.facts.counted for word in words)

    def joins(self, index: int, state: _State) -> bool:
        """Whether an "and" stands between words of two operators of one rank, and that rank can be had several times."""
        def rank_at(places: Sequence[int]) -> Rank | None:
            for place in places:
                for brick in state.bricks:
                    if brick.mask >> place & 1:
                        return brick.operator.rank
            return None

        left = rank_at(range(index - 1, -1, -1))
        return left is not None and left in COORDINATED and left is rank_at(range(index + 1, len(self.tokens)))

    def verb_is_served(self, token: Token, ranks: set[Rank]) -> bool:
        if not self.intent.verb or token.word in self.leaf.names:
            return True
        needs = VERB_NEEDS.get(self.intent.verb)
        return needs is not None and (not needs or bool(needs & ranks))

    def names_leaf(self, token: Token) -> bool:
        return token.number is None and not token.literal and (token.word in self.leaf.names or (self.leaf.is_pipe and token.word in PIPE_WORDS))

    def filler_cost(self, index: int, token: Token) -> float | None:
        """What it costs to let a word pass without an operator; None if it must be accounted for."""
        if token.number is not None or token.literal:
            return None
        if self.names_leaf(token):
            return 0.0
        if index == 0 and self.intent.verb and self.intent.verb in VERB_NEEDS and token.text.lower() in VERBS[self.intent.verb] and self.intent.verb != "count":
            return 0.0 if self.intent.verb == "retrieve" else FILLER
        if token.word == "and":
            return 0.0
        if token.word in WHOLE_WORDS and index and not self.held >> index & 1:
            return WHOLE
        if token.word in self.leaf.facts.epithets and self.leaf_is_named:
            return EPITHET
        if token.word in self.leaf.doc_words and self.leaf_is_named and not self.meant >> index & 1 and token.word not in OPERATOR_WORDS:
            return FROM_DOC
        if index and not self.meant >> index & 1 and token.word not in CELL_WORDS and any(form in HAVING_WORDS for form in forms(token.word)):
            return FILLER
        return None

    # --- answers ------------------------------------------------------------------------------------------------------------

    def begin(self, world: World) -> Answer:
        """What the leaf gives in a world."""
        return _answer(self.leaf.steps, None, Plan(self.leaf.steps, self.leaf.input, self.leaf.reads), (), world)

    def advance(self, state: _State, steps: Sequence[Step]) -> tuple[Answer, ...]:
        """The answers after further steps."""
        if not steps:
            return state.answers
        plan = Plan((), self.leaf.input, ())
        return tuple(answer if isinstance(answer, StopKind) else _answer(steps, state.type, plan, answer, {}) for answer in state.answers)


def _contradicts(one: Step, other: Step) -> bool:
    if isinstance(one, Slice) and isinstance(other, Slice):
        return one.part == other.part != "skip" and one.count > other.count       # "the busiest, two of them": one of the two was not said
    return isinstance(one, Keep) and isinstance(other, Keep) and one.column == other.column and one.comparison == other.comparison == "equal"


def _is_telling(answer: Answer) -> bool:
    """Whether an answer is unlikely to be the same by chance: it has a number that is neither 0 nor 1."""
    return not isinstance(answer, StopKind) and any(isinstance(cell, (int, float)) and cell not in (0, 1) for row in answer for cell in row)


def _is_evocative(brick: Brick) -> bool:
    """Whether the brick's words name something that the leaf has."""
    fill = brick.fill
    return fill.held is not None or fill.key is not None or (fill.column is not None and "QUALITY" not in " ".join(brick.operator.patterns))


def _say_the_same(ours: Type, one: Answer, theirs: Type, another: Answer) -> bool:
    if ours.shape is theirs.shape and [column.kind for column in ours.columns] == [column.kind for column in theirs.columns]:
        return one == another
    if isinstance(one, StopKind) or isinstance(another, StopKind):
        return one is another or {one, another} == {StopKind.NO_ROWS, ()}
    if Shape.SCALAR in (ours.shape, theirs.shape) and ours.shape is not theirs.shape and len(one) == len(another) == 1:
        cells = [set(zip((column.kind for column in kind.columns), answer[0], strict=True)) for kind, answer in ((ours, one), (theirs, another))]
        return cells[0] <= cells[1] or cells[1] <= cells[0]   # a number, and the row that has it
    shared = [column for column in ours.columns if column in theirs.columns]
    if ours.shape is not theirs.shape or not shared or len(one) != len(another):
        return False
    places = [(ours.columns.index(column), theirs.columns.index(column)) for column in shared]
    return all(row[a] == other[b] for row, other in zip(one, another, strict=True) for a, b in places)


def _answer(steps: Sequence[Step], before: Type | None, plan: Plan, rows: Sequence[Row], world: World) -> Answer:
    try:
        for step in steps:
            after = step_type(step, before, plan)
            rows = interpret_step(step, before, after, rows, world, world.get(PIPE, ()))
            before = after
    except CommandStopped as stop:
        return stop.kind
    return tuple(rows)
