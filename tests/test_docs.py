"""The examples of docs/scripting.md are run as they are read: one after the other, each page's in one namespace."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from machine.loaders.initrd import build

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scripting.md"
BLOCK = re.compile(r"^```python( guest)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(*, guest: bool) -> str:
    """The examples, each where it stands on the page so that a traceback names the page's line."""
    text = PAGE.read_text()
    program: list[str] = []
    for block in BLOCK.finditer(text):
        if bool(block[1]) is guest:
            program += [""] * (text.count("\n", 0, block.start(2)) - len(program)) + block[2].splitlines()
    assert program
    return "\n".join(program)


def test_examples() -> None:
    names: dict[str, Any] = {}
    exec(compile(blocks(guest=False), str(PAGE), "exec"), names)  # noqa: S102 -- our own page
    assert {"machine", "fork", "pc"} <= names.keys()


@pytest.mark.guest
def test_examples_with_linux(scenarios: Callable[..., Any], debian_linux: Path, debian_busybox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vmlinuz").symlink_to(debian_linux)
    (tmp_path / "initrd").write_bytes(build(debian_busybox, "mount -t proc proc /proc\nmount -t sysfs sys /sys\nmount -t devtmpfs dev /dev\nexec sh"))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(blocks(guest=True), str(PAGE), "exec"), names)  # noqa: S102
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test(scenarios)
