"""Results by hash: found again, never half, never wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from images import cache


def test_what_is_stored_is_found(tmp_path: Path) -> None:
    assert cache.load(tmp_path, "k", 2) is None
    assert cache.store(tmp_path / "deep" / "er", "k", [b"one", b""])
    assert cache.load(tmp_path / "deep" / "er", "k", 2) == [b"one", b""]
    assert cache.load(tmp_path / "deep" / "er", "other", 2) is None


@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: raw + b"x", lambda raw: raw[:40] + b"\xff" + raw[41:], lambda _raw: b""],
                         ids=["short", "long", "flipped", "empty"])
def test_a_damaged_file_is_not_believed(tmp_path: Path, damage: object) -> None:
    cache.store(tmp_path, "k", [b"content" * 10])
    path = tmp_path / "k.images"
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert cache.load(tmp_path, "k", 1) is None


def test_another_number_of_blobs_is_another_format(tmp_path: Path) -> None:
    cache.store(tmp_path, "k", [b"a", b"b"])
    assert cache.load(tmp_path, "k", 3) is None


def test_no_temporary_file_stays_behind(tmp_path: Path) -> None:
    cache.store(tmp_path, "k", [b"a"])
    cache.store(tmp_path, "k", [b"b"])
    assert [path.name for path in tmp_path.iterdir()] == ["k.images"]
    assert cache.load(tmp_path, "k", 1) == [b"b"]


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert not cache.store(tmp_path / "file" / "cache", "k", [b"a"])


def test_only_the_newest_results_are_kept(tmp_path: Path) -> None:
    for number in range(cache.KEPT + 3):
        cache.store(tmp_path, f"k{number}", [b"a"])
        os.utime(tmp_path / f"k{number}.images", (number, number))
    cache.store(tmp_path, "last", [b"a"])
    names = {path.stem for path in tmp_path.iterdir()}
    assert len(names) == cache.KEPT
    assert "last" in names
    assert "k0" not in names


@pytest.mark.parametrize(("value", "expected"), [("/var/cache", "/var/cache/folkering/images"), ("relative", None), ("", None)])
def test_the_directory_follows_the_xdg_specification(monkeypatch: pytest.MonkeyPatch, value: str, expected: str | None) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert str(cache.directory()) == (expected or "/home/someone/.cache/folkering/images")
