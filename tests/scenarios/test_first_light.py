"""First light, from the outside: `folkering.py boot` as a person or a program runs it, on the real machine, through pipes and through a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "folkering.py"
DEADLINE = 12.0                     # seconds of wall time for anything; a busy host is slow
PROMPT = "folk> "
AT_PROMPT = "folk>"                # a terminal gets the blank as a movement of the cursor
ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[()][0-9A-B]|[=>78])")

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of their own for the scenarios; what was assembled before is used."""
    return tmp_path_factory.mktemp("home")


def environment(home: Path) -> dict[str, str]:
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return {**os.environ, "HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "XDG_CACHE_HOME": cache, "TERM": "xterm-256color"}


def boot(home: Path, *words: str, typed: bytes = b"") -> subprocess.CompletedProcess[str]:
    """`folkering.py boot` without a terminal."""
    line = [sys.executable, str(LAUNCHER), "boot", *words]
    done = subprocess.run(line, input=typed, capture_output=True, timeout=DEADLINE, env=environment(home), check=False)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode().replace("\r\n", "\n"), done.stderr.decode())


def commands(home: Path, *lines: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """`boot -c LINE -c LINE ...`."""
    return boot(home, *options, *(word for line in lines for word in ("-c", line)))


def after(transcript: str, line: str) -> str:
    """What a command printed: from its echo to the next prompt or the end."""
    return transcript.split(f"{PROMPT}{line}\n", 1)[1].split(PROMPT, 1)[0]


# --- without a person -------------------------------------------------------------------------------------------------------


def test_the_line_of_the_issue(home: Path) -> None:
    done = commands(home, "Get-SystemStats |> Format-Dashboard", "poweroff")
    assert done.returncode == 0 and done.stderr == ""
    posts = [int(code, 16) for code in re.findall(r"^\[POST ([0-9A-Fa-f]{2})\]", done.stdout, re.MULTILINE)]
    assert posts == sorted(posts) and len(posts) >= 4
    marks = ("[POST", "[LOADER]", "[NUCLEUS]", "[KERNEL]", "4 CPUs online", f"{PROMPT}Get-SystemStats", f"{PROMPT}poweroff", "Powering off.")
    order = [done.stdout.index(mark) for mark in marks]
    assert order == sorted(order), "from the reset vector to the last command"
    board = after(done.stdout, "Get-SystemStats |> Format-Dashboard")
    assert re.search(r"^cpus +4$", board, re.MULTILINE) and re.search(r"^memory used .*\[[█░]{20}\] +\d+\.\d %$", board, re.MULTILINE)
    assert done.stdout.endswith("Powering off.\n")


def test_live_data_of_the_machine(home: Path) -> None:
    done = commands(home, "cpus |> to-json", "memory |> measure size |> to-json", "devices |> count", "uptime |> to-json", "uptime |> to-json",
                    options=("--cpus", "3", "--memory", "128"))
    assert done.returncode == 0
    cpus = json.loads(after(done.stdout, "cpus |> to-json"))
    assert [cpu["id"] for cpu in cpus] == [0, 1, 2] and all(0 <= cpu["load"] <= 1 for cpu in cpus)
    memory = json.loads(after(done.stdout, "memory |> measure size |> to-json"))
    assert 120 << 20 <= memory["sum"] <= 128 << 20
    assert int(after(done.stdout, "devices |> count")) >= 2
    first, second = (int(number) for number in re.findall(r"^(\d{6,})$", done.stdout, re.MULTILINE))
    assert 0 < first < second < 60 * 10**9


@pytest.mark.parametrize(("line", "code", "says"), [
    ("Get-InterruptRate", 0, "rate"), ("Measure-IdleTime", 0, "s"), ("show the three busiest cpus", 0, "load"),
    ("Write-Novel", 1, "[UNKNOWN_VERB]"), ("asdf", 1, "[NO_OPERATOR]"), ("ps |> sotr name", 1, "nearest: sort"),
    ("ps |> sort nope", 1, "there is no column 'nope'"),
    ("ps | sort", 2, "perhaps: ps |> sort"), ("ps |>", 2, "leads nowhere"), ("|>", 2, "nothing on its left"),
    ("ps ~> busy", 2, "the semantic pipe ~> is not built yet"),
])
def test_exit_codes(home: Path, line: str, code: int, says: str) -> None:
    done = commands(home, line)
    assert done.returncode == code, done.stdout + done.stderr
    assert says in after(done.stdout, line)


def test_all_run_and_the_worst_counts(home: Path) -> None:
    done = commands(home, "echo one", "ps | sort", "Write-Novel", "echo two", "poweroff", "echo never")
    assert done.returncode == 2
    assert [after(done.stdout, "echo one"), after(done.stdout, "echo two")] == ["one\n", "two\n"] and "never" not in done.stdout


def test_what_if_shows_a_module_no_larger_than_the_originals(home: Path) -> None:
    text = after(commands(home, "Get-SystemStats -WhatIf").stdout, "Get-SystemStats -WhatIf")
    size = re.search(r"(\d+) bytes of WebAssembly", text)
    assert size and int(size[1]) <= 669 and "evidence" in text and "imports" in text


def test_json(home: Path) -> None:
    done = commands(home, "Get-SystemStats |> Format-Dashboard", "echo one", "Write-Novel", "ps | sort", options=("--json",))
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 2 and [entry["status"] for entry in entries] == [0, 0, 1, 2]
    made = entries[0]
    assert [one["name"] for one in made["synthesized"]] == ["Get-SystemStats", "Format-Dashboard"] and made["synthesized"][0]["wasm_bytes"] <= 669
    assert made["milliseconds"] > 0 and "memory used" in made["output"] and entries[1]["output"] == "one\n"


def test_until(home: Path) -> None:
    done = boot(home, "--until", r"\d CPUs online")
    assert done.returncode == 0 and "4 CPUs online" in done.stdout and "Powering off" not in done.stdout


def test_timeout(home: Path) -> None:
    script = home / "endless.folk"
    script.write_text("ps\n" * 5_000)
    done = boot(home, "--timeout", "1.5", "--script", str(script))
    assert done.returncode == 124 and "timeout" in done.stderr


def test_scripts(home: Path) -> None:
    script = home / "first.folk"
    script.write_text("# a script\n$busy = cpus |>\n  where load >= 0   # all of them\n$busy |> count\n", encoding="utf-8")
    done = boot(home, "-c", "echo first", "--script", str(script))
    assert done.returncode == 0 and done.stdout.endswith("first\n4\n")
    assert boot(home, "--script", str(home / "absent.folk")).returncode == 2


def test_a_pipe_instead_of_a_terminal(home: Path) -> None:
    done = boot(home, typed=b"ps |> count\nWrite-Novel\n")
    assert done.stdout.count(PROMPT) == 3 and "\n4\n" in done.stdout and "[UNKNOWN_VERB]" in done.stdout
    assert "\x1b" not in done.stdout, "no escape sequences into a pipe"
    assert done.returncode == 1, "the last line's status"


def test_what_was_learned_is_kept_and_checked(home: Path) -> None:
    line = "Count-Devices -WhatIf"
    commands(home, "Count-Devices")
    assert re.search(r"known +yes", after(commands(home, line).stdout, line))
    assert re.search(r"known +no", after(commands(home, line, options=("--fresh",)).stdout, line))
    skills = sorted((home / "data").rglob("*.skill"))
    assert skills
    for skill in skills:
        data = bytearray(skill.read_bytes())
        data[len(data) // 2] ^= 0x10
        skill.write_bytes(data)
    done = commands(home, "Count-Devices", line)
    assert done.returncode == 0 and "made anew" in done.stdout, "refused by name, and made again"


def test_the_instruction_clock_repeats_a_run(home: Path) -> None:
    lines = ("Get-SystemStats", "cpus", "show the three busiest cpus", "log")
    first, second = (commands(home, *lines, options=("--clock", "instructions", "--fresh")) for _ in range(2))
    assert first.returncode == 0 and first.stdout == second.stdout


# --- with a person ----------------------------------------------------------------------------------------------------------


class Person:
    """Somebody at a terminal. Reads until a pattern is on the screen; sees text without escape sequences."""

    def __init__(self, home: Path, *words: str, size: tuple[int, int] = (24, 80)) -> None:
        self.master, self.slave = pty.openpty()
        ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        self.raw = ""
        self.seen = 0
        line = [sys.executable, str(LAUNCHER), "boot", *words]
        self.process = subprocess.Popen(line, stdin=self.slave, stdout=self.slave, stderr=self.slave, env=environment(home), start_new_session=True)

    @property
    def screen(self) -> str:
        """All that was shown."""
        return ESCAPES.sub("", self.raw).replace("\r\n", "\n").replace("\r", "\n")

    def type(self, keys: str) -> None:
        """Press keys."""
        self.seen = len(self.raw)
        os.write(self.master, keys.encode())

    def sees(self, pattern: str) -> str:
        """Wait until what came since the last keys matches; returns it."""
        deadline = time.monotonic() + DEADLINE
        while not re.search(pattern, self.recent[-20_000:]):
            assert time.monotonic() < deadline, f"{pattern!r} did not come; the screen: {self.screen[-2000:]}"
            assert self.read(1.0) or self.process.poll() is None, f"{pattern!r} did not come before the end; the screen: {self.screen[-2000:]}"
        return self.recent

    @property
    def recent(self) -> str:
        return ESCAPES.sub("", self.raw[self.seen:]).replace("\r\n", "\n").replace("\r", "\n")

    def read(self, seconds: float) -> bool:
        """Take what comes; answer as a terminal does. Whether something came."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.master, 65536).decode(errors="replace")
        except OSError:                                   # the other side has gone
            return False
        self.raw += data
        for _ in range(data.count("\x1b[6n")):
            os.write(self.master, b"\x1b[1;1R")
        return bool(data)

    def leaves(self) -> int:
        """Wait for the end; the exit code."""
        deadline = time.monotonic() + DEADLINE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.screen[-2000:]
            self.read(0.1)
        while self.read(0.1):
            pass
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def people(home: Path) -> Iterator[list[Person]]:
    present: list[Person] = []
    yield present
    for person in present:
        person.close()


def at_the_prompt(home: Path, people: list[Person], *words: str, size: tuple[int, int] = (24, 80)) -> Person:
    person = Person(home, "--fresh", *words, size=size)
    people.append(person)
    person.sees(AT_PROMPT)
    return person


def test_a_conversation(home: Path, people: list[Person]) -> None:
    person = at_the_prompt(home, people)
    person.type("ps |> count\r")
    assert "\n4\n" in person.sees(r"4\n+folk>")
    person.type("ps | sort\r")
    assert "perhaps: ps |> sort" in person.sees(r"perhaps.*\n+folk>")
    person.type("\x1b[A\x1b[A")                           # up, up
    person.sees(r"ps \|> count")
    person.type("\r")
    person.sees(r"4\n+folk>")
    person.type("upt\t")                                  # Tab completes
    person.sees("ime")
    person.type("\r")
    person.sees(r"\d[\d.]* m?s\n+folk>")
    person.type("half a line\x03")                        # Ctrl-C gives it up
    person.sees(AT_PROMPT)
    person.type("Get-SystemStats |> Format-Dashboard\r")
    person.sees(r"(?s)memory used .*%.*folk>")
    person.type("\x04")                                   # Ctrl-D
    assert person.leaves() == 0 and "powering off" in person.screen
    assert termios.tcgetattr(person.slave) == person.before, "the terminal is as it was"


def test_ctrl_a(home: Path, people: list[Person]) -> None:
    person = at_the_prompt(home, people)
    assert termios.tcgetattr(person.slave) != person.before, "raw meanwhile"
    person.type("\x01h")
    person.sees(r"Ctrl-A x")
    person.type("echo still here\r")
    person.sees(r"\nstill here\n")
    person.type("\x01x")
    assert person.leaves() == 130
    assert termios.tcgetattr(person.slave) == person.before


def test_ctrl_c_stops_a_running_line(home: Path, people: list[Person]) -> None:
    person = at_the_prompt(home, people)
    person.type("; ".join(["log |> to-json"] * 150) + "; echo the end\r")
    person.sees('"facility"')
    person.type("\x03")
    assert "the end\n" not in person.sees(r"\^C\n+folk>")
    person.type("poweroff\r")
    assert person.leaves() == 0


def test_ctrl_c_right_behind_a_line_is_for_that_line(home: Path, people: list[Person]) -> None:
    person = at_the_prompt(home, people)
    person.type("; ".join(["log |> to-json"] * 40) + "; echo the end\r\x03")
    assert '"facility"' not in person.sees(r"\^C\n+folk>")
    person.type("poweroff\r")
    assert person.leaves() == 0


def test_reboot_comes_back(home: Path, people: list[Person]) -> None:
    person = at_the_prompt(home, people)
    person.type("reboot\r")
    person.sees(r"(?s)Rebooting.*POST.*CPUs online.*folk>")
    person.type("exit\r")
    assert person.leaves() == 0


def test_a_narrow_terminal(home: Path, people: list[Person]) -> None:
    person = at_the_prompt(home, people, size=(20, 40))
    person.type("ps\r")
    table = person.sees(r"(?s)memory.*folk>")
    assert all(len(line) <= 40 for line in table.splitlines())
    person.type("exit\r")
    assert person.leaves() == 0


def test_ctrl_c_ends_a_run_without_a_person(home: Path, people: list[Person]) -> None:
    person = Person(home, "--fresh", *["-c", "log |> to-json"] * 300, "-c", "echo the end")
    people.append(person)
    person.sees("to-json\n")
    person.process.send_signal(signal.SIGINT)
    assert person.leaves() == 130 and "the end\n" not in person.screen
    assert termios.tcgetattr(person.slave) == person.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_terminal_is_restored_whatever_happens(home: Path, people: list[Person], number: signal.Signals) -> None:
    person = at_the_prompt(home, people)
    person.process.send_signal(number)
    assert person.leaves() != 0
    assert termios.tcgetattr(person.slave) == person.before
