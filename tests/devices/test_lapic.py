"""The local APIC, by the clauses of the SDM (vol. 3A, revision 078, chapter 10)."""

from __future__ import annotations

import itertools

import pytest

from devices.apic_bus import ApicBus, DeliveryMode, Message
from devices.core.clock import ManualTime, VirtualClock
from devices.core.cpu import ManualCpu
from devices.core.log import AccessLog
from devices.ioapic import IoApic
from devices.lapic import Lapic
from devices.pic8259 import Pic8259Pair

ID, VERSION, TPR, APR, PPR, EOI, LDR, DFR, SVR = 0x20, 0x30, 0x80, 0x90, 0xA0, 0xB0, 0xD0, 0xE0, 0xF0
ISR, TMR, IRR, ESR, ICR, ICR_HIGH = 0x100, 0x180, 0x200, 0x280, 0x300, 0x310
TIMER, THERMAL, PERFORMANCE, LINT0, LINT1, ERROR, INITIAL, CURRENT, DIVIDE = 0x320, 0x330, 0x340, 0x350, 0x360, 0x370, 0x380, 0x390, 0x3E0
BUS_HZ = 1_000_000_000
PERIODIC = 1 << 17


class Bench:
    """Some processors with their APICs, an I/O APIC and an 8259A pair, as on a board."""

    def __init__(self, cpus: int = 1, enabled: bool = True, hz: int = BUS_HZ) -> None:
        self.time = ManualTime()
        self.clock = VirtualClock(self.time)
        self.log = AccessLog()
        self.bus = ApicBus()
        self.pic = Pic8259Pair(self.log)
        self.cpus = [ManualCpu() for _ in range(cpus)]
        self.apics = [Lapic(index, cpu, self.bus, self.clock, self.log, hz, self.pic) for index, cpu in enumerate(self.cpus)]
        self.ioapic = IoApic(self.bus, self.log)
        if enabled:
            for index in range(cpus):
                self.write(SVR, 0x1FF, index)

    def write(self, offset: int, value: int, index: int = 0) -> None:
        self.apics[index].blocks["registers"].write(offset, 4, value)

    def read(self, offset: int, index: int = 0) -> int:
        return self.apics[index].blocks["registers"].read(offset, 4)

    def bits(self, offset: int, index: int = 0) -> list[int]:
        """The vectors whose bits are set in ISR, TMR or IRR."""
        return [32 * word + bit for word in range(8) for bit in range(32) if self.read(offset + 16 * word, index) >> bit & 1]

    def request(self, vector: int, index: int = 0, level: bool = False) -> None:
        self.bus.deliver(Message(index, DeliveryMode.FIXED, vector, level_triggered=level))

    def offers(self) -> list[int | None]:
        return [cpu.offered for cpu in self.cpus]

    def serve(self, index: int = 0) -> int | None:
        """The processor takes what is on offer and ends it at once."""
        vector = self.cpus[index].take()
        self.write(EOI, 0, index)
        return vector

    def pass_time(self, ns: int) -> None:
        self.time.advance(ns)
        self.clock.run_due()


@pytest.fixture
def bench() -> Bench:
    return Bench()


# --- 10.4 state ----------------------------------------------------------------------------------------------------------------------
def test_10_4_7_1_power_up_state() -> None:
    bench = Bench(cpus=2, enabled=False)
    assert bench.read(ID, 1) == 0x01000000 and bench.read(VERSION) == 0x01050014
    assert (bench.read(SVR), bench.read(DFR), bench.read(LDR), bench.read(TPR)) == (0xFF, 0xFFFFFFFF, 0, 0)
    assert [bench.read(offset) for offset in (TIMER, THERMAL, PERFORMANCE, LINT0, LINT1, ERROR)] == [0x10000] * 6
    assert bench.bits(IRR) == bench.bits(ISR) == bench.bits(TMR) == []


def test_10_4_7_2_software_disabled(bench: Bench) -> None:
    bench.request(0x41)
    bench.write(TIMER, 0x31)
    bench.write(SVR, 0xFF)
    assert bench.read(TIMER) == 0x10031                        # masked, and stays so
    bench.write(TIMER, 0x31)
    bench.write(LINT0, 0x700)
    assert (bench.read(TIMER), bench.read(LINT0)) == (0x10031, 0x10700)
    bench.request(0x51)
    assert bench.bits(IRR) == [0x41]                           # held; nothing new is accepted
    assert bench.cpus[0].offered == 0x41
    bench.bus.deliver(Message(0, DeliveryMode.NMI, 0))
    assert bench.cpus[0].events == ["nmi"]


