"""ACPI power management of an ICH9: PM1 event and control registers, power-management timer, GPE0, and the APM ports that switch ACPI on.

Specifications: Intel ICH9 data sheet (316972), 13.8.3 "Power Management I/O Registers" and 13.7.3 "APM"; ACPI 6.5, 4.8 "ACPI Hardware Features".

There is no system management mode: commands at 0xB2 that firmware would answer are answered here (ACPI on, ACPI off), and APMC_EN in SMI_EN is 1 from
reset on, which tells firmware that SMM has been set up already. SLP_TYP 7 is S5; so is 0, as on QEMU's board, because firmware that runs on both
writes it.

Not modelled: the sleep states S1, S3 and S4 (a request is noted and the system wakes at once), SMIs, the TCO watchdog, throttling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from devices.core.clock import Deadline, VirtualClock, cycle_start, cycles
from devices.core.irq import IrqLine
from devices.core.log import AccessLog
from devices.core.registers import RO, RW, TODO, W1C, WO, Chip, Field, Layout, Register

HERTZ = 3_579_545
SOFT_OFF = frozenset({0, 7})              # SLP_TYP
ACPI_ENABLE, ACPI_DISABLE = 2, 3          # at APM_CNT; FADT tells them to the operating system
APMC_EN = 1 << 5

PM1_STS = Register("PM1_STS", 0x00, 2, W1C, fields=(
    Field("TMROF_STS", 0, doc="the timer's highest bit changed"), Field("BM_STS", 4), Field("GBL_STS", 5), Field("PWRBTN_STS", 8, doc="power button"),
    Field("SLPBTN_STS", 9, RO, doc="there is no sleep button; software clears it all the same"),
    Field("RTC_STS", 10, doc="alarm"), Field("PRBTNOR_STS", 11, doc="power button held"), Field("PCIEXPWAK_STS", 14), Field("WAK_STS", 15)),
    doc="what happened")
PM1_EN = Register("PM1_EN", 0x02, 2, RW, fields=(
    Field("TMROF_EN", 0), Field("GBL_EN", 5), Field("PWRBTN_EN", 8), Field("RTC_EN", 10), Field("PCIEXPWAK_DIS", 14)), doc="what of it raises SCI")
PM1_CNT = Register("PM1_CNT", 0x04, 4, RW, fields=(
    Field("SCI_EN", 0, doc="ACPI is on"), Field("BM_RLD", 1), Field("GBL_RLS", 2, WO), Field("SLP_TYP", (12, 10)), Field("SLP_EN", 13, WO, doc="go to sleep")),
    doc="control")
GPES = 64

TMROF, GBL, PWRBTN, RTC, WAK = (PM1_STS[name].mask for name in ("TMROF_STS", "GBL_STS", "PWRBTN_STS", "RTC_STS", "WAK_STS"))
EVENTS = TMROF | GBL | PWRBTN | RTC
STATUS_BITS = PM1_STS.mask(W1C)
SCI_EN, SLP_EN, GBL_RLS = (PM1_CNT[name].mask for name in ("SCI_EN", "SLP_EN", "GBL_RLS"))


@dataclass
class State:
    """Registers.

    Attributes:
        status: PM1_STS, without what the timer did since `checked`.
        checked: ns up to which `status` knows the timer.
    """

    status: int = 0
    checked: int = 0
    pm1_en: int = 0
    pm1_cnt: int = 0
    proc_cnt: int = 0
    gpe0_sts: int = 0
    gpe0_en: int = 0
    smi_en: int = APMC_EN
    smi_sts: int = 0
    gpe_cntl: int = 0
    pm2_cnt: int = 0
    tco1_cnt: int = 0
    apm_cnt: int = 0
    apm_sts: int = 0


class AcpiPm(Chip[State]):
    """The power-management block. `blocks["registers"]` is what PMBASE places (128 bytes), `blocks["smi"]` ports 0xB2 and 0xB3.

    Args:
        clock: for the timer.
        sci: the system control interrupt, level, high while asserted.
        log: told of a guest's mistakes.
        power_off: called when the guest enters S5.
        wide_timer: the timer has 32 bits (FADT flag TMR_VAL_EXT tells the guest); otherwise 24, as in the chip sold.
    """

    NAME = "pm"
    BLOCKS = (
        Layout("registers", 0x80, (
            PM1_STS, PM1_EN, PM1_CNT,
            Register("PM1_TMR", 0x08, 4, RO, doc="3.579545 MHz"),
            Register("PROC_CNT", 0x10, 4, TODO, doc="clock throttling"),
            Register("GPE0_STS", 0x20, 8, W1C, doc="general purpose events"),
            Register("GPE0_EN", 0x28, 8, RW, doc="which of them raise SCI"),
            Register("SMI_EN", 0x30, 4, RW, APMC_EN, doc="no SMI comes; kept for firmware that looks"),
            Register("SMI_STS", 0x34, 4, W1C),
            Register("GPE_CNTL", 0x42, 1, TODO, doc="software-generated event"),
            Register("PM2_CNT", 0x50, 1, RW, fields=(Field("ARB_DIS", 0),), doc="arbiter"),
            Register("TCO1_CNT", 0x68, 2, RW, fields=(
                Field("NMI_NOW", 8, TODO), Field("NMI2SMI_EN", 9, TODO), Field("TCO_TMR_HLT", 11, doc="halts a watchdog that is not there"),
                Field("TCO_LOCK", 12, TODO))),
        )),
        Layout("smi", 2, (
            Register("APM_CNT", 0, 1, RW, doc="a command for firmware"),
            Register("APM_STS", 1, 1, RW, doc="its argument or answer"),
        )),
    )

    def __init__(self, clock: VirtualClock, sci: IrqLine, log: AccessLog, power_off: Callable[[], None], wide_timer: bool = True, name: str = "") -> None:
        self._clock = clock
        self._bits = 32 if wide_timer else 24
        super().__init__(log, name)
        self._sci = sci
        self._power_off = power_off
        self._deadline: Deadline | None = None

    def initial(self) -> State:
        """After power-on; the timer has not changed its highest bit yet."""
        return State(checked=self._clock.now())

    # --- events from outside -------------------------------------------------------------------------------------------------------------
    def power_button(self) -> None:
        """Someone pressed the power button shortly."""
        self._raise(PWRBTN)

    def rtc_alarm(self, level: bool = True) -> None:
        """The real-time clock's interrupt line; its rise is a wake event."""
        if level:
            self._raise(RTC)

    def general_event(self, number: int) -> None:
        """General purpose event 0..63 happened."""
        self.state.gpe0_sts |= 1 << number % GPES
        self._update()

    def _raise(self, event: int) -> None:
        self.state.status |= event
        self._update()

    # --- registers -----------------------------------------------------------------------------------------------------------------------
    def peek_PM1_STS(self) -> int:
        state = self.state
        return state.status | (TMROF if self._toggles(self._clock.now()) > self._toggles(state.checked) else 0)

    def on_PM1_STS(self, value: int) -> None:
        state = self.state
        state.status = self.peek_PM1_STS() & ~(value & STATUS_BITS)
        state.checked = self._clock.now()
        self._update()

    def on_PM1_EN(self, _value: int) -> None:
        self._update()

    def on_PM1_CNT(self, value: int) -> None:
        state = self.state
        state.pm1_cnt = value & ~(SLP_EN | GBL_RLS)                       # both act and read 0
        self._update()
        if value & GBL_RLS:
            self.log.note(self.name, "PM1_CNT", "global lock released to firmware that is not there")
        if value & SLP_EN:
            self._sleep(PM1_CNT["SLP_TYP"].get(value))

    def peek_PM1_TMR(self) -> int:
        return cycles(self._clock.now(), HERTZ) & (1 << self._bits) - 1

    def on_GPE0_STS(self, _value: int) -> None:
        self._update()

    def on_GPE0_EN(self, _value: int) -> None:
        self._update()

    def on_APM_CNT(self, value: int) -> None:
        state = self.state
        if value == ACPI_ENABLE:
            state.pm1_cnt |= SCI_EN
        elif value == ACPI_DISABLE:
            state.pm1_cnt &= ~SCI_EN
        else:
            self.log.note(self.name, "APM_CNT", "command for firmware that is not there", value=value)
        self._update()

    # --- behaviour -----------------------------------------------------------------------------------------------------------------------
    def _sleep(self, kind: int) -> None:
        if kind in SOFT_OFF:
            self._power_off()
        else:
            self.log.note(self.name, "PM1_CNT", "sleep state that is not modelled, wakes at once", slp_typ=kind)
            self._raise(WAK)

    def _toggles(self, now: int) -> int:
        """How often the timer's highest bit has changed by `now` (ACPI 4.8.3.3: each time is an overflow)."""
        return cycles(now, HERTZ) >> self._bits - 1

    def _update(self) -> None:
        """Drive SCI; wait for the timer's next overflow where that would raise it."""
        state, status = self.state, self.peek_PM1_STS()
        self._sci.set(state.pm1_cnt & SCI_EN != 0 and (status & state.pm1_en & EVENTS or state.gpe0_sts & state.gpe0_en) != 0)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if state.pm1_en & TMROF and state.pm1_cnt & SCI_EN and not status & TMROF:
            following = self._toggles(self._clock.now()) + 1 << self._bits - 1
            self._deadline = self._clock.at(cycle_start(following, HERTZ), self._update)

    def on_reset(self) -> None:
        """SCI falls; nothing is awaited."""
        self._update()

    def on_restore(self) -> None:
        """Line and deadline follow the state."""
        self._update()
