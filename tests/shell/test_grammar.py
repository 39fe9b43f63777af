"""What is FolkShell, and what each piece of it means: every construct of grammar.lark."""

from __future__ import annotations

import pytest

from kernel.telemetry import Kind
from shell.parser import parse
from shell.syntax import (
    AllOf, AnyOf, Assignment, Command, Comparator, Comparison, Flag, Literal, Not, Pipeline, Script, Span, Stage, Truth, Value, Variable, Where, Word,
)


def stages(text: str) -> tuple[Stage, ...]:
    (statement,) = parse(text).statements
    assert isinstance(statement, Pipeline)
    return statement.stages


def command(text: str) -> Command:
    (stage,) = stages(text)
    assert isinstance(stage, Command)
    return stage


def condition(text: str) -> object:
    stage = stages(f"ps |> where {text}")[1]
    assert isinstance(stage, Where)
    return stage.condition


def plain(item: object) -> object:
    """An item without its span."""
    match item:
        case Word(text=text):
            return text
        case Flag(name=name):
            return f"-{name}"
        case Variable(name=name):
            return f"${name}"
        case Literal(value=value, kind=Kind.TEXT):
            return repr(value)
        case Literal(value=value, kind=kind):
            return (value, kind)
        case Comparison(left=left, comparator=comparator, right=right):
            return (plain(left), comparator.value, plain(right))
        case Truth(operand=operand):
            return plain(operand)
        case Not(condition=inner):
            return ("not", plain(inner))
        case AllOf(conditions=parts):
            return ("and", *map(plain, parts))
        case AnyOf(conditions=parts):
            return ("or", *map(plain, parts))
    raise AssertionError(item)


def items(text: str) -> list[object]:
    return [plain(item) for item in command(f"do {text}").items]


def test_nothing() -> None:
    for text in ("", "   ", "\n\n", ";;;", "# only a comment", "  \n # one\n\n ; # two\n"):
        assert parse(text) == Script((), text)


def test_spans_are_those_of_the_text() -> None:
    text = "ps  |> sort time -Descending"
    head, sort = stages(text)
    assert isinstance(head, Command) and isinstance(sort, Command)
    assert head.span == Span(0, 2) and sort.name_span == Span(7, 11)
    assert [text[item.span.start:item.span.end] for item in sort.items] == ["time", "-Descending"]
    assert text[sort.span.start:sort.span.end] == "sort time -Descending"


def test_arguments() -> None:
    assert items("it -Fast 3 'now then' $who -Name value") == ["it", "-Fast", (3, Kind.INTEGER), "'now then'", "$who", "-Name", "value"]


@pytest.mark.parametrize("word", ["a:b", "--long", "-", "(all", "them)", "don't", "x=1", "3rd", "0x", "a#b", "a$b", "$", "~", "a~b", "日本語", "µs",
                                  "1.2.3", "*", "/etc"])
def test_words(word: str) -> None:
    assert items(word) == [word]


@pytest.mark.parametrize(("text", "value", "kind"), [
    ("0", 0, Kind.INTEGER), ("42", 42, Kind.INTEGER), ("-7", -7, Kind.INTEGER), ("+7", 7, Kind.INTEGER), ("1_000_000", 1_000_000, Kind.INTEGER),
    ("1.5", 1.5, Kind.REAL), ("2e3", 2000.0, Kind.REAL), ("-2.5e-1", -0.25, Kind.REAL), ("0xFEE0_0000", 0xFEE0_0000, Kind.ADDRESS),
    ("740ns", 740, Kind.DURATION), ("10us", 10_000, Kind.DURATION), ("10µs", 10_000, Kind.DURATION), ("10ms", 10_000_000, Kind.DURATION),
    ("1.5s", 1_500_000_000, Kind.DURATION), ("2min", 120_000_000_000, Kind.DURATION), ("1h", 3_600_000_000_000, Kind.DURATION),
    ("1d", 86_400_000_000_000, Kind.DURATION), ("5B", 5, Kind.SIZE), ("4kB", 4000, Kind.SIZE), ("4KiB", 4096, Kind.SIZE), ("4kib", 4096, Kind.SIZE),
    ("1.5MiB", 3 << 19, Kind.SIZE), ("2GB", 2_000_000_000, Kind.SIZE), ("1TiB", 1 << 40, Kind.SIZE), ("50%", 0.5, Kind.RATIO), ("0.5%", 0.005, Kind.RATIO),
])
def test_numbers_have_units(text: str, value: float, kind: Kind) -> None:
    assert items(text) == [(value, kind)]
    (alone,) = stages(text) if text[0] not in "+-" or text[1:2].isdigit() else ()
    assert isinstance(alone, Value) and plain(alone.operand) == (value, kind)