def test_10_4_7_3_init_keeps_only_the_id() -> None:
    bench = Bench(2)
    bench.write(ID, 0x05000000, 1)
    bench.bus.deliver(Message(5, DeliveryMode.FIXED, 0x41))
    bench.write(ICR_HIGH, 0x05000000)
    bench.write(ICR, 0xC500)                                   # INIT, level, assert
    assert bench.cpus[1].events == ["init"] and bench.offers() == [None, None]
    assert (bench.read(ID, 1), bench.read(SVR, 1), bench.bits(IRR, 1)) == (0x05000000, 0xFF, [])
    bench.write(ICR, 0x8500)                                   # de-assert changes nothing
    bench.write(ICR, 0x069F)
    assert bench.cpus[1].events == ["init", "startup 9f"]


def test_10_4_3_hardware_disabled_connects_the_8259a_directly(bench: Bench) -> None:
    wire_pic(bench)
    assert bench.cpus[0].offered is None                       # LINT0 is masked
    bench.apics[0].set_hardware_enabled(False)
    assert bench.cpus[0].offered == 0x21
    bench.request(0x41)
    bench.apics[0].lint1(True)
    assert bench.cpus[0].take() == 0x21 and bench.cpus[0].events == ["nmi"]
    bench.apics[0].set_hardware_enabled(True)
    assert bench.read(SVR) == 0xFF and bench.cpus[0].offered is None


# --- 10.8 handling interrupts ----------------------------------------------------------------------------------------------------------
def test_10_8_4_request_service_end(bench: Bench) -> None:
    bench.request(0x41)
    assert bench.bits(IRR) == [0x41] and bench.cpus[0].offered == 0x41
    bench.cpus[0].take()
    assert bench.bits(IRR) == [] and bench.bits(ISR) == [0x41] and bench.read(PPR) == 0x40
    bench.request(0x41)                                        # one more may wait while one is in service
    assert bench.bits(IRR) == bench.bits(ISR) == [0x41] and bench.cpus[0].offered is None
    bench.write(EOI, 0)
    assert bench.bits(ISR) == [] and bench.cpus[0].offered == 0x41


def test_10_8_3_priority_classes(bench: Bench) -> None:
    bench.request(0x42)
    bench.cpus[0].take()
    bench.request(0x4F)
    assert bench.cpus[0].offered is None                       # the same class waits
    bench.request(0x50)
    assert bench.cpus[0].offered == 0x50
    bench.cpus[0].take()
    assert bench.bits(ISR) == [0x42, 0x50]
    bench.write(EOI, 0)
    assert bench.bits(ISR) == [0x42] and bench.cpus[0].offered is None
    bench.write(EOI, 0)
    assert bench.cpus[0].offered == 0x4F


def test_10_8_3_a_higher_request_replaces_the_offer(bench: Bench) -> None:
    for vector in (0x31, 0xEC, 0x80):
        bench.request(vector)
    assert [bench.serve() for _ in range(4)] == [0xEC, 0x80, 0x31, None]


def test_10_8_3_1_task_priority_withdraws_and_lets_through_again(bench: Bench) -> None:
    bench.request(0x41)
    bench.write(TPR, 0x40)
    assert bench.cpus[0].offered is None and bench.read(PPR) == 0x40
    bench.write(TPR, 0x3F)
    assert bench.cpus[0].offered == 0x41 and bench.read(PPR) == 0x3F
    bench.cpus[0].take()
    bench.write(TPR, 0x45)
    assert bench.read(PPR) == 0x45                             # equal class: TPR as a whole
    bench.write(TPR, 0x35)
    assert bench.read(PPR) == 0x40


def test_10_8_5_eoi_without_anything_in_service(bench: Bench) -> None:
    bench.request(0x41)
    bench.write(EOI, 0)
    assert bench.bits(IRR) == [0x41] and bench.cpus[0].offered == 0x41


def test_10_8_5_eoi_broadcast_for_level_interrupts_only(bench: Bench) -> None:
    select_entry(bench, 16, 0x8052)
    bench.ioapic.pins[16].raise_()
    assert bench.bits(TMR) == [0x52]
    assert [bench.serve(), bench.serve()] == [0x52, 0x52]      # still asserted: sent again at each EOI
    bench.ioapic.pins[16].lower()
    assert [bench.serve(), bench.serve()] == [0x52, None]
    bench.request(0x52)
    assert bench.bits(TMR) == []                               # accepted as an edge now


