"""The shell and the real synthesizer: unknown commands on live values, refusals as people see them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from jit_synth import Keys, Store, Synthesizer
from shell import Shell
from tests.shell.bench import Bench, names, pointed_at
from tests.shell.test_fuzz import lines

GRANTS = frozenset({"telemetry"})


def with_synthesizer(folder: Path | None = None, grants: frozenset[str] = GRANTS) -> Bench:
    bench = Bench()
    synthesizer = Synthesizer(bench.sources, Store(folder), Keys(folder), lambda: 1_800_000_000 * 10**9, grants)
    bench.shell = Shell(bench.sources, synthesizer, bench.power)
    return bench


@pytest.fixture(scope="module")
def shared() -> Bench:
    """One synthesizer for many lines: what it learns does not change what these mean."""
    return with_synthesizer()


def test_the_first_light(shared: Bench) -> None:
    screen = shared.done("Get-SystemStats |> Format-Dashboard")
    assert "memory used" in screen and "9.4 %" in screen and "█" in screen
    assert [command.name for command in shared.shell.context.synthesized][-2:] == ["Get-SystemStats", "Format-Dashboard"]
    assert all(len(command.wasm) <= 2048 for command in shared.shell.context.synthesized)
    assert {"Get-SystemStats", "Format-Dashboard"} <= set(shared.shell.context.learned)


def test_unheard_of_commands(shared: Bench) -> None:
    assert names(shared.rows("show the three busiest cpus")) == ["0", "2", "1"]
    assert shared.done("Get-InterruptRate").splitlines()[0].split()[-1] == "rate"
    assert shared.done("Measure-IdleTime") == "5 min 08 s\n"
    assert names(shared.rows("show tasks with time over 10ms |> select id")) == ["1", "2", "4", "5"]
    assert shared.done("ps |> where time > 1s |> Count-Tasks") == "2\n"


def test_synthesized_and_built_in_commands_mix(shared: Bench) -> None:
    assert names(shared.rows("cpus |> where load > 0 |> Sort-ByLoad -Descending |> last 2 |> select id")) == ["2", "1"]
    shared.done("$rates = Get-InterruptRate")
    assert shared.done("$rates |> where rate > 50 |> count") == "4\n"


def test_what_if(shared: Bench) -> None:
    text = shared.done("Get-SystemStats -WhatIf")
    assert all(word in text for word in ("plan", "imports", "WebAssembly", "evidence", "signed"))


@pytest.mark.parametrize(("line", "kind"), [("Write-Novel", "UNKNOWN_VERB"), ("Delete-Tasks", "UNKNOWN_VERB"), ("ps |> Get-Novel", "NO_OPERATOR"),
                                            ("asdf", "NO_OPERATOR"),
                                            ("Get-It -Example 'a'", "AMBIGUOUS")])
def test_refusals_are_typed_and_fail(shared: Bench, line: str, kind: str) -> None:
    report = shared.wrong(line)
    assert f"[{kind}]" in report.replace("\n    ", " ") and "  understood: " in report


def test_a_mistyped_command_is_refused_and_its_neighbour_named(shared: Bench) -> None:
    report = shared.wrong("ps |> sotr name")
    assert pointed_at("ps |> sotr name", report) == "sotr", "what nothing accounts for"
    assert "  nearest: sort" in report


def test_a_capability_that_was_not_granted_is_named() -> None:
    report = with_synthesizer(grants=frozenset({"telemetry.cpus"})).wrong("Get-SystemStats")
    assert "[NEEDS_CAPABILITY]" in report.replace("\n    ", " ") and "telemetry.system" in report


def test_what_was_learned_is_known_the_next_time(tmp_path: Path) -> None:
    for is_new in (True, False):
        bench = with_synthesizer(tmp_path)
        bench.done("Get-InterruptRate")
        (command,) = bench.shell.context.synthesized
        assert command.is_new is is_new
    (skill,) = tmp_path.glob("*.skill")
    data = bytearray(skill.read_bytes())
    data[-1] ^= 1
    skill.write_bytes(data)
    bench = with_synthesizer(tmp_path)
    bench.done("Get-InterruptRate")
    assert bench.shell.context.synthesized[0].is_new, "a flipped bit is refused, and the command made anew"


def test_a_damaged_key_is_one_line(tmp_path: Path) -> None:
    Keys(tmp_path).ensure()
    (key,) = tmp_path.iterdir()
    key.write_bytes(b"FOLKKEY1" + bytes(40))
    report = with_synthesizer(tmp_path).wrong("Get-InterruptRate")
    assert "signing.key" in report.replace("\n    ", "") and len(report.splitlines()) <= 8


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bench = with_synthesizer(tmp_path / "file")
    for line in ("Get-InterruptRate", "Get-InterruptRate -WhatIf"):
        assert len(bench.wrong(line).splitlines()) <= 8


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=lines)
def test_no_line_is_an_exception(shared: Bench, text: str) -> None:
    status, printed = shared.run(text)
    shared.shell.context.closed = False
    assert status in (0, 1, 2) and "\x1b" not in printed
