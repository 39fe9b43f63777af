"""What words mean here: sources, columns, verbs, adjectives, numbers. Data, with the few lines that look it up.

The names of sources and columns come from telemetry itself; this adds the other words that people use for them, and what a name does not tell: which
columns identify a row, which may be added up, what "busy" or "large" measures.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernel.telemetry import Column, Kind


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a source beyond its columns.

    Attributes:
        row: words for one row; can be counted.
        counted: words for what the rows only count, as an interrupt is; `counter` is the column with the count.
        mass: words for the whole that have no plural, as memory.
        identity: the columns that tell rows apart; shown beside whatever is asked for.
        points: columns that look additive by their kind, but are positions in time or places in an order.
        busy, big, new: the columns that these qualities measure; "" if there is none.
        values: words that a text column can hold, even when no row holds them now.
        epithets: adjectives that are true of all of it, and so tell nothing.
        single: the source has one row only.
    """

    row: tuple[str, ...] = ()
    counted: tuple[str, ...] = ()
    counter: str = ""
    mass: tuple[str, ...] = ()
    identity: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    busy: str = ""
    big: str = ""
    new: str = ""
    values: tuple[tuple[str, tuple[str, ...]], ...] = ()
    epithets: tuple[str, ...] = ()
    single: bool = False


SOURCES: dict[str, Facts] = {
    "system": Facts(mass=("system", "machine", "computer"), single=True),
    "cpus": Facts(row=("cpu", "processor", "core", "vcpu"), identity=("id",), busy="load",
                  values=(("state", ("idle", "running", "online", "offline", "halted")),)),
    "tasks": Facts(row=("task", "process", "job"), identity=("id", "name"), points=("priority",), busy="time", big="memory",
                   values=(("state", ("ready", "running", "waiting", "sleeping", "exited", "killed", "blocked", "idle")),)),
    "memory": Facts(row=("region",), mass=("memory", "ram"), identity=("base",), busy="used", big="size", epithets=("physical", "system"),
                    values=(("kind", ("usable", "reserved", "framebuffer")),)),
    "interrupts": Facts(row=("vector",), counted=("interrupt", "irq"), counter="count", identity=("vector", "name", "cpu"), busy="count"),
    "log": Facts(row=("message", "entry", "record", "line"), mass=("log",), identity=("time",), points=("time",), new="time", epithets=("kernel", "system"),
                 values=(("level", ("debug", "info", "notice", "warning", "error", "critical")),)),
    "devices": Facts(row=("device", "peripheral"), identity=("address",), epithets=("pci", "hardware")),
}
NO_FACTS = Facts()
ROW_WORDS = frozenset(word for facts in SOURCES.values() for word in facts.row)
SOURCE_WORDS = frozenset(word for facts in SOURCES.values() for word in (*facts.row, *facts.counted, *facts.mass))
CELL_WORDS = frozenset(word for facts in SOURCES.values() for _, words in facts.values for word in words)

# Columns whose numbers are names: they can be compared for equality, and mean nothing when added.
IDENTIFIERS = frozenset({"id", "cpu", "vector", "base", "vendor", "device", "address", "pid", "line", "number"})

# Other words for a column, tried where no column has the word itself.
COLUMN_SYNONYMS: dict[str, tuple[str, ...]] = {
    "usage": ("used", "load"), "use": ("used",), "occupied": ("used",), "consumption": ("used",), "available": ("free",), "unused": ("free",),
    "utilization": ("load", "used"), "utilisation": ("load", "used"), "capacity": ("total", "size"), "identifier": ("id",), "pid": ("id",),
    "runtime": ("time",),
    "type": ("kind", "class"), "severity": ("level",), "subsystem": ("facility",), "processor": ("cpu",), "core": ("cpu",), "vcpu": ("cpu",),
    "process": ("task",), "irq": ("interrupt",), "ram": ("memory",), "frequency": ("rate",), "per-second": ("rate",), "how-busy": ("load",),
    "cpu-time": ("time",), "busy": ("load",), "up": ("uptime",),
    "condition": ("state",),
    "status": ("state",),
    "kernel": ("system",), "text": ("message",),
}
# A word that only repeats a column's kind: "idle time" is the column idle, if that is a duration.
KIND_WORDS: dict[str, frozenset[Kind]] = {
    "time": frozenset({Kind.DURATION}), "duration": frozenset({Kind.DURATION}), "byte": frozenset({Kind.SIZE}), "space": frozenset({Kind.SIZE}),
    "size": frozenset({Kind.SIZE}), "amount": frozenset({Kind.SIZE}), "ratio": frozenset({Kind.RATIO}), "percentage": frozenset({Kind.RATIO}),
    "percent": frozenset({Kind.RATIO}), "fraction": frozenset({Kind.RATIO}), "count": frozenset({Kind.INTEGER}), "number": frozenset({Kind.INTEGER}),
    "level": frozenset({Kind.RATIO}),
}