def test_10_8_5_suppressed_broadcast(bench: Bench) -> None:
    bench.write(SVR, 0x11FF)
    select_entry(bench, 16, 0x8052)
    bench.ioapic.pins[16].raise_()
    assert [bench.serve(), bench.serve()] == [0x52, None]
    bench.ioapic.blocks["window"].write(0x40, 4, 0x52)
    assert bench.serve() == 0x52


def test_a_level_that_was_refused_comes_when_the_apic_is_enabled() -> None:
    bench = Bench(enabled=False)
    select_entry(bench, 16, 0x8052)
    bench.ioapic.pins[16].raise_()
    bench.write(SVR, 0x1FF)
    assert bench.serve() == 0x52


# --- 10.6 destinations -----------------------------------------------------------------------------------------------------------------
def reached(bench: Bench, destination: int, logical: bool) -> list[int]:
    bench.bus.deliver(Message(destination, DeliveryMode.FIXED, 0x41, logical))
    found = [index for index, offer in enumerate(bench.offers()) if offer is not None]
    for index in found:
        bench.serve(index)
    return found


def test_10_6_2_1_physical_destinations() -> None:
    bench = Bench(3)
    assert [reached(bench, destination, False) for destination in (0, 2, 3, 0xFF)] == [[0], [2], [], [0, 1, 2]]


def test_10_6_2_2_flat_logical_destinations() -> None:
    bench = Bench(3)
    for index in range(3):
        bench.write(LDR, 1 << 24 + index, index)
    assert [reached(bench, mask, True) for mask in (1, 6, 0x80, 0xFF)] == [[0], [1, 2], [], [0, 1, 2]]


