"""Scripts: accesses as text, one a line, which `compile_script` makes records for the guest of.

    [a name] source of what is tried             a section
    out 20 11        outw, outl                  a byte, word or double word to a port; all numbers are hexadecimal
    in 21            inw, inl                    from a port: an answer
    write32 ADDRESS VALUE                        8, 16, 32, 64 bits to memory
    read32 ADDRESS                               from memory: an answer
    wait in 64 1 1   wait read32 ADDRESS 1 1     until the value under a mask is so: the answer is `ok`, or `timeout`
    delay 20                                     so many microseconds or more, in decimal
    halt master slave                            until an interrupt has come; what its handler does is as below
    interrupts 4 master slave                    interrupts are let in for 100 us, at most so many; the handler ends them at the 8259A master and slave, at the
                                                 local APIC (`local`), and reads port 0x60 (`key`): the answer is their vectors
    def NAME / ... / end                         a macro; $1, $2, ... are what it is called with
    NAME ARGUMENTS                               a macro
    repeat 00-1F NAME ARGUMENTS                  a macro for each number, which is its $1 if it has one
    # ...                                        a comment, also behind an access
    in 61 & ef known-difference                  an answer without some bits, which differ as differences.py says
    in 21   ! known-difference 1C                our answer is 1C, not the peer's: a difference of that name (differences.py); `.` stands for "the same"

Numbers of lines are those of the script, and go on through random accesses behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.peer.guest import EOI_LOCAL, EOI_MASTER, EOI_SLAVE, READ_KEYBOARD, Op, record

FOLDER = Path(__file__).parent / "scripts"
SIZES = {"": 1, "w": 2, "l": 4}
HANDLER = {"master": EOI_MASTER, "slave": EOI_SLAVE, "local": EOI_LOCAL, "key": READ_KEYBOARD}
MICROSECOND = 63                        # rounds of the guest's delay loop, two instructions each, at 8 ns an instruction
WINDOW = 100                            # us
WORDS = ("wait", "delay", "halt", "interrupts", "repeat", "end")
ACCESS = re.compile(r"(out|in)([wl]?)|(write|read)(8|16|32|64)")


@dataclass(frozen=True, slots=True)
class Question:
    """One answer that is awaited.

    Attributes:
        section: where it is.
        number: of the line in the script.
        line: the access.
        difference: name of a known difference, and what we answer where the peer answers otherwise; None, None where both say the same.
    """

    section: str
    number: int
    line: str
    difference: str | None = None
    ours: str | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """Records for the guest, what it will be asked, and how many accesses of all kinds there are."""

    records: bytes
    questions: tuple[Question, ...]
    accesses: int


def _expand(lines: Iterable[str], macros: dict[str, list[str]]) -> Iterator[tuple[int, str, str]]:
    """(line, access without macros, what is known of its answer)."""
    defining: list[str] | None = None
    for number, raw in enumerate(lines, 1):
        line = raw.split("#")[0].strip()
        if not line:
            continue
        word, *arguments = line.split()
        if word == "def":
            if ACCESS.fullmatch(arguments[0]) or arguments[0] in WORDS:
                raise ValueError(f"{arguments[0]} is an access, and no name for a macro")
            defining = macros[arguments[0]] = []
        elif word == "end" and defining is not None:
            defining = None
        elif defining is not None:
            defining.append(line)
        else:
            text, _, known = line.partition("!")
            for access, of_it in _answers(_call(text.strip(), macros), known.split()):
                yield number, access, of_it


def _call(text: str, macros: dict[str, list[str]]) -> Iterator[str]:
    word, *arguments = text.split()
    if word == "repeat":
        first, last = (int(number, 16) for number in arguments[0].split("-"))
        for number in range(first, last + 1):
            counted = [f"{number:X}"] if any("$1" in line for line in macros[arguments[1]]) else []
            yield from _call(" ".join([arguments[1], *counted, *arguments[2:]]), macros)
    elif word in macros:
        if len(arguments) != max((int(number) for number in re.findall(r"\$(\d)", " ".join(macros[word]))), default=0):
            raise ValueError(f"{word} is not called so: {text!r}")
        for line in macros[word]:
            yield from _call(re.sub(r"\$(\d)", lambda match: arguments[int(match[1]) - 1], line), macros)
    else:
        yield text


def _answers(lines: Iterator[str], known: list[str]) -> Iterator[tuple[str, str]]:
    """Hands out what is known to differ to the accesses that have answers, in turn."""
    ours = iter(known[1:])
    for line in lines:
        asks = not line.startswith(("[", "out", "write", "delay", "halt"))
        value = next(ours, ".") if known and asks else "."
        yield line, "" if value == "." else f"{known[0]} {value}"
    assert next(ours, None) is None, f"more known answers than accesses: {known}"


def compile_script(lines: Iterable[str]) -> Script:
    """Raises ValueError for a line that makes no sense."""
    records, questions, section, accesses = bytearray(), [], "", 0
    for number, line, known in _expand(lines, {}):
        if line.startswith("["):
            section = line[1:line.index("]")]
            continue
        accesses += 1
        one, asks = _record(line)
        records += one
        if asks:
            difference, _, ours = known.partition(" ")
            questions.append(Question(section, number, line, difference or None, ours.replace("_", " ") or None))
    return Script(bytes(records), tuple(questions), accesses)


def _record(line: str) -> tuple[bytes, bool]:
    word, *arguments = line.split()
    match = ACCESS.fullmatch(word)
    if match:
        operation = Op[(match[1] or match[3]).upper()]
        size = int(match[4]) // 8 if match[4] else SIZES[match[2]]
        asks = operation in (Op.IN, Op.READ)
        if asks:
            arguments[1:] = [arguments[2]] if arguments[1:] else ["f" * 16]
        return record(operation, size, 0, *(int(argument, 16) for argument in arguments)), asks
    if word == "wait":
        operation = Op.WAIT_PORT if arguments[0].startswith("in") else Op.WAIT_MEMORY
        address, mask, wanted = (int(argument, 16) for argument in arguments[1:])
        return record(operation, 1 if arguments[0] == "in" else 4, 0, address, mask | wanted << 32), True
    if word == "delay":
        return record(Op.DELAY, value=int(arguments[0]) * MICROSECOND), False
    if word == "interrupts":
        return record(Op.WINDOW, sum(HANDLER[argument] for argument in arguments[1:]), int(arguments[0], 16), 0, WINDOW * MICROSECOND), True
    if word == "halt":
        return record(Op.HALT, sum(HANDLER[argument] for argument in arguments)), False
    raise ValueError(f"no such access: {line!r}")


def read(name: str) -> list[str]:
    """The lines of a script in the folder."""
    return (FOLDER / f"{name}.txt").read_text().splitlines()
