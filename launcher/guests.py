"""Third-party guests: Debian packages fetched by name with the system's own client, unpacked into a cache, never installed.

`linux_image()`, `busybox_static()`, `seabios_rom()`, `memtest_image()` and `invaders_kernel()` return a file in the cache, fetching its package
the first time. What cannot be had raises `GuestUnavailable` with the reason. Tests and `bench` boot them.

The client's own settings and keys decide where packages come from and whether they are genuine. Where its package lists are missing or out of
date, fresh ones are read into the cache, so that neither root nor a change to the system is needed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CLIENT_TOOLS = ("apt-get", "apt-cache", "dpkg-deb")
CLIENT_SECONDS = 300                           # no single step of the client takes longer on a network that works
NETWORK_OPTIONS = ("-q", "-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=20", "-o", "Acquire::https::Timeout=20")
ROOT_OPTIONS = ("-o", "APT::Sandbox::User=root")   # root's client would drop to a user who may not write into root's cache
LINUX_PACKAGE = "linux-image-cloud-amd64"      # has no files: it depends on the current kernel's package
LINUX_REAL_PACKAGE = re.compile(r"Depends:\s*(linux-image-\d[\w.+~-]*-cloud-amd64)\s*$", re.MULTILINE)


class GuestUnavailable(Exception):
    """A test guest cannot be had on this host; the message says which and why."""


def cache_folder() -> Path:
    """Where packages are unpacked: `$XDG_CACHE_HOME/folkering/guests`, by default below `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "folkering" / "guests"


def linux_image() -> Path:
    """Debian's cloud kernel, a bzImage."""
    return _single_file(_unpacked(LINUX_PACKAGE, resolve=_real_linux_package), "boot/vmlinuz-*")


def busybox_static() -> Path:
    """A statically linked busybox."""
    folder = _unpacked("busybox-static")
    for place in ("bin/busybox", "usr/bin/busybox"):
        if (folder / place).is_file():
            return folder / place
    raise GuestUnavailable(f"busybox-static: no busybox below {folder}")


def seabios_rom() -> Path:
    """SeaBIOS for machines with PCI, 256 KiB."""
    return _single_file(_unpacked("seabios"), "usr/share/seabios/bios-256k.bin")


def memtest_image() -> Path:
    """memtest86+ in its 64-bit Linux boot protocol form."""
    return _single_file(_unpacked("memtest86+"), "boot/memtest86+x64.bin")


def invaders_kernel() -> Path:
    """GRUB Invaders: a game that is a multiboot kernel."""
    return _single_file(_unpacked("grub-invaders"), "boot/invaders.exec")


def _single_file(folder: Path, pattern: str) -> Path:
    found = sorted(path for path in folder.glob(pattern) if path.is_file())
    if not found:
        raise GuestUnavailable(f"{folder.name}: no {pattern} below {folder}")
    return found[-1]


def _unpacked(package: str, resolve: Callable[[str], str] | None = None) -> Path:
    """The folder of an unpacked package, complete or absent: it is unpacked beside its place and renamed."""
    folder = cache_folder() / package
    if folder.is_dir():
        return folder
    missing = [tool for tool in CLIENT_TOOLS if shutil.which(tool) is None]
    if missing:
        raise GuestUnavailable(f"{package}: this host has no {', '.join(missing)}, the client that fetches Debian packages")
    with _lock(package):
        if not folder.is_dir():                # another test process may have fetched it while we waited
            _fetch(package, resolve, folder)
    return folder


@contextmanager
def _lock(package: str) -> Iterator[None]:
    """One fetch of a package at a time, among all processes that share the cache."""
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        file = open(cache_folder() / f".{package}.lock", "w")   # noqa: SIM115 -- closed by the with below
    except OSError as error:
        raise GuestUnavailable(f"{package}: cannot write the cache {cache_folder()}: {error.strerror}") from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(package: str, resolve: Callable[[str], str] | None, folder: Path) -> None:
    """Downloads with the system's package lists; where those fail (missing, out of date), once more with fresh lists of our own."""
    print(f"test guest {package}: fetching it with apt-get into {folder} (unpacked there, not installed)", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix=f".{package}-", dir=folder.parent) as scratch:
        try:
            archive = _download(package, resolve, (), Path(scratch))
        except GuestUnavailable:
            archive = _download(package, resolve, _own_lists(package), Path(scratch))
        tree = Path(scratch) / "tree"
        _run(package, ["dpkg-deb", "-x", str(archive), str(tree)])
        tree.rename(folder)


def _download(package: str, resolve: Callable[[str], str] | None, lists: tuple[str, ...], scratch: Path) -> Path:
    options = (*lists, *(ROOT_OPTIONS if os.geteuid() == 0 else ()))
    name = resolve(_run(package, ["apt-cache", *options, "depends", package])) if resolve else package
    _run(package, ["apt-get", *NETWORK_OPTIONS, *options, "download", name], scratch)
    archives = sorted(scratch.glob("*.deb"))
    if not archives:
        raise GuestUnavailable(f"{package}: apt-get downloaded nothing")
    return archives[-1]


def _real_linux_package(depends: str) -> str:
    """The name of the kernel's package in what `apt-cache depends` prints of the empty one."""
    found = LINUX_REAL_PACKAGE.findall(depends)
    if not found:
        raise GuestUnavailable(f"{LINUX_PACKAGE}: the package lists name no kernel that it depends on")
    return str(max(found))


def _own_lists(package: str) -> tuple[str, ...]:
    """Reads fresh package lists into the cache; returns the options that make the client use them."""
    state = cache_folder() / ".apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    options = ("-o", f"Dir::State::lists={state}/lists", "-o", f"Dir::Cache={state}/cache")
    print(f"test guest {package}: the system's package lists do not lead to it; reading fresh ones into {state}", file=sys.stderr, flush=True)
    # Lists of a source that this host cannot reach are no reason to give up: the download tells whether the right one arrived.
    root = ROOT_OPTIONS if os.geteuid() == 0 else ()
    _run(package, ["apt-get", *NETWORK_OPTIONS, *options, *root, "-o", "APT::Update::Post-Invoke-Success=", "update"], must_succeed=False)
    return options


def _run(package: str, command: list[str], folder: Path | None = None, must_succeed: bool = True) -> str:
    """Runs one step of the client and returns what it printed."""
    step = f"{Path(command[0]).name} {command[-2] if command[-1] == package else command[-1]}"
    try:
        done = subprocess.run(command, cwd=folder, env={**os.environ, "LC_ALL": "C"}, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=CLIENT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise GuestUnavailable(f"{package}: {step} did not finish within {CLIENT_SECONDS} s") from None
    if done.returncode and must_succeed:
        errors = [line for line in done.stderr.splitlines() if line.startswith(("E:", "dpkg-deb:"))] or done.stderr.splitlines()
        raise GuestUnavailable(f"{package}: {step} failed: {errors[0] if errors else f'exit code {done.returncode}'}")
    return done.stdout


def fetch_all() -> int:
    """Fetches every guest and prints where it is, or why it cannot be had and whose tests are skipped. Returns how many are missing."""
    missing = 0
    for name, guest in (("linux", linux_image), ("busybox", busybox_static), ("seabios", seabios_rom), ("memtest", memtest_image),
                        ("invaders", invaders_kernel)):
        try:
            print(f"  {name:8} {guest()}", flush=True)
        except GuestUnavailable as reason:
            missing += 1
            print(f"  {name:8} missing, its tests are skipped: {reason}", flush=True)
    return missing
