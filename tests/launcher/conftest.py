"""A checkout in miniature, with a pip that needs no network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from launcher import provision
from launcher.environment import RUN_LOCK, TEST_LOCK, Environment

LOCK = "# a lock file\nalpha==1.0 \\\n    --hash=sha256:0\nbeta==2.0\ngamma==3.0 ; sys_platform == 'win32'\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Environment:
    """A folder with two lock files and no environment."""
    (tmp_path / RUN_LOCK).write_text(LOCK)
    (tmp_path / TEST_LOCK).write_text(LOCK + "delta==4.0\n")
    return Environment(tmp_path)


@pytest.fixture
def use_pip(checkout: Environment, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes pip behave as named, see fake_pip.py; "good" from the start."""
    script = Path(__file__).with_name("fake_pip.py")

    def use(how: str) -> None:
        monkeypatch.setattr(provision, "_pip", lambda environment, _settings: [str(environment.python), str(script), how])

    use("good")
    return use


def pip_calls(environment: Environment) -> int:
    """How often pip was called in a checkout."""
    calls = environment.root / "pip-calls"
    return len(calls.read_text().splitlines()) if calls.exists() else 0
