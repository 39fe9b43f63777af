"""What RDMSR, WRMSR and MOV CR8 reach outside the processor proper: the local APIC, and the time-stamp counter (`machine/engine/sensitive.py`).

Intel SDM vol. 4, table 2-2 "Architectural MSRs", and vol. 3A, 10.4.4 (IA32_APIC_BASE) and 10.8.6.1 (CR8). An MSR that is in no table raises #GP, as on a
processor, and is noted. Not modelled: moving a local APIC's registers elsewhere (noted), x2APIC mode (#GP, as CPUID says).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from devices.core.log import AccessLog
from devices.lapic import Lapic

if TYPE_CHECKING:
    from machine.engine.engine import Engine

IA32_TSC, IA32_APIC_BASE, IA32_BIOS_SIGN_ID = 0x10, 0x1B, 0x8B
BOOT_PROCESSOR, GLOBAL_ENABLE = 1 << 8, 1 << 11
DEFAULT_BASE = 0xFEE00000
BASE_MASK = (1 << 40) - (1 << 12)              # as wide as CPUID's physical addresses
TPR = 0x80                                     # of the local APIC
WRAP = 1 << 64


class ModelSpecificRegisters:
    """Those of the processor that runs.

    Args:
        engine: knows which one that is.
        lapics: by processor.
        log: told of registers that do not exist.
        counter: what the time-stamp counter counts from, before the processor's offset.
    """

    def __init__(self, engine: Engine, lapics: list[Lapic], log: AccessLog, counter: Callable[[], int]) -> None:
        self._engine, self._lapics, self._log, self._counter = engine, lapics, log, counter

    def read_msr(self, number: int) -> int | None:
        """64 bits; None for #GP."""
        if number == IA32_APIC_BASE:
            cpu = self._engine.current
            enabled = self._lapics[cpu].state.hardware_enabled
            return DEFAULT_BASE | (GLOBAL_ENABLE if enabled else 0) | (BOOT_PROCESSOR if cpu == 0 else 0)
        if number == IA32_TSC:
            return (self._counter() + self._engine.vcpus[self._engine.current].tsc_offset) % WRAP
        if number == IA32_BIOS_SIGN_ID:
            return 0                           # no microcode update has been loaded
        self._log.note("msr", f"{number:#x}", "read, there is none: #GP")
        return None

    def write_msr(self, number: int, value: int) -> bool:
        """False for #GP."""
        if number == IA32_APIC_BASE:
            return self._write_apic_base(value)
        if number == IA32_TSC:
            self._engine.vcpus[self._engine.current].set_tsc_offset(value - self._counter())
            return True
        if number == IA32_BIOS_SIGN_ID:
            return True                        # software writes 0 before it asks for the revision
        self._log.note("msr", f"{number:#x}", "written, there is none: #GP", value=value)
        return False

    def read_cr8(self) -> int:
        """Bits 7-4 of the task priority."""
        return self._lapics[self._engine.current].blocks["registers"].read(TPR, 4) >> 4 & 0xF

    def write_cr8(self, value: int) -> None:
        """The same."""
        self._lapics[self._engine.current].blocks["registers"].write(TPR, 4, value << 4)

    def _write_apic_base(self, value: int) -> bool:
        if value & ~(BASE_MASK | GLOBAL_ENABLE | BOOT_PROCESSOR):       # reserved bits, and EXTD: there is no x2APIC
            self._log.note("msr", "IA32_APIC_BASE", "written with reserved bits: #GP", value=value)
            return False
        if value & BASE_MASK != DEFAULT_BASE:
            self._log.note("msr", "IA32_APIC_BASE", "written with another base: the registers stay where they are", value=value)
        self._lapics[self._engine.current].set_hardware_enabled(value & GLOBAL_ENABLE != 0)
        return True
