"""The parts of `bench` run and give sane figures; how good they are is not tested."""

from __future__ import annotations

import json
from itertools import accumulate, cycle
from pathlib import Path

import pytest

from machine.bench import command, linux, loops, peer, rom
from machine.bench.command import Plan, bench
from machine.bench.peer import Cost, PeerError
from machine.bench.rom import LOOPS
from machine.bench.rows import Row, against_peer, table, within
from machine.boot import Firmware
from machine.configuration import INSTRUCTIONS, Configuration
from machine.machine import Machine
from machine.memory import MIB
from machine.outcome import ExitReason

COST_OF_A_ROUND = {"alu": 6, "load-store": 5, "call-ret": 4, "port": 3, "mmio": 3}      # instructions, the loop's own two included


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.name)
def test_a_loop_does_its_rounds_and_ends(loop: rom.Loop) -> None:
    def retired(rounds: int) -> int:
        machine = Machine(Firmware(rom.image(loop, rounds)), Configuration(16 * MIB, clock=INSTRUCTIONS, reboot=False))
        try:
            outcome = machine.run()
            assert (outcome.reason, outcome.value) == (ExitReason.DEBUG_EXIT, 0)
            return machine.stats.retired
        finally:
            machine.close()

    assert retired(1100) - retired(100) == 1000 * COST_OF_A_ROUND[loop.name]


@pytest.mark.skipif(peer.found() is None, reason="no qemu-system-x86_64: the loops are not compared")
def test_qemu_runs_the_same_image() -> None:
    assert peer.rom_seconds(rom.image(LOOPS[0], 1000)) > 0


def test_json_without_guests(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "found", lambda: None)
    moments = accumulate(cycle((0.0, 10.0, 0.0, 1.0)))              # the whole takes ten seconds, start-up one
    monkeypatch.setattr(loops, "_processor_time", lambda: next(moments))
    assert bench(Path("folkering.py"), None, None, "", as_json=True, plan=Plan(1, 0.02, 1, guests=False)) == 0
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert [row["name"] for row in report["rows"]] == [loop.name for loop in LOOPS]
    for row in report["rows"]:
        assert row["ours"] > 0 and row["peer"] is None and row["unit"] in ("ns", "us")
    assert report["rows"][0]["ours"] == pytest.approx(9 / (LOOPS[0].rounds * 0.02) * 1e9)
    assert all(row["note"] == "no qemu-system-x86_64 on this host to compare with" and row["met"] is None for row in report["rows"][:3])
    assert said.err.count("bench: ") == len(LOOPS)


def test_rounds_that_are_lost_in_start_up_are_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "found", lambda: None)
    monkeypatch.setattr(loops, "_processor_time", lambda: 1.0)
    rows = list(loops.measure(1, 0.0, lambda _: None))
    assert len(rows) == len(LOOPS) and all(row.ours is None and row.note == "so few rounds cannot be measured" for row in rows)


def test_missing_guests_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "measure", lambda *_: iter(()))
    monkeypatch.setattr(linux, "to_prompt", lambda *_: Row("boot", "boot"))
    reason = "busybox-static: this host has no apt-get"
    rows = command.measure(Path("folkering.py"), None, reason, Plan(1, 0.01, 1))
    assert [(row.name, row.note) for row in rows[:2]] == [("linux", reason), ("copies", reason)]


def test_ratios_are_of_pairs_and_budgets_of_medians() -> None:
    row = against_peer("x", "x", "ns", [(2.0, 1.0), (1.0, 0.9), (1.0, 0.85)], 0.8, 10)
    assert (row.ours, row.peer, row.ratio, row.met) == (10.0, 9.0, 0.85, True)
    assert within("x", "x", "ms", [1.0, 9.0, 2.0], 5).met and within("x", "x", "ms", [6.0], 5).met is False
    assert within("x", "x", "ms", [6.0], None).met is None
    text = table([row, within("y", "what is slow", "ms", [6.0], 5)])
    assert "0.85x" in text and text.splitlines()[-1].endswith("<= 5 ms               MISSED") and "kept" in text.splitlines()[1]


def test_a_process_that_fails_is_no_figure() -> None:
    assert isinstance(peer.timed(["true"]), Cost)
    with pytest.raises(PeerError, match="sh ended with 3: no such thing"):
        peer.timed(["sh", "-c", "echo no such thing >&2; exit 3"])
    with pytest.raises(PeerError, match="true ended with 0: no output"):
        peer.timed(["true"], seen=b"user space")


@pytest.mark.guest
def test_copies_of_a_booted_linux(debian_linux: Path, debian_busybox: Path) -> None:
    guest = linux.Guest(debian_linux, debian_busybox, Path("folkering.py"))
    rows = {row.name: row for row in linux.copies(guest, 1, lambda _: None)}
    assert set(rows) == {"memory", "checkpoint", "restore", "restore-run", "fork", "save", "load", "snapshot-size"}
    assert all(row.ours is not None and row.ours > 0 for row in rows.values())
    assert rows["memory"].ours is not None and rows["memory"].ours < 1024
