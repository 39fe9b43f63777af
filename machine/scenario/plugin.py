"""The pytest plugin: the fixture `scenarios`, which boots machines and closes them when the test is over.

def test_it_echoes(scenarios):
    pc = scenarios(Firmware(image))
    pc.type("hello")
    pc.wait_for("hello")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from machine.boot import Boot
    from machine.configuration import Configuration
    from machine.scenario.scenario import Scenario

    Booter = Callable[..., Scenario]


@pytest.fixture
def scenarios() -> Iterator[Booter]:
    """Boots a machine: `scenarios(boot, configuration=None)`, with the instruction clock unless the configuration says otherwise."""
    from machine.scenario.scenario import Scenario

    with ExitStack() as open_machines:
        def boot(what: Boot, configuration: Configuration | None = None) -> Scenario:
            return open_machines.enter_context(Scenario.boot(what, configuration))

        yield boot
