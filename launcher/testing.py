"""`test`: fetches the guests that tests boot, then becomes pytest, so that pytest's last line and exit code are the command's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PROCESS_OPTIONS = ("-n", "--numprocesses", "--dist", "--pdb", "--trace")     # who gives one of these decides about processes


def test(root: Path, arguments: Sequence[str]) -> int:
    """Runs pytest in `root` with `arguments` of the user's. Returns only if something could not be started."""
    if _wants_guests(arguments):
        print("fetching the guests that tests boot (kept in a cache; a missing one only skips its tests)", flush=True)
        subprocess.run([sys.executable, "-m", "tests.guests"], cwd=root, stdin=subprocess.DEVNULL, check=False)
    processes = () if any(word.startswith(PROCESS_OPTIONS) for word in arguments) else ("-n", str(len(os.sched_getaffinity(0))))
    print(f"running pytest {' '.join((*processes, *arguments))}", flush=True)
    os.chdir(root)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *processes, *arguments])


def _wants_guests(arguments: Sequence[str]) -> bool:
    """Whether tests that need guests may be among those asked for: not if they are left out by their mark, or nothing is run at all."""
    return not any(word in ("not guest", "--collect-only", "--co", "--version", "-h", "--help", "--markers", "--fixtures") for word in arguments)
