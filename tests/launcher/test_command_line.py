"""What can be said on the command line: help, one line for each mistake, exit codes."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import folkering
from launcher import arguments, testing
from launcher.environment import RUN_LOCK, SETUP_FAILED, Environment
from launcher.provision import prepare

ROOT = Path(folkering.__file__).parent
COMMANDS = tuple(arguments.PARSERS)

MISTAKES = [
    ("", "bot", "folkering.py: there is no command 'bot'; did you mean boot? (see folkering.py --help)"),
    ("", "frobnicate", "folkering.py: there is no command 'frobnicate'; there are "),
    ("", "--verbose", "folkering.py: unknown option --verbose; there are "),
    ("boot", "--cpu 4", "unknown option --cpu; did you mean --cpus?"),
    ("boot", "--display window", "unknown option --display"),
    ("boot", "--cpus 0", "--cpus: the number of vCPUs is from 1 to 64, not 0"),
    ("boot", "--cpus four", "--cpus: the number of vCPUs is a whole number from 1 to 64, not 'four'"),
    ("boot", "--memory 1", "--memory: the memory in MiB is from 2 to 65536, not 1"),
    ("boot", "--clock fast", "--clock: invalid choice: 'fast'"),
    ("boot", "--timeout -1", "--timeout: '-1' is not a number of seconds above 0"),
    ("boot", "--timeout nan", "--timeout: 'nan' is not a number of seconds above 0"),
    ("boot", "--until (", "--until: '(' is not a regular expression"),
    ("boot", "--script /nonexistent", "--script: /nonexistent: No such file or directory"),
    ("boot", "-c", "-c: expected one argument"),
    ("boot", "--json", "--json goes with -c or --script; a conversation is for people"),
    ("boot", "--script BINARY", "this is no text"),
    ("boot", "now", "'now' is one word too many"),
    ("run", "", "give one of --kernel FILE, --firmware FILE and --load FILE"),
    ("run", "--kernel FILE --firmware FILE", "give one of --kernel FILE, --firmware FILE and --load FILE, not several"),
    ("run", "--load FILE --cpus 2", "--cpus does not go with --load; the snapshot says it"),
    ("run", "--firmware FILE --clock host --record out", "--record and --replay go with --clock instructions"),
    ("run", "--firmware FILE --record out --replay FILE", "--record does not go with --replay"),
    ("run", "--firmware FILE --record out --replay FILE", "--record does not go with --replay"),
    ("run", "--firmware FILE --append quiet", "--append goes with --kernel; a firmware gets no such thing"),
    ("run", "--firmware FILE --initrd FILE", "--initrd goes with --kernel; a firmware gets no such thing"),
    ("run", "--kernel /nonexistent", "--kernel: /nonexistent: No such file or directory"),
    ("run", "--kernel /", "--kernel: / is a folder, not a file"),
    ("run", "--kernel FILE --initrd /nonexistent", "--initrd: /nonexistent: No such file or directory"),
    ("run", "--kernel FILE --stats /nonexistent/stats", "--stats: /nonexistent/stats: there is no folder /nonexistent"),
    ("run", "--kernel FILE --serial /", "--serial: / is not a file that can be written"),
    ("run", "--kernel FILE --exit-on [", "--exit-on: '[' is not a regular expression"),
    ("run", "--kernel FILE --schedule-seed -1", "--schedule-seed: a seed is from 0 to"),
    ("run", "--firmware FILE --disk /nonexistent,ro", "--disk: /nonexistent: No such file or directory"),
    ("run", "--firmware FILE --disk FILE --record out", "a recording is played on the disk as it was; with ,snapshot or ,ro behind its name"),
    ("run", "--firmware FILE --disk FILE --gdb 1234 --clock instructions", "a debugger goes back, and what is written to a file stays written"),
    ("debug", "--firmware FILE --disk FILE", "a debugger goes back, and what is written to a file stays written; with ,snapshot"),
    ("run", "--kernel FILE --no-rebot", "unknown option --no-rebot; did you mean --no-reboot?"),
    ("check", "--fast", "unknown option --fast"),
    ("doctor", "--cure", "unknown option --cure"),
]


@pytest.mark.parametrize(("command", "words", "line"), MISTAKES, ids=[f"{mistake[0]} {mistake[1]}".strip() for mistake in MISTAKES])
def test_mistake_is_one_line_and_code_2(command: str, words: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    places = {"FILE": str(file), "BINARY": str(binary)}
    argv = [*([command] if command else []), *(places.get(word, word) for word in words.split())]
    with pytest.raises(SystemExit) as ended:
        folkering.main(argv)
    assert ended.value.code == arguments.USAGE
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.count("\n") == 1
    assert line in written.err
    assert written.err.endswith(f"(see {f'folkering.py {command}'.strip()} --help)\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        folkering.main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: python folkering.py {command}")
    assert len(text.splitlines()) >= 5


@pytest.mark.parametrize(("words", "line"), [("--firmware FILE --save /dev/null", "--save: /dev/null is no file that could be replaced"),
                                             ("--load FILE --append x", "--append goes with --kernel; a snapshot has its own")])
def test_what_cannot_work_is_said_before_the_run(words: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with pytest.raises(SystemExit) as ended:
        folkering.main(["run", *words.replace("FILE", str(tmp_path / "file")).split()])
    assert ended.value.code == arguments.USAGE and line in capsys.readouterr().err


@pytest.mark.parametrize(("command", "clock"), [("run", "host"), ("boot", "host"), ("debug", "instructions")])
def test_help_names_the_clock_that_the_command_takes(command: str, clock: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        folkering.main([command, "--help"])
    assert f"(default {clock})" in " ".join(capsys.readouterr().out.split())


def test_general_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert folkering.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {command} " in text for command in COMMANDS)
    assert folkering.main([]) == arguments.USAGE


def test_file_that_is_no_kernel_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Environment, "enter", lambda _self, _lock: None)
    (tmp_path / "text").write_text("not a kernel\n" * 1000)
    assert folkering.main(["run", "--kernel", str(tmp_path / "text")]) == arguments.USAGE
    error = capsys.readouterr().err
    assert error.startswith("folkering.py run: ")
    assert error.count("\n") == 1


def test_older_python_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The file must be read by older interpreters to say anything at all, and must stop before anything else is imported."""
    source = (ROOT / "folkering.py").read_text()
    tree = ast.parse(source, feature_version=(3, 7))
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    with pytest.raises(SystemExit) as ended:
        exec(compile(tree, "folkering.py", "exec"), {"__name__": "old", "__file__": "folkering.py"})  # noqa: S102 -- our own file
    assert ended.value.code == SETUP_FAILED
    assert capsys.readouterr().err == "folkering.py: needs Python 3.11 or newer, this is 3.9; start it with a newer one\n"


