"""The environment: made once, found complete, repaired whatever has become of it, and never at another's cost."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher import environment as environment_module
from launcher.environment import RUN_LOCK, TEST_LOCK, Environment, SetupError
from launcher.provision import Progress, prepare
from tests.launcher.conftest import pip_calls

Use = Callable[[str], None]


def packages(checkout: Environment) -> Path:
    return next(checkout.folder.glob("lib/python3*/site-packages"))


@pytest.fixture
def made(checkout: Environment, use_pip: Use, capsys: pytest.CaptureFixture[str]) -> Environment:
    """A checkout whose environment is made."""
    prepare(checkout, RUN_LOCK)
    capsys.readouterr()
    return checkout


def test_is_made_once(checkout: Environment, use_pip: Use, capsys: pytest.CaptureFixture[str]) -> None:
    assert not checkout.is_ready(RUN_LOCK)
    prepare(checkout, RUN_LOCK)
    assert checkout.is_ready(RUN_LOCK)
    assert not checkout.is_ready(TEST_LOCK)
    assert (packages(checkout) / "alpha").is_dir() and (packages(checkout) / "beta").is_dir()
    assert not (packages(checkout) / "gamma").exists()
    first, last = capsys.readouterr().err.splitlines()
    assert first == "setting up .venv (once): 3 packages, each checked against its hash"
    assert last.startswith("set up .venv: 2 packages in ")
    prepare(checkout, RUN_LOCK)
    assert pip_calls(checkout) == 1
    assert capsys.readouterr().err == ""


def test_test_lock_covers_both(checkout: Environment, use_pip: Use) -> None:
    prepare(checkout, TEST_LOCK)
    assert checkout.is_ready(RUN_LOCK) and checkout.is_ready(TEST_LOCK)


def test_test_packages_are_added_to_what_is_there(made: Environment) -> None:
    inode = made.folder.stat().st_ino
    prepare(made, TEST_LOCK)
    assert made.is_ready(TEST_LOCK)
    assert made.folder.stat().st_ino == inode


def test_changed_lock_is_noticed(made: Environment) -> None:
    (made.root / RUN_LOCK).write_text("alpha==1.1\n")
    assert not made.is_ready(RUN_LOCK)
    prepare(made, RUN_LOCK)
    assert made.is_ready(RUN_LOCK)
    assert (packages(made) / "alpha-1.1.dist-info").is_dir()


def test_touched_lock_with_equal_text_is_no_change(made: Environment) -> None:
    os.utime(made.root / RUN_LOCK, (1, 1))
    assert made.is_ready(RUN_LOCK)


def test_moved_checkout_stays_ready(made: Environment, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("elsewhere") / "checkout"
    shutil.copytree(made.root, other, symlinks=True)
    shutil.rmtree(made.folder)
    assert Environment(other).is_ready(RUN_LOCK)


def test_package_added_by_hand_is_no_damage(made: Environment) -> None:
    (packages(made) / "omega").mkdir()
    assert made.is_ready(RUN_LOCK)
    assert pip_calls(made) == 1


def point_nowhere(environment: Environment) -> None:
    for name in ("python", "python3"):
        (environment.folder / "bin" / name).unlink()
    environment.python.symlink_to("/nonexistent/python")


def of_another_python(environment: Environment) -> None:
    made = environment.mark / "made"
    made.write_text(made.read_text().replace(environment_module.identity(), "cpython-39 Linux x86_64"))


BREAKAGES: list[tuple[str, Callable[[Environment], object], str]] = [
    ("no interpreter", point_nowhere, "the Python that it was made with is gone; making it again"),
    ("other Python", of_another_python, "made for cpython-39 Linux x86_64, this is "),
    ("package gone", lambda environment: shutil.rmtree(packages(environment) / "alpha"), "alpha/__init__.py is gone; making it again"),
    ("metadata gone", lambda environment: shutil.rmtree(packages(environment) / "beta-2.0.dist-info"), "beta-2.0 is gone; making it again"),
    ("half installed", lambda environment: (environment.mark / "made").unlink(), "its set-up was not finished; making it again"),
    ("garbage", lambda environment: (environment.mark / "made").write_bytes(b"\xff\0"), "its set-up was not finished; making it again"),
]


@pytest.mark.parametrize(("damage", "line"), [breakage[1:] for breakage in BREAKAGES], ids=[breakage[0] for breakage in BREAKAGES])
def test_broken_environment_is_made_again(made: Environment, capsys: pytest.CaptureFixture[str], damage: Callable[[Environment], object], line: str) -> None:
    damage(made)
    assert not made.is_ready(RUN_LOCK)
    prepare(made, RUN_LOCK)
    assert made.is_ready(RUN_LOCK) and made.damage() is None
    explanation = capsys.readouterr().err.splitlines()[0]
    assert line in explanation
    assert not list(made.root.glob(".venv.old-*"))


def file_in_its_place(folder: Path) -> None:
    folder.write_text("precious")


def foreign_environment(folder: Path) -> None:
    (folder / "bin").mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\n")


def dangling_link(folder: Path) -> None:
    folder.symlink_to("/nonexistent/place")


@pytest.mark.parametrize("make", [file_in_its_place, foreign_environment, dangling_link])
def test_what_is_not_ours_is_moved_aside(checkout: Environment, use_pip: Use, capsys: pytest.CaptureFixture[str], make: Callable[[Path], None]) -> None:
    (checkout.root / ".venv.old-1").mkdir()
    make(checkout.folder)
    before = os.lstat(checkout.folder)
    prepare(checkout, RUN_LOCK)
    assert checkout.is_ready(RUN_LOCK)
    assert os.lstat(checkout.root / ".venv.old-2").st_ino == before.st_ino
    assert capsys.readouterr().err.splitlines()[0].endswith(": not made by folkering.py; moved it to .venv.old-2 and making our own")


def test_empty_folder_is_nobodys(checkout: Environment, use_pip: Use) -> None:
    checkout.folder.mkdir()
    prepare(checkout, RUN_LOCK)
    assert checkout.is_ready(RUN_LOCK)
    assert not list(checkout.root.glob(".venv.old-*"))


def test_deep_damage_is_repaired_when_an_import_fails(made: Environment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A file deep in a package can go without its folder's time changing; then the import fails, and `repair` looks closely."""
    executed: list[Path] = []
    monkeypatch.setattr(Environment, "is_active", lambda _self: True)
    monkeypatch.setattr(Environment, "_execute_again", lambda self: executed.append(self.python))
    monkeypatch.delenv("FOLKERING_REPAIRED", raising=False)
    made.repair(RUN_LOCK)
    assert not executed                                                 # nothing is wrong: the import's own error is the one to show
    (packages(made) / "alpha" / "__init__.py").unlink()
    assert made.is_ready(RUN_LOCK)
    made.repair(RUN_LOCK)
    assert executed == [made.python]
    assert made.damage() is None
    assert "alpha/__init__.py is gone; making it again" in capsys.readouterr().err
    (packages(made) / "alpha" / "__init__.py").unlink()
    made.repair(RUN_LOCK)
    assert len(executed) == 1                                           # once, whatever is wrong
    monkeypatch.delenv("FOLKERING_REPAIRED")


