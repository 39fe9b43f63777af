"""A fresh bench for each test."""

from __future__ import annotations

import pytest

from tests.shell.bench import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()
