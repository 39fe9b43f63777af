"""The conversation: prompt, history, Ctrl-C, Ctrl-D, commands without a person, and the reports of what was run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from jit_synth.values import Text, Value
from kernel.errors import KernelError
from shell.completion import Completion
from shell.errors import STATUS_CANCELLED
from shell.session import MOST_HISTORY, PROMPT, Session
from tests.shell.bench import Bench

BANNER = "Folkering. help lists the commands; what is not there is\n    worked out on the spot.\n"
FAREWELL = "Ctrl-D: powering off. (Ctrl-C clears a line or stops a\n    command.)\n"
Typed = str | BaseException


class Teletype:
    """A console whose typist is a list; what is typed is not echoed."""

    def __init__(self, *typed: Typed) -> None:
        self.typed = list(typed)
        self.text = ""
        self.columns = 60
        self.colour = False
        self.histories: list[list[str]] = []
        self.offers: list[str] = []

    def write(self, text: str) -> None:
        self.text += text

    async def drain(self) -> None:
        await asyncio.sleep(0)

    async def prompt(self, message: str, *, completer: Callable[[str], Sequence[Completion]] | None = None, history: Sequence[str] = ()) -> str:
        assert message == PROMPT and completer is not None
        self.histories.append(list(history))
        self.offers += [one.text for one in completer("upt")]
        await asyncio.sleep(0)
        typed = self.typed.pop(0)
        if isinstance(typed, BaseException):
            raise typed
        return typed


def talk(bench: Bench, *typed: Typed) -> tuple[Session, Teletype]:
    console = Teletype(*typed)
    session = Session(bench.shell, console)
    asyncio.run(session.run_interactive())
    return session, console


def test_a_conversation(bench: Bench) -> None:
    session, console = talk(bench, "echo one", "  ", "ps | sort", "poweroff")
    assert console.text == BANNER + "one\nfolk: '|' is not a pipe\n  ps | sort\n     ^\n  perhaps: ps |> sort\nPowering off.\n"
    assert [report.status for report in session.reports] == [0] and bench.power.asked == ["off"], "a conversation keeps its last report only"
    assert "uptime " in console.offers


def test_history_holds_what_was_typed_once(bench: Bench) -> None:
    _, console = talk(bench, "ps", "ps", "cpus", "", "ps", "exit")
    assert console.histories[-1] == ["ps", "cpus", "ps"]
    bench.shell.context.closed = False
    bench.shell.context.history[:] = [str(number) for number in range(MOST_HISTORY)]
    talk(bench, "echo new", "exit")
    assert len(bench.shell.context.history) == MOST_HISTORY and bench.shell.context.history[-2:] == ["echo new", "exit"]


def test_ctrl_c_at_the_prompt_clears_the_line(bench: Bench) -> None:
    _, console = talk(bench, KeyboardInterrupt(), "echo on", "exit")
    assert "on\n" in console.text


def test_ctrl_d_powers_off(bench: Bench) -> None:
    _, console = talk(bench, "echo one", EOFError())
    assert console.text.endswith("one\n" + FAREWELL) and bench.power.asked == ["off"]


def test_ctrl_d_on_a_machine_that_cannot_be_switched_off(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise KernelError("power: no S5 here")
    monkeypatch.setattr(bench.power, "power_off", refuse)
    _, console = talk(bench, EOFError(), "reboot")
    assert "folk: power: no S5 here\n" in console.text and bench.power.asked == ["reboot"]


def test_ctrl_c_cancels_a_running_line(bench: Bench) -> None:
    console = Teletype()
    session = Session(bench.shell, console)

    async def run() -> int:
        forever: asyncio.Future[Value] = asyncio.get_running_loop().create_future()

        class Never:
            async def run(self, work: Callable[[], Value]) -> Value:
                return await forever

        bench.shell.context.beside = Never()  # type: ignore[assignment]
        assert not session.interrupt(), "nothing runs yet"
        running = asyncio.ensure_future(session.run_commands(["Get-Something; echo not this", "echo after"]))
        for _ in range(5):
            await asyncio.sleep(0)
        assert session.interrupt()
        return await running

    assert asyncio.run(run()) == STATUS_CANCELLED
    assert console.text == f"{PROMPT}Get-Something; echo not this\n^C\n", "the rest of its line is gone, and so are the commands after it"
    assert [report.status for report in session.reports] == [STATUS_CANCELLED] and session.was_cancelled


def test_cancelling_the_session_is_not_ctrl_c(bench: Bench) -> None:
    session = Session(bench.shell, Teletype())

    async def run() -> None:
        class Never:
            async def run(self, work: Callable[[], Value]) -> Value:
                return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

        bench.shell.context.beside = Never()  # type: ignore[assignment]
        running = asyncio.ensure_future(session.run_commands(["Get-Something"]))
        for _ in range(5):
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(run())


def test_commands_are_echoed_and_all_run(bench: Bench) -> None:
    console = Teletype()
    session = Session(bench.shell, console)
    worst = asyncio.run(session.run_commands(["echo one", "ps |> sort nope", "ps | x", "echo two", "poweroff", "echo three"]))
    assert worst == 2
    assert console.text.startswith(f"{PROMPT}echo one\none\n") and console.text.endswith(f"{PROMPT}echo two\ntwo\n{PROMPT}poweroff\nPowering off.\n")
    assert [report.status for report in session.reports] == [0, 1, 2, 0, 0]


def test_a_script_with_a_mistake_runs_not_at_all(bench: Bench) -> None:
    console = Teletype()
    session = Session(bench.shell, console)
    assert asyncio.run(session.run_script("echo one\nps | count\n")) == 2
    assert console.text.startswith("folk: '|' is not a pipe\n  ps | count\n")
    assert asyncio.run(session.run_script("echo one\necho two")) == 0 and console.text.endswith("one\ntwo\n")


def test_reports(bench: Bench) -> None:
    times = iter(range(0, 100_000_000, 1_500_000))
    bench.resolver.make("Get-Total", lambda _: Text("all of it"))
    session = Session(bench.shell, Teletype(), clock=lambda: next(times))
    asyncio.run(session.run_commands(["Get-Total |> to-json", "echo plain", "Write-Novel"]))
    made, plain, refused = (report.as_plain() for report in session.reports)
    assert made == {"command": "Get-Total |> to-json", "status": 0, "output": '"all of it"\n', "milliseconds": 1.5, "wasm_bytes": 100,
                    "synthesized": [{"name": "Get-Total", "plan": "rows of system", "wasm_bytes": 100, "imports": ["folk_rows_system"]}]}
    assert plain["synthesized"] == [] and plain["wasm_bytes"] == 0 and plain["output"] == "plain\n"
    assert refused["status"] == 1 and "UNKNOWN_VERB" in str(refused["output"])


def test_our_own_mistake_does_not_end_the_conversation(bench: Bench) -> None:
    def broken(_: Value | None) -> Value:
        raise ZeroDivisionError("division by zero")

    told: list[tuple[str, str]] = []
    bench.resolver.make("Get-Odd", broken)
    console = Teletype()
    session = Session(bench.shell, console, broken=lambda text, error: told.append((text, type(error).__name__)))
    assert asyncio.run(session.run_commands(["Get-Odd", "echo on"])) == 1
    assert "mistake of the system's own: ZeroDivisionError: division by zero\n" in console.text and console.text.endswith("on\n")
    assert told == [("Get-Odd", "ZeroDivisionError")]
    with pytest.raises(ZeroDivisionError):
        asyncio.run(Session(bench.shell, Teletype()).run_commands(["Get-Odd"]))
