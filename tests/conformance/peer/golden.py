"""What QEMU answered, kept as text, so that our chips are compared with it where QEMU is not installed. `python -m tests.conformance.peer --record` writes it.

A file a chip: a line with QEMU's version, then by section the answers in their order, several to a line; one that came several times in a row is
`ANSWER*COUNT`.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence
from pathlib import Path

from tests.conformance.peer.script import Script
from tests.conformance.peer.sides import version

FOLDER = Path(__file__).parent / "golden"
SPACE = "_"                             # for the blanks within an answer
WIDTH = 150


def recorded_by(name: str) -> str:
    """The version of QEMU that a file is from."""
    return (FOLDER / f"{name}.txt").read_text().splitlines()[0].removeprefix("QEMU ")


def read(name: str) -> list[str]:
    """The answers."""
    answers = []
    for line in (FOLDER / f"{name}.txt").read_text().splitlines()[1:]:
        for word in () if line.startswith("[") else line.split():
            answer, _, count = word.partition("*")
            answers += [answer.replace(SPACE, " ")] * int(count or 1)
    return answers


def write(name: str, script: Script, answers: Sequence[str]) -> None:
    """Keep them."""
    lines = [f"QEMU {version()}"]
    by_section = itertools.groupby(zip(script.questions, answers, strict=True), key=lambda pair: pair[0].section)
    for section, pairs in by_section:
        lines.append(f"[{section}]")
        runs = [(answer.replace(" ", SPACE), len(list(same))) for answer, same in itertools.groupby(answer for _, answer in pairs)]
        lines += textwrap.wrap(" ".join(answer if count == 1 else f"{answer}*{count}" for answer, count in runs), WIDTH, break_long_words=False,
                               break_on_hyphens=False)
    (FOLDER / f"{name}.txt").write_text("\n".join(lines) + "\n")


def differences(script: Script, ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """What is not as it should be: an answer that differs without being known to, and one that is known to and does not."""
    found = []
    for at, question in enumerate(script.questions):
        mine, other = (answers[at] if at < len(answers) else "nothing" for answers in (ours, theirs))
        wanted = other if question.ours is None else question.ours
        if mine != wanted:
            found.append(f"line {question.number} [{question.section}] {question.line}: we answer {mine}, QEMU {other}" + (
                f", {question.difference} says {question.ours}" if question.difference else ""))
        elif question.ours == other:
            found.append(f"line {question.number} [{question.section}] {question.line}: QEMU answers {other} as we do, {question.difference} is no difference")
    found += [f"more answers than questions: {answers[len(script.questions)]}" for answers in (ours, theirs) if len(answers) > len(script.questions)]
    return found
