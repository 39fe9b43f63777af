"""A virtual x86-64 PC: `from machine import Machine, Configuration, Linux, Firmware`.

    machine = Machine(Linux.from_files("vmlinuz", append="console=ttyS0"), Configuration(cpus=4))
    machine.board.serial_out = print
    outcome = machine.run(timeout=60)

It knows nothing of the system that runs on it. Names are loaded when they are first used, because start-up time is a feature.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from machine.boot import Firmware, Linux, Multiboot
    from machine.cards import CARDS
    from machine.errors import EngineError, LoadError, MachineError
    from machine.configuration import Configuration
    from machine.machine import Machine
    from machine.outcome import ExitReason, Outcome

__all__ = ["CARDS", "Configuration", "EngineError", "ExitReason", "Firmware", "Linux", "LoadError", "Machine", "MachineError", "Multiboot", "Outcome"]

_HOMES = {"Machine": "machine", "Configuration": "configuration", "Linux": "boot", "Multiboot": "boot", "Firmware": "boot",
          "CARDS": "cards", "ExitReason": "outcome", "Outcome": "outcome",
          "MachineError": "errors", "EngineError": "errors", "LoadError": "errors"}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'machine' has no {name!r}")
    return getattr(importlib.import_module(f"machine.{home}"), name)
