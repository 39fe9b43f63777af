"""Values on a terminal: aligned, in the width there is, and never a control character."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from jit_synth.values import Nothing, Record, Scalar, Table, Text
from kernel.telemetry import Column, Kind
from shell.render import BOLD, GREEN, RED, RESET, YELLOW, cells, render, shorten
from tests.shell.bench import ROWS, columns

SEQUENCES = re.compile(r"\x1b\[\d+m")
NAME_SIZE = columns("name TEXT", "size SIZE")


def table(*rows: tuple[object, ...], of: tuple[Column, ...] = NAME_SIZE) -> Table:
    return Table(of, rows)


def test_columns_are_aligned_by_kind() -> None:
    assert render(table(("kernel", 4096), ("x", 10 << 20))) == ("name      size\n"
                                                                "------  ------\n"
                                                                "kernel   4 KiB\n"
                                                                "x       10 MiB\n")


def test_empty_values() -> None:
    assert render(table()) == "name  size\n----  ----\n(no rows)\n"
    assert render(Table((), ())) == "(no columns)\n"
    assert render(Record((), ())) == ""
    assert render(None) == render(Nothing()) == render(Text("")) == ""
    assert render(table((None, None))) == "name  size\n----  ----\n\n"


def test_records_scalars_and_text() -> None:
    assert render(Record(NAME_SIZE, ("kernel", 4096))) == "name  kernel\nsize  4 KiB\n"
    assert render(Scalar(0.25, Kind.RATIO)) == "25 %\n"
    assert render(Text("two\nlines")) == render(Text("two\nlines\n")) == render(Text("two\r\nlines")) == "two\nlines\n"


def test_wide_and_combining_characters_take_their_cells() -> None:
    text = render(table(("日本", 1), ("e\u0301", 2), ("\U0001F600", 3), ("ab", 4)))
    assert {cells(line) for line in text.splitlines()[2:]} == {4 + 2 + 4}
    assert (cells("日本"), cells("e\u0301"), cells("\u1112\u1161\u11ab"), cells("a\u200db"), cells("한")) == (4, 1, 2, 2, 2)
    assert shorten("日本語", 4) == "日…"
    assert shorten("日本語", 5) == "日本…"
    assert shorten("abc", 0) == "" and shorten("abc", 1) == "…" and shorten("abc", 3) == "abc"


def test_narrow_terminals_shorten_text_before_they_drop_columns() -> None:
    of = columns("name TEXT", "message TEXT", "size SIZE")
    row = ("a-name", "a long message that says a lot", 4096)
    shown = render(table(row, of=of), width=30)
    assert "a-name" in shown and "4 KiB" in shown and "a long message…" in shown
    assert render(table(row, of=of), width=18) == ("name    message\n"
                                                   "------  ----------\n"
                                                   "a-name  a long me…\n"
                                                   "… and size: selec…\n")
    assert render(table(row, of=of), width=3).splitlines()[0] == "na…"


def test_control_characters_never_reach_the_terminal() -> None:
    evil = "\x1b[2J\x9b31m\u202eabc\x07\r\n"
    for value in (table((evil, 1)), Record(NAME_SIZE, (evil, 1)), Scalar(evil, Kind.TEXT), Text(evil), Table((Column(evil, Kind.TEXT, ""),), (("x",),))):
        shown = render(value, colour=False)
        assert not set(shown) & set("\x1b\x9b\u202e\x07\r"), repr(shown)
    assert render(table((evil, 1))).count("\n") == 3


def test_colour_marks_what_deserves_it_and_nothing_else_changes() -> None:
    cpus, rows = ROWS["cpus"]
    value = Table(cpus, tuple(rows))
    shown = render(value, width=200, colour=True)
    lines = shown.splitlines()
    assert lines[0].startswith(BOLD) and lines[0].endswith(RESET) and not set("-") & set(lines[1])
    assert f"{RED}93 %{RESET}" in lines[1] and f"{YELLOW}55 %{RESET}" in lines[3] and f"{GREEN}running{RESET}" in lines[1]
    bare = render(value, width=200).splitlines()
    assert [SEQUENCES.sub("", line).rstrip() for line in lines] == [bare[0], *bare[2:]]
    assert "\x1b" not in "".join(bare)


def test_a_large_table_is_quick_and_whole() -> None:
    rows = tuple((index, f"task {index}") for index in range(5_000))
    shown = render(Table(columns("id INTEGER", "name TEXT"), rows))
    assert shown.count("\n") == 5_002 and "task 4999" in shown


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=20), st.one_of(st.none(), st.integers(0, 2**63))), max_size=5), st.integers(1, 60), st.booleans())
def test_no_line_is_wider_than_the_terminal(rows: list[tuple[object, ...]], width: int, colour: bool) -> None:
    for value in (table(*rows), *(Record(columns("n TEXT", "s SIZE"), row) for row in rows[:1] if width > 8)):
        for line in render(value, width, colour).split("\n"):
            bare = SEQUENCES.sub("", line)
            assert cells(bare) <= max(width, 1), (bare, width)
            assert colour or "\x1b" not in line
