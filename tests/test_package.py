"""What `pip install` gives: the machine, its pytest plugin, and nothing of the system."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILD = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"
# A ROM that leaves by the debug-exit port with 3: mov al, 3; out 0F4h, al, and jmp F000:0000 at the reset vector.
USE = """
import sys
sys.path[:] = [sys.argv[1]] + [path for path in sys.path if path != sys.argv[2]]
from machine import Configuration, ExitReason, Firmware, Machine
import machine.machine, machine.scenario.plugin, machine.debug.monitor, machine.debug.rsp, machine.bench.command
assert machine.machine.__file__.startswith(sys.argv[1])
pc = Machine(Firmware(bytes.fromhex("b003e6f4f4").ljust(65520, b"\\xf4") + bytes.fromhex("ea000000f0").ljust(16, b"\\xf4")), Configuration(memory=4 << 20))
print(pc.run(timeout=30).value)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since building writes beside the sources."""
    folder = tmp_path_factory.mktemp("package")
    for name in ("machine", "devices", "kernel", "launcher"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "folkering.py"):
        shutil.copy(ROOT / name, folder)
    done = subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


def test_the_wheel_holds_the_machine_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = next(archive.read(name).decode() for name in names if name.endswith("/METADATA"))
        entries = next(archive.read(name).decode() for name in names if name.endswith("/entry_points.txt"))
    sources = {str(path.relative_to(ROOT)) for room in ("machine", "devices") for path in (ROOT / room).rglob("*.py")}
    assert {name for name in names if ".dist-info/" not in name} == sources
    needed = [line.split(": ")[1] for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert sorted(name.split("=")[0].split(">")[0] for name in needed) == ["capstone", "pyelftools", "unicorn"]
    assert "machine.scenario.plugin" in entries


def test_it_runs_without_a_checkout(wheel: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", USE, str(wheel), str(ROOT)], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout.strip(), done.returncode) == ("3", 0), done.stderr
