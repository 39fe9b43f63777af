"""The system side on the kernel's fake machine: from HELLO to the last command and the power-off, everything through the UART."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jit_synth.values import Record, Text, Value
from shell.session import PROMPT
from shell.system import System
from tests.kernel.fake import Bench, Layout, Machine, Nucleus, program_archive
from tests.shell.bench import ScriptedResolver, columns


class Booted:
    """A system on a fake machine, with the typist and the screen of it."""

    def __init__(self, folder: Path | None = None, cmdline: str = "terminal=plain quiet", *, at_once: bool = True) -> None:
        self.machine = Machine()
        self.system = System(self.machine, folder, at_once=at_once)
        self.nucleus = Nucleus(self.machine, Layout(archive=program_archive(), cmdline=cmdline))
        self.bench = Bench(self.machine, self.nucleus, self.system.kernel)
        self.resolver = ScriptedResolver()
        self.system.shell.context.synthesizer = self.resolver  # type: ignore[assignment]

    def run(self, ticks: int = 20) -> str:
        """Let 10 ms pass so many times, or until the machine is off. The screen."""
        for _ in range(ticks):
            if self.machine.powered_off or self.machine.was_reset or self.system.has_ended():
                break
            self.bench.run()
        return self.bench.screen.replace("\r\n", "\n")

    def boot(self) -> str:
        self.nucleus.boot()
        return self.run()

    def type(self, text: str) -> str:
        before = len(self.bench.screen.replace("\r\n", "\n"))
        self.bench.type(text)
        return self.run()[before:]


@pytest.fixture
def made() -> Iterator[list[Booted]]:
    systems: list[Booted] = []
    yield systems
    for one in systems:
        one.system.close()


def booted(made: list[Booted], *arguments: object, **named: object) -> Booted:
    made.append(Booted(*arguments, **named))  # type: ignore[arg-type]
    return made[-1]


def test_commands_run_when_the_kernel_is_ready_and_the_machine_is_switched_off(made: list[Booted]) -> None:
    one = booted(made)
    one.system.start(["ps |> count", "uptime |> to-json"])
    one.bench.run(3)
    assert one.bench.screen == "", "nothing before HELLO"
    screen = one.boot()
    assert screen.startswith(f"{PROMPT}ps |> count\n4\n{PROMPT}uptime |> to-json\n")
    assert one.machine.powered_off, "after the last command"
    assert one.system.status == 0 and [report.status for report in one.system.session.reports] == [0, 0]


def test_the_worst_status_and_the_report(made: list[Booted]) -> None:
    one = booted(made)
    one.resolver.make("Get-Total", lambda _: Record(columns("all SIZE"), (4096,)))
    one.system.start(["Get-Total", "ps | sort", "Write-Novel", "poweroff", "echo never"])
    screen = one.boot()
    assert one.machine.powered_off and one.system.status == 2
    report = one.system.report()
    assert [(entry["command"], entry["status"]) for entry in report] == [("Get-Total", 0), ("ps | sort", 2), ("Write-Novel", 1), ("poweroff", 0)]
    assert report[0]["wasm_bytes"] == 100 and report[0]["output"] == "all  4 KiB\n" and isinstance(report[0]["milliseconds"], float)
    assert "perhaps: ps |> sort" in screen and "[UNKNOWN_VERB]" in screen and screen.endswith("Powering off.\n")


def test_a_script(made: list[Booted]) -> None:
    one = booted(made)
    one.system.start(["echo first"], "# a script\n$n = ps |> count\n$n\n")
    screen = one.boot()
    assert screen == f"{PROMPT}echo first\nfirst\n4\n" and one.machine.powered_off
    one = booted(made)
    one.system.start((), "poweroff\necho never")
    assert one.boot() == "Powering off.\n" and one.machine.powered_off
    one = booted(made)
    one.system.start((), "echo never\nps | x")
    assert "never\n" not in one.boot().split("folk:")[0] and one.system.status == 2 and one.machine.powered_off


def test_a_person_at_a_plain_line(made: list[Booted]) -> None:
    one = booted(made)
    one.system.start()
    assert one.boot().endswith(PROMPT) and not one.machine.powered_off
    assert one.type("ps |> cuont\r").startswith("ps |> cuont\nfolk: cuont: no verb here is like it [UNKNOWN_VERB]\n  ps |> cuont\n")
    assert one.type("half\x03") == "half^C\n" + PROMPT
    assert one.type("echo on\r") == "echo on\non\n" + PROMPT
    one.type("\x04")
    assert one.machine.powered_off and one.system.status == 0


def test_ctrl_c_stops_what_runs_beside(made: list[Booted]) -> None:
    one = booted(made, at_once=False)
    release = threading.Event()

    def wait(_: Value | None) -> Value:
        assert release.wait(10)
        return Text("too late")

    one.resolver.make("Get-Loop", wait)
    one.system.start()
    one.boot()
    assert one.type("Get-Loop\r") == "Get-Loop\n", "the system goes on meanwhile"
    assert one.type("\x03") == "^C\n" + PROMPT
    release.set()
    assert one.type("echo on\r") == "echo on\non\n" + PROMPT
    one.type("poweroff\r")
    assert one.machine.powered_off and "too late" not in one.bench.screen


def test_reboot(made: list[Booted]) -> None:
    one = booted(made)
    one.system.start(["reboot"])
    assert one.boot().endswith("Rebooting.\n") and one.machine.was_reset and not one.machine.powered_off


def test_a_machine_that_cannot_be_switched_off_ends_all_the_same(made: list[Booted], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernel.power.Power.can_switch_off", False)
    one = booted(made)
    one.system.start(["echo done", "poweroff"])
    screen = one.boot()
    assert "done\n" in screen and "does not say how this machine is switched off" in screen
    assert one.system.has_ended() and one.system.status == 1 and not one.machine.powered_off


def test_a_panic_ends_the_run(made: list[Booted]) -> None:
    one = booted(made)
    one.nucleus.record[1] = 0                             # the memory map is nowhere
    one.nucleus.write_record()
    one.system.start(["echo never"])
    one.nucleus.hello()
    one.run()
    assert one.system.has_ended() and one.system.status == 1 and one.system.failed
    assert "never" not in one.bench.screen and "memory map" in str(one.system.failed)


def test_our_own_mistakes_are_logged_and_the_conversation_goes_on(made: list[Booted]) -> None:
    def broken(_: Value | None) -> Value:
        raise ZeroDivisionError("division by zero")

    one = booted(made)
    one.resolver.make("Get-Odd", broken)
    one.system.start(["Get-Odd", "log |> where facility == shell |> count"])
    screen = one.boot()
    assert "mistake of the system's own: ZeroDivisionError" in screen and screen.endswith("2\n") and one.system.status == 1


def test_a_mistake_in_the_conversation_itself_ends_the_run(made: list[Booted], monkeypatch: pytest.MonkeyPatch) -> None:
    one = booted(made)

    async def broken(commands: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("shell.session.Session.run_commands", lambda self, commands: broken(commands))
    one.system.start(["echo x"])
    one.boot()
    assert one.system.has_ended() and one.system.status == 1 and "ZeroDivisionError" in str(one.system.failed)


def test_without_a_folder_to_write_in_nothing_is_remembered_and_all_works(made: list[Booted], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    one = booted(made, tmp_path / "file")
    one.system.shell.context.synthesizer = one.system._resolver
    one.system.start(["Get-InterruptRate"])
    screen = one.boot()
    assert "nothing will be remembered" in screen and "rate" in screen and one.system.status == 0


def test_the_key_is_made_at_first_boot(made: list[Booted], tmp_path: Path) -> None:
    one = booted(made, tmp_path / "learned")
    one.system.start(["echo hello"])
    one.boot()
    (key,) = (tmp_path / "learned").glob("*.key")
    before = key.read_bytes()
    again = booted(made, tmp_path / "learned")
    again.system.start(["echo hello"])
    again.boot()
    assert key.read_bytes() == before
    key.write_bytes(b"damaged")
    damaged = booted(made, tmp_path / "learned")
    damaged.system.start(["echo hello"])
    screen = damaged.boot()
    assert "hello\n" in screen and "key" in screen and damaged.system.status == 0, "a warning: nothing had to be signed"
