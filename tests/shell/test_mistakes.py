"""What is not FolkShell: each mistake gets one clear line, carets under the place, and exit status 2."""

from __future__ import annotations

from itertools import pairwise

import pytest

from shell.errors import DEFAULT_WIDTH, MOST_FOLDS, STATUS_NOT_UNDERSTOOD, ShellError, SyntaxMistake, nearest_names, prose, underline
from shell.parser import MAX_NESTING, MAX_TEXT, parse
from shell.render import cells
from shell.syntax import Span
from tests.shell.bench import Bench, pointed_at


def mistake(text: str) -> SyntaxMistake:
    with pytest.raises(SyntaxMistake) as caught:
        parse(text)
    assert caught.value.status == STATUS_NOT_UNDERSTOOD
    assert 0 <= caught.value.span.start <= caught.value.span.end <= len(text)
    return caught.value


@pytest.mark.parametrize(("text", "message", "place", "hint"), [
    # pipes
    ("ps | sort", "'|' is not a pipe", "|", "perhaps: ps |> sort"),
    ("ps || sort time", "'||' is not a pipe", "||", "perhaps: ps |> sort time"),
    ("ps |>> sort", "'|>>' is not a pipe", "|>>", "perhaps: ps |> sort"),
    ("ps >| sort", "'>|' is not a pipe", ">|", "perhaps: ps |> sort"),
    ("ps <| sort", "'<|' is not a pipe", "<|", "perhaps: ps |> sort"),
    ("ps |~> sort", "'|~>' is not a pipe", "|~>", "perhaps: ps |> sort"),
    ("ps |-> sort", "'|->' is not a pipe", "|->", "perhaps: ps |> sort"),
    ("echo a|b", "'|' is not a pipe", "|", "perhaps: echo a |> b"),
    ("ps |> where load > 1 | first", "'|' is not a pipe", "|", "perhaps: ps |> where load > 1 |> first"),
    ("|", "'|' is not a pipe", "|", "the pipe is written |>"),
    ("|>", "nothing on its left", "|>", "ps |> first 3"),
    ("  |> first", "nothing on its left", "|>", "ps |> first 3"),
    ("ps; |> first", "nothing on its left", "|>", "ps |> first 3"),
    ("ps |>", "leads nowhere", "|>", "ps |> first 3"),
    ("ps |>  # and then", "leads nowhere", "|>", "ps |> first 3"),
    ("ps |>; cpus", "leads nowhere", "|>", "ps |> first 3"),
    ("ps |> |> first", "two pipes in a row", "|>", "ps |> first 3"),
    # the pipe that is not here yet, by name
    ("ps ~> busy ones", "the semantic pipe ~> is not built yet", "~>", "until it is"),
    ("ps~>busy", "the semantic pipe ~> is not built yet", "~>", "until it is"),
    ("~> busy", "the semantic pipe ~> is not built yet", "~>", "until it is"),
    ("ps |> where load > 1 ~> busy", "the semantic pipe ~> is not built yet", "~>", "until it is"),
    # strings and numbers
    ('echo "now', 'has no closing "', '"now', r"write \""),
    ("echo 'now", "has no closing '", "'now", r"write \'"),
    ('ps |> where name == "x', 'has no closing "', '"x', r"write \""),
    (r'echo "a\qb"', r"there is no escape \q", r"\q", r"\u{1F600}"),
    (r'echo "\u{110000}"', "there is no escape", r"\u{110000}", r"\x41"),
    (r'echo "\u{D800}"', "there is no escape", r"\u{D800}", r"\x41"),
    ('"text" first', "after a string at the head comes |>", "first", '"text" |> to-json'),
    ("echo 1e99", "1e99 is out of range", "1e99", ""),
    ("echo " + "9" * 66, "too long: 66 digits", "9" * 66, ""),
    # conditions
    ("ps |> where", "the condition ends too early", "where", "COLUMN COMPARISON VALUE"),
    ("ps |> where load >", "the condition ends too early", ">", "COLUMN COMPARISON VALUE"),
    ("ps |> where load > |> first", "the condition ends too early", ">", "COLUMN COMPARISON VALUE"),
    ("ps |> where load > ; cpus", "the condition ends too early", ">", "COLUMN COMPARISON VALUE"),
    ("ps |> where a == 1 and", "the condition ends too early", "and", "COLUMN COMPARISON VALUE"),
    ("ps |> where (load > 1", "not closed", "1", "COLUMN COMPARISON VALUE"),
    ("ps |> where load > 1)", "closes nothing", ")", "COLUMN COMPARISON VALUE"),
    ("ps |> where load 50%", "a comparison is expected here", "50%", "COLUMN COMPARISON VALUE"),
    ("ps |> where load ~ 3", "a comparison is expected here", "~", "COLUMN COMPARISON VALUE"),
    ("ps |> where load >> 3", "a column or a value is expected here", ">", "COLUMN COMPARISON VALUE"),
    ("ps |> where load = = 3", "a column or a value is expected here", "=", "COLUMN COMPARISON VALUE"),
    ("ps |> where ()", "a column or a value is expected here", ")", "COLUMN COMPARISON VALUE"),
    ("ps |> where a == 1 c", "the condition was complete", "c", "COLUMN COMPARISON VALUE"),
    ("ps |> where load > 50 %", "a unit stands right behind its number: 50%", "50 %", ""),
    ("ps |> where time > 1.5 ms", "a unit stands right behind its number: 1.5ms", "1.5 ms", ""),
    # variables
    ("$x =", "given nothing", "=", "$busy = cpus"),
    ("$x = ;ps", "given nothing", "=", "$busy = cpus"),
    ("$x ps", "after a variable comes = or |>", "ps", "$busy |> count"),
    ("$x = $y = ps", "after a variable comes = or |>", "=", "$busy |> count"),
    # all else
    ("(ps)", "a command is expected here", "(ps)", "help lists"),
    ("$1", "a command is expected here", "$1", "help lists"),
    ("= ps", "a command is expected here", "=", "help lists"),
    ("-Flag", "a command is expected here", "-Flag", "help lists"),
])
def test_mistakes_point_at_the_text(text: str, message: str, place: str, hint: str) -> None:
    error = mistake(text)
    report = error.render(text)
    assert message in report.splitlines()[0]
    assert pointed_at(text, report).strip() in (place, place.rstrip())
    assert hint in error.hint


