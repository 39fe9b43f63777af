"""The real-time clock: what time it is, once, at boot.

Source: Motorola MC146818 data sheet, "Registers"; ACPI 6.5, 5.2.9 (FADT CENTURY). Two equal readings outside an update count.
"""

from __future__ import annotations

from datetime import UTC, datetime

from kernel.errors import KernelError
from kernel.hardware import Hardware

CMOS_INDEX, CMOS_DATA = 0x70, 0x71
RTC_SECONDS, RTC_MINUTES, RTC_HOURS, RTC_DAY, RTC_MONTH, RTC_YEAR = 0, 2, 4, 7, 8, 9
RTC_STATUS_A, RTC_STATUS_B = 0x0A, 0x0B
UPDATE_IN_PROGRESS, BINARY_MODE, HOUR_24, PM_BIT = 0x80, 0x04, 0x02, 0x80
RTC_TRIES = 1000
NS = 1_000_000_000


def read_rtc(hardware: Hardware, century_register: int) -> int:
    """The RTC's time as ns since 1970, UTC, to the second.

    Args:
        century_register: the FADT's CENTURY; 0 = none, years are 2000 to 2099.

    Raises:
        KernelError: the RTC is absent or shows no date.
    """
    def cmos(register: int) -> int:
        hardware.port_write(CMOS_INDEX, 1, register)
        return hardware.port_read(CMOS_DATA, 1)

    registers = (RTC_SECONDS, RTC_MINUTES, RTC_HOURS, RTC_DAY, RTC_MONTH, RTC_YEAR)
    previous: tuple[int, ...] | None = None
    for _ in range(RTC_TRIES):
        if cmos(RTC_STATUS_A) & UPDATE_IN_PROGRESS:
            continue
        reading = (*(cmos(register) for register in registers), cmos(century_register) if century_register else 0)
        if reading == previous:
            break
        previous = reading
    else:
        raise KernelError("the real-time clock does not settle")
    status = cmos(RTC_STATUS_B)
    second, minute, hour, day, month, year, century = reading
    afternoon = bool(hour & PM_BIT) and not status & HOUR_24
    values: tuple[int, ...] = (year, month, day, hour & ~PM_BIT, minute, second, century)
    if not status & BINARY_MODE:
        values = tuple((value >> 4) * 10 + (value & 15) for value in values)
    year, month, day, hour, minute, second, century = values
    if not status & HOUR_24:
        hour = hour % 12 + (12 if afternoon else 0)
    try:
        moment = datetime((century or 20) * 100 + year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise KernelError(f"the real-time clock shows no date: {error}") from error
    return int(moment.timestamp()) * NS
