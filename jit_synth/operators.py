"""The operators, as data: what each does, the words that ask for it, its type, its laws, and the steps that it lowers to.

An operator never says which command it makes: commands are found by `search`, which composes operators whose types fit and whose words, together with
the names of sources, columns and cells, account for every word of a request.

A pattern is what the words around an operator look like, in the order of typing:

    top|best        one of these words; with `?` behind it, or none of them
    MEASURE         a column that can be measured        COLUMN   any column           KEY    a column to group by
    TEXT            a text column                        PART     a column that is a part of another one, as used of total
    IDENTIFIER      a column whose numbers are names     ITSELF   the column that VALUE is a cell of
    VALUE VALUE2    a cell of a text column              WORD     any word or quoted text
    NUMBER NUMBER2  a number                             COUNT    a whole number without a unit
    QUALITY         a superlative that the source gives a measure to, as busiest
    COUNTED         a word for what the rows only count, as interrupts: the column with the count
    MASS            a word for the whole that has no plural, as memory: the column that measures it
    ROW             a word for a row; +ROW: with no "of the" or the like in front of it
    ..              here other words may stand, which other operators account for

Words for rows and words of having (use, take, ...) may stand between the items of any pattern.
What an operator lowers to is read by `lowering`: the step, then its variant.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

LARGEST, SMALLEST = "highest|largest|biggest|greatest|maximum|max|longest|peak", "lowest|smallest|minimum|min|shortest"
MOST, LEAST = f"most|top|{LARGEST}", f"least|fewest|{SMALLEST}"        # "most memory" is a row's, "highest load" can be a number
BY = "by|per|each|every|across|against"
SHARE = "share|percentage|percent|proportion|fraction|ratio|part"
MANY = "how-many|number-of|count|tally"
DIFFERENT = "distinct|unique|different|separate"
SORT = "sort|sorted|order|ordered|arrange|arranged"
DOWN = "descending|decreasing|down|downward|desc"
UP = "ascending|increasing|up|upward|asc"
MEAN = "average|mean|avg|typical"
SUM = "sum|total|combined|overall|altogether|accumulated"
ABOVE, BELOW = "above|over|exceed|exceeding|beyond|>", "below|under|beneath|<"
FORMAT = "format|convert|convertto|render|draw|present|export|print|show|display|output"


class Rank(IntEnum):
    """The place of an operator in a plan: language may mention them in any order, plans apply them in this one."""

    LEAF = 0
    KEEP = 1
    DERIVE = 2
    GROUP = 3
    ORDER = 4
    CUT = 5
    TAKE = 6
    DISTINCT = 7
    FOLD = 8
    FORMAT = 9


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator.

    Attributes:
        name, doc: for people, and for finding operators that come close to a request.
        rank: where it stands in a plan.
        takes, gives: its type.
        patterns: the words that ask for it.
        lowers: its steps.
        laws: what its result must satisfy (`jit_synth.laws`).
        cost: how far-fetched it is to read the words so.
    """

    name: str
    doc: str
    rank: Rank
    takes: str
    gives: str
    patterns: tuple[str, ...]
    lowers: tuple[str, ...]
    laws: tuple[str, ...] = ()
    cost: float = 1.0


def _keep(name: str, doc: str, comparison: str, *patterns: str, cost: float = 0.5) -> Operator:
    return Operator(name, doc, Rank.KEEP, "table, column, constant", "table", patterns, (f"keep {comparison}",), ("subset", "idempotent"), cost)


def _fold(name: str, doc: str, *patterns: str, how: str = "", laws: tuple[str, ...] = (), cost: float = 1.0) -> Operator:
    return Operator(name, doc, Rank.FOLD, "table, measure", "scalar", patterns, (f"fold {how or name}",), laws, cost)


def _group(how: str, words: str, *patterns: str, cost: float = 1.0) -> Operator:
    laws = ("groups-are-distinct", "groups-add-up") if how in ("sum", "count") else ("groups-are-distinct",)
    return Operator(f"{how}-by", f"the {how} for each value of a column", Rank.GROUP, "table, measure, key", "table",
                    (f"{words} MEASURE .. {BY} KEY", f"{words} MEASURE KEY", *patterns), (f"group {how}",), laws, cost)


