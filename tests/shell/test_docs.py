"""docs/folkshell.md says what is: its lines run, its builtins are all of them, its reports are ours letter by letter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shell.builtins import BUILTINS
from tests.shell.bench import Bench
from tests.shell.test_synthesized import with_synthesizer

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "folkshell.md").read_text(encoding="utf-8")
TRANSCRIPTS = [block.replace("\n    ", "\n")[4:] for block in re.findall(r"(?:^    .*\n)+", PAGE, re.MULTILINE)]
EXCHANGES = [exchange.split("\n", 1) for block in TRANSCRIPTS for exchange in re.split(r"^folk> ", block, flags=re.MULTILINE)[1:]]


@pytest.fixture(scope="module")
def shared() -> Bench:
    return with_synthesizer()


def skeleton(text: str) -> list[str]:
    """What does not change from run to run: a table's columns, a record's names; of a report all but the neighbours, which depend on what was learned."""
    lines = text.splitlines()
    if text.startswith("folk: "):
        return [line for line in lines if not line.startswith("  nearest: ")]
    if len(lines) > 1 and lines[1].startswith("--"):
        return lines[0].split()
    return [re.split(r" {2,}", line)[0] for line in lines] if len(lines) > 1 else []


@pytest.mark.parametrize(("line", "printed"), EXCHANGES, ids=[line for line, _ in EXCHANGES])
def test_transcripts(shared: Bench, line: str, printed: str) -> None:
    shared.screen.width = 80
    status, text = shared.run(line)
    assert (status != 0) == printed.startswith("folk: ")
    assert skeleton(text) == skeleton(printed) or "group" in line, "groups are of what is there"


def test_the_page_has_transcripts_and_all_builtins() -> None:
    assert len(EXCHANGES) >= 10
    table = PAGE.split("## Builtins", 1)[1].split("`help NAME`", 1)[0]
    assert sorted(re.findall(r"`([\w-]+)`", table)) == sorted(builtin.name for builtin in BUILTINS)


def test_the_first_line_is_an_example_that_runs(shared: Bench) -> None:
    assert shared.run(TRANSCRIPTS[0].strip())[0] == 0
