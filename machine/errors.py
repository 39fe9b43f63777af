"""What can go wrong on the machine's side, as types. A guest's mistakes are not among them: those are counted and logged."""

from __future__ import annotations


class MachineError(Exception):
    """The machine cannot be built or run as asked; the message is one line that says what to do."""


class EngineError(MachineError):
    """The processor engine is not the one this project knows, or it failed."""


class TargetError(MachineError):
    """What a debugger asked for cannot be done; one line says why."""


class LoadError(MachineError):
    """A kernel, initrd or firmware file cannot be used."""
