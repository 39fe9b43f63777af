"""The I/O APIC, by the clauses of 82093AA (order 290566) and ICH9 (order 316972)."""

from __future__ import annotations

import pytest

from devices.apic_bus import ApicBus, DeliveryMode, Message
from devices.core.log import AccessLog
from devices.ioapic import IoApic


class Listener:
    """A receiver that writes down every message, and may refuse."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.willing = True

    def matches(self, destination: int, logical: bool) -> bool:
        return True

    def accept(self, message: Message) -> bool:
        if self.willing:
            self.messages.append(message)
        return self.willing

    def arbitration_rank(self) -> tuple[int, int] | None:
        return (0, 0) if self.willing else None

    def won(self, turn: int) -> None:
        pass


class Bench:
    """One I/O APIC, one listener."""

    def __init__(self) -> None:
        self.bus = ApicBus()
        self.listener = Listener()
        self.bus.receivers.append(self.listener)
        self.chip = IoApic(self.bus, AccessLog(), apic_id=4)
        self.window = self.chip.blocks["window"]

    def write(self, index: int, value: int) -> None:
        self.window.write(0, 4, index)
        self.window.write(0x10, 4, value)

    def read(self, index: int) -> int:
        self.window.write(0, 4, index)
        return self.window.read(0x10, 4)

    def entry(self, pin: int, low: int, high: int = 0) -> None:
        self.write(0x11 + 2 * pin, high)
        self.write(0x10 + 2 * pin, low)

    @property
    def vectors(self) -> list[int]:
        return [message.vector for message in self.listener.messages]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_3_2_identification_version_arbitration(bench: Bench) -> None:
    assert (bench.read(0), bench.read(1), bench.read(2)) == (0x04000000, 0x00170020, 0x04000000)
    bench.write(0, 0xFFFFFFFF)
    assert (bench.read(0), bench.read(2)) == (0x0F000000, 0x0F000000)


def test_3_2_4_entries_are_masked_after_reset(bench: Bench) -> None:
    assert all((bench.read(0x10 + 2 * pin), bench.read(0x11 + 2 * pin)) == (0x10000, 0) for pin in range(24))


def test_3_2_4_an_edge_is_sent_once_with_its_destination(bench: Bench) -> None:
    bench.entry(4, 0x0831, 0x03000000)
    bench.chip.pins[4].raise_()
    assert bench.listener.messages == [Message(3, DeliveryMode.FIXED, 0x31, logical=True, level=True, level_triggered=False)]
    bench.chip.pins[4].lower()
    bench.chip.pins[4].pulse()
    assert bench.vectors == [0x31, 0x31]


def test_3_2_4_an_edge_at_a_masked_input_is_lost(bench: Bench) -> None:
    bench.entry(4, 0x10031)
    bench.chip.pins[4].raise_()
    bench.entry(4, 0x31)
    assert bench.vectors == []


def test_3_2_4_a_level_waits_for_its_eoi_and_is_sent_again_while_asserted(bench: Bench) -> None:
    bench.entry(16, 0xA052)
    bench.chip.pins[16].raise_()
    assert bench.listener.messages[-1].level_triggered and bench.read(0x30) == 0xE052
    bench.bus.end_of_interrupt(0x51)
    assert bench.vectors == [0x52]
    bench.bus.end_of_interrupt(0x52)
    assert bench.vectors == [0x52, 0x52]
    bench.chip.pins[16].lower()
    assert bench.read(0x30) & 0x4000                           # remote IRR outlives the line
    bench.bus.end_of_interrupt(0x52)
    assert bench.vectors == [0x52, 0x52] and bench.read(0x30) == 0xA052


def test_3_2_4_a_masked_level_is_sent_when_unmasked(bench: Bench) -> None:
    bench.entry(16, 0x18052)
    bench.chip.pins[16].raise_()
    assert bench.vectors == []
    bench.entry(16, 0x8052)
    assert bench.vectors == [0x52]


def test_3_2_4_remote_irr_is_read_only_and_cleared_by_a_change_to_edge(bench: Bench) -> None:
    bench.entry(16, 0x8052)
    bench.chip.pins[16].raise_()
    bench.write(0x30, 0x18052)
    assert bench.read(0x30) == 0x1C052
    bench.write(0x30, 0x10052)
    bench.write(0x30, 0x8052)
    assert bench.vectors == [0x52, 0x52]


def test_a_refused_level_is_sent_again_when_a_local_apic_changes(bench: Bench) -> None:
    bench.listener.willing = False
    bench.entry(17, 0x8061)
    bench.chip.pins[17].raise_()
    assert bench.read(0x32) == 0x9061                          # send pending
    bench.listener.willing = True
    bench.bus.reconfigured()
    assert bench.vectors == [0x61] and bench.read(0x32) == 0xC061


def test_a_refused_level_that_falls_is_not_sent(bench: Bench) -> None:
    bench.listener.willing = False
    bench.entry(17, 0x8061)
    bench.chip.pins[17].pulse()
    bench.listener.willing = True
    bench.bus.reconfigured()
    assert bench.vectors == [] and bench.read(0x32) == 0x8061


@pytest.mark.parametrize("mode", [DeliveryMode.NMI, DeliveryMode.INIT, DeliveryMode.EXTINT])
def test_3_2_4_other_delivery_modes_hold_no_remote_irr(bench: Bench, mode: DeliveryMode) -> None:
    bench.entry(2, 0x8000 | mode << 8)
    bench.chip.pins[2].raise_()
    assert bench.listener.messages[0].mode == mode and not bench.listener.messages[0].level_triggered
    assert not bench.read(0x14) & 0x4000


def test_ich9_13_5_5_eoi_register(bench: Bench) -> None:
    bench.entry(16, 0x8052)
    bench.chip.pins[16].raise_()
    bench.chip.pins[16].lower()
    bench.window.write(0x40, 4, 0x52)
    assert bench.read(0x30) == 0x8052


def test_3_1_indices_without_a_register_are_noted(bench: Bench) -> None:
    bench.write(0x0F, 1)
    assert bench.read(0xFF) == 0
    assert ("ioapic", "selected+0x3c", "written, no register there") in bench.chip.log.counts
    assert ("ioapic", "selected+0x3fc", "read, no register there") in bench.chip.log.counts


def test_an_eoi_within_the_delivery_is_not_lost(bench: Bench) -> None:
    def acknowledge_at_once(message: Message) -> bool:
        bench.listener.messages.append(message)
        if len(bench.listener.messages) < 3:
            bench.bus.end_of_interrupt(message.vector)
        return True

    bench.listener.accept = acknowledge_at_once                # type: ignore[method-assign]
    bench.entry(16, 0x8052)
    bench.chip.pins[16].raise_()
    assert bench.vectors == [0x52] * 3 and bench.read(0x30) == 0xC052


def test_10_11_message_signalled_interrupts() -> None:
    bus, listener = ApicBus(), Listener()
    bus.receivers.append(listener)
    assert bus.deliver_msi(0xFEE03000, 0x0041)
    assert bus.deliver_msi(0xFEE0300C, 0x0141)                 # redirection hint, logical
    assert bus.deliver_msi(0xFEE03004, 0xC042)                 # destination mode without the hint, as Linux sends it
    assert listener.messages == [Message(3, 0, 0x41), Message(3, 1, 0x41, logical=True), Message(3, 0, 0x42, logical=True, level_triggered=True)]
