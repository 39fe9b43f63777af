"""The fake sources, and `kernel.telemetry` by its contract where the kernel does not have it yet."""

from __future__ import annotations

import importlib.util
import sys

if importlib.util.find_spec("kernel.telemetry") is None:
    from tests.jit_synth import telemetry_contract

    sys.modules["kernel.telemetry"] = telemetry_contract