def test_10_6_2_2_cluster_logical_destinations() -> None:
    bench = Bench(4)
    for index in range(4):
        bench.write(DFR, 0x0FFFFFFF, index)
        bench.write(LDR, (index // 2 << 4 | 1 << index % 2) << 24, index)
    assert [reached(bench, mask, True) for mask in (0x01, 0x13, 0xF2, 0x23, 0xFF)] == [[0], [2, 3], [1, 3], [], [0, 1, 2, 3]]
    assert bench.read(DFR) == 0x0FFFFFFF


def test_10_6_1_shorthands() -> None:
    bench = Bench(3)
    expected = {1: [1], 2: [0, 1, 2], 3: [0, 2]}
    for shorthand, who in expected.items():
        bench.write(ICR, shorthand << 18 | 0x4041, 1)
        assert [index for index, offer in enumerate(bench.offers()) if offer == 0x41] == who
        for index in who:
            bench.serve(index)


def test_10_6_1_fixed_ipi_and_its_readback() -> None:
    bench = Bench(2)
    bench.write(ICR_HIGH, 0x01000000)
    bench.write(ICR, 0x000040FD)
    assert bench.offers() == [None, 0xFD]
    assert (bench.read(ICR), bench.read(ICR_HIGH)) == (0x40FD, 0x01000000)         # delivery status: idle


def test_10_6_1_nmi_and_smi() -> None:
    bench = Bench(2)
    bench.write(ICR, 3 << 18 | 0x400)
    bench.write(ICR, 3 << 18 | 0x200)
    assert [cpu.events for cpu in bench.cpus] == [[], ["nmi"]]
    assert any("SMI message" in line for line in bench.log.lines)


def test_10_6_2_4_lowest_priority_goes_to_the_least_busy() -> None:
    bench = Bench(3)
    for index, priority in enumerate((0x50, 0x20, 0x30)):
        bench.write(TPR, priority, index)
    bench.bus.deliver(Message(0xFF, DeliveryMode.LOWEST_PRIORITY, 0x61))
    assert bench.offers() == [None, 0x61, None]
    bench.cpus[1].take()                                       # in service: busier than processor 2
    bench.bus.deliver(Message(0xFF, DeliveryMode.LOWEST_PRIORITY, 0x71))
    assert bench.offers() == [None, None, 0x71]


def test_10_6_2_4_equals_take_turns_and_disabled_ones_none() -> None:
    bench = Bench(4)
    bench.write(SVR, 0xFF, 2)
    winners = []
    for _ in range(6):
        bench.bus.deliver(Message(0xFF, DeliveryMode.LOWEST_PRIORITY, 0x61))
        winner = next(index for index, offer in enumerate(bench.offers()) if offer)
        winners.append(winner)
        bench.serve(winner)
    assert winners == [0, 1, 3, 0, 1, 3]


def test_table_10_3_reserved_combinations_send_nothing() -> None:
    bench = Bench(2)
    for command in (0x300, 0x700, 1 << 18 | 0x500, 2 << 18 | 0x600, 2 << 18 | 0x200):
        bench.write(ICR, command)
    assert [cpu.events for cpu in bench.cpus] == [[], []] and bench.log.total() == 5


# --- 10.5 local vectors ------------------------------------------------------------------------------------------------------------------
def test_10_5_3_illegal_vectors_and_the_error_interrupt(bench: Bench) -> None:
    bench.write(ERROR, 0xFE)
    bench.write(ICR, 1 << 18 | 0x0F)
    assert bench.read(ESR) == 0 and bench.cpus[0].offered == 0xFE
    bench.write(ESR, 0)
    assert bench.read(ESR) == 0x20
    bench.serve()
    bench.request(0x08)
    bench.write(ESR, 0)
    assert bench.read(ESR) == 0x40 and bench.bits(IRR) == [0xFE]
    bench.write(ESR, 0)
    assert bench.read(ESR) == 0


def test_10_5_3_illegal_register_address(bench: Bench) -> None:
    bench.read(0x3D0)
    bench.write(0x2F0, 0)
    bench.write(ESR, 0)
    assert bench.read(ESR) == 0x80


def wire_pic(bench: Bench) -> None:
    """The 8259A pair with vectors from 0x20, and a request for 0x21."""
    bench.pic.intr.connect(bench.apics[0].lint0)
    for chip, base, third in ((bench.pic.master, 0x20, 4), (bench.pic.slave, 0x28, 2)):
        ports = chip.blocks["ports"]
        for port, word in ((0, 0x11), (1, base), (1, third), (1, 1), (1, 0)):
            ports.write(port, 1, word)
    bench.pic.lines[1].raise_()


def test_10_1_extint_through_lint0(bench: Bench) -> None:
    wire_pic(bench)
    assert bench.cpus[0].offered is None
    bench.write(LINT0, 0x700)
    assert bench.cpus[0].offered == 0x21
    bench.pic.lines[0].raise_()
    assert bench.cpus[0].offered == 0x20                       # the 8259A's own priorities
    bench.cpus[0].take()
    assert bench.read(PPR) == 0 and bench.bits(ISR) == []      # ExtINT is no business of the APIC's
    assert bench.pic.master.state.in_service == 1
    bench.pic.master.blocks["ports"].write(0, 1, 0x20)
    assert bench.cpus[0].offered == 0x21
    bench.write(LINT0, 0x10700)
    assert bench.cpus[0].offered is None


def test_contract_the_8259a_goes_before_the_apic(bench: Bench) -> None:
    """ExtINT is sent directly to the processor (10.8.1): neither a higher request nor the processor's priority keeps it back."""
    bench.write(LINT0, 0x700)
    bench.request(0x31)
    assert bench.cpus[0].offered == 0x31
    wire_pic(bench)
    assert bench.cpus[0].take() == 0x21
    bench.apics[0].poll()
    assert bench.cpus[0].take() == 0x31
    bench.pic.master.blocks["ports"].write(0, 1, 0x20)
    bench.pic.lines[1].lower()
    bench.pic.lines[1].raise_()
    assert bench.cpus[0].offered == 0x21 and bench.read(PPR) == 0x30
    bench.write(TPR, 0xFF)
    assert bench.cpus[0].offered == 0x21


def test_contract_taken_by_the_processor_before_the_8259a_changed(bench: Bench) -> None:
    bench.write(LINT0, 0x700)
    wire_pic(bench)
    bench.cpus[0].take()
    bench.pic.master.blocks["ports"].write(1, 1, 0xFF)         # masked after it was taken: it is in service all the same
    assert bench.pic.master.state.in_service == 2


def test_two_processors_take_one_interrupt_of_the_8259a() -> None:
    """Both were offered it and both took it: the second gets the spurious vector, and neither loses count afterwards."""
    bench = Bench(2)
    for index in range(2):
        bench.write(LINT0, 0x700, index)
    wire_pic(bench)
    assert [cpu.take() for cpu in bench.cpus] == [0x21, 0x21]
    bench.apics[0].poll()
    assert bench.pic.master.state.in_service == 2 and bench.offers() == [None, None]
    bench.request(0x41, 1)
    assert bench.offers() == [None, 0x41] and bench.bits(ISR, 1) == []
    assert bench.serve(1) == 0x41 and bench.bits(IRR, 1) == bench.bits(ISR, 1) == []


def test_a_snapshot_of_the_8259a_knows_what_the_processor_has_taken(bench: Bench) -> None:
    bench.write(LINT0, 0x700)
    wire_pic(bench)
    bench.cpus[0].take()
    assert bench.pic.master.save()["in_service"] == 2


def test_10_1_virtual_wire_as_firmware_leaves_it() -> None:
    bench = Bench(enabled=False)
    wire_pic(bench)
    bench.apics[0].virtual_wire()
    assert bench.cpus[0].offered == 0x21 and bench.read(SVR) == 0x1FF
    bench.apics[0].lint1(True)
    assert bench.cpus[0].events == ["nmi"]


def test_extint_message_of_an_io_apic(bench: Bench) -> None:
    wire_pic(bench)
    select_entry(bench, 0, 0x700)
    bench.pic.intr.connect(bench.ioapic.pins[0].set)
    assert bench.cpus[0].take() == 0x21
    bench.pic.master.blocks["ports"].write(0, 1, 0x20)
    assert bench.cpus[0].offered is None


def test_10_5_1_lint_pins_fixed_edge_and_level(bench: Bench) -> None:
    apic = bench.apics[0]
    bench.write(LINT1, 0x51)
    apic.lint1(True)
    assert [bench.serve(), bench.serve()] == [0x51, None]
    bench.write(LINT0, 0x8061)
    apic.lint0(True)
    assert bench.read(LINT0) == 0xC061
    assert [bench.serve(), bench.serve()] == [0x61, 0x61]
    apic.lint0(False)
    assert [bench.serve(), bench.serve()] == [0x61, None] and bench.read(LINT0) == 0x8061


def test_10_5_1_a_level_at_a_masked_pin_interrupts_when_unmasked(bench: Bench) -> None:
    bench.apics[0].lint0(True)
    bench.write(LINT0, 0x8061)
    assert bench.cpus[0].offered == 0x61


# --- 10.5.4 timer --------------------------------------------------------------------------------------------------------------------------
def test_10_5_4_one_shot(bench: Bench) -> None:
    bench.write(DIVIDE, 0xB)
    bench.write(TIMER, 0xEC)
    bench.write(INITIAL, 1000)
    bench.pass_time(999)
    assert bench.read(CURRENT) == 1 and bench.cpus[0].offered is None
    bench.pass_time(1)
    assert bench.read(CURRENT) == 0 and bench.serve() == 0xEC
    bench.pass_time(10_000)
    assert bench.cpus[0].offered is None and bench.clock.next_deadline() is None


@pytest.mark.parametrize(("code", "divider"), [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (10, 128), (11, 1)])
def test_figure_10_10_dividers(bench: Bench, code: int, divider: int) -> None:
    bench.write(DIVIDE, code)
    bench.write(TIMER, 0xEC)
    bench.write(INITIAL, 100)
    bench.pass_time(40 * divider)
    assert bench.read(CURRENT) == 60 and bench.clock.next_deadline() == 100 * divider


def test_10_5_4_periodic_stays_on_its_grid(bench: Bench) -> None:
    bench.write(DIVIDE, 0xB)
    bench.write(TIMER, PERIODIC | 0xEC)
    bench.write(INITIAL, 1_000_000)
    for _ in range(3):
        bench.pass_time(1_000_000)
        assert bench.serve() == 0xEC
    bench.pass_time(1_300_000)                                 # late
    assert bench.serve() == 0xEC and bench.read(CURRENT) == 700_000
    bench.pass_time(700_000)
    assert bench.serve() == 0xEC


def test_10_5_4_a_periodic_timer_does_not_storm_after_a_leap_of_time(bench: Bench) -> None:
    bench.write(DIVIDE, 0xB)
    bench.write(TIMER, PERIODIC | 0xEC)
    bench.write(INITIAL, 1_000_000)
    bench.time.advance(3_600_000_300_000)
    assert bench.clock.run_due() == 1
    assert bench.serve() == 0xEC and bench.read(CURRENT) == 700_000
    assert bench.clock.next_deadline() == 3_600_001_000_000


def test_a_period_too_short_for_any_processor_is_thinned_out(bench: Bench) -> None:
    bench.write(DIVIDE, 0xB)
    bench.write(TIMER, PERIODIC | 0xEC)
    bench.write(INITIAL, 1)
    ran = 0
    for _ in range(1000):
        bench.time.advance(100)
        ran += bench.clock.run_due()
    assert 5 <= ran <= 11 and bench.serve() == 0xEC


def test_10_5_4_a_count_that_no_nanosecond_divides() -> None:
    bench = Bench(hz=66_666_667)
    bench.write(DIVIDE, 0xB)
    bench.write(TIMER, PERIODIC | 0xEC)
    bench.write(INITIAL, 7001)
    fired = 0
    for _ in range(300):
        bench.time.advance(100_003)
        fired += bench.clock.run_due()
    ticks = bench.clock.now() * 66_666_667 // 10**9
    assert fired == ticks // 7001 > 280 and bench.read(CURRENT) == 7001 - ticks % 7001


def test_10_5_4_writing_zero_stops(bench: Bench) -> None:
    bench.write(TIMER, 0xEC)
    bench.write(INITIAL, 1000)
    bench.write(INITIAL, 0)
    assert bench.read(CURRENT) == 0 and bench.clock.next_deadline() is None


def test_10_5_4_masked_it_counts_without_interrupting(bench: Bench) -> None:
    bench.write(DIVIDE, 0xB)
    bench.write(TIMER, PERIODIC | 0x100EC)
    bench.write(INITIAL, 100_000)
    bench.pass_time(250_000)
    assert bench.read(CURRENT) == 50_000 and bench.cpus[0].offered is None
    bench.write(TIMER, PERIODIC | 0xEC)
    assert bench.clock.next_deadline() == 300_000


def test_10_5_4_changes_under_way_let_the_count_go_on(bench: Bench) -> None:
    bench.write(DIVIDE, 0xB)
    bench.write(TIMER, 0xEC)
    bench.write(INITIAL, 100_000)
    bench.pass_time(40_000)
    bench.write(DIVIDE, 0x0)                                   # half the rate
    assert bench.read(CURRENT) == 60_000 and bench.clock.next_deadline() == 160_000
    bench.write(TIMER, PERIODIC | 0xEC)
    bench.pass_time(120_000)
    assert bench.serve() == 0xEC and bench.read(CURRENT) == 100_000
    assert bench.clock.next_deadline() == 360_000
    bench.write(TIMER, 0xEC)                                   # one shot from here
    bench.pass_time(200_000)
    assert bench.serve() == 0xEC and bench.clock.next_deadline() is None


def test_software_disable_silences_the_timer(bench: Bench) -> None:
    bench.write(TIMER, 0xEC)
    bench.write(INITIAL, 1000)
    bench.write(SVR, 0xFF)
    assert bench.clock.next_deadline() is None


# --- snapshots -------------------------------------------------------------------------------------------------------------------------------
def test_a_snapshot_is_taken_after_what_the_processor_took(bench: Bench) -> None:
    bench.request(0x41)
    bench.cpus[0].take()
    assert bench.apics[0].save()["in_service"] == 1 << 0x41


def test_a_restored_apic_offers_and_times_anew(bench: Bench) -> None:
    bench.write(DIVIDE, 0xB)
    bench.write(TIMER, PERIODIC | 0xEC)
    bench.write(INITIAL, 1_000_000)
    bench.pass_time(5_500_000)
    bench.serve()
    bench.request(0x41)
    saved = bench.apics[0].save()
    bench.apics[0].reset()
    assert bench.cpus[0].offered is None and bench.clock.next_deadline() is None
    bench.apics[0].restore(saved)
    assert bench.cpus[0].offered == 0x41 and bench.clock.next_deadline() == 6_000_000


def select_entry(bench: Bench, pin: int, low: int, high: int = 0) -> None:
    window = bench.ioapic.blocks["window"]
    for index, value in ((0x11 + 2 * pin, high), (0x10 + 2 * pin, low)):
        window.write(0, 4, index)
        window.write(0x10, 4, value)


def test_two_processors_ping_each_other() -> None:
    bench = Bench(2)
    for turn in itertools.islice(itertools.cycle((0, 1)), 20):
        bench.write(ICR_HIGH, (1 - turn) << 24, turn)
        bench.write(ICR, 0x40F0, turn)
        assert bench.serve(1 - turn) == 0xF0
