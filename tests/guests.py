"""Third-party guests (`launcher/guests.py`) as fixtures: one that cannot be had is a skip that names its package, and a failure where `CI` is set.

`python -m tests.guests` fetches everything and prints the paths.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.guests import (
    CLIENT_TOOLS,
    GuestUnavailable,
    busybox_static,
    cache_folder,
    fetch_all,
    invaders_kernel,
    linux_image,
    memtest_image,
    seabios_rom,
)

__all__ = ["CLIENT_TOOLS", "GuestUnavailable", "busybox_static", "cache_folder", "fetch_all", "invaders_kernel", "linux_image", "memtest_image", "seabios_rom"]


def _or_skip(guest: Callable[[], Path]) -> Path:
    try:
        return guest()
    except GuestUnavailable as missing:
        if os.environ.get("CI"):
            pytest.fail(f"test guest missing in CI: {missing}", pytrace=False)
        pytest.skip(f"test guest missing: {missing}")


@pytest.fixture(scope="session")
def debian_linux() -> Path:
    """Path of Debian's cloud kernel."""
    return _or_skip(linux_image)


@pytest.fixture(scope="session")
def debian_busybox() -> Path:
    """Path of Debian's static busybox."""
    return _or_skip(busybox_static)


@pytest.fixture(scope="session")
def debian_seabios() -> Path:
    """Path of Debian's SeaBIOS image."""
    return _or_skip(seabios_rom)


@pytest.fixture(scope="session")
def debian_memtest() -> Path:
    """Path of Debian's memtest86+ image."""
    return _or_skip(memtest_image)


@pytest.fixture(scope="session")
def debian_invaders() -> Path:
    """Path of Debian's GRUB Invaders, a multiboot kernel."""
    return _or_skip(invaders_kernel)


if __name__ == "__main__":
    sys.exit(min(fetch_all(), 1))
