"""Commands that write themselves: requests in words become plans, plans become small WebAssembly modules, checked, signed and run (docs/synthesis.md).

The door for the shell. Each name is loaded when it is first asked for, so that importing this costs a booting system nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jit_synth.command import Command
    from jit_synth.intent import Request
    from jit_synth.keys import Keys
    from jit_synth.refusals import CommandStopped, LineageError, Refusal, RefusalKind, StopKind, SynthesisError
    from jit_synth.store import Store
    from jit_synth.synthesizer import Synthesizer

__all__ = ["Command", "CommandStopped", "Keys", "LineageError", "Refusal", "RefusalKind", "Request", "StopKind", "Store", "SynthesisError", "Synthesizer"]

_HOMES = {"Command": "command", "Request": "intent", "Keys": "keys", "Store": "store", "Synthesizer": "synthesizer",
          **dict.fromkeys(("CommandStopped", "LineageError", "Refusal", "RefusalKind", "StopKind", "SynthesisError"), "refusals")}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
