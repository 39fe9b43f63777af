"""The local APIC of one processor, as xAPIC.

Intel SDM vol. 3A, "Advanced programmable interrupt controller" (clause numbers are those of chapter 10 in revision 078). Version 0x14: six local vectors, EOI
broadcasts can be suppressed (10.8.5).

The processor acknowledges without telling (`CpuPort.taken`): so whenever registers are looked at or change, the APIC first moves what was taken from IRR to
ISR, and then offers whatever deserves it now. An offer that a change of TPR, ISR or masks forbids is withdrawn at once; hence the spurious vector, which
covers that race, is never delivered.

CR8 and IA32_APIC_BASE reach it through `machine/msrs.py`. Not modelled: x2APIC and TSC-deadline mode (CPUID hides them), SMI (there is no SMM; noted), thermal
and performance interrupts (their vectors are kept), focus checking, and the arbitration that took time on the APIC bus of old.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from devices.apic_bus import BROADCAST, ApicBus, DeliveryMode, Message
from devices.core.clock import VirtualClock
from devices.core.cpu import CpuPort
from devices.core.log import AccessLog
from devices.core.registers import Chip
from devices.lapic_registers import (
    ENABLE,
    EOI_SUPPRESS,
    LEVEL_TRIGGERED,
    LOWEST_VECTOR,
    MASKED,
    REGISTERS,
    REMOTE_IRR,
    ApicError,
    Shorthand,
    State,
)
from devices.lapic_timer import LapicTimer

__all__ = ["ApicBus", "DeliveryMode", "ExternalInterrupts", "Lapic", "Message"]

EXTERNAL = 0x100                           # added to a vector on offer that the 8259A acknowledges


class ExternalInterrupts(Protocol):
    """The 8259A pair, as a local APIC sees it."""

    def vector(self) -> int | None: ...
    def acknowledge(self) -> int: ...
    def attach(self, settle: Callable[[], None], update: Callable[[], None]) -> None: ...


class Lapic(Chip[State]):
    """One local APIC.

    Args:
        apic_id: initial APIC id, also its index on the board.
        cpu: the processor's interrupt pins.
        bus: the other APICs.
        clock: virtual time.
        log: told of a guest's mistakes.
        bus_hz: what the timer counts, before its divider.
        pic: what ExtINT acknowledges; None if there is no 8259A.
    """

    NAME = "lapic"
    BLOCKS = (REGISTERS,)

    def __init__(self, apic_id: int, cpu: CpuPort, bus: ApicBus, clock: VirtualClock, log: AccessLog, bus_hz: int,
                 pic: ExternalInterrupts | None = None) -> None:
        self._apic_id = apic_id
        super().__init__(log, f"lapic{apic_id}")
        self._cpu = cpu
        self._bus = bus
        self._timer = LapicTimer(self.state, clock, bus_hz, self._expired)
        self._pic = pic
        self._offer: int | None = None     # what the processor can take now
        bus.receivers.append(self)
        if pic is not None:
            pic.attach(self.settle, self.poll)

    # --- life ----------------------------------------------------------------------------------------------------------------------
    def initial(self) -> State:
        """Power-up state (10.4.7.1) with this processor's id."""
        return State(id=self._apic_id << 24, turn=self._apic_id)

    def reset(self) -> None:
        """As after power-on; the wires to LINT0 and LINT1 keep their levels."""
        pins = self.state.pins
        super().reset()
        self.state.pins = pins

    def on_reset(self) -> None:
        """Nothing is on offer any more. The processor is reset by whoever resets this."""
        self._cpu.withdraw()
        self._cpu.taken()
        self._offer = None
        self._timer.restart()

    def on_restore(self) -> None:
        """The processor's registers must be back already: what deserves it is offered anew, and the timer set."""
        self.on_reset()
        self.update()

    def save(self) -> dict[str, Any]:
        """All state, after what the processor has taken is accounted for."""
        self.settle()
        return super().save()

    def virtual_wire(self) -> None:
        """As a PC's firmware leaves the boot processor's: enabled, LINT0 for the 8259A, LINT1 for NMI (MultiProcessor specification 1.4, 3.6.2.2)."""
        registers = self.blocks["registers"]
        registers.write(0xF0, 4, ENABLE | 0xFF)
        registers.write(0x350, 4, DeliveryMode.EXTINT << 8)
        registers.write(0x360, 4, DeliveryMode.NMI << 8)

    def set_hardware_enabled(self, enabled: bool) -> None:
        """IA32_APIC_BASE.EN: while it is clear the processor's INTR is the 8259A's (10.4.3). Set again, everything is as after a reset."""
        if enabled == self.state.hardware_enabled:
            return
        self.settle()
        self.reset()
        self.state.hardware_enabled = enabled
        self.update()

    def poll(self) -> None:
        """Look whether the processor has acknowledged, and offer what is next. For the run loop, after each slice and before it calls a processor idle."""
        self.settle()
        self.update()

    # --- the processor's side --------------------------------------------------------------------------------------------------------
    def settle(self) -> None:
        """What the processor has taken since goes into service: IRR to ISR, or an acknowledge cycle of the 8259A."""
        offer = self._offer
        if offer is None or self._cpu.taken() is None:
            return
        self._offer = None
        if offer & EXTERNAL:
            self.state.external = False
            if self._pic is not None:
                self._pic.acknowledge()
        else:
            state, bit = self.state, 1 << offer
            state.requests &= ~bit
            state.in_service |= bit

    def update(self) -> None:
        """Offer the processor what has the right to interrupt it now: the 8259A's vector, else the highest request above the processor's priority (10.8.3).

        The 8259A goes first because ExtINT is sent directly to the core and takes no part in the APIC's priorities (10.8.1).
        """
        state = self.state
        wanted: int | None = None
        external = None if self._pic is None else self._pic.vector()
        requests = state.requests
        if external is not None and self._external_open():
            wanted = external | EXTERNAL
        elif requests:
            vector = requests.bit_length() - 1
            if vector >> 4 > self._priority() >> 4:
                wanted = vector
        if wanted != self._offer:
            self._offer = wanted
            if wanted is None:
                self._cpu.withdraw()
            else:
                self._cpu.post(wanted & 0xFF)

    def _external_open(self) -> bool:
        """Whether the 8259A reaches the processor."""
        state = self.state
        lint = state.lvt_lint[0]
        return not lint & MASKED and lint >> 8 & 7 == DeliveryMode.EXTINT or state.external or not state.hardware_enabled

    def _priority(self) -> int:
        """PPR (10.8.3.1)."""
        state = self.state
        task = state.tpr
        if not state.in_service:
            return task
        served = state.in_service.bit_length() - 1 & 0xF0
        return task if task & 0xF0 >= served else served

    # --- the bus's side --------------------------------------------------------------------------------------------------------------
    def matches(self, destination: int, logical: bool) -> bool:
        """Whether a destination includes this APIC (10.6.2)."""
        state = self.state
        if not state.hardware_enabled:
            return False
        if destination == BROADCAST:
            return True
        if not logical:
            return destination == state.id >> 24
        mine = state.ldr >> 24
        if state.dfr >> 28 == 0xF:
            return destination & mine != 0
        return destination >> 4 in (mine >> 4, 0xF) and destination & mine & 0xF != 0

    def arbitration_rank(self) -> tuple[int, int] | None:
        """How it competes for a lowest-priority interrupt, the least wins; None while it accepts none."""
        if not self.state.svr & ENABLE:
            return None
        self.settle()
        return self._priority(), self.state.turn

    def won(self, turn: int) -> None:
        """It got a lowest-priority interrupt, and is behind its equals from now on."""
        self.state.turn = turn

    def accept(self, message: Message) -> bool:
        """A message for this processor (10.8.1). False if it was refused."""
        if not self.state.hardware_enabled:
            return False
        mode = message.mode
        if mode in (DeliveryMode.FIXED, DeliveryMode.LOWEST_PRIORITY):
            return self._request(message.vector, message.level_triggered)
        if mode == DeliveryMode.NMI:
            self._cpu.nmi()
        elif mode == DeliveryMode.INIT:
            if message.level:
                self._init()
        elif mode == DeliveryMode.STARTUP:
            self._cpu.startup(message.vector)
        elif mode == DeliveryMode.EXTINT:
            self.settle()
            self.state.external = True
            self.update()
        else:
            self.log.note(self.name, "", f"{DeliveryMode(mode).name} message, dropped", vector=message.vector)
            return False
        return True

    def _request(self, vector: int, level_triggered: bool) -> bool:
        state = self.state
        if not state.svr & ENABLE:
            return False
        if vector < LOWEST_VECTOR:
            self._error(ApicError.RECEIVE_ILLEGAL_VECTOR)
            return True                    # the bus saw it accepted
        self.settle()
        bit = 1 << vector
        state.requests |= bit
        if level_triggered:
            state.level_triggered |= bit
        else:
            state.level_triggered &= ~bit
        self.update()
        return True

    def _init(self) -> None:
        """10.4.7.3: as after a reset, but for the APIC id."""
        apic_id = self.state.id
        self._cpu.init()
        self.reset()
        self.state.id = apic_id

    def no_register(self, block: str, offset: int, size: int, written: int | None) -> None:
        """10.5.3, "Illegal register address"."""
        super().no_register(block, offset, size, written)
        if offset % 16 == 0:
            self._error(ApicError.ILLEGAL_REGISTER)

    def _error(self, error: ApicError) -> None:
        state = self.state
        state.new_errors |= int(error)
        if not state.lvt_error & MASKED and state.lvt_error & 0xFF >= LOWEST_VECTOR:
            self._request(state.lvt_error & 0xFF, level_triggered=False)

    # --- LINT0, LINT1 ----------------------------------------------------------------------------------------------------------------
    def lint0(self, level: bool) -> None:
        """The sink of the wire to LINT0."""
        self._pin(0, level)

    def lint1(self, level: bool) -> None:
        """The sink of the wire to LINT1."""
        self._pin(1, level)

    def _pin(self, pin: int, level: bool) -> None:
        state = self.state
        state.pins[pin] = level
        if not state.hardware_enabled:
            if pin and level:
                self._cpu.nmi()            # 10.4.3: the pins are INTR and NMI again
        elif level:
            self._sense(pin, edge=True)

    def _sense(self, pin: int, edge: bool) -> None:
        """An edge at a pin, or a reason to look whether its level asks (again) for a fixed interrupt. ExtINT is what `update` looks at."""
        state = self.state
        entry = state.lvt_lint[pin]
        mode = entry >> 8 & 7
        if entry & MASKED or not state.pins[pin] or mode == DeliveryMode.EXTINT:
            return
        if mode == DeliveryMode.FIXED and entry & LEVEL_TRIGGERED:
            if not entry & REMOTE_IRR and self._request(entry & 0xFF, level_triggered=True):
                state.lvt_lint[pin] |= REMOTE_IRR
        elif edge:
            self.accept(Message(0, mode, entry & 0xFF))

    def on_LVT_LINT(self, index: int, value: int) -> None:
        """10.5.1. An entry that is not a level any more waits for no EOI."""
        self._keep_masked()
        if not value & LEVEL_TRIGGERED:
            self.state.lvt_lint[index] &= ~REMOTE_IRR
        self.settle()
        self._sense(index, edge=False)
        self.update()

    # --- priorities, end of interrupt ------------------------------------------------------------------------------------------------
    def on_TPR(self, value: int) -> None:
        """10.8.3.1."""
        self.settle()
        self.update()

    def peek_PPR(self) -> int:
        """10.8.3.1."""
        self.settle()
        return self._priority()

    def peek_APR(self) -> int:
        """10.6.2.4, as the P6 computed it."""
        self.settle()
        state = self.state
        served, requested = max(state.in_service.bit_length() - 1, 0), max(state.requests.bit_length() - 1, 0)
        if state.tpr >> 4 >= requested >> 4 and state.tpr >> 4 > served >> 4:
            return state.tpr
        return max(state.tpr & 0xF0, served & 0xF0, requested & 0xF0)

    def on_EOI(self, value: int) -> None:
        """10.8.5: the highest in service is done; I/O APICs hear of it if it was level triggered."""
        self.settle()
        state = self.state
        in_service = state.in_service
        if in_service:
            vector = in_service.bit_length() - 1
            bit = 1 << vector
            state.in_service = in_service ^ bit
            if state.level_triggered & bit:
                self._end_of_level(vector)
            self.update()

    def _end_of_level(self, vector: int) -> None:
        state = self.state
        for pin, entry in enumerate(state.lvt_lint):
            if entry & REMOTE_IRR and entry & 0xFF == vector:
                state.lvt_lint[pin] = entry & ~REMOTE_IRR
                self._sense(pin, edge=False)
        if not state.svr & EOI_SUPPRESS:
            self._bus.end_of_interrupt(vector)

    def peek_ISR(self, index: int) -> int:
        """32 vectors in service."""
        self.settle()
        return self.state.in_service >> 32 * index & 0xFFFFFFFF

    def peek_TMR(self, index: int) -> int:
        """32 vectors' trigger modes."""
        return self.state.level_triggered >> 32 * index & 0xFFFFFFFF

    def peek_IRR(self, index: int) -> int:
        """32 vectors requested."""
        self.settle()
        return self.state.requests >> 32 * index & 0xFFFFFFFF

    # --- configuration ---------------------------------------------------------------------------------------------------------------
    def on_ID(self, value: int) -> None:
        """10.4.6."""
        self._bus.reconfigured()

    def on_LDR(self, value: int) -> None:
        """10.6.2.2."""
        self._bus.reconfigured()

    def on_DFR(self, value: int) -> None:
        """10.6.2.2."""
        self._bus.reconfigured()

    def on_SVR(self, value: int, old: int) -> None:
        """10.4.7.2: disabled by software, all local vectors are masked and stay so; IRR and ISR are held."""
        self.settle()
        self._keep_masked()
        if value & ENABLE and not old & ENABLE:
            self._bus.reconfigured()
        if not value & ENABLE:
            self._timer.reschedule()
        self.update()

    def _keep_masked(self) -> None:
        state = self.state
        if not state.svr & ENABLE:
            state.lvt_timer |= MASKED
            state.lvt_thermal |= MASKED
            state.lvt_performance |= MASKED
            state.lvt_error |= MASKED
            state.lvt_lint = [entry | MASKED for entry in state.lvt_lint]

    def on_LVT_THERMAL(self, value: int) -> None:
        """Kept for a sensor that does not exist."""
        self._keep_masked()

    def on_LVT_PERFORMANCE(self, value: int) -> None:
        """Kept for counters that do not exist."""
        self._keep_masked()

    def on_LVT_ERROR(self, value: int) -> None:
        """10.5.3."""
        self._keep_masked()

    def peek_ESR(self) -> int:
        """10.5.3: what the last write latched."""
        return self.state.errors

    def on_ESR(self, value: int) -> None:
        """10.5.3: what happened since the last write can be read now."""
        self.state.errors, self.state.new_errors = self.state.new_errors, 0

    # --- interprocessor interrupts -----------------------------------------------------------------------------------------------------
    def on_ICR_LOW(self, value: int) -> None:
        """10.6.1: sends. All but INIT are edges, whatever the trigger bit says."""
        self.settle()
        mode, vector, shorthand = value >> 8 & 7, value & 0xFF, value >> 18 & 3
        if mode in (DeliveryMode.FIXED, DeliveryMode.LOWEST_PRIORITY) and vector < LOWEST_VECTOR:
            self._error(ApicError.SEND_ILLEGAL_VECTOR)
            return
        if mode in (DeliveryMode.REMOTE_READ, DeliveryMode.EXTINT) or (shorthand in (Shorthand.SELF, Shorthand.ALL) and mode in (
                DeliveryMode.SMI, DeliveryMode.INIT, DeliveryMode.STARTUP)):
            self.log.note(self.name, "ICR_LOW", f"{DeliveryMode(mode).name} to {Shorthand(shorthand).name}, which is reserved", value=value)   # table 10-3
            return
        message = Message(self.state.icr_high >> 24, mode, vector, bool(value >> 11 & 1), mode != DeliveryMode.INIT or bool(value >> 14 & 1))
        match shorthand:
            case Shorthand.NONE:
                self._bus.deliver(message)
            case Shorthand.SELF:
                self.accept(message)
            case _:
                targets = [receiver for receiver in self._bus.receivers if receiver is not self or shorthand == Shorthand.ALL]
                if mode == DeliveryMode.LOWEST_PRIORITY:
                    self._bus.deliver_lowest(targets, message)
                else:
                    for receiver in targets:
                        receiver.accept(message)

    # --- timer (10.5.4) --------------------------------------------------------------------------------------------------------------
    def on_INITIAL_COUNT(self, value: int) -> None:
        """Counts down from here; 0 stops."""
        self._timer.load(value)

    def on_LVT_TIMER(self, value: int, old: int) -> None:
        """10.5.1. A change of mode lets the count go on from where it is."""
        self._keep_masked()
        self._timer.mode_changed(old)

    def on_DIVIDE(self, value: int, old: int) -> None:
        """The count goes on from where it is, at the new rate."""
        self._timer.divider_changed(old)

    def peek_CURRENT_COUNT(self) -> int:
        """A function of the time since the count began."""
        return self._timer.count()

    def _expired(self) -> None:
        self._request(self.state.lvt_timer & 0xFF, level_triggered=False)
