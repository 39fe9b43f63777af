"""`doctor`: what is here, what is missing, and what that costs you. Looks only, and works without the environment."""

from __future__ import annotations

import importlib.util
import mmap
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from launcher.environment import RUN_LOCK, TEST_LOCK, Environment

ANSWER_SECONDS = 20              # no tool that is asked for its version takes longer
MIB = 1 << 20
NEEDED_DISK = 500 * MIB          # environment, images and test guests together
NEEDED_MEMORY = 600 * MIB        # a 256 MiB guest and its host process, with room
ENGINE_TEST = "from machine.engine import abi, verify; verify.wheel(abi.load()); print('verified')"
PEERS = (                        # program, what it is for, what its absence costs
    ("qemu-system-x86_64", "the peer that our speed and our firmware are compared with", "those comparisons and their tests are skipped"),
    ("gdb", "symbolic debugging of guests", "nothing yet: the debugger stub is on the roadmap"),
    ("apt-get", "fetches the third-party guests that tests boot", "tests that boot Debian's Linux are skipped by name"),
    ("dpkg-deb", "unpacks them", "the same tests are skipped"),
    ("git", "commits", "you cannot contribute from here"),
)


class Verdict(Enum):
    """How a finding is to be read."""

    GOOD = "ok"
    OPTIONAL = "--"              # missing, and you may live without
    LATER = ".."                 # not there yet, and made when first needed
    BAD = "!!"                   # `boot` or `run` cannot work


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `cost` is what to do, or what one goes without, empty when all is well."""

    verdict: Verdict
    subject: str
    detail: str
    cost: str = ""


def doctor(environment: Environment) -> int:
    """Prints the report. Returns 1 if something that `boot` or `run` needs is missing, else 0."""
    bad = 0
    for title, examine in SECTIONS:
        print(title)
        for finding in examine(environment):
            bad += finding.verdict is Verdict.BAD
            print(f"  {finding.verdict.value} {finding.subject:22} {finding.detail}{f': {finding.cost}' if finding.cost else ''}", flush=True)
    print(f"{bad} thing{'s' if bad > 1 else ''} to mend before `boot` and `run` can work" if bad else "nothing is missing that `boot` and `run` need")
    return int(bad > 0)


def _host(environment: Environment) -> Iterator[Finding]:
    """Python and what the host gives a process."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding(Verdict.GOOD, "Python", f"{version} ({sys.implementation.name}), {sys.executable}")
    base = str(getattr(sys, "_base_executable", sys.executable))
    pip = _answer([base, "-m", "pip", "--version"])
    if pip is not None:
        yield Finding(Verdict.GOOD, "pip", " ".join(pip.split()[1:2]))
    elif importlib.util.find_spec("ensurepip") is not None:
        yield Finding(Verdict.LATER, "pip", "not here, but this Python can bring its own")
    else:
        yield Finding(Verdict.BAD, "pip", "missing", "no packages can be installed; on Debian: apt-get install python3-pip")
    system = os.uname()
    known = system.sysname == "Linux" and system.machine == "x86_64"
    yield Finding(Verdict.GOOD if known else Verdict.OPTIONAL, "system", f"{system.sysname} {system.release} on {system.machine}",
                  "" if known else "only Linux on x86_64 is tested; the engine's stubs are for it alone")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding(Verdict.GOOD, "cores", f"{cores}; one PC uses one, however many vCPUs it has")
    yield _executable_memory()
    yield _memory()
    yield _disk(environment.root)


def _executable_memory() -> Finding:
    """The engine and WASM both translate to host code."""
    try:
        mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    except OSError as error:
        return Finding(Verdict.BAD, "executable memory", f"refused ({error.strerror})",
                       "neither the CPU nor WASM can run; a security policy (SELinux, seccomp) forbids it")
    return Finding(Verdict.GOOD, "executable memory", "allowed")


def _memory() -> Finding:
    try:
        match = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    if match is None:
        return Finding(Verdict.GOOD, "memory", "unknown")
    free = int(match[1]) * 1024
    if free < NEEDED_MEMORY:
        return Finding(Verdict.OPTIONAL, "memory", f"{_size(free)} available", "tight for the default guest of 256 MiB; --memory 128 takes less")
    return Finding(Verdict.GOOD, "memory", f"{_size(free)} available")


def _disk(root: Path) -> Finding:
    free = shutil.disk_usage(root).free
    if free < NEEDED_DISK:
        return Finding(Verdict.OPTIONAL, "disk", f"{_size(free)} free at {root}", f"set-up and caches want {_size(NEEDED_DISK)}")
    return Finding(Verdict.GOOD, "disk", f"{_size(free)} free")


