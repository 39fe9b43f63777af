"""`python folkering.py check` is part of the tests, and so of CI; and the two rules that no tool of its own knows."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.checking import check
from launcher.environment import RUN_LOCK, TEST_LOCK

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("machine", "devices", "kernel", "jit_synth", "shell", "images", "launcher")
CHIP_HOOK = r"_|(on|read|peek|write)_[A-Z]|on_reset$|on_restore$|initial$"      # devices/core/registers.py says what they are for


def test_style_types_and_imports(capsys: pytest.CaptureFixture[str]) -> None:
    failed = check(ROOT)
    assert not failed, capsys.readouterr().out


def public_methods(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Public methods of public classes, but for Protocols, which document theirs, setters, and the hooks of a chip."""
    for owner in ast.walk(tree):
        if isinstance(owner, ast.ClassDef) and not owner.name.startswith("_") and not any(ast.unparse(base).startswith("Protocol") for base in owner.bases):
            methods = (node for node in owner.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
            yield from ((owner.name, method) for method in methods if not re.match(CHIP_HOOK, method.name)
                        and not any(ast.unparse(decorator).endswith(".setter") for decorator in method.decorator_list))


def test_public_methods_have_docstrings() -> None:
    seen, bare = 0, []
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            for owner, method in public_methods(ast.parse(path.read_text())):
                seen += 1
                if ast.get_docstring(method) is None:
                    bare.append(f"{path.relative_to(ROOT)}:{method.lineno} {owner}.{method.name}")
    assert seen > 100
    assert not bare, "\n".join(bare)


def test_launcher_needs_nothing_but_the_standard_library() -> None:
    allowed = sys.stdlib_module_names | {"launcher"}
    foreign = []
    paths = sorted((ROOT / "launcher").glob("*.py"))
    assert paths
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            foreign += [f"{path.name}: {name}" for name in names if name.split(".")[0] not in allowed]
    assert not foreign


@pytest.mark.parametrize("lock", [RUN_LOCK, TEST_LOCK])
def test_lock_files_are_whole_and_name_no_place(lock: str) -> None:
    text = (ROOT / lock).read_text()
    packages = re.findall(r"^([\w.-]+)==\S+((?:.*\\\n)+.*)", text, re.MULTILINE)
    assert len(packages) == len(re.findall(r"^[^#\s]", text, re.MULTILINE))
    assert all("--hash=sha256:" in rest for _, rest in packages)
    assert "://" not in text and "index-url" not in text and "find-links" not in text


def test_test_lock_holds_all_of_the_other() -> None:
    assert locked(RUN_LOCK).items() <= locked(TEST_LOCK).items()


def test_every_dependency_is_locked_and_has_its_reason() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    for block, lock in (("\ndependencies = [", RUN_LOCK), ("\nsystem = [", RUN_LOCK), ("\ntest = [", TEST_LOCK)):
        lines = project.split(block)[1].split("\n]")[0].strip().splitlines()
        assert lines
        for line in lines:
            match = re.match(r'\s*"([\w-]+)[^"]*",\s+# .{10,}', line)
            assert match, f"no reason beside {line.strip()}"
            assert match[1].replace("_", "-") in locked(lock)


def locked(lock: str) -> dict[str, str]:
    """What a lock file names, without those that are for other systems."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))
