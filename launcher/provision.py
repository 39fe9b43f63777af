"""Making the environment: venv and pip as they come with Python, one progress line, one clear line when it cannot be done."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

from launcher.environment import MADE, RUN_LOCK, TEST_LOCK, Environment, SetupError, identity

# A user's own settings that would make pip install elsewhere or not at all. Where packages come from stays the user's choice.
UNWANTED_SETTINGS = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PIP_DRY_RUN", "PIP_NO_DEPS", "PIP_REQUIREMENT",
                     "PIP_QUIET", "PIP_VERBOSE", "PIP_LOG", "PIP_PYTHON", "PIP_REPORT", "PYTHONHOME", "PYTHONPATH")
PIP_OPTIONS = ("--require-hashes", "--no-deps", "--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--no-color", "--retries", "1",
               "--root-user-action", "ignore")
UNREACHABLE = ("NewConnectionError", "NameResolutionError", "name resolution", "ConnectTimeout", "ReadTimeout", "ProxyError", "Network is unreachable",
               "Connection refused", "No matching distribution found", "Could not find a version", "ConnectionResetError", "SSLError", "Max retries")


def prepare(environment: Environment, lock: str) -> None:
    """Brings `environment` to what `lock` names, whatever is there now. Does nothing if another process has just done it.

    Raises:
        SetupError: with the reason, in one line.
    """
    folder = environment.folder
    if not (environment.root / lock).is_file():
        raise SetupError(f"{environment.root / lock} is missing: this is not a complete checkout")
    try:
        with environment.exclusively(f"another folkering.py is setting up {folder}; waiting for it") as descriptor:
            if environment.is_ready(lock):
                return
            if not _keep(environment):
                environment.mark.mkdir(parents=True)
                venv.EnvBuilder(symlinks=True).create(folder)
            _install(environment, lock, descriptor)
    except OSError as error:
        raise SetupError(f"cannot set up {folder}: {error.strerror or error}{f' ({error.filename})' if error.filename else ''}") from None
    except KeyboardInterrupt:
        say("set-up interrupted; run the same command again to finish it")
        raise


def _keep(environment: Environment) -> bool:
    """Whether the present environment is ours and sound, so that packages can be brought up to date in it. If not, it is out of the way afterwards."""
    folder = environment.folder
    if not os.path.lexists(folder):
        return False
    if environment.mark.is_dir():
        reason = _fault(environment)
        if reason is None:
            return True
        say(f"{folder}: {reason}; making it again")
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder)
        return False
    if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
        folder.rmdir()
        return False
    aside = _aside(folder)
    folder.rename(aside)
    say(f"{folder}: not made by folkering.py; moved it to {aside.name} and making our own")
    return False


def _fault(environment: Environment) -> str | None:
    """What makes an environment of ours useless."""
    made = environment.made()
    if made is None:
        return "its set-up was not finished"
    if made["python"] != identity():
        return f"made for {made['python']}, this is {identity()}"
    if not os.access(environment.python, os.X_OK):
        return "the Python that it was made with is gone"
    return environment.damage()


def _aside(folder: Path) -> Path:
    number = 1
    while os.path.lexists(aside := folder.with_name(f"{folder.name}.old-{number}")):
        number += 1
    return aside


def _install(environment: Environment, lock: str, descriptor: int) -> None:
    """Runs pip with its output turned into one line of progress; marks the environment complete when it is."""
    for stale in (MADE, RUN_LOCK, TEST_LOCK):
        (environment.mark / stale).unlink(missing_ok=True)
    wanted = (environment.root / lock).read_bytes()
    total = len(re.findall(rb"^\S+==", wanted, re.MULTILINE))
    progress = Progress(f"setting up {environment.folder.name} (once)", total)
    started = time.monotonic()
    settings = {name: value for name, value in os.environ.items() if name not in UNWANTED_SETTINGS}
    command = [*_pip(environment, settings), "install", *PIP_OPTIONS, "-r", str(environment.root / lock)]
    log: list[str] = []
    with subprocess.Popen(command, env=settings, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", pass_fds=(descriptor,)) as pip:
        assert pip.stdout is not None
        try:
            for line in pip.stdout:
                log.append(line.rstrip())
                progress.tell(line)
        except BaseException:
            pip.kill()
            progress.end("")
            raise
    if pip.returncode:
        progress.end("")
        raise SetupError(_reason(log, lock, environment.mark / "set-up.log"))
    packages = next(environment.folder.glob("lib/python3*/site-packages"))
    names = " ".join(sorted(path.name for path in packages.glob("*.dist-info")))
    environment.write_made(str(packages.relative_to(environment.folder)), names)
    for name in (RUN_LOCK, TEST_LOCK) if lock == TEST_LOCK else (RUN_LOCK,):
        new = environment.mark / f"{name}.new"
        new.write_bytes((environment.root / name).read_bytes() if name != lock else wanted)
        new.rename(environment.mark / name)
    progress.end(f"set up {environment.folder.name}: {progress.total} packages in {time.monotonic() - started:.0f} s")


def _pip(environment: Environment, settings: dict[str, str]) -> list[str]:
    """The command that is this environment's pip: the base interpreter's, as `pip --python` runs it, but as our child, which then holds our lock."""
    base = str(getattr(sys, "_base_executable", sys.executable))
    found = subprocess.run([base, "-c", "import pip; print(pip.__path__[0])"], env=settings, capture_output=True, text=True, check=False)
    runner = Path(found.stdout.strip()) / "__pip-runner__.py"
    if found.returncode == 0 and runner.is_file():
        return [str(environment.python), str(runner)]
    if subprocess.run([environment.python, "-m", "ensurepip"], env=settings, capture_output=True, check=False).returncode == 0:
        return [str(environment.python), "-m", "pip"]
    raise SetupError(f"{base} has no pip: install it first (on Debian: apt-get install python3-pip)")


def _reason(log: list[str], lock: str, place: Path) -> str:
    """One line about why pip failed; all that it said is kept at `place`."""
    text = "\n".join(log)
    place.write_text(text + "\n")
    errors = [line.removeprefix("ERROR:").strip() for line in log if line.startswith("ERROR:")]
    if "DO NOT MATCH THE HASHES" in text:
        return f"a downloaded package does not match its hash in {lock}: nothing was installed (details: {place})"
    if "No space left on device" in text:
        return f"the disk is full: {errors[0] if errors else place}"
    if any(sign in text for sign in UNREACHABLE):
        package = next((match[1] for match in map(re.compile(r"requirement (\S+?)==").search, errors) if match), "the packages")
        return f"cannot get {package}: no package index can be reached and pip's cache does not hold it; connect and run this again (details: {place})"
    if "Failed to build" in text or "Failed building wheel" in text or "subprocess-exited-with-error" in text:
        package = next((match[1] for match in map(re.compile(r"(?:wheel for|build) '?([\w.-]+)").search, log) if match), "a package")
        return f"{package} has no ready-made build for {identity()} and building it failed (details: {place})"
    return f"pip failed: {errors[-1] if errors else (log[-1] if log else 'it said nothing')} (details: {place})"


def say(line: str) -> None:
    """One line for the user, beside whatever a command prints."""
    print(line, file=sys.stderr, flush=True)


class Progress:
    """One line that changes on a terminal; elsewhere only its beginning and its end.

    Args:
        title: what is being done.
        total: packages to install.
    """

    def __init__(self, title: str, total: int) -> None:
        self.total = total
        self._title = title
        self._done = 0
        self._live = sys.stderr.isatty()
        if self._live:
            self._show("")
        else:
            say(f"{title}: {total} packages, each checked against its hash")

    def tell(self, line: str) -> None:
        """A line that pip printed."""
        if line.startswith("Ignoring "):
            self.total -= 1
        elif match := re.match(r"(?:Collecting|Requirement already satisfied:) ([\w.-]+==?[\w.]+)", line):
            self._done += 1
            self._show(match[1].replace("==", " "))
        elif line.startswith("Installing collected packages"):
            self._show("unpacking")

    def end(self, line: str) -> None:
        """Replaces the line for good."""
        if self._live:
            sys.stderr.write("\r\x1b[K")
        if line:
            say(line)

    def _show(self, what: str) -> None:
        if self._live:
            columns = shutil.get_terminal_size().columns
            text = f"{self._title}  {self._done}/{self.total}  {what}"
            sys.stderr.write(f"\r\x1b[K{text[:max(columns - 1, 20)]}")
            sys.stderr.flush()