def _format(style: str, doc: str, *patterns: str, words: str = "") -> Operator:
    named = words or style
    return Operator(f"as-{style}", doc, Rank.FORMAT, "any value but text", "text", (f"{FORMAT} {named}", *patterns), (f"format {style}",), (style,), 0.5)


OPERATORS: tuple[Operator, ...] = (
    # --- leaves: how they are asked for is the vocabulary's matter ------------------------------------------------------------
    Operator("read", "the live rows of a source", Rank.LEAF, "a source", "table", (), ("read",)),
    Operator("pipe", "the value in the pipe", Rank.LEAF, "the value in the pipe", "the same", (), ("upstream",)),
    Operator("only", "the one row of a source that has no other", Rank.LEAF, "table", "record", (), ("only",), ("subset",)),
    Operator("lines", "the lines of a text", Rank.LEAF, "text", "table", (), ("split line",), ("lines",)),
    Operator("words", "the words of a text", Rank.LEAF, "text", "table", (), ("split word",), ("words",)),
    # --- which rows -----------------------------------------------------------------------------------------------------------
    _keep("where-adjective", "the rows that hold a value: running tasks", "VALUE", "VALUE .. +ROW", cost=0.1),
    _keep("where-named", "the rows whose column holds a value: level error", "VALUE", "by? ITSELF is|equal? VALUE", "VALUE ITSELF", cost=0.1),
    _keep("where", "the rows that hold a value", "VALUE", "VALUE", cost=0.4),
    Operator("where-either", "the rows that hold one of two values", Rank.KEEP, "table, two values", "table",
             ("VALUE or|and VALUE2", "VALUE or|and VALUE2 +ROW"),
             ("keep-any VALUE",), ("subset", "idempotent"), 0.2),
    Operator("where-numbers", "the rows with one of two numbers in a column: cpu 0 or 1", Rank.KEEP, "table, column, two numbers", "table",
             ("IDENTIFIER NUMBER or|and NUMBER2", "IDENTIFIER NUMBER or|and IDENTIFIER NUMBER2"), ("keep-any NUMBER",), ("subset", "idempotent"), 0.2),
    Operator("where-rows", "two rows by their numbers: task 2 and task 3", Rank.KEEP, "table, two numbers", "table", ("ROW NUMBER or|and ROW? NUMBER2",),
             ("keep-any identity",), ("subset", "idempotent"), 0.4),
    _keep("where-not", "the rows that do not hold a value", "not VALUE", "not|except|excluding|without|non|neither VALUE", "ITSELF not VALUE"),
    _keep("where-contains", "the rows whose text contains a word", "contains", "TEXT contains|containing|contain|mention|mentioning|like|match|matching WORD",
          "contains|containing|contain|mention|mentioning|about|matching|match|grep|search WORD"),
    _keep("where-above", "the rows where a measure is above a number", "above", f"MEASURE {ABOVE} NUMBER", f"{ABOVE} NUMBER MEASURE", f"{ABOVE} NUMBER"),
    _keep("where-below", "the rows where a measure is below a number", "below", f"MEASURE {BELOW} NUMBER", f"{BELOW} NUMBER MEASURE", f"{BELOW} NUMBER"),
    _keep("where-at-least", "the rows where a measure is a number or more", "at-least", "MEASURE at-least|minimum|>= NUMBER", "at-least|>= NUMBER MEASURE",
          "at-least NUMBER"),
    _keep("where-at-most", "the rows where a measure is a number or less", "at-most", "MEASURE at-most|maximum|<= NUMBER", "at-most|<= NUMBER MEASURE",
          "at-most NUMBER"),
    _keep("where-number", "the rows with this number in a column: cpu 2", "equal", "IDENTIFIER equal|is|number|=|==? NUMBER", cost=0.2),
    _keep("where-not-number", "the rows with another number in a column: not on cpu 2", "not-equal", "not|except|excluding|without IDENTIFIER number? NUMBER",
          cost=0.2),
    _keep("where-measure", "the rows where a measure is exactly a number", "equal", "MEASURE equal|exactly|=|== NUMBER", "exactly NUMBER MEASURE",
          "MEASURE NUMBER"),
    _keep("where-row", "the row with this number: task 3", "identity", "ROW number|id? NUMBER", cost=0.4),
    Operator("where-between", "the rows where a measure is between two numbers", Rank.KEEP, "table, measure, two numbers", "table",
             ("MEASURE between NUMBER and NUMBER2", "between NUMBER and NUMBER2 MEASURE"), ("keep at-least", "keep at-most NUMBER2"), ("subset", "idempotent"),
             0.5),
    _keep("where-none", "the rows where a measure is zero", "zero", "no|without|zero MEASURE"),
    _keep("where-some", "the rows where a measure is not zero", "not zero", "some|nonzero MEASURE"),
    # --- what is made of a row ------------------------------------------------------------------------------------------------
    Operator("share", "each row's share of a measure's total", Rank.DERIVE, "table, measure", "table",
             (f"{SHARE} MEASURE", "relative MEASURE", f"{SHARE} MEASURE per|each|every ROW"), ("map share",),
             ("same-count", "shares-add-up")),
    Operator("part-of-whole", "how much of its whole a part is, row by row", Rank.DERIVE, "table, part", "table",
             (f"{SHARE} PART each|per ROW",), ("map proportion",), ("same-count",)),
    Operator("per-second", "a count by the time in which it was counted", Rank.DERIVE, "table, measure", "table",
             ("MEASURE per-second|rate", "per-second MEASURE"),
             ("map per-second",), ("same-count",), 0.8),
    Operator("complement", "what is missing to the whole of a ratio", Rank.DERIVE, "table, ratio", "table",
             ("complement|inverse|opposite|remaining|non MEASURE",), ("map complement",), ("same-count",)),
    Operator("length", "how many characters a text has", Rank.DERIVE, "table, text", "table", ("length TEXT", "TEXT length"), ("map length",), ("same-count",)),
    # --- groups ---------------------------------------------------------------------------------------------------------------
    Operator("count-by", "how many rows there are for each value of a column", Rank.GROUP, "table, key", "table",
             (f"{MANY}|group|grouped|histogram|distribution|breakdown|bucket|frequency ROW? .. {BY} KEY", "ROW per|each|every KEY",
              "KEY distribution|histogram|breakdown|frequency",
              "distribution|histogram|breakdown|frequency|group KEY"), ("group count",), ("groups-are-distinct", "groups-add-up"), 0.7),
    Operator("listed-count-by", "how many rows there are for each value of a column", Rank.GROUP, "table, key", "table", ("ROW by KEY",), ("group count",),
             ("groups-are-distinct", "groups-add-up"), 1.0),
    _group("sum", f"{SUM}|how-many|number-of|how-much|measure", f"MEASURE {BY} KEY", "KEY total MEASURE", cost=0.7),
    _group("mean", MEAN, cost=0.7),
    _group("minimum", LEAST, cost=0.7),
    _group("maximum", MOST, cost=0.7),
    Operator("share-by", "the share of each value of a column in a measure's total", Rank.GROUP, "table, measure, key", "table",
             (f"{SHARE} MEASURE .. {BY} KEY",),
             ("group sum", "map group-share"), ("shares-add-up",), 0.7),
    Operator("count-share-by", "the share of the rows that each value of a column has", Rank.GROUP, "table, key", "table", (f"{SHARE} ROW .. {BY} KEY",),
             ("group count", "map group-share"), ("shares-add-up",), 0.7),
    Operator("share-of-value", "the share of the rows that hold a value", Rank.GROUP, "table, value", "scalar", (f"{SHARE} VALUE", f"{SHARE} ROW VALUE"),
             ("group count VALUE", "map group-share", "keep group VALUE", "take share"), ("at-most-one",), 0.7),
    Operator("most-common", "the value that most rows have", Rank.GROUP, "table, key", "table",
             ("commonest KEY", "most common|frequent KEY", "KEY .. most ROW"),
             ("group count", "order down count", "slice first 1"), ("at-most-one",), 0.7),
    # --- order ----------------------------------------------------------------------------------------------------------------
    Operator("sort", "the rows sorted by a column, smallest first", Rank.ORDER, "table, column", "table",
             (f"{SORT} .. by COLUMN", f"{SORT} .. by COLUMN {UP} order?", f"{SORT} COLUMN", f"{SORT} {UP} by COLUMN", f"by COLUMN {UP}", SORT),
             ("order up",), ("permutation", "sorted", "idempotent"), 0.5),
    Operator("sort-down", "the rows sorted by a column, largest first", Rank.ORDER, "table, column", "table",
             (f"{SORT} .. by COLUMN .. {DOWN} order?", f"{SORT} COLUMN {DOWN}", f"{SORT} {DOWN} by COLUMN", f"by COLUMN {DOWN}", f"{SORT} {DOWN}"),
             ("order down",), ("permutation", "sorted", "idempotent"), 0.5),
    Operator("ranked", "the rows by a measure, largest first", Rank.ORDER, "table, measure", "table", ("by MEASURE", "rank|ranked .. by MEASURE"),
             ("order down",),
             ("permutation", "sorted"), 0.6),
    Operator("listed", "the rows by a column that does not measure", Rank.ORDER, "table, column", "table", ("by KEY",), ("order up",),
             ("permutation", "sorted"), 1.0),
    Operator("top", "the rows with the largest values of a measure", Rank.ORDER, "table, measure", "table",
             (f"COUNT? {MOST} COUNT? MEASURE +ROW", f"ROW .. COUNT? {MOST} MEASURE", f"COUNT ROW .. {MOST} MEASURE", f"{MOST} COUNT? .. by MEASURE",
              "most|top COUNT? MEASURE"),
             ("order down", "slice first"),
             ("subset", "sorted"), 0.5),
    Operator("bottom", "the rows with the smallest values of a measure", Rank.ORDER, "table, measure", "table",
             (f"COUNT? {LEAST} COUNT? MEASURE +ROW", f"ROW .. COUNT? {LEAST} MEASURE", f"COUNT ROW .. {LEAST} MEASURE", f"{LEAST}|bottom COUNT? .. by MEASURE"),
             ("order up", "slice first"),
             ("subset", "sorted"), 0.5),
    Operator("superlative", "the rows that have most of a quality: busiest, largest, newest", Rank.ORDER, "table, quality", "table",
             ("COUNT? QUALITY", "QUALITY COUNT"), ("order quality", "slice first"), ("subset",), 0.5),
    Operator("most-busy", "the busiest rows", Rank.ORDER, "table", "table", ("COUNT? most busy|active|frequent", "most busy|active|frequent COUNT"),
             ("order busy", "slice first"), ("subset",), 0.5),
    Operator("least-busy", "the rows that are least busy", Rank.ORDER, "table", "table", ("COUNT? least busy|active", "least busy|active COUNT"),
             ("order idle", "slice first"), ("subset",), 0.5),
    Operator("longest", "the row with the longest text", Rank.ORDER, "table, text", "table", ("longest TEXT",),
             ("map length", "order down length", "slice first 1"),
             ("at-most-one",), 0.5),
    Operator("top-rows", "the busiest rows", Rank.ORDER, "table", "table", ("top COUNT?",), ("order busy", "slice first"), ("subset",), 0.9),
    # --- how many -------------------------------------------------------------------------------------------------------------
    Operator("first", "the first rows", Rank.CUT, "table, count", "table",
             ("first|leading COUNT?", "head COUNT", "limit|count|number|max|limited COUNT", "COUNT first"),
             ("slice first",), ("subset", "idempotent"), 0.4),
    Operator("so-many", "so many rows, the first ones", Rank.CUT, "table, count", "table", ("COUNT ROW",), ("slice first",), ("subset", "idempotent"), 0.6),
    Operator("last", "the last rows", Rank.CUT, "table, count", "table",
             ("last|final COUNT?", "tail COUNT", "COUNT last", "last|tail|final .. count|limit|number COUNT"), ("slice last",), ("subset", "idempotent"),
             0.4),
    Operator("skip", "all rows but the first ones", Rank.CUT, "table, count", "table",
             ("skip|omit|drop first? COUNT", "but|except|without first COUNT", "skip|omit|drop first"), ("slice skip",),
             ("subset",), 0.4),
    Operator("reverse", "the rows, last one first", Rank.CUT, "table", "table", ("reverse|reversed|backward|backwards|invert|flip",), ("reverse",),
             ("permutation",), 0.5),
    # --- which columns --------------------------------------------------------------------------------------------------------
    Operator("take", "a column of the rows", Rank.TAKE, "table, column", "table", ("COLUMN", "column|field|property COLUMN", "COLUMN column|field"), ("take",),
             ("same-count",), 0.2),
    Operator("take-each", "a column of the rows, row by row", Rank.TAKE, "table, column", "table", ("COLUMN per|each|every ROW",), ("take",), ("same-count",),
             1.2),
    Operator("how-long", "how long something has lasted", Rank.TAKE, "table, duration", "table", ("how-long .. MEASURE",), ("take",), ("same-count",), 0.3),
    Operator("distinct", "the rows without repetitions", Rank.DISTINCT, "table", "table",
             (f"{DIFFERENT}|deduplicate|dedupe", "remove|drop|without duplicate|repetition"), ("distinct",),
             ("subset", "idempotent"), 0.5),
    Operator("distinct-values", "the different values of a column", Rank.DISTINCT, "table, column", "table", (f"{DIFFERENT}|possible|existing COLUMN",),
             ("only COLUMN", "distinct"), ("at-most-same",), 0.5),
    # --- one number -----------------------------------------------------------------------------------------------------------
    _fold("count", "how many rows there are", MANY, f"total|overall {MANY}", "ROW count", "measure ROW", how="count", cost=0.5),
    _fold("count-distinct", "how many different values a column has", f"{MANY} {DIFFERENT} COLUMN", f"{MANY} KEY", how="distinct", cost=0.6),
    _fold("sum", "the sum of a measure", f"{SUM} number-of? MEASURE", f"MEASURE {SUM}", "MEASURE count|number",
          "count|how-many|number-of|how-much|amount MEASURE",
          cost=0.6),
    _fold("counted", "how many of what the rows count: timer interrupts", f"{MANY}|measure|{SUM} .. COUNTED", how="sum", cost=0.6),
    Operator("amount", "how much of the whole holds a value: usable memory", Rank.FOLD, "table, value", "scalar",
             ("how-much MASS VALUE", "how-much VALUE MASS"), ("keep VALUE", "fold sum"), (), 0.6),
    _fold("mean", "the mean of a measure", f"{MEAN} MEASURE", f"MEASURE {MEAN}", f"{MEAN} MEASURE per|each|every ROW", laws=("between",), cost=0.6),
    _fold("minimum", "the smallest value of a measure", f"{SMALLEST} MEASURE", f"MEASURE {SMALLEST}", laws=("between",), cost=0.6),
    _fold("maximum", "the largest value of a measure", f"{LARGEST} MEASURE", f"MEASURE {LARGEST}", laws=("between",), cost=0.6),
    Operator("median", "the value that half of the rows do not exceed", Rank.FOLD, "table, measure", "scalar", ("median MEASURE", "MEASURE median"),
             ("order up", "fold median"), ("between",), 0.6),
    _fold("range", "the largest value less the smallest", "range|spread MEASURE", f"difference between? {MOST} and? {LEAST} MEASURE",
          f"difference between? {LEAST} and? {MOST} MEASURE", cost=0.6),
    _fold("deviation", "the standard deviation of a measure", "deviation|stddev|sigma MEASURE", "MEASURE deviation|stddev", cost=0.6),
    _fold("total", "a measure of all rows together: a sum, or the mean of ratios", "measure .. MEASURE", "system|machine|overall MEASURE",
          "MEASURE system|machine|overall", cost=0.6),
    Operator("utilization", "how much of its whole a part is", Rank.FOLD, "table, part", "scalar", (f"{SHARE} PART", f"PART {SHARE}"), ("fold proportion",),
             ("ratio",), 0.4),
    Operator("extremes", "the smallest and the largest value of a measure", Rank.FOLD, "table, measure", "record",
             (f"{LEAST} and {MOST} MEASURE", f"{MOST} and {LEAST} MEASURE"), ("fold extremes",), (), 0.6),
    Operator("summary", "count, sum, mean, smallest and largest value of a measure", Rank.FOLD, "table, measure", "record",
             ("describe|summarize|summarise|profile|statistic|stat|summary MEASURE", "MEASURE statistic|stat|summary|profile"), ("fold summary",), (), 0.5),
    # --- as text --------------------------------------------------------------------------------------------------------------
    _format("dashboard", "the value as a dashboard with bars", "dashboard", words="dashboard|gauge|gauges|bars|bar"),
    _format("table", "the value as a table of text", "pretty"),
    _format("list", "the value as labelled lines", words="list|lines"),
    _format("csv", "the value as CSV (RFC 4180)", "csv", words="csv"),
    _format("json", "the value as JSON (RFC 8259)", "json", words="json"),
    _format("markdown", "the value as a Markdown table", "markdown", words="markdown|md"),
)
BY_NAME = {operator.name: operator for operator in OPERATORS}
