"""Fixtures for all tests: the third-party guests, and scenarios as the pytest plugin gives them."""

from machine.scenario.plugin import scenarios
from tests.guests import debian_busybox, debian_linux, debian_memtest, debian_seabios

__all__ = ["debian_busybox", "debian_linux", "debian_memtest", "debian_seabios", "scenarios"]