# Verbs by what they ask for: PowerShell's approved verbs and their everyday synonyms.
VERBS: dict[str, frozenset[str]] = {
    "retrieve": frozenset("get show list display view print give tell see find fetch read report check retrieve inspect lookup obtain".split()),
    "measure": frozenset("measure quantify calculate compute determine".split()),
    "count": frozenset(("count",)),
    "sort": frozenset("sort order rank arrange".split()),
    "group": frozenset(("group", "bucket", "tally")),
    "compare": frozenset(("compare", "contrast")),
    "format": frozenset("format convert convertto render draw present".split()),
    "select": frozenset("select pick choose take".split()),
    "sum": frozenset(("sum", "total")),
    "reverse": frozenset(("reverse", "invert", "flip")),
    "search": frozenset("search grep match filter where keep".split()),
    "split": frozenset(("split", "tokenize")),
    "describe": frozenset(("describe", "summarize", "summarise", "profile")),
    "limit": frozenset(("limit",)),
    "skip": frozenset(("skip", "omit")),
}

# Adjectives that name a quality: (the quality, largest first).
# Adjectives for what a cell holds, beside the cell's own word.
CELL_SYNONYMS = {"run": "running", "sleep": "sleeping", "wait": "waiting",
                 "busy": "running", "active": "running", "asleep": "sleeping", "blocked": "waiting", "dead": "exited", "available": "usable", "warn": "warning",
                 "fault": "error", "failure": "error"}

QUALITIES: dict[str, tuple[str, bool]] = {
    "busiest": ("busy", True), "hottest": ("busy", True), "idlest": ("busy", False), "quietest": ("busy", False), "laziest": ("busy", False),
    "largest": ("big", True), "biggest": ("big", True), "heaviest": ("big", True), "smallest": ("big", False), "tiniest": ("big", False),
    "newest": ("new", True), "latest": ("new", True), "recent": ("new", True), "longest-running": ("busy", True), "most-recent": ("new", True),
    "oldest": ("new", False), "earliest": ("new", False),
}

