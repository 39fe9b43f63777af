"""No text at all makes the shell raise anything but its own error, and every error points into the text."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from shell.completion import complete, split_stages
from shell.errors import ShellError
from shell.parser import parse
from shell.syntax import Command, Pipeline, Script, Where
from tests.shell.bench import Bench

PIECES = [
    "ps", "cpus", "where", "sort", "first", "load", "name", "time", "|>", "|", "~>", "==", ">", "<=", "and", "or", "not", "(", ")", "$x", "=", ";", "\n", " ",
    '"', "'", '"text"', "'it'", "\\", "3", "50%", "10ms", "4KiB", "0x", "0xFF", "1e9", "1e99", "-", "-Top", "--", "-5", "#", "日本", "e\u0301", "\x1b[2J",
    "\0", "$", "$1", "contains", "&&", "||", "!", "a#b", "\t", "\r", "\ufeff", "\ud800", "_", ".", "%",
]
STAGES = ["ps", "first 3", "sort time -Descending", 'echo "a |> b"', "where load > 50%", "echo it#s", "select 'name'"]
pieces = st.lists(st.sampled_from(PIECES), max_size=14)
lines = st.one_of(st.text(max_size=60), pieces.map("".join), pieces.map(" ".join))


@settings(max_examples=400, deadline=None, derandomize=True)
@given(lines)
def test_parsing(text: str) -> None:
    error, script = None, Script((), text)
    try:
        script = parse(text)
    except ShellError as mistake:
        error = mistake
    if error is not None:
        assert 0 <= error.span.start <= error.span.end <= len(text)
        report = error.render(text)
        assert report.startswith("folk: ") and report.endswith("\n") and all(line.isprintable() for line in report.splitlines())
        assert "^" in report.split("\n")[2]
    for statement in script.statements:
        pipeline = statement if isinstance(statement, Pipeline) else statement.pipeline
        assert pipeline.stages
        for stage in pipeline.stages:
            assert 0 <= stage.span.start < stage.span.end <= len(text)
            if isinstance(stage, Command):
                assert text[stage.name_span.start:stage.name_span.end] == stage.name
                assert all(text[item.span.start:item.span.end].strip() for item in stage.items)
            if isinstance(stage, Where):
                assert text[stage.keyword_span.start:stage.keyword_span.end].casefold() == "where"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(lines)
def test_running(text: str) -> None:
    bench = Bench()
    status, printed = bench.run(text)
    assert status in (0, 1, 2)
    assert status == 0 or "folk: " in printed
    assert "\x1b" not in printed and "\0" not in printed


@settings(max_examples=200, deadline=None, derandomize=True)
@given(lines)
def test_completing(text: str) -> None:
    stages = split_stages(text)
    for completion in complete(text, Bench().shell.context):
        assert stages is not None
        assert 0 <= completion.replaces <= len(text) and completion.text


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(STAGES), min_size=1, max_size=5))
def test_completion_sees_the_stages_that_the_parser_sees(written: list[str]) -> None:
    text = " |> ".join(written)
    stages = split_stages(text)
    assert stages is not None and [stage.strip() for stage in stages] == written
    (pipeline,) = parse(text).statements
    assert isinstance(pipeline, Pipeline) and len(pipeline.stages) == len(stages)