def test_strings_and_escapes() -> None:
    assert items(r'"two words" "a\"b" "tab\there" "\x41\u{1F600}\\"') == ["'two words'", repr('a"b'), repr("tab\there"), repr("A\U0001F600\\")]
    assert items(r"'single' 'with \'quote\'' '|> ; # $x'") == ["'single'", repr("with 'quote'"), repr("|> ; # $x")]


def test_values_at_the_head() -> None:
    alone = [stages(text)[0] for text in ('"text"', "$x", "50%")]
    assert [plain(stage.operand) for stage in alone if isinstance(stage, Value)] == ["'text'", "$x", (0.5, Kind.RATIO)]
    head, then = stages('"text" |> to-json')
    assert isinstance(head, Value) and isinstance(then, Command)
    sentence = command("3 busiest cpus")
    assert (sentence.name, [plain(item) for item in sentence.items]) == ("3", ["busiest", "cpus"])


def test_pipes() -> None:
    for text in ("ps |> sort time |> first 3", "ps|>sort time|>first 3", "ps\t|>\tsort time |>\n\n first 3", "ps\n|> sort time\n  |> first 3",
                 "ps # all\n # of them\n |> sort time |> # the first\n first 3 # done"):
        assert [stage.name for stage in stages(text) if isinstance(stage, Command)] == ["ps", "sort", "first"], text


def test_statements() -> None:
    script = parse("ps; cpus\n\nlog |>\n last 3 ;; # end\n uptime")
    assert [statement.stages[0].name for statement in script.statements] == ["ps", "cpus", "log", "uptime"]  # type: ignore[union-attr]


def test_assignment() -> None:
    (statement,) = parse("$busy = cpus |> where load > 50%").statements
    assert isinstance(statement, Assignment) and statement.name == "busy" and len(statement.pipeline.stages) == 2
    (number,) = parse("$limit=50%").statements
    assert isinstance(number, Assignment)


@pytest.mark.parametrize(("spelling", "comparator"), [
    ("==", Comparator.EQUAL), ("=", Comparator.EQUAL), ("-eq", Comparator.EQUAL), ("!=", Comparator.UNEQUAL), ("<>", Comparator.UNEQUAL),
    ("-ne", Comparator.UNEQUAL), ("<", Comparator.LESS), ("-lt", Comparator.LESS), ("<=", Comparator.LESS_EQUAL), ("-le", Comparator.LESS_EQUAL),
    (">", Comparator.GREATER), ("-gt", Comparator.GREATER), (">=", Comparator.GREATER_EQUAL), ("-ge", Comparator.GREATER_EQUAL),
    ("contains", Comparator.CONTAINS), ("STARTS-WITH", Comparator.STARTS_WITH), ("ends-with", Comparator.ENDS_WITH),
])
def test_comparisons(spelling: str, comparator: Comparator) -> None:
    assert plain(condition(f"name {spelling} 'x'")) == ("name", comparator.value, "'x'")
    if not spelling[-1].isalpha():
        assert plain(condition(f"name{spelling}3")) == ("name", comparator.value, (3, Kind.INTEGER))


def test_conditions_bind_not_and_or() -> None:
    assert plain(condition("a == 1 or b == 2 and not c == 3")) == ("or", ("a", "==", (1, Kind.INTEGER)), ("and", ("b", "==", (2, Kind.INTEGER)),
                                                                                                    ("not", ("c", "==", (3, Kind.INTEGER)))))
    assert plain(condition("(a == 1 or b == 2) && !c")) == ("and", ("or", ("a", "==", (1, Kind.INTEGER)), ("b", "==", (2, Kind.INTEGER))), ("not", "c"))
    assert plain(condition("(a == 1) || ((b))")) == ("or", ("a", "==", (1, Kind.INTEGER)), "b")
    assert plain(condition("not not a")) == ("not", ("not", "a"))


def test_conditions_hold_what_sentences_may_say() -> None:
    assert plain(condition("load > $limit")) == ("load", ">", "$limit")
    assert plain(condition("10ms < time")) == ((10_000_000, Kind.DURATION), "<", "time")
    assert plain(condition("android == 1 and notable > 2 or order < 3")) == (
        "or", ("and", ("android", "==", (1, Kind.INTEGER)), ("notable", ">", (2, Kind.INTEGER))), ("order", "<", (3, Kind.INTEGER)))
    assert items("where (not all of them) > 50% and more") == ["where", "(not", "all", "of", "them)", ">", (0.5, Kind.RATIO), "and", "more"]


def test_where_is_a_word_elsewhere() -> None:
    assert command("where-is it").name == "where-is"
    assert items("where") == ["where"]
    assert isinstance(stages("ps |> WHERE load > 1")[1], Where)