NUMBER_WORDS = {word: number for number, word in enumerate(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty".split())}
NUMBER_WORDS["dozen"] = 12

PHRASES: dict[tuple[str, ...], str] = {
    ("at", "least"): "at-least", ("no", "less", "than"): "at-least", ("no", "fewer", "than"): "at-least", ("at", "most"): "at-most",
    ("no", "more", "than"): "at-most", ("up", "to"): "at-most", ("right", "now"): "now", ("how", "many"): "how-many", ("how", "much"): "how-much",
    ("how", "long"): "how-long", ("add", "up"): "sum",
    ("number", "of"): "number-of",
    ("per", "second"): "per-second", ("most", "recent"): "most-recent", ("longest", "running"): "longest-running", ("other", "than"): "not",
    ("not", "equal", "to"): "not", ("equal", "to"): "equal",
    ("standard", "deviation"): "deviation", ("less", "than"): "below", ("lower", "than"): "below", ("fewer", "than"): "below", ("smaller", "than"): "below",
    ("shorter", "than"): "below", ("more", "than"): "above", ("greater", "than"): "above", ("higher", "than"): "above", ("larger", "than"): "above",
    ("bigger", "than"): "above", ("longer", "than"): "above", ("as", "well", "as"): "and",
    ("system", "call"): "syscall", ("system", "calls"): "syscall", ("since", "boot"): "since-boot", ("boot", "time"): "boot-time", ("how", "busy"): "how-busy",
    ("how", "loaded"): "how-busy", ("up", "time"): "uptime", ("cpu", "time"): "cpu-time", ("processor", "time"): "cpu-time",
    ("used", "by"): "used-by", ("taken", "by"): "used-by",
    ("made", "by"): "used-by", ("held", "by"): "used-by", ("without", "duplicates"): "distinct", ("without", "repetitions"): "distinct",
}
# Words without a meaning of their own here. Not among them: negations, conjunctions, times, modal verbs; what they say must be accounted for.
STOP_WORDS = frozenset(
    "the a an of in on for from to with as at me us i my our this that these those them their its is are was were be been has have had having do does did"
    " there please now currently current live which what who whose all any only using taking".split()) | {"right now"}

IRREGULAR = {"processes": "process", "indices": "index", "statuses": "status", "busses": "bus", "buses": "bus", "entries": "entry", "classes": "class",
             "addresses": "address", "memories": "memory", "frequencies": "frequency", "priorities": "priority", "facilities": "facility"}
NO_PLURAL = frozenset({"process", "class", "address", "status", "bus", "less", "is", "us", "this", "vs", "its", "as", "has", "was", "does", "across", "access"})


# Words for all that there is to know of something.
WHOLE_WORDS = frozenset("stat statistic info information detail data metric overview snapshot everything ones since-boot list table report".split())
# Words of a source's description that are not about anything in particular.
FUNCTION_WORDS = frozenset("how what when where why each every by and or not one two first last whole part number name used".split())
# Words that stand between a thing and its measure, as in "the task that uses the most memory".
HAVING_WORDS = frozenset("use consume take need hold occupy handle serve make execute receive spend cause produce own run occur happen contain get come made"
                         " held spent taken used-by".split())
# Verbs of PowerShell's list and of every day that ask for a change or a creation: nothing here changes anything.
ACTING_VERBS = frozenset(
    "write add approve assert backup block build checkpoint clear close complete confirm connect copy debug deny deploy disable disconnect"
    " dismount edit enable enter exit expand export grant hide import initialize install invoke lock merge mount move new open optimize ping play"
    " pop protect publish push receive redo register remove rename repair request reset resize resolve restart restore resume revoke save send set"
    " start step stop submit suspend switch sync test trace unblock undo uninstall unlock unprotect unpublish unregister update use wait watch"
    " free flush drain run sleep create delete kill terminate destroy erase download upload compose translate predict forecast explain sing buy".split())


def forms(word: str) -> tuple[str, ...]:
    """The word, and what it may be a form of: loaded -> load, used -> use, running -> run; none of them need exist."""
    stems = [word]
    for ending in ("ed", "ing"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            stem = word[:-len(ending)]
            stems += [stem, stem + "e"] + ([stem[:-1]] if stem[-1] == stem[-2] else [])
    return tuple(stems)


def singular(word: str) -> tuple[str, bool]:
    """A noun's singular, and whether it was a plural."""
    if word in IRREGULAR:
        return IRREGULAR[word], True
    if word in NO_PLURAL or len(word) < 4 or not word.endswith("s") or word.endswith("ss"):
        return word, False
    return word[:-1], True


def facts_of(source: str | None) -> Facts:
    """What is known of a source; nothing for one that the vocabulary does not have."""
    return SOURCES.get(source or "", NO_FACTS)


def source_words(source: str) -> frozenset[str]:
    """All words for a source, in the singular; an unknown source is called by its name."""
    facts = facts_of(source)
    return frozenset((*facts.row, *facts.counted, *facts.mass)) or frozenset({singular(source)[0]})


def is_row_word(source: str, word: str) -> bool:
    """Whether the word stands for the source's rows, which can be counted."""
    facts = facts_of(source)
    return word in facts.row or facts is NO_FACTS


def is_identifier(column: Column) -> bool:
    """Whether the column's numbers are names."""
    return column.name in IDENTIFIERS or column.kind in (Kind.ADDRESS, Kind.TIME)


def is_numeric(column: Column) -> bool:
    """Whether the column can be measured: numbers that are not names."""
    return column.kind not in (Kind.TEXT, Kind.BOOLEAN) and not is_identifier(column)


def total_of(source: str | None, column: Column) -> str:
    """How a column's total over all rows is made: sum, mean for ratios, "" if there is none."""
    if not is_numeric(column) or column.name in facts_of(source).points:
        return ""
    return "mean" if column.kind is Kind.RATIO else "sum"


def verb_class(word: str) -> str:
    """The class of a verb, or ""."""
    return next((kind for kind, words in VERBS.items() if word in words), "")
