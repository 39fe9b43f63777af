"""`run`: exit codes, files, statistics, and what a user gets wrong."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from machine.errors import MachineError
from machine.run_command import OutputWatch, RunOptions, run
from tests.machine.rom import rom, say

POWER_OFF = "mov dx, 0x604; mov ax, 0x2000; out dx, ax; stop: hlt; jmp stop;"
SPIN = "spin: jmp spin"


def options(folder: Path, text: str, **more: object) -> RunOptions:
    """A run of a ROM in 4 MiB, on the instruction clock, without a terminal."""
    path = folder / "rom.bin"
    path.write_bytes(rom(text))
    return RunOptions(**{"firmware": str(path), "memory": 4, "clock": "instructions", "serial": "none", "timeout": 5.0, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "more", "code"), [
    (POWER_OFF, {}, 0),
    ("mov al, 0; out 0xf4, al; hlt", {}, 1),
    ("mov al, 0x21; out 0xf4, al; hlt", {}, 0x43),
    ("mov al, 0xff; out 0xf4, al; hlt", {}, 0xFF),
    ("xor ax, ax; mov ds, ax; lidt [0x600]; int 3", {"no_reboot": True}, 3),
    ("mov dx, 0xcf9; mov al, 2; out dx, al; mov al, 6; out dx, al;" + SPIN, {"no_reboot": True}, 3),
    (SPIN, {"timeout": 0.01}, 124),
    (say("login: ") + SPIN, {"exit_on": "login: $"}, 0),
    ("cli; hlt", {}, 1),
])
def test_exit_codes(tmp_path: Path, text: str, more: dict[str, object], code: int) -> None:
    assert run(options(tmp_path, text, **more)) == code


def test_serial_and_debug_output_go_to_files(tmp_path: Path) -> None:
    text = say("one") + "mov dx, 0x402; mov al, 0x32; out dx, al; mov al, 0x33; out 0xe9, al;" + POWER_OFF
    assert run(options(tmp_path, text, serial=str(tmp_path / "serial"), debugcon=str(tmp_path / "debug"))) == 0
    assert ((tmp_path / "serial").read_bytes(), (tmp_path / "debug").read_bytes()) == (b"one", b"23")


def test_a_full_disk_ends_the_run_with_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this host has no /dev/full")
    assert run(options(tmp_path, say("lost") + SPIN, serial="/dev/full")) == 1
    told = capfd.readouterr().err
    assert "/dev/full: No space left on device" in told and told.count("\n") == 1


def test_statistics_say_what_happened(tmp_path: Path) -> None:
    text = "mov dx, 0x1234; in al, dx; out dx, ax; mov dword ptr cs:[0xf000], eax;" + POWER_OFF
    assert run(options(tmp_path, text, cpus=3, stats=str(tmp_path / "stats"))) == 0
    figures = json.loads((tmp_path / "stats").read_text())
    assert (figures["exit_reason"], figures["clock"], figures["interrupts"]) == ("power off", "instructions", [0, 0, 0])
    assert 5 <= figures["retired"] <= 20 and figures["slices"] >= 1 and figures["wall_seconds"] > 0 and figures["rss_mib"] > 1
    assert figures["rom_writes"] == 1
    assert {(entry["where"], entry["count"]) for entry in figures["guest_mistakes"]} >= {("port 0x1234", 1)}


def test_the_hosts_clock_counts_no_instructions(tmp_path: Path) -> None:
    assert run(options(tmp_path, POWER_OFF, clock="host", stats=str(tmp_path / "stats"))) == 0
    assert json.loads((tmp_path / "stats").read_text())["retired"] is None


def test_strict_ends_with_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = "mov al, 0x0b; out 0x70, al; mov al, 3; out 0x71, al;" + POWER_OFF
    assert run(options(tmp_path, text, strict=True, stats=str(tmp_path / "stats"))) == 1
    told = capfd.readouterr().err
    assert "DSE" in told and told.count("\n") == 1 and "Traceback" not in told
    assert json.loads((tmp_path / "stats").read_text())["exit_reason"] == "failed"


def test_mistakes_are_told_when_the_end_was_not_the_guests_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(options(tmp_path, "mov dx, 0x1234; in al, dx; cli; hlt"))
    told = capfd.readouterr().err
    assert "every processor is halted" in told and "0x1234 read, nothing there" in told


def test_a_run_is_saved_and_goes_on(tmp_path: Path) -> None:
    text = say("first") + "mov cx, 20000; wait: loop wait;" + say("second") + "mov al, 3; out 0xf4, al; hlt"
    saved, serial = str(tmp_path / "saved"), str(tmp_path / "serial")
    assert run(options(tmp_path, text, exit_on="first", save=saved)) == 0
    assert run(RunOptions(load=saved, serial=serial, timeout=5.0)) == 7
    assert Path(serial).read_bytes() == b"second"


def test_a_machine_that_has_ended_is_not_saved(tmp_path: Path) -> None:
    assert run(options(tmp_path, POWER_OFF, save=str(tmp_path / "saved"))) == 0
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize(("more", "says"), [
    ({"load": "/nowhere/at/all"}, "No such file"), ({"load": __file__}, "no snapshot"), ({"exit_on": "("}, "regular expression"),
    ({"stats": "/nowhere/at/all"}, "nowhere"), ({"serial": "/nowhere/at/all"}, "nowhere"), ({"debugcon": "/nowhere/at/all"}, "nowhere"),
    ({"memory": 1}, "whole pages"), ({"cpus": 1000}, "1000 CPUs"), ({"firmware": "/nowhere/rom"}, "No such file"),
    ({"kernel": "/nowhere/vmlinuz"}, "No such file"),
])
def test_what_a_user_gets_wrong_is_one_line(tmp_path: Path, more: dict[str, object], says: str) -> None:
    with pytest.raises(MachineError, match=says) as caught:
        run(options(tmp_path, POWER_OFF, **more))
    assert "\n" not in str(caught.value)


def test_a_recorded_run_is_replayed_and_every_difference_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = say("login: ") + SPIN
    recording = str(tmp_path / "recording")
    assert run(options(tmp_path, text, exit_on="login: $", record=recording)) == 0
    assert run(options(tmp_path, text, replay=recording)) == 0
    assert capfd.readouterr().err.count("\n") <= 2
    lines = Path(recording).read_text().splitlines()
    end = json.loads(lines[-1])
    for change, message in (({"digest": "0"}, "with something else in memory, registers or chips"), ({"end": [end["end"][0], 1]}, "the replay has gone astray"),
                            ({"end": [10**9, 10**15]}, "")):
        Path(recording).write_text("\n".join([*lines[:1], json.dumps(end | change)]) + "\n")
        assert run(options(tmp_path, text, replay=recording, timeout=0.2)) == (1 if message else 124)
        assert message in capfd.readouterr().err
    assert run(options(tmp_path, POWER_OFF, record=recording)) == 0
    end = json.loads(Path(recording).read_text().splitlines()[-1])
    Path(recording).write_text(Path(recording).read_text().splitlines()[0] + "\n" + json.dumps(end | {"end": [10**6, 10**12]}) + "\n")
    assert run(options(tmp_path, POWER_OFF, replay=recording)) == 1
    assert "before the recording does" in capfd.readouterr().err
    with pytest.raises(MachineError, match="it began with something else in memory"):
        run(options(tmp_path, text, replay=recording))
    with pytest.raises(MachineError, match="this is no recording"):
        run(options(tmp_path, text, replay=str(tmp_path / "rom.bin")))


ECHO = (say("login: ") + "again: mov dx, 0x3fd; in al, dx; test al, 1; jz again; mov dx, 0x3f8; in al, dx; out dx, al; cmp al, 0x21; jne again;"
        "mov al, 3; out 0xf4, al; hlt")


def typing(text: bytes) -> int:
    """A pipe that holds this and then goes on being open, as the other end of standard input."""
    source, keyboard = os.pipe()
    os.write(keyboard, text)
    os.dup2(source, 0)
    os.close(source)
    return keyboard


@pytest.fixture
def standard_input() -> Iterator[None]:
    """It is put back."""
    before = os.dup(0)
    yield
    os.dup2(before, 0)
    os.close(before)


@pytest.mark.usefixtures("standard_input")
def test_a_recording_that_breaks_off_is_played_as_far_as_it_goes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recording, lines = tmp_path / "recording", list[bytes]()
    keyboard = typing(b"hello!")
    assert run(options(tmp_path, ECHO, serial="stdio", record=str(recording))) == 7
    os.close(keyboard)
    lines = recording.read_bytes().splitlines(keepends=True)
    capfd.readouterr()
    for kept, how in ((b"".join(lines[:-1]), f"after line {len(lines) - 1}, without an end"), (b"".join(lines)[:-3], f"in the middle of line {len(lines)}")):
        recording.write_bytes(kept)
        assert run(options(tmp_path, ECHO, serial=str(tmp_path / "serial"), replay=str(recording))) == 6
        told = capfd.readouterr().err
        retired = json.loads(lines[-2])[0]
        assert told.count("\n") == 1 and f"{recording} breaks off {how}: played as far as it goes, to instruction {retired} at" in told
        assert (tmp_path / "serial").read_bytes().endswith(b"ello"), "and not the last character"
    assert run(options(tmp_path, ECHO, serial=str(tmp_path / "serial"), replay=str(recording), exit_on="login: $")) == 0, "what was waited for came before"


@pytest.mark.usefixtures("standard_input")
def test_ctrl_c_ends_a_recording_as_it_should_end(tmp_path: Path) -> None:
    recording = str(tmp_path / "recording")
    keyboard = typing(b"xx")
    before = signal.getsignal(signal.SIGINT)

    class Pressed(OutputWatch):
        def __call__(self, data: bytes) -> None:
            super().__call__(data)
            if self.found:
                self.found = False
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("machine.run_command.OutputWatch", Pressed)
        assert run(options(tmp_path, ECHO, serial="stdio", record=recording, exit_on="x")) == 130
    os.close(keyboard)
    assert signal.getsignal(signal.SIGINT) is before
    assert run(options(tmp_path, ECHO, replay=recording)) == 0


def test_a_recording_on_a_full_disk_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this host has no /dev/full")
    assert run(options(tmp_path, POWER_OFF, record="/dev/full")) == 1
    told = capfd.readouterr().err
    assert "/dev/full: No space left on device" in told and told.count("\n") == 1
