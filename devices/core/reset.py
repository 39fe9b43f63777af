"""The ways a PC can be told to start over."""

from __future__ import annotations

import enum


class ResetKind(enum.Enum):
    """What a reset reaches."""

    INIT = "init"                  # the processors only; chips and memory keep their state (port 0x92, 8042, 0xCF9 soft reset)
    HARD = "hard"                  # PLTRST#: processors and chips; memory keeps its contents
    POWER_CYCLE = "power cycle"    # as switched off and on again
