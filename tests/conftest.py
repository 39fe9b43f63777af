"""Fixtures for all tests: the third-party guests."""

from tests.guests import debian_busybox, debian_linux, debian_memtest, debian_seabios

__all__ = ["debian_busybox", "debian_linux", "debian_memtest", "debian_seabios"]