def test_carets_stand_in_terminal_cells() -> None:
    report = mistake("日本 | sort").render("日本 | sort").splitlines()
    assert report[1:3] == ["  日本 | sort", "       ^"]                  # two wide characters take four cells
    assert underline("é日 x", Span(1, 2)) == ["  é日 x\n", "   ^^\n"]
    assert underline("e\u0301 x", Span(3, 4)) == ["  e\u0301 x\n", "    ^\n"]        # a combining accent takes none


def test_control_characters_are_not_printed() -> None:
    text = "\x1b[2Jx | y"
    report = mistake(text).render(text)
    assert "\x1b" not in report
    assert "\x1b" not in mistake("ps |\x1b[2J").render("ps |\x1b[2J")


def test_the_line_of_the_mistake_is_shown() -> None:
    text = "ps |> first 3\ncpus | count\nuptime"
    assert mistake(text).render(text).splitlines()[1:3] == ["  cpus | count", "       ^"]
    text = 'ps\n|> where name == "x'
    assert mistake(text).render(text).splitlines()[1:3] == ['  |> where name == "x', "                   ^^"]


def test_long_lines_are_cut_around_the_place() -> None:
    text = "echo " + "word " * 200 + "| more " + "word " * 200
    shown, carets = mistake(text).render(text).splitlines()[1:3]
    assert len(shown) <= DEFAULT_WIDTH
    assert shown[carets.index("^")] == "|"


@pytest.mark.parametrize("width", [20, 21, 40, 80, 200])
@pytest.mark.parametrize("text", ["ps | sort by name and time and all the rest of it", "日本語" * 30 + " | x", "x" * 500 + "| y",
                                  "echo " + "e\u0301" * 90 + " | x", "| x"])
def test_reports_fit_the_terminal(text: str, width: int) -> None:
    report = mistake(text).render(text, width).splitlines()
    assert all(cells(line) <= width for line in report), report
    shown, carets = next((line, under) for line, under in pairwise(report) if set(under) == {" ", "^"})
    assert cells(shown[:shown.index("|")]) == carets.index("^")


def test_prose_is_folded_at_blanks() -> None:
    assert prose("folk: one two three four five", 20) == ["folk: one two three\n", "    four five\n"]
    assert prose("folk: " + "x" * 30, 20) == ["folk: xxxxxxxxxxxxxx\n", "    " + "x" * 16 + "\n"]
    endless = prose("word " * 1000, 40)
    assert len(endless) == MOST_FOLDS + 1 and endless[-1] == "    ...\n"


def test_nesting_and_length_are_bounded() -> None:
    assert "nest deeper" in mistake("ps |> where " + "(" * (MAX_NESTING + 1) + "a").message
    assert "nest deeper" in mistake("ps |> where " + "not " * 16_000 + "a").message
    assert "too long" in mistake("x" * (MAX_TEXT + 1)).message
    parse("ps |> where " + "(" * MAX_NESTING + "a == 1" + ")" * MAX_NESTING)
    parse("ps |> where " + "not " * MAX_NESTING + "a")


def test_status_is_not_understood(bench: Bench) -> None:
    report = bench.wrong("ps | sort", status=2)
    assert report == "folk: '|' is not a pipe\n  ps | sort\n     ^\n  perhaps: ps |> sort\n"
    assert bench.run("ps; cpus | count")[1].startswith("folk: '|'"), "a text that does not parse as a whole does not run in part"


def test_nearest_names() -> None:
    known = ["first", "sort", "select", "to-json", "ConvertTo-Json", "help"]
    assert nearest_names("frist", known) == ("first",)
    assert nearest_names("sotr", known) == ("sort",)
    assert nearest_names("SEL", known)[0] == "select"
    assert nearest_names("convertto-jsn", known)[0] == "ConvertTo-Json"
    assert nearest_names("novel", known) == ()
    assert nearest_names("", known) == ()


def test_an_error_without_place_or_help_is_one_line_and_the_text() -> None:
    assert ShellError("no", Span(0, 2)).render("ps") == "folk: no\n  ps\n  ^^\n"
    assert ShellError("no", Span(2, 2)).render("ps") == "folk: no\n  ps\n    ^\n"
    assert ShellError("no", Span(0, 0)).render("") == "folk: no\n  \n  ^\n"
