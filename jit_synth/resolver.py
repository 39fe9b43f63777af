"""The way of a request: request -> intent -> search -> two lowerings -> validation -> signature -> store -> command.

Every step may refuse, and says what it understood. What was accepted once is answered from the store the next time, after its record and module were
checked again, and takes part in later searches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jit_synth.abi import TELEMETRY, capability_of, is_granted, source_import
from jit_synth.command import Command
from jit_synth.intent import BadRequest, Intent, Request, read_intent
from jit_synth.keys import Keys
from jit_synth.lineage import TIER_LOCAL, Record, Sealed, canonical, check, digest, intent_digest, seal
from jit_synth.plan import Only, Plan, PlanError, Read, Split, Step, Upstream, plan_from_plain, plan_to_plain
from jit_synth.probes import telling
from jit_synth.refusals import LineageError, LinkError, Refusal, RefusalKind, StopKind, SynthesisError, ToolchainMissing
from jit_synth.search import MARGIN, MOST_STATES, PIPE, Candidate, Found, World, search
from jit_synth.senses import Leaf
from jit_synth.store import Store
from jit_synth.values import TEXT_COLUMN, Row, Scalar, Shape, Text, Type, UntypedInput, checked_rows, rows_of, type_of
from jit_synth.vocabulary import ACTING_VERBS, facts_of
from kernel.telemetry import Column, Kind, Source

if TYPE_CHECKING:
    from jit_synth.runtime import Program

COMPILER = "folkering-spinal 2"         # a change of the lowering, or of what words mean, changes the number: what was stored before is made anew
NS_PER_S = 1_000_000_000
MOST_LIVE_ROWS = 256                    # the last ones; of each source, to look for cells that are named
MOST_LEARNED = 256
LONGEST_SHOWN = 160
NOTHING = Type(Shape.NOTHING)
SPLITS = {"line": frozenset({"line", "row"}), "word": frozenset({"word"})}
EXAMPLE = "example"                     # the named argument with a pair "in => out"


class Resolver:
    """Makes commands from what is asked for; `Synthesizer` is its door.

    Args:
        sources: the live data, by name.
        store: where accepted commands are kept.
        keys: what signs them, and what stored ones must be signed by.
        clock: ns since 1970, for the records.
        grants: capabilities that commands may have; `telemetry` grants every `telemetry.<source>`.
        budget: partial plans looked at before a search gives up.

    Attributes:
        notes: one line for each stored skill that was refused, or that could not be stored.
    """

    def __init__(self, sources: Mapping[str, Source], store: Store, keys: Keys, clock: Callable[[], int], grants: frozenset[str],
                 budget: int = MOST_STATES) -> None:
        self.sources, self.grants = sources, grants
        self.notes: list[str] = []
        self._store, self._keys, self._clock, self._budget = store, keys, clock, budget
        self._memory: dict[str, Sealed] = {}
        self._programs: dict[str, Program] = {}               # by the module's SHA-256: compiled, to be linked again at each run
        self._learned: dict[str, tuple[tuple[str, ...], Plan, str, float]] | None = None

    def resolve(self, request: Request) -> Command | Refusal:
        """A command that is ready to run, or the reason why there is none. Nothing has run yet."""
        try:
            return self._resolve(request)
        except ToolchainMissing as trouble:
            return Refusal(RefusalKind.TOOLCHAIN_MISSING, str(trouble), hint="python folkering.py doctor tells what is missing")
        except LinkError as trouble:
            return Refusal(RefusalKind.NEEDS_CAPABILITY, str(trouble), hint=f"grant {trouble.capability}")
        except LineageError as trouble:                       # the key itself: a refused skill is made anew
            return Refusal(RefusalKind.TOOLCHAIN_MISSING, str(trouble))
        except SynthesisError as trouble:
            return _own_mistake(trouble)

    def learned(self) -> dict[str, Plan]:
        """The accepted commands that later searches may build on, by name."""
        return {name: plan for name, (_, plan, _, _) in self._recall().items()}

    def warm(self) -> None:
        """Load libraries and tables, and the learned commands."""
        from jit_synth import validate
        from jit_synth.patterns import bricks_of
        from jit_synth.runtime import Limits
        from jit_synth.wasm.lower import compile_plan

        try:
            leaf = Leaf((), NOTHING, NOTHING, None, True, ())
            bricks_of((), leaf)
            self._program(compile_plan(Plan((Upstream(), Split("line")), Type(Shape.TEXT, (TEXT_COLUMN,)), ()))[1], Limits().fuel)
            self._recall()
            assert self._keys.name and validate
        except SynthesisError as trouble:
            self.notes.append(str(trouble))                   # the first request will say so too

    # --- the way of a request -------------------------------------------------------------------------------------------------

    def _resolve(self, request: Request) -> Command | Refusal:
        try:
            intent = read_intent(request)
            upstream = rows_of(request.upstream)
        except BadRequest as trouble:
            return Refusal(RefusalKind.NO_OPERATOR, f"this is no request: {trouble}")
        except UntypedInput as trouble:
            return Refusal(RefusalKind.UNTYPED_INPUT, f"the value in the pipe cannot be computed on: {trouble}")
        if any(name.lower() == EXAMPLE for name in request.arguments):
            return _one_example(intent)
        kind = type_of(request.upstream)
        if kind.shape is not Shape.NOTHING and not kind.columns:
            return Refusal(RefusalKind.UNTYPED_INPUT, "the value in the pipe has no columns")
        key = self._key(request, kind)
        known = self._known(key, request)
        if known is not None:
            return known
        live = self.live()
        found = self.find(intent, kind, upstream, live)
        refusal = self._refusal(request, intent, kind, found)
        if refusal is not None:
            return refusal
        return self._install(request, key, found, live, upstream)

    def _key(self, request: Request, kind: Type) -> str:
        """What an answer depends on: the words, the type in the pipe, the sources there are, the compiler."""
        arguments = [[name, *([value.kind.name, value.value] if isinstance(value, Scalar) else [value.text] if isinstance(value, Text) else [])]
                     for name, value in request.arguments.items()]
        sources = [[name, [[column.name, column.kind.name] for column in source.columns]] for name, source in sorted(self.sources.items())]
        return digest(canonical([COMPILER, list(request.words), arguments, str(kind), sources]))

    def _known(self, key: str, request: Request) -> Command | None:
        """The command that was made for the same request, checked; None if there is none, or none that passes."""
        try:
            sealed = self._memory.get(key) or self._store.load(key)
            if sealed is None:
                return None
            record = check(sealed, self._keys, key)
            command = self._command(record, plan_from_plain(record.plan), sealed, is_new=False)
        except (LineageError, PlanError) as trouble:
            self._keys.ensure()                               # a damaged key is the trouble, not the skill
            self.notes.append(f"{trouble}; made anew")
            self._memory.pop(key, None)
            self._store.set_aside(key)
            return None
        if not request.what_if:
            self._memory[key] = sealed
        return command

    def live(self) -> dict[str, tuple[Row, ...]]:
        """What the granted sources hold now. One whose cells do not fit its columns counts as empty: running it will say so."""
        live: dict[str, tuple[Row, ...]] = {}
        for name, source in self.sources.items():
            live[name] = ()
            if is_granted(f"{TELEMETRY}.{name}", self.grants):
                try:
                    live[name] = checked_rows(source.columns, source.rows()[-MOST_LIVE_ROWS:])
                except UntypedInput as trouble:
                    self.notes.append(f"{name}: {trouble}")
        return live

    def find(self, intent: Intent, kind: Type, upstream: Sequence[Row], live: Mapping[str, tuple[Row, ...]]) -> Found:
        """All plans for an intent over what is in the pipe, or over the sources if nothing is."""
        leaves = [*self._learned_leaves(intent, live), *self._source_leaves(live)] if kind.shape is Shape.NOTHING else self._pipe_leaves(kind, upstream)
        constants = [token.number for token in intent.tokens if token.number is not None]

        def worlds(leaf: Leaf) -> Sequence[World]:
            if leaf.is_pipe:
                return [{PIPE: upstream}, *({PIPE: probe.rows} for probe in telling(leaf.input, leaf.source, constants))]
            name, columns = leaf.reads[0]
            return [live, *({name: probe.rows} for probe in telling(_table(name, columns), name, constants))]

        found = search(intent, leaves, worlds, self._budget)
        direct = [candidate for candidate in found.candidates if not candidate.leaf.parent]
        if direct:                                            # what was learned can stand for a reading; it must not change what words mean
            learned = [candidate for candidate in found.candidates if candidate.leaf.parent and candidate.differs_from(direct[0]) is None]
            found.candidates = [*(replace(one, cost=direct[0].cost) for one in learned), *direct]
        return found

    # --- where plans begin ----------------------------------------------------------------------------------------------------

    def _source_leaves(self, live: Mapping[str, tuple[Row, ...]]) -> list[Leaf]:
        leaves = []
        for name, source in self.sources.items():
            steps: tuple[Step, ...] = (Read(name), Only()) if facts_of(name).single else (Read(name),)
            leaves.append(Leaf(steps, _table(name, source.columns), NOTHING, name, False, live[name], ((name, source.columns),), doc=source.doc))
        return leaves

    def _pipe_leaves(self, kind: Type, rows: Sequence[Row]) -> list[Leaf]:
        given = _names_and_kinds(kind.columns)
        known = {name: _names_and_kinds(source.columns) for name, source in self.sources.items()}
        holders = [name for name, columns in known.items() if columns == given] or [name for name,
                                                                                    columns in known.items() if len(given) > 1 and given <= columns]
        source = holders[0] if len(holders) == 1 else None
        leaves = [Leaf((Upstream(),), kind, kind, source, True, rows)]
        if kind.shape is Shape.TEXT:
            leaves += [_split_leaf(unit, words, rows) for unit, words in SPLITS.items()]
        return leaves

    def _learned_leaves(self, intent: Intent, live: Mapping[str, tuple[Row, ...]]) -> list[Leaf]:
        """Learned commands whose words all stand in the request, side by side, with something more."""
        said = [token.word or token.text for token in intent.tokens]
        leaves = []
        for words, plan, parent, cost in self._recall().values():
            if len(words) < len(said) and any(tuple(said[start:start + len(words)]) == words for start in range(len(said) - len(words) + 1)):
                source, columns = plan.sources[0]
                rows = live.get(source, ()) if plan.type().columns == columns else ()
                leaves.append(Leaf(plan.steps, plan.type(), NOTHING, source, False, rows, plan.sources, frozenset(words), parent, cost))
        return leaves

    def _recall(self) -> dict[str, tuple[tuple[str, ...], Plan, str, float]]:
        """Learned commands by name; at the first use those in the store, each checked."""
        if self._learned is None:
            self._learned = {}
            for key in self._store.requests():
                if len(self._learned) >= MOST_LEARNED:
                    break
                try:
                    sealed = self._store.load(key)
                    if sealed is not None:
                        self._learn(check(sealed, self._keys, key))
                except (LineageError, PlanError) as trouble:
                    self.notes.append(str(trouble))
                    self._store.set_aside(key)
        return self._learned

    def _learn(self, record: Record) -> None:
        """Make a command known to later searches, if it can be a beginning: it reads a source and does not end in text."""
        plan = plan_from_plain(record.plan)
        words = tuple(record.evidence.get("words", ()))
        current = {name: source.columns for name, source in self.sources.items()}
        if plan.sources and words and plan.type().shape is not Shape.TEXT and all(current.get(name) == columns for name, columns in plan.sources):
            learned = self._recall()
            learned[record.prompt] = (words, plan, record.wasm_sha256, float(record.evidence.get("cost", 0.0)))

    # --- refusing -------------------------------------------------------------------------------------------------------------

    def _refusal(self, request: Request, intent: Intent, kind: Type, found: Found) -> Refusal | None:
        """Why the best reading must not run; None if it may."""
        prompt = request.prompt()
        if found.candidates:
            best = found.candidates[0]
            for name, _ in best.plan.sources:
                capability = capability_of(source_import(name))
                if not is_granted(capability, self.grants):
                    return Refusal(RefusalKind.NEEDS_CAPABILITY, f"it would {best.plan}, and {capability} was not granted", (prompt,), (),
                                   f"grant {capability}")
            for other in found.candidates[1:]:
                if other.cost - best.cost >= MARGIN:
                    break
                world = best.differs_from(other)
                if world is not None:
                    return _ambiguous(prompt, best, other, world)
            if not found.exhausted:
                return None
        from jit_synth.retrieval import nearest

        understood = tuple(token.text for index, token in enumerate(intent.tokens) if found.understood >> index & 1)
        unknown = [token for index, token in enumerate(intent.tokens) if not found.understood >> index & 1]
        known = [token for token in intent.tokens if token not in unknown]
        near = nearest(unknown, known, self.sources, {name: words for name, (words, _, _, _) in self._recall().items()})
        if found.exhausted:
            partial = f"; the best so far is {found.candidates[0].plan}" if found.candidates else ""
            return Refusal(RefusalKind.BUDGET, f"the search ended after {found.explored - 1} partial plans without an answer{partial}", understood, near,
                           "say it in fewer words")
        head = intent.tokens[0]
        if found.is_command or not found.understood & 1 and not intent.verb and not head.lead and (intent.is_verb_noun or head.word in ACTING_VERBS):
            acts = found.is_command or head.word in ACTING_VERBS
            why = "would change or create something, and commands made here only read" if acts else "is no verb known here"
            return Refusal(RefusalKind.UNKNOWN_VERB, f"{head.text!r} {why}", understood, near,
                           "verbs known here: get, measure, count, sort, group, select, format, ...", (head.text, *(token.text for token in unknown)))
        needed = self._needed_input(intent, kind)
        if needed is not None:
            has = "there is nothing in the pipe" if kind.shape is Shape.NOTHING else f"the pipe holds {_short(str(kind))}"
            return Refusal(RefusalKind.UNTYPED_INPUT, f"this works on {needed}, and {has}", understood, near, f"for example: cpus |> {request.words[0]}")
        if unknown:
            return Refusal(RefusalKind.NO_OPERATOR, f"nothing accounts for {', '.join(repr(token.text) for token in unknown)}", understood, near,
                           "" if near else "words that are known: the names of sources and columns, and what help lists",
                           tuple(token.text for token in unknown))
        return Refusal(RefusalKind.NO_OPERATOR, "every word is known, but no plan accounts for all of them together", understood, near,
                       "one thing at a time, joined by |>")

    def _needed_input(self, intent: Intent, kind: Type) -> str | None:
        """What would have to be in the pipe for the words to make sense; None if nothing would help."""
        fitting = []
        for name, source in self.sources.items() if kind.shape in (Shape.NOTHING, Shape.TEXT, Shape.SCALAR) else ():
            table = Type(Shape.TABLE, source.columns)
            if self.find(intent, table, telling(table, name)[0].rows, {}).candidates:
                fitting.append(name)
        if kind.shape is Shape.NOTHING:
            if fitting and len(fitting) == len(self.sources):     # what fits one source only had its chance as a leaf
                return "a value"
        elif fitting:
            return f"a table like {fitting[0]}"
        text = Type(Shape.TEXT, (TEXT_COLUMN,))
        return "text" if kind.shape is not Shape.TEXT and self.find(intent, text, (("some text\n",),), {}).candidates else None

    # --- installing -----------------------------------------------------------------------------------------------------------

    def _install(self, request: Request, key: str, found: Found, live: Mapping[str, tuple[Row, ...]], upstream: Sequence[Row]) -> Command | Refusal:
        from jit_synth.runtime import Limits
        from jit_synth.validate import Disagreement, validate
        from jit_synth.wasm.lower import compile_plan

        best = found.candidates[0]
        plan, prompt = best.plan, request.prompt()
        source, wasm = compile_plan(plan)
        program = self._program(wasm, Limits().fuel)
        try:
            evidence = validate(plan, best.spans, program, live, upstream)
        except Disagreement as trouble:
            return _own_mistake(trouble)
        evidence |= self._circumstances(request, found)
        plain, now = plan_to_plain(plan), max(0, self._clock() // NS_PER_S)
        capabilities = tuple(capability_of(source_import(name)) for name, _ in plan.sources)
        record = Record(
            name=request.words[0] if len(request.words) == 1 else prompt, request=key, prompt=prompt, plan=plain, plan_sha256=digest(canonical(plain)),
            source_sha256=digest(source.encode()), wasm_sha256=digest(wasm), time=now, tier=TIER_LOCAL, model="", compiler=COMPILER, flags=(),
            capabilities=capabilities, fuel=Limits().fuel, parent=(best.leaf.parent,) if best.leaf.parent else (), evidence=evidence, signer=self._keys.name,
            intent_digest=intent_digest(prompt, wasm, now))
        sealed = seal(record, wasm, self._keys)
        if not request.what_if:
            self._memory[key] = sealed
            try:
                self._store.save(key, sealed)
            except SynthesisError as trouble:
                self.notes.append(str(trouble))
            self._learn(record)
        return self._command(record, plan, sealed, is_new=True)

    def _circumstances(self, request: Request, found: Found) -> dict[str, Any]:
        """How the plan was found: for -WhatIf, and for later searches."""
        best, *others = found.candidates
        different = next((other for other in others if best.differs_from(other) is not None), None)
        intent = read_intent(request)
        words = [token.word or token.text for index, token in enumerate(intent.tokens) if index or intent.verb != "retrieve"]
        return {"explored": found.explored, "readings": len(found.candidates), "cost": best.cost, "words": words,
                **({"next": str(different.plan), "next_cost": different.cost} if different is not None else {})}

    def _program(self, wasm: bytes, fuel: int) -> Program:
        from jit_synth.runtime import Limits, Program

        name = digest(wasm)
        if name not in self._programs:
            self._programs[name] = Program(wasm, self.grants, Limits(fuel=fuel))
        return self._programs[name]

    def _command(self, record: Record, plan: Plan, sealed: Sealed, *, is_new: bool) -> Command:
        return Command(record.name, plan, record, is_new, sealed, self._program(sealed.wasm, record.fuel), self.sources, self._keys, self.notes.append)


def _names_and_kinds(columns: Sequence[Column]) -> frozenset[tuple[str, Kind]]:
    return frozenset((column.name, column.kind) for column in columns)


def _table(name: str, columns: tuple[Column, ...]) -> Type:
    return Type(Shape.RECORD if facts_of(name).single else Shape.TABLE, columns)


def _split_leaf(unit: str, words: frozenset[str], rows: Sequence[Row]) -> Leaf:
    text = Type(Shape.TEXT, (TEXT_COLUMN,))
    plan = Plan((Upstream(), Split(unit)), text, ())
    lines = str(rows[0][0]).split("\n" if unit == "line" else None) if rows else []
    return Leaf(plan.steps, plan.type(), text, None, True, tuple((line,) for line in lines), (), words)


def _ambiguous(prompt: str, best: Candidate, other: Candidate, world: int) -> Refusal:
    """Two readings that differ: on which input, and how."""
    first, second = (_short(_answer_text(one, world)) for one in (best, other))
    where = "On what is there now" if world == 0 else "On a generated input"
    return Refusal(RefusalKind.AMBIGUOUS, f"it can mean ({best.plan}) or ({other.plan}). {where} the first gives {first}, the second {second}", (prompt,), (),
                   "say which, for example with sort, count, or the name of the source")


def _answer_text(candidate: Candidate, world: int) -> str:
    answer = candidate.answers[world]
    if isinstance(answer, StopKind):
        return f"nothing: {answer.value}"
    names = candidate.plan.type().names()
    rows = ["(" + ", ".join(f"{name} {cell!r}" for name, cell in zip(names, row, strict=True)) + ")" for row in answer[:3]]
    return f"{len(answer)} rows: {', '.join(rows)}" if len(answer) != 1 else rows[0]


def _one_example(intent: Intent) -> Refusal:
    return Refusal(RefusalKind.AMBIGUOUS, "one example fits many commands: identity, a constant, and all in between; it never runs by itself",
                   tuple(token.text for token in intent.tokens[:1]), (), "say in words what shall be done")


def _own_mistake(trouble: SynthesisError) -> Refusal:
    return Refusal(RefusalKind.NO_OPERATOR, f"the command does not pass its own checks, and was not installed: {trouble}",
                   hint="this is a mistake of the synthesizer's")


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN - 3] + "..."
