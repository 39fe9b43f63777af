from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.line_editor import LineEditor
from kernel.loop import KernelLoop


class Typist:
    """An editor on a loop of its own."""

    def __init__(self) -> None:
        self.loop = KernelLoop(lambda: 0, lambda: 0, lambda: None)
        self.shown = ""
        self.editor = LineEditor(self._show)

    def _show(self, text: str) -> None:
        self.shown += text

    def ask(self) -> asyncio.Task[str]:
        task = self.loop.create_task(self.editor.edit("> ", None, ()))
        self.loop.step()
        return task

    def type(self, data: bytes) -> str:
        """A line, or the exception that ended it."""
        task = self.ask()
        self.editor.feed(data)
        self.loop.step()
        return task.result()

    def type_until_exception(self, data: bytes) -> None:
        """KeyboardInterrupt stops the loop's step as it would a program."""
        outcome: list[BaseException] = []

        async def guarded() -> None:
            try:
                await self.editor.edit("> ", None, ())
            except (KeyboardInterrupt, EOFError) as error:
                outcome.append(error)

        self.loop.create_task(guarded())
        self.loop.step()
        self.editor.feed(data)
        self.loop.step()
        if outcome:
            raise outcome[0]


@pytest.mark.parametrize(("typed", "line"), [
    (b"abc\r", "abc"), (b"abc\n", "abc"), (b"ab\x7fc\r", "ac"), (b"ab\x08\x08\x08\x08x\r", "x"), (b"one two\x15three\r", "three"),
    (b"one two  \x17three\r", "one three"), (b"word\x17\r", ""), (b"a\x1b[Ab\x1b[1;5Cc\x1bOPd\x1bxe\x1b[200~f\r", "abcdef"), ("größe €\r".encode(), "größe €"),
    (b"\xff\xc3a\r", "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}a"), (b"a\tb\r", "a b"), (b"a\x04b\r", "ab"), (b"a\x01\x02b\r", "ab"), (b"\r", "")])
def test_keys(typed: bytes, line: str) -> None:
    assert Typist().type(typed) == line


def test_what_is_seen() -> None:
    typist = Typist()
    typist.type(b"ab\x7fc\r")
    assert typist.shown == "> ab\b \bc\n"


def test_control_c_and_control_d() -> None:
    typist = Typist()
    with pytest.raises(KeyboardInterrupt):
        typist.type_until_exception(b"half\x03")
    with pytest.raises(EOFError):
        typist.type_until_exception(b"x\x7f\x04")
    assert typist.shown == "> half^C\n> x\b \b\n"
    assert typist.type(b"next\r") == "next"


@pytest.mark.parametrize(("typed", "lines"), [
    (b"one\r\ntwo\r\n", ["one", "two"]), (b"one\ntwo\n", ["one", "two"]), (b"one\rtwo\r", ["one", "two"]), (b"one\r\n\r\n", ["one", ""]),
    (b"a\n\nb\n", ["a", "", "b"])])
def test_lines_typed_ahead_keep_their_order(typed: bytes, lines: list[str]) -> None:
    typist = Typist()
    got = []
    while len(got) < len(lines):
        got.append(typist.type(typed))
        typed = typist.editor.take_rest()
    assert got == lines
    assert typed in (b"", b"\n")


def test_text_above_leaves_the_line_as_it_was() -> None:
    typist = Typist()
    task = typist.ask()
    typist.editor.feed(b"half")
    typist.editor.show_above("news\n")
    typist.editor.show_above("more")
    typist.editor.feed(b" done\r")
    typist.loop.step()
    assert task.result() == "half done"
    assert typist.shown == "> half\nnews\n> half\nmore\n> half done\n"


@given(st.binary(max_size=80))
@settings(deadline=None)
def test_any_noise_is_a_line_in_the_end(noise: bytes) -> None:
    typist = Typist()
    task = typist.ask()
    typist.editor.feed(noise.replace(b"\3", b"").replace(b"\4", b"") + b"~\x1b[m\r\r")
    typist.loop.step()
    assert task.done() and task.result().isprintable() or "\N{REPLACEMENT CHARACTER}" in task.result() or not task.result().isascii()