@pytest.mark.parametrize(("configured", "expected"), [("/data", "/data/folkering"), ("", "/home/one/.local/share/folkering"),
                                                      ("relative", "/home/one/.local/share/folkering")])
def test_the_systems_memory_is_where_data_belongs(configured: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/one")
    monkeypatch.setenv("XDG_DATA_HOME", configured)
    assert str(folkering.data_folder()) == expected


TERMINALS = [
    (True, True, "xterm-256color", "terminal=plain"),
    (False, False, "xterm-256color", "terminal=plain"),
    (False, True, "xterm-256color", "terminal=xterm-256color columns=100 rows=30"),
    (False, True, "", "terminal=vt100 columns=100 rows=30"),
    (False, True, "two words=", "terminal=vt100 columns=100 rows=30"),
]


@pytest.mark.parametrize(("alone", "tty", "name", "expected"), TERMINALS)
def test_the_kernel_is_told_what_terminal_there_is(alone: bool, tty: bool, name: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: tty, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: tty, raising=False)
    monkeypatch.setattr("sys.stdout.fileno", lambda: 1, raising=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda _descriptor: os.terminal_size((100, 30)))
    monkeypatch.setenv("TERM", name)
    assert folkering.command_line(alone) == expected


def test_run_imports_nothing_of_the_system(tmp_path: Path) -> None:
    code = ("import sys, machine.run_command, machine.board\n"
            "print(sorted({'kernel', 'shell', 'jit_synth', 'wasmtime', 'lark', 'prompt_toolkit', 'keystone', 'cryptography'} & sys.modules.keys()))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_enters_the_environment_and_keeps_the_command_line(checkout: Environment, use_pip: Callable[[str], None]) -> None:
    """From a Python outside the environment to the command inside it, with interpreter options, arguments and exit code intact."""
    prepare(checkout, RUN_LOCK)
    shutil.copy(ROOT / "folkering.py", checkout.root)
    shutil.copytree(ROOT / "launcher", checkout.root / "launcher", ignore=shutil.ignore_patterns("__pycache__"))
    room = checkout.root / "machine"
    room.mkdir()
    (room / "errors.py").write_text("class MachineError(Exception): pass\n")
    (room / "run_command.py").write_text(
        "import sys, alpha\n"
        "class RunOptions:\n    def __init__(self, **options): self.options = options\n"
        "def run(it):\n    print(sys.prefix, alpha.version, sys.flags.dont_write_bytecode, it.options['append'])\n    return 77\n")
    kernel = checkout.root / "folkering.py"
    base = str(getattr(sys, "_base_executable", sys.executable))
    done = subprocess.run([base, "-B", str(kernel), "run", "--kernel", str(kernel), "--append", "a b  c"], cwd="/", capture_output=True, text=True,
                          env={"PATH": os.environ["PATH"]}, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (f"{checkout.folder} 1.0 1 a b  c\n", "", 77)


def test_set_up_failure_is_one_line_and_code_4(checkout: Environment) -> None:
    shutil.copy(ROOT / "folkering.py", checkout.root)
    shutil.copytree(ROOT / "launcher", checkout.root / "launcher", ignore=shutil.ignore_patterns("__pycache__"))
    (checkout.root / RUN_LOCK).unlink()
    done = subprocess.run([sys.executable, "folkering.py", "run", "--kernel", "folkering.py"], cwd=checkout.root, capture_output=True, text=True, check=False)
    assert done.returncode == SETUP_FAILED
    assert done.stderr == f"folkering.py: {checkout.root / RUN_LOCK} is missing: this is not a complete checkout\n"


def test_doctor_runs_on_a_bare_checkout(checkout: Environment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from launcher import doctor

    monkeypatch.setattr(doctor, "PEERS", (("no-such-program", "nothing", "nothing is lost"),))
    assert doctor.doctor(checkout) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  .. .venv                  not there yet: the next `boot` or `run` makes it" in lines
    assert "  -- no-such-program        missing (nothing): nothing is lost" in lines
    assert lines[-1] == "nothing is missing that `boot` and `run` need"


def test_doctor_lists_packages_and_their_state(checkout: Environment, use_pip: Callable[[str], None], capsys: pytest.CaptureFixture[str],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    from launcher import doctor

    monkeypatch.setattr(doctor, "PEERS", ())
    prepare(checkout, RUN_LOCK)
    shutil.rmtree(next(checkout.folder.glob("lib/python3*/site-packages/alpha-1.0.dist-info")))
    assert doctor.doctor(checkout) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  .. .venv                  incomplete or out of date: the next `boot` or `run` makes it good" in lines
    assert "  .. alpha                  missing: set-up installs 1.0" in lines
    assert "  ok beta                   2.0" in lines
    assert not any("gamma" in line for line in lines)


PYTEST_WORDS = [
    ((), ("-n", "2")),
    (("-n0", "tests/kernel"), ("-n0", "tests/kernel")),
    (("-x", "-m", "not guest"), ("-n", "2", "-x", "-m", "not guest")),
]


@pytest.mark.parametrize(("given", "passed"), PYTEST_WORDS)
def test_test_hands_its_arguments_to_pytest(given: tuple[str, ...], passed: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[list[str]] = []
    executed: list[list[str]] = []
    monkeypatch.setattr(testing.subprocess, "run", lambda command, **_options: fetched.append(command))
    monkeypatch.setattr(testing.os, "execv", lambda _path, command: executed.append(command))
    monkeypatch.setattr(testing.os, "sched_getaffinity", lambda _process: {0, 1})
    monkeypatch.chdir(tmp_path)
    testing.test(tmp_path, given)
    assert [command[1:] for command in executed] == [["-m", "pytest", *passed]]
    assert bool(fetched) == ("not guest" not in given)
