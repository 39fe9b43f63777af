from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.kernel.fake import Bench, Layout, bench


@pytest.fixture
def make_bench() -> Iterator[Callable[..., Bench]]:
    """Makes benches and closes their kernels."""
    made: list[Bench] = []

    def make(layout: Layout | None = None) -> Bench:
        made.append(bench(layout))
        return made[-1]

    yield make
    for one in made:
        one.kernel.close()


@pytest.fixture
def booted(make_bench: Callable[..., Bench]) -> Bench:
    """Four CPUs, each with a task of its own."""
    one = make_bench()
    one.nucleus.boot()
    assert one.kernel.ready, one.messages()
    return one
