r"""Power: soft-off by writing \_S5's SLP_TYP with SLP_EN to PM1_CNT, and reset by the FADT's register.

Source: ACPI 6.5, 4.8.3.2.1 (PM1 control: SCI_EN bit 0, SLP_TYPx bits 10-12, SLP_EN bit 13), 4.8.3.6 (reset register), 16.1.7 (entering S5).
"""

from __future__ import annotations

from kernel.acpi.fadt import Fadt
from kernel.errors import KernelError
from kernel.hardware import Hardware

SCI_EN, SLP_TYP_SHIFT, SLP_TYP_MASK, SLP_EN = 1 << 0, 10, 0b111 << 10, 1 << 13
RESET_CONTROL, FULL_RESET = 0xCF9, 0x06         # PC convention (ICH9 data sheet, 13.7.5): system and CPU reset
KEYBOARD_COMMAND, PULSE_RESET_LINE = 0x64, 0xFE # the AT's way


class Power:
    """The machine's power and reset.

    Args:
        sleep_types: SLP_TYPa, SLP_TYPb of S5; None when the firmware does not tell.
    """

    def __init__(self, hardware: Hardware, fadt: Fadt | None, sleep_types: tuple[int, int] | None) -> None:
        self._hardware, self._fadt, self._sleep_types = hardware, fadt, sleep_types

    @property
    def can_switch_off(self) -> bool:
        """Whether the firmware told how."""
        return self._sleep_types is not None and self._fadt is not None and self._fadt.pm1a_control is not None

    def switch_off(self) -> None:
        """S5: the machine stops at the write. Raises: KernelError."""
        fadt, types = self._fadt, self._sleep_types
        if fadt is None or types is None or fadt.pm1a_control is None:
            raise KernelError("power: the firmware does not say how this machine is switched off")
        control = fadt.pm1a_control.read(self._hardware)
        if not control & SCI_EN and fadt.smi_command and fadt.acpi_enable:
            self._hardware.port_write(fadt.smi_command, 1, fadt.acpi_enable)
            control = fadt.pm1a_control.read(self._hardware)
        if fadt.pm1b_control is not None:
            other = fadt.pm1b_control.read(self._hardware) & ~SLP_TYP_MASK
            fadt.pm1b_control.write(self._hardware, other | types[1] << SLP_TYP_SHIFT | SLP_EN)
        fadt.pm1a_control.write(self._hardware, control & ~SLP_TYP_MASK | types[0] << SLP_TYP_SHIFT | SLP_EN)

    def reset(self) -> None:
        """Reset by the FADT's register; where there is none by the ways of older PCs, one after the other."""
        if self._fadt is not None and self._fadt.reset is not None:
            self._fadt.reset.write(self._hardware, self._fadt.reset_value)
            return
        self._hardware.port_write(RESET_CONTROL, 1, FULL_RESET)
        self._hardware.port_write(KEYBOARD_COMMAND, 1, PULSE_RESET_LINE)