FAILURES = [
    ("offline", "cannot get alpha: no package index can be reached and pip's cache does not hold it; connect and run this again"),
    ("hash", "a downloaded package does not match its hash in requirements.lock: nothing was installed"),
    ("full", "the disk is full: "),
    ("build", "alpha has no ready-made build for "),
    ("other", "pip failed: something nobody thought of"),
    ("killed", "pip failed: "),
]


@pytest.mark.parametrize(("how", "line"), FAILURES, ids=[failure[0] for failure in FAILURES])
def test_failure_is_one_line_and_can_be_mended(checkout: Environment, use_pip: Use, how: str, line: str) -> None:
    use_pip(how)
    with pytest.raises(SetupError) as failure:
        prepare(checkout, RUN_LOCK)
    assert str(failure.value).startswith(line)
    assert "\n" not in str(failure.value)
    assert not checkout.is_ready(RUN_LOCK)
    use_pip("good")
    prepare(checkout, RUN_LOCK)
    assert checkout.is_ready(RUN_LOCK)


def test_failed_update_does_not_leave_the_old_mark(made: Environment, use_pip: Use) -> None:
    (made.root / RUN_LOCK).write_text("alpha==1.1\n")
    use_pip("offline")
    with pytest.raises(SetupError):
        prepare(made, RUN_LOCK)
    (made.root / RUN_LOCK).write_text((made.root / TEST_LOCK).read_text().replace("delta==4.0\n", ""))
    assert not made.is_ready(RUN_LOCK)


def test_no_lock_file_is_no_checkout(checkout: Environment, use_pip: Use) -> None:
    (checkout.root / RUN_LOCK).unlink()
    with pytest.raises(SetupError, match="this is not a complete checkout"):
        prepare(checkout, RUN_LOCK)


def test_second_process_waits_and_finds_it_done(checkout: Environment, use_pip: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = threading.Event()
    lines: list[str] = []

    def tell(line: str, **_options: object) -> None:
        lines.append(line)
        waiting.set()

    monkeypatch.setattr(environment_module, "print", tell, raising=False)
    second = threading.Thread(target=prepare, args=(checkout, RUN_LOCK))
    with checkout.exclusively("never said"):
        second.start()
        assert waiting.wait(10)
        checkout.mark.mkdir(parents=True)                               # what the first process does meanwhile
    second.join(30)
    assert lines == [f"another folkering.py is setting up {checkout.folder}; waiting for it"]
    assert checkout.is_ready(RUN_LOCK)


def test_progress_on_a_terminal_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "50")
    progress = Progress("setting up .venv (once)", 3)
    for line in ("Ignoring gamma: markers", "Collecting alpha==1.0 (from -r x)", "Requirement already satisfied: beta==2.0 in x", "noise"):
        progress.tell(line)
    progress.end("set up .venv: 2 packages")
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    steps = written.split("\r\x1b[K")
    assert steps == ["", "setting up .venv (once)  0/3  ", "setting up .venv (once)  1/2  alpha 1.0", "setting up .venv (once)  2/2  beta 2.0",
                     "set up .venv: 2 packages\n"]
    assert all(len(step) < 50 for step in steps)
