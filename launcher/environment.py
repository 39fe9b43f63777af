"""The project's environment, `.venv`: made once from a lock file, found complete in well under a millisecond ever after, repaired when it is not.

A folder `.venv/folkering` marks an environment as ours. It is made before anything else, so that an interrupted set-up is recognised; the copies of
the lock files in it are written last, so that a copy equal to the lock file means "all of that is installed". An environment with our mark may be
deleted and made again; a `.venv` without it is somebody else's and is moved aside, never deleted.

Which interpreter made it, the packages and the time of the last change to their folder are in `.venv/folkering/made`; when that time differs, the
packages' own records are compared with the files.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

RUN_LOCK, TEST_LOCK = "requirements.lock", "requirements-test.lock"   # the second holds all of the first, and more
SETUP_FAILED = 4                 # exit code: even and not 2, so that no exit code of a guest (`run`) means the same
MARK, MADE = "folkering", "made"


class SetupError(Exception):
    """The environment cannot be made; the message is one line that says what to do."""


class Environment:
    """The `.venv` of the checkout at `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".venv"
        self.python = self.folder / "bin" / "python"
        self.mark = self.folder / MARK

    def is_active(self) -> bool:
        """Whether this very process runs in it."""
        try:
            return os.path.samefile(sys.prefix, self.folder)
        except OSError:
            return False

    def enter(self, lock: str) -> None:
        """Sees that what `lock` names is installed and that this process runs in it; returns only then, by executing it anew if need be.

        Raises:
            SetupError: it cannot be made.
        """
        if self.is_ready(lock):
            if self.is_active():
                return
        else:
            from launcher.provision import prepare

            prepare(self, lock)
        self._execute_again()

    def repair(self, lock: str) -> None:
        """Called when an import failed: returns if the environment is sound, else makes it again and executes this process anew.

        Raises:
            SetupError: it cannot be made.
        """
        made = self.made()
        if made is not None and self.is_active() and self.damage() is not None and "FOLKERING_REPAIRED" not in os.environ:
            from launcher.provision import prepare

            self._write_made(made["packages"], made["names"], "")       # so that it is looked at closely
            prepare(self, lock)
            os.environ["FOLKERING_REPAIRED"] = "1"      # once: no loop, whatever is wrong
            self._execute_again()

    def is_ready(self, lock: str) -> bool:
        """Whether `lock` is installed, for this Python. Costs a few system calls unless something changed."""
        made = self.made()
        if made is None or made["python"] != identity() or not os.access(self.python, os.X_OK):
            return False
        try:
            if (self.mark / lock).read_bytes() != (self.root / lock).read_bytes():
                return False
        except OSError:
            return False
        if made["changed"] != changed(self.folder / made["packages"]):
            if self.damage() is not None:
                return False
            self.write_made(made["packages"], made["names"])    # something was added by hand, or touched: as good as before
        return True

    def damage(self) -> str | None:
        """What of the installed packages is not as it was installed, by their own records; None if all is well."""
        made = self.made()
        if made is None:
            return "its set-up was not finished"
        packages = self.folder / made["packages"]
        for name in made["names"].split():
            try:
                record = (packages / name / "RECORD").read_text()
            except OSError:
                return f"{name.removesuffix('.dist-info')} is gone"
            for path, _, size in (line.rsplit(",", 2) for line in record.splitlines()):
                try:
                    if size and (packages / path.strip('"')).stat().st_size != int(size):
                        return f"{path} was changed"
                except OSError:
                    return f"{path} is gone"
        return None

    def made(self) -> dict[str, str] | None:
        """What `write_made` wrote, None if it did not come that far."""
        try:
            lines = (self.mark / MADE).read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            return None
        made = dict(line.partition("=")[::2] for line in lines)
        return made if made.keys() == {"python", "packages", "names", "changed"} else None

    def write_made(self, packages: str, names: str) -> None:
        """Records a complete installation of `names` (.dist-info folders, space-separated) in `packages` (relative to the environment)."""
        self._write_made(packages, names, changed(self.folder / packages))

    def _write_made(self, packages: str, names: str, when: str) -> None:
        new = self.mark / f"{MADE}.new"
        with suppress(OSError):          # a read-only checkout works too, a little slower
            new.write_text(f"python={identity()}\npackages={packages}\nnames={names}\nchanged={when}\n")
            new.rename(self.mark / MADE)

    @contextmanager
    def exclusively(self, waiting: str) -> Iterator[int]:
        """Lets one process at a time change the environment; yields the descriptor that holds the lock, prints `waiting` if another does.

        A child that inherits the descriptor goes on holding it when this process dies.
        """
        import fcntl

        descriptor = os.open(self.root, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(waiting, file=sys.stderr, flush=True)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def _execute_again(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            os.execv(self.python, [str(self.python), *sys.orig_argv[1:]])
        except OSError as error:
            raise SetupError(f"cannot start {self.python}: {error.strerror}; delete {self.folder} and run this again") from None


def identity() -> str:
    """The kind of interpreter that binary packages are built for: implementation with version, system, processor."""
    system = os.uname()
    return f"{sys.implementation.cache_tag} {system.sysname} {system.machine}"


def changed(packages: Path) -> str:
    """When something was last added to or removed from the folder of packages; empty if it is not there."""
    try:
        return str(packages.stat().st_mtime_ns)
    except OSError:
        return ""
