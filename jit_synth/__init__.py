"""Commands that write themselves: requests in words become plans, plans become small WebAssembly modules, checked, signed and run (docs/synthesis.md).

The door for the shell. What runs modules and signs them is loaded when the first request comes, not when this is imported.
"""

from __future__ import annotations

from jit_synth.command import Command
from jit_synth.intent import Request
from jit_synth.keys import Keys
from jit_synth.refusals import CommandStopped, LineageError, Refusal, RefusalKind, StopKind, SynthesisError
from jit_synth.store import Store
from jit_synth.synthesizer import Synthesizer

Resolution = Command | Refusal

__all__ = ["Command", "CommandStopped", "Keys", "LineageError", "Refusal", "RefusalKind", "Request", "Resolution", "StopKind", "Store", "SynthesisError",
           "Synthesizer"]