def _packages(environment: Environment) -> Iterator[Finding]:
    """The environment and each package that the lock files name."""
    first = "the next `boot` or `run` makes it"
    if not os.path.lexists(environment.folder):
        yield Finding(Verdict.LATER, ".venv", "not there yet", first)
        return
    if not environment.mark.is_dir():
        yield Finding(Verdict.LATER, ".venv", "not made by folkering.py", "the next `boot` or `run` moves it aside and makes its own")
        return
    if environment.is_ready(RUN_LOCK):
        damage = environment.damage()
        whole = "for use and for tests" if environment.is_ready(TEST_LOCK) else "for use; `test` and `check` add theirs"
        if damage is None:
            yield Finding(Verdict.GOOD, ".venv", f"complete, {whole}")
        else:
            yield Finding(Verdict.BAD, ".venv", damage, f"delete {environment.folder}; the next command makes it again")
    else:
        yield Finding(Verdict.LATER, ".venv", "incomplete or out of date", f"{first} good")
    installed = _installed(environment)
    wanted = _locked(environment.root / RUN_LOCK)
    for name, version in wanted.items():
        yield _package(name, version, installed, Verdict.LATER)
    tests = {name: version for name, version in _locked(environment.root / TEST_LOCK).items() if name not in wanted}
    missing = [name for name, version in tests.items() if installed.get(name) != version]
    if missing:
        yield Finding(Verdict.LATER, "for tests", f"{len(tests) - len(missing)} of {len(tests)} packages", "`test` and `check` install the rest")
    else:
        yield Finding(Verdict.GOOD, "for tests", f"all {len(tests)} packages")
    if environment.is_ready(RUN_LOCK):
        answer = _answer([str(environment.python), "-c", ENGINE_TEST], environment.root)
        if answer is None:
            yield Finding(Verdict.BAD, "CPU engine", "the installed Unicorn is not the one this project knows", "nothing can run; `run` says what differs")
        else:
            yield Finding(Verdict.GOOD, "CPU engine", "Unicorn's layout is the one this project knows")


def _package(name: str, version: str, installed: dict[str, str], absent: Verdict) -> Finding:
    have = installed.get(name)
    if have is None:
        return Finding(absent, name, "missing", f"set-up installs {version}")
    if have != version:
        return Finding(absent, name, have, f"set-up installs {version}")
    return Finding(Verdict.GOOD, name, have)


def _locked(lock: Path) -> dict[str, str]:
    """Names and versions in a lock file, without those that are for other systems."""
    try:
        text = lock.read_text()
    except OSError:
        return {}
    return {match[1]: match[2] for match in re.finditer(r"^([\w.-]+)==(\S+)(?=\s)(?! ; sys_platform == 'win32')", text, re.MULTILINE)}


def _installed(environment: Environment) -> dict[str, str]:
    """Names, as lock files spell them, and versions of what is in the environment."""
    folders = environment.folder.glob("lib/python3*/site-packages/*.dist-info")
    pairs = (folder.name.removesuffix(".dist-info").rpartition("-") for folder in folders)
    return {name.lower().replace("_", "-"): version for name, _, version in pairs}


def _peers(_environment: Environment) -> Iterator[Finding]:
    """Programs that are used where they are found."""
    for program, purpose, cost in PEERS:
        path = shutil.which(program)
        if path is None:
            yield Finding(Verdict.OPTIONAL, program, f"missing ({purpose})", cost)
        else:
            answer = _answer([path, "--version"]) or ""
            version = re.search(r"\d+(?:\.\d+)+", answer)
            yield Finding(Verdict.GOOD, program, f"{version[0] if version else path} ({purpose})")


def _terminal(_environment: Environment) -> Iterator[Finding]:
    """What the conversation at the prompt has to work with."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield Finding(Verdict.OPTIONAL, "terminal", "input or output is not one", "no line editing; `boot -c` and `boot --script` need none")
    else:
        size = shutil.get_terminal_size()
        narrow = size.columns < 80
        yield Finding(Verdict.OPTIONAL if narrow else Verdict.GOOD, "terminal", f"{size.columns}x{size.lines}, {os.environ.get('TERM', 'TERM is not set')}",
                      "tables are cut to less than 80 columns" if narrow else "")
    encoding = (sys.stdout.encoding or "ascii").lower()
    good = encoding.replace("-", "") == "utf8"
    yield Finding(Verdict.GOOD if good else Verdict.OPTIONAL, "encoding", encoding, "" if good else "frames and bars lose their shapes; set LANG=C.UTF-8")
    if "NO_COLOR" in os.environ:
        yield Finding(Verdict.OPTIONAL, "colour", "NO_COLOR is set", "no colour, as you asked")


def _caches(environment: Environment) -> Iterator[Finding]:
    """What the project keeps, and where; all of it can be deleted."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "folkering"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "folkering"
    for subject, folder in ((".venv", environment.folder), ("learned", data), ("cache", cache)):
        yield Finding(Verdict.GOOD, subject, f"{_size(_usage(folder))} in {folder}" if folder.exists() else f"nothing in {folder}")
    if cache.is_dir():
        for folder in sorted(path for path in cache.iterdir() if path.is_dir()):
            yield Finding(Verdict.GOOD, f"  {folder.name}", _size(_usage(folder)))
    nearest = next(path for path in (cache, *cache.parents) if path.exists())
    if not os.access(nearest, os.W_OK):
        yield Finding(Verdict.OPTIONAL, "cache", f"{nearest} cannot be written",
                      "images are assembled anew at each start; set XDG_CACHE_HOME to a folder of yours")


SECTIONS: tuple[tuple[str, Callable[[Environment], Iterator[Finding]]], ...] = (
    ("this host", _host),
    ("packages", _packages),
    ("other programs", _peers),
    ("terminal", _terminal),
    ("kept files (safe to delete)", _caches),
)


def _answer(command: list[str], folder: Path | None = None) -> str | None:
    """What a program prints, None if it cannot be started, fails or takes too long."""
    try:
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, errors="replace", timeout=ANSWER_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _usage(folder: Path) -> int:
    """Bytes in a folder's files."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue
    return total


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / MIB:.0f} MiB" if count >= 10 * MIB else f"{count / 1024:.0f} KiB"
