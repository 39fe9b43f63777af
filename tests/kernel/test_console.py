"""The console, typed at through the UART as a person or a pipe would."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest

from kernel.console import MAX_TYPED_AHEAD
from tests.kernel.fake import Bench, Layout, program_archive

MakeBench = Callable[..., Bench]


class Offer(NamedTuple):
    text: str
    replaces: int
    doc: str


@dataclass
class Talk:
    """A conversation on a console: what it got, and the task that holds it."""

    bench: Bench
    got: list[str] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    busy: asyncio.Event = field(default_factory=asyncio.Event)
    shown: int = 0

    def start(self) -> asyncio.Task[None]:
        return self.bench.kernel.spawn(self._talk())

    async def _talk(self) -> None:
        await self.bench.kernel.online()
        while True:
            try:
                line = await self.bench.kernel.console.prompt("folk> ", completer=self.complete, history=self.history)
            except KeyboardInterrupt:
                self.got.append("^C")
                continue
            except EOFError:
                self.got.append("^D")
                return
            self.got.append(line)
            self.history.append(line)
            if line == "work":
                await self.busy.wait()
                self.busy.clear()

    def complete(self, before: str) -> Sequence[Offer]:
        words = ("cpus", "interrupts", "into")
        last = before.rsplit(" ", 1)[-1]
        return [Offer(word, len(last), f"about {word}") for word in words if last and word.startswith(last)]

    def type(self, text: str, ticks: int = 2) -> list[str]:
        """Type, wait, and return all lines so far."""
        self.bench.type(text)
        self.bench.run(ticks)
        return self.got

    def new_output(self) -> str:
        """What was sent since the last look."""
        text = self.bench.screen
        new, self.shown = text[self.shown:], len(text)
        return new


def talk(bench: Bench, terminal: tuple[int, int] | None = (100, 30)) -> Talk:
    bench.nucleus.boot()
    bench.terminal_size = terminal
    one = Talk(bench)
    one.start()
    bench.run(3 if terminal else 30)
    one.new_output()
    return one


@pytest.fixture
def person(make_bench: MakeBench) -> Talk:
    """At a terminal that answers."""
    return talk(make_bench())


@pytest.fixture
def pipe(make_bench: MakeBench) -> Talk:
    """Without a terminal."""
    return talk(make_bench(Layout(cmdline="terminal=plain quiet", archive=program_archive())), None)


def test_the_terminal_tells_its_size(person: Talk) -> None:
    console = person.bench.kernel.console
    assert (console.columns, console.rows, console.answers_cursor, console.colour) == (100, 30, True, True)


def test_a_terminal_that_does_not_answer_is_80_by_24(make_bench: MakeBench) -> None:
    one = talk(make_bench(), None)
    console = one.bench.kernel.console
    assert (console.columns, console.rows, console.answers_cursor) == (80, 24, False)
    assert one.type("cpus\r") == ["cpus"]


def test_a_terminal_that_changed_its_size_is_noticed_at_the_next_prompt(person: Talk) -> None:
    person.bench.terminal_size = (70, 20)
    person.type("cpus\r", 4)
    console = person.bench.kernel.console
    assert (console.columns, console.rows) == (70, 20)
    person.bench.terminal_size = None                   # and then it goes silent: one wait, no more
    person.type("cpus\r", 140)
    person.new_output()
    assert person.type("cpus\r", 4) == ["cpus"] * 3
    assert not console.answers_cursor and "\x1b[999" not in person.new_output()


@pytest.mark.parametrize(("cmdline", "report", "size"), [
    ("", "\x1b[0;0R", (80, 24)), ("", "\x1b[99999;99999R", (80, 24)), ("", "\x1b[1;5R", (80, 24)), ("", "\x1b[;R\x1b[40;90R", (90, 40)),
    ("columns=90 rows=40", "\x1b[3;1R", (90, 40)), ("columns=90", "\x1b[40;100R", (100, 40)), ("columns=9 rows=x", "\x1b[3;1R", (80, 24)),
    ("columns=99999999999 rows=-3", "\x1b[3;1R", (80, 24))])
def test_sizes_that_are_told_and_those_that_cannot_be(make_bench: MakeBench, cmdline: str, report: str, size: tuple[int, int]) -> None:
    bench = make_bench(Layout(cmdline=cmdline, archive=program_archive()))
    bench.nucleus.boot()
    one = Talk(bench)
    one.start()
    bench.run(3)
    bench.type(report)
    bench.run(2)
    assert (bench.kernel.console.columns, bench.kernel.console.rows) == size


def test_what_is_typed_before_the_terminal_answers_is_not_lost(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.nucleus.boot()
    one = Talk(bench)
    one.start()
    bench.run(3)
    bench.type("ab")
    bench.type("c\x1b[30;100Rd\r")
    bench.terminal_size = (100, 30)
    bench.run(40)
    assert one.got == ["abcd"]
    assert bench.kernel.console.columns == 100


@pytest.mark.parametrize(("keys", "line"), [
    ("cpus\r", "cpus"), ("cpsu\x7f\x7fus\r", "cpus"), ("pus\x01c\r", "cpus"), ("cxpus\x01\x1b[C\x1b[3~\r", "cpus"), ("größe\r", "größe"),
    ("cpus extra\x17\r", "cpus "), ("abc\x15cpus\r", "cpus"), ("\x1b[200~pasted\x1b[201~\r", "pasted")])
def test_editing(person: Talk, keys: str, line: str) -> None:
    assert person.type(keys) == [line]


def test_history_and_search(person: Talk) -> None:
    person.history += ["memory", "cpus |> first 2"]
    person.type("log\r")
    assert person.type("\x1b[A\x1b[A\r")[-1] == "cpus |> first 2"
    assert person.type("\x12mem\r\r", 4)[-1] == "memory"
    assert person.type("\x1b[A\x1b[A\x1b[B\r")[-1] == "memory"


def test_completion(person: Talk) -> None:
    person.type("cp\t")
    assert person.type("\r") == ["cpus"]
    person.new_output()
    person.type("int\t")
    shown = person.new_output()
    assert "interrupts" in shown and "about into" in shown
    person.type("\t")
    assert person.type("\r", 4)[-1] in ("interrupts", "into")


def test_control_c_clears_the_line_and_control_d_ends(person: Talk) -> None:
    assert person.type("half\x03", 3) == ["^C"]
    assert person.type("\r") == ["^C", ""]
    person.type("x\x04\r", 3)                           # on a line with text Ctrl-D deletes what is under the cursor
    assert person.got[-1] == "x"
    assert person.type("\x04", 3)[-1] == "^D"


def test_control_c_while_a_command_runs(person: Talk) -> None:
    interrupted: list[str] = []
    person.bench.kernel.console.on_interrupt = lambda: interrupted.append("!")
    person.type("work\r")
    person.type("typed ahead\r\x03")
    assert interrupted == ["!"] and person.got == ["work"]
    person.busy.set()
    person.bench.run(3)
    assert person.type("next\r") == ["work", "next"]    # what was typed before Ctrl-C is withdrawn
    assert interrupted == ["!"]


def test_typed_ahead_while_a_command_runs(person: Talk) -> None:
    person.type("work\r")
    person.type("one\rtwo\rthr")
    assert person.got == ["work"]
    person.busy.set()
    person.bench.run(6)
    assert person.type("ee\r", 4) == ["work", "one", "two", "three"]


def test_a_pasted_block_is_a_line_each(person: Talk) -> None:
    assert person.type("one\rtwo\rthree\r", 8) == ["one", "two", "three"]


def test_messages_appear_above_the_prompt_and_the_line_stays(person: Talk) -> None:
    person.type("cp")
    person.new_output()
    person.bench.kernel.log.warning("test", "look here")
    person.bench.kernel.log.info("test", "not this")
    person.bench.kernel.log.warning("test", "and here")
    person.bench.run(4)
    shown = person.new_output()
    assert "[TEST] look here\r\n[TEST] and here\r\n" in shown and "not this" not in shown
    assert "folk> cp" in shown.split("and here")[1]
    assert person.type("us\r") == ["cpus"]


def test_output_between_prompts_is_plain(person: Talk) -> None:
    person.type("work\r")
    person.new_output()
    person.bench.kernel.console.write("line 1\nline 2\n")
    person.bench.run()
    assert person.new_output() == "line 1\r\nline 2\r\n"


def test_typing_is_bounded(person: Talk) -> None:
    person.type("work\r")
    person.bench.kernel.console.received(b"x" * (MAX_TYPED_AHEAD + 100))
    assert person.bench.kernel.console.lost == 100
    assert "some of it is lost" in person.bench.messages()[-1]


def test_noise_does_not_end_the_conversation(person: Talk) -> None:
    person.type("\x1b[<0;5;5M\x1b[9999999R\x00\x1f\x1bOZ\x1b]0;title\x07", 4)
    person.bench.type(bytes(range(0x80, 0x100)))
    person.bench.run(80)
    person.type("\x15\x03", 4)
    assert person.type("cpus\r", 4)[-1] == "cpus"
    person.bench.kernel.service()


def test_a_session_can_be_cancelled_at_the_prompt(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.nucleus.boot()
    bench.terminal_size = (80, 24)
    one = Talk(bench)
    task = one.start()
    bench.run(3)
    task.cancel()
    bench.run(3)
    assert task.cancelled()
    second = Talk(bench)
    second.start()
    bench.run(3)
    assert second.type("cpus\r") == ["cpus"]


def test_a_pipe_gets_lines_without_escape_sequences(pipe: Talk) -> None:
    assert pipe.type("cpus\nmemory |> first 2\n\x04", 6) == ["cpus", "memory |> first 2", "^D"]
    assert "\x1b" not in pipe.bench.screen
    assert pipe.bench.screen == "folk> cpus\r\nfolk> memory |> first 2\r\nfolk> \r\n"


@pytest.mark.parametrize(("name", "colour"), [("dumb", False), ("unknown", False), ("plain", False), ("", True), ("linux", True), ("xterm-256color", True)])
def test_what_is_a_terminal(make_bench: MakeBench, name: str, colour: bool) -> None:
    bench = make_bench(Layout(cmdline=f"quiet terminal={name}", archive=program_archive()))
    one = talk(bench, (80, 24) if colour else None)
    assert bench.kernel.console.colour is colour
    assert one.type("cpus\r") == ["cpus"]
    assert ("\x1b" in bench.screen) is colour


def test_a_pipe_that_says_everything_at_once_before_the_first_prompt(make_bench: MakeBench) -> None:
    bench = make_bench(Layout(cmdline="terminal=plain quiet", archive=program_archive()))
    bench.nucleus.boot()
    bench.type("one\ntwo\nthree\n\x04")
    one = Talk(bench)
    one.start()
    bench.run(8)
    assert one.got == ["one", "two", "three", "^D"]


def test_control_c_on_a_pipe(pipe: Talk) -> None:
    assert pipe.type("half\x03cpus\n", 4) == ["^C", "cpus"]


def test_messages_on_a_pipe_keep_the_line(pipe: Talk) -> None:
    pipe.type("cp")
    pipe.bench.kernel.log.warning("test", "look here")
    assert pipe.type("us\n") == ["cpus"]
    assert "folk> cp\r\n[TEST] look here\r\nfolk> cpus\r\n" in pipe.bench.screen


def test_two_prompts_at_once_are_a_mistake_of_ours(person: Talk) -> None:
    task = person.bench.kernel.spawn(person.bench.kernel.console.prompt("second "))
    person.bench.run()
    assert isinstance(task.exception(), AssertionError)


def test_nobody_pays_for_prompt_toolkit_without_a_person() -> None:
    script = ("import sys; from tests.kernel.fake import bench, Layout, program_archive\n"
              "b = bench(Layout(cmdline='terminal=plain', archive=program_archive())); b.nucleus.boot()\n"
              "b.kernel.spawn(b.kernel.console.prompt('> ')); b.run(3); b.kernel.close()\n"
              "assert not [name for name in sys.modules if name.startswith('prompt_toolkit')]\n")
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
