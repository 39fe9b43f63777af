"""The small drivers: 8259 pair, I/O APIC, local APIC, RTC, PCI."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.drivers import pic8259
from kernel.drivers.ioapic import IoApic
from kernel.drivers.lapic import LocalApic
from kernel.drivers.pci import Function, Pci
from kernel.drivers.rtc import read_rtc
from kernel.errors import KernelError
from tests.kernel.fake import IO_APIC_AT, LOCAL_APIC_AT, Machine

NS = 1_000_000_000


def test_the_8259_pair_is_initialised_then_masked() -> None:
    machine = Machine()
    pic8259.silence(machine)
    assert machine.pic_writes == [
        (0x20, 0x11), (0x21, 0xF0), (0x21, 4), (0x21, 1), (0x21, 0xFF), (0xA0, 0x11), (0xA1, 0xF8), (0xA1, 2), (0xA1, 1), (0xA1, 0xFF)]


def test_io_apic_routes_a_pin() -> None:
    machine = Machine()
    chip = IoApic(machine, IO_APIC_AT, 16)
    assert chip.pins == 24 and chip.serves(16) and chip.serves(39) and not chip.serves(40) and not chip.serves(15)
    machine.io_apic.entries[4] = 0x123
    chip.mask_all()
    assert machine.io_apic.entries == [1 << 16] * 24
    chip.route(20, 0x31, 3, active_low=True, level=True)
    assert machine.io_apic.entries[4] == 3 << 56 | 1 << 15 | 1 << 13 | 0x31
    chip.route(20, 0x31, 0, active_low=False, level=False)
    assert machine.io_apic.entries[4] == 0x31


def test_an_absent_io_apic_claims_no_more_pins_than_its_index_reaches() -> None:
    machine = Machine()
    assert IoApic(machine, 0xFED00000, 0).pins == 240


def test_local_apic_sends_to_one_cpu() -> None:
    machine = Machine()
    LocalApic(machine, LOCAL_APIC_AT).send(3, 0xFE)
    assert machine.ipis == [(3, 0xFE)]
    assert machine.lapic_registers[0x300] == 0x40FE


@pytest.mark.parametrize(("registers", "moment"), [
    ({}, (2026, 11, 24, 12, 34, 56)),
    ({0x0B: 0x06, 0: 56, 2: 34, 4: 12, 7: 24, 8: 11, 9: 26, 0x32: 20}, (2026, 11, 24, 12, 34, 56)),      # binary
    ({0x0B: 0x00, 4: 0x81}, (2026, 11, 24, 13, 34, 56)),                                                 # 1 pm of 12 hours
    ({0x0B: 0x00, 4: 0x12}, (2026, 11, 24, 0, 34, 56)), ({0x0B: 0x00, 4: 0x92}, (2026, 11, 24, 12, 34, 56)),
    ({0x32: 0x19, 9: 0x99}, (1999, 11, 24, 12, 34, 56)), ({0x32: 0}, (2026, 11, 24, 12, 34, 56))])
def test_rtc(registers: dict[int, int], moment: tuple[int, int, int, int, int, int]) -> None:
    machine = Machine()
    machine.cmos.update(registers)
    assert read_rtc(machine, 0x32) == int(datetime(*moment, tzinfo=UTC).timestamp()) * NS


def test_rtc_without_a_century_register() -> None:
    assert read_rtc(Machine(), 0) == int(datetime(2026, 11, 24, 12, 34, 56, tzinfo=UTC).timestamp()) * NS


def test_rtc_waits_for_an_update_to_end() -> None:
    machine = Machine()
    readings = iter([0xA6, 0xA6, 0xA6])
    machine.port_overrides[0x71] = lambda: next(readings, 0x26) if machine.cmos_index == 0x0A else machine.cmos[machine.cmos_index]
    assert read_rtc(machine, 0x32) > 0
    assert next(readings, None) is None


@pytest.mark.parametrize("registers", [{0x0A: 0x80}, {8: 0x13}, {7: 0}, {0: 0xFF, 2: 0xFF, 4: 0xFF, 7: 0xFF, 8: 0xFF, 9: 0xFF, 0x32: 0xFF}])
def test_an_rtc_that_shows_no_date(registers: dict[int, int]) -> None:
    machine = Machine()
    machine.cmos.update(registers)
    with pytest.raises(KernelError, match="real-time clock"):
        read_rtc(machine, 0x32)


def test_rtc_that_never_settles() -> None:
    machine = Machine()
    count = iter(range(10**9))
    machine.port_overrides[0x71] = lambda: 0 if machine.cmos_index == 0x0A else next(count) & 0x3F
    with pytest.raises(KernelError, match="does not settle"):
        read_rtc(machine, 0x32)


def test_pci_functions() -> None:
    found = Pci(Machine()).enumerate()
    assert found == [Function(0, 0, 0, 0x8086, 0x29C0, 0x0600), Function(0, 31, 0, 0x8086, 0x2918, 0x0601), Function(0, 31, 3, 0x8086, 0x2930, 0x0C05)]
    assert [(one.address, one.kind, one.name) for one in found][1] == ("00:1f.0", "ISA bridge", "Intel ICH9 LPC bridge")
    unknown = Function(1, 2, 3, 0x1234, 0x5678, 0x1299)
    assert (unknown.address, unknown.kind, unknown.name) == ("01:02.3", "class 1299", "1234:5678")


def test_pci_behind_bridges_each_bus_once() -> None:
    machine = Machine()
    bridge = {0: 0x0001_1B36, 8: 0x0604_0000, 0xC: 0x01_0000}
    machine.pci = {
        (0, 1, 0): bridge | {0x18: 0x01_01_00}, (0, 2, 0): bridge | {0x18: 0}, (1, 0, 0): bridge | {0x18: 0x02_02_01},
        (2, 0, 0): {0: 0x1041_1AF4, 8: 0x0200_0000},
        (2, 1, 0): bridge | {0x18: 0x01_01_02}}
    assert [one.address for one in Pci(machine).enumerate()] == ["00:01.0", "00:02.0", "01:00.0", "02:00.0", "02:01.0"]


@given(st.dictionaries(st.tuples(st.integers(0, 3), st.integers(0, 31), st.integers(0, 7)),
                       st.fixed_dictionaries({0: st.integers(0, 0xFFFFFFFF), 8: st.integers(0, 0xFFFFFFFF), 0xC: st.integers(0, 0xFFFFFFFF),
                                              0x18: st.integers(0, 0x3_FFFF)}), max_size=8))
@settings(max_examples=25, deadline=None)
def test_any_configuration_space_can_be_enumerated(functions: dict[tuple[int, int, int], dict[int, int]]) -> None:
    machine = Machine()
    machine.pci = functions
    found = Pci(machine).enumerate()
    addresses = [one.address for one in found]
    assert len(set(addresses)) == len(addresses)
    assert all((one.bus, one.device, one.function) in functions for one in found)
