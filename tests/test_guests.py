"""Fetching test guests: the client is called as it should be, what it brings is kept whole, and what it cannot bring is said by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import guests
from tests.guests import GuestUnavailable, busybox_static, fetch_all, linux_image, seabios_rom

# One program under the client's three names. It knows three packages, and forgets them while the file `stale` is there and no fresh lists were read.
CLIENT = """#!{python}
import os, pathlib, sys
home = pathlib.Path(__file__).parent
name, words = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
with (home / "calls").open("a") as calls:
    calls.write(" ".join([name, *words]) + "\\n")
FILES = {{"linux-image-6.1.0-9-cloud-amd64": "boot/vmlinuz-6.1.0-9-cloud-amd64", "busybox-static": "bin/busybox", "seabios": "usr/share/seabios/README"}}
stale = (home / "stale").exists() and not any("Dir::State::lists" in word for word in words)
if name == "dpkg-deb":
    package = pathlib.Path(words[1]).name.split("_")[0]
    target = pathlib.Path(words[2]) / FILES[package]
    target.parent.mkdir(parents=True)
    target.write_bytes(package.encode())
elif name == "apt-cache" and not stale:
    print("linux-image-cloud-amd64\\n  Depends: linux-image-6.1.0-9-cloud-amd64\\n  Depends: linux-base")
elif words[-2:-1] == ["download"] and words[-1] in FILES and not stale:
    pathlib.Path(words[-1] + "_1_amd64.deb").write_bytes(b"archive")
elif words[-1] != "update" and name == "apt-get":
    sys.exit("E: Unable to locate package " + words[-1])
"""


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package client on PATH, alone there, and an empty cache; the client's folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in guests.CLIENT_TOOLS:
        (folder / name).write_text(CLIENT.format(python=sys.executable))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def calls(client: Path) -> list[str]:
    return (client / "calls").read_text().splitlines()


def test_package_is_fetched_once_and_never_installed(client: Path) -> None:
    path = busybox_static()
    assert path == guests.cache_folder() / "busybox-static/bin/busybox"
    assert path.read_bytes() == b"busybox-static"
    before = calls(client)
    assert busybox_static() == path
    assert calls(client) == before
    assert not any("install" in call for call in before)
    assert sorted(entry.name for entry in guests.cache_folder().iterdir()) == [".busybox-static.lock", "busybox-static"]


def test_kernel_is_the_one_that_the_empty_package_depends_on(client: Path) -> None:
    assert linux_image().name == "vmlinuz-6.1.0-9-cloud-amd64"
    assert calls(client)[1].endswith("download linux-image-6.1.0-9-cloud-amd64")


def test_stale_lists_are_read_anew_into_the_cache(client: Path) -> None:
    (client / "stale").touch()
    assert linux_image().is_file()
    updates = [call for call in calls(client) if call.endswith(" update")]
    assert len(updates) == 1
    assert f"Dir::State::lists={guests.cache_folder()}/.apt/lists" in updates[0]


def test_missing_file_in_a_package_is_said(client: Path) -> None:
    with pytest.raises(GuestUnavailable, match=r"seabios: no usr/share/seabios/bios-256k\.bin below "):
        seabios_rom()


def test_missing_package_is_said(client: Path) -> None:
    with pytest.raises(GuestUnavailable, match=r"memtest86\+: apt-get memtest86\+ failed|memtest86\+: apt-get download failed"):
        guests.memtest_image()
    assert not (guests.cache_folder() / "memtest86+").exists()


def test_without_a_client_the_tool_is_named(client: Path) -> None:
    (client / "dpkg-deb").unlink()
    with pytest.raises(GuestUnavailable, match="busybox-static: this host has no dpkg-deb, the client that fetches Debian packages"):
        busybox_static()


def test_fetching_everything_goes_on_after_a_missing_one(client: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch_all() == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["linux", "busybox", "seabios", "memtest", "invaders"]
    assert lines[1].endswith("busybox-static/bin/busybox")
    assert lines[3].startswith("  memtest  missing, its tests are skipped: memtest86+: ")


def test_absence_skips_by_name_but_fails_in_ci(client: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (client / "apt-get").unlink()
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="test guest missing: busybox-static: this host has no apt-get"):
        guests._or_skip(busybox_static)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="test guest missing in CI: busybox-static"):
        guests._or_skip(busybox_static)


def test_cache_that_cannot_be_made_is_said(client: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(GuestUnavailable, match="busybox-static: cannot write the cache"):
        busybox_static()
