"""`check`: style, types and who imports whom, by the tools' own configuration in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHECKS = (
    ("style", "ruff", ("-m", "ruff", "check", "--quiet", ".")),
    ("types", "mypy --strict", ("-m", "mypy", "--no-error-summary")),
    ("imports", "import-linter", ("-c", "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())")),
)


def check(root: Path) -> int:
    """Runs all checks, all at once, and prints what fails. Returns 0 if nothing does, else 1."""
    running = [(what, tool, subprocess.Popen([sys.executable, *command], cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                             stderr=subprocess.STDOUT, text=True, errors="replace")) for what, tool, command in CHECKS]
    failed = []
    for what, tool, process in running:
        output, _ = process.communicate()
        if process.returncode:
            failed.append(what)
            print(output.strip())
        print(f"{what:8} {tool:14} {'failed' if process.returncode else 'ok'}", flush=True)
    if failed:
        print(f"check failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))
