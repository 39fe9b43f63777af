from __future__ import annotations

import contextlib
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.acpi.fadt import AddressSpaceId, Fadt, Register
from kernel.acpi.madt import IoApicEntry, Line, Madt
from kernel.acpi.sleep_states import soft_off
from kernel.acpi.tables import Tables, find_rsdp
from kernel.errors import AcpiError
from kernel.hardware import PhysicalMemory
from tests.kernel.fake import (
    IO_APIC_AT,
    LOCAL_APIC_AT,
    MIB,
    PM1A_CONTROL,
    PM_TIMER,
    RESET_PORT,
    RSDP_AT,
    SLP_TYP_S5,
    SMI_COMMAND,
    TABLES_AT,
    Machine,
    acpi_tables,
    checksummed,
    table,
)


def firmware(cpus: int = 4, **changed: bytes) -> Machine:
    machine = Machine(2 * MIB)
    for address, data in acpi_tables(cpus).items():
        machine.memory_write(address, data)
    return machine


def tables(machine: Machine, rsdp: int = RSDP_AT) -> Tables:
    return Tables(PhysicalMemory(machine), rsdp)


def test_rsdp_to_tables() -> None:
    found = tables(firmware())
    assert sorted(found.by_signature) == ["APIC", "FACP"]
    assert found.damaged == []
    with pytest.raises(AcpiError, match="there is no HPET; the firmware has FACP, APIC"):
        found.table("HPET")


def test_5_2_5_1_the_root_pointer_is_found_where_firmware_puts_it() -> None:
    machine = firmware()
    assert find_rsdp(PhysicalMemory(machine)) == RSDP_AT
    assert sorted(tables(machine, 0).by_signature) == ["APIC", "FACP"]
    pointer = machine.memory_read(RSDP_AT, 36)
    machine.memory_write(RSDP_AT, bytes(36))
    machine.memory_write(0x40E, struct.pack("<H", 0x9FC0))
    machine.memory_write(0x9FC10, pointer)
    assert tables(machine, 0).rsdp == 0x9FC10
    machine.memory_write(0x9FC10, bytes(36))
    with pytest.raises(AcpiError, match="no root pointer"):
        tables(machine, 0)


def test_revision_0_leads_to_an_rsdt() -> None:
    machine = firmware()
    machine.memory_write(RSDP_AT, checksummed(struct.pack("<8sB6sBI", b"RSD PTR ", 0, b"FAKE  ", 0, TABLES_AT + 0x1000), 8))
    machine.memory_write(TABLES_AT + 0x1000, table(b"RSDT", struct.pack("<II", TABLES_AT + 0x200, TABLES_AT + 0x400)))
    assert sorted(tables(machine).by_signature) == ["APIC", "FACP"]


@pytest.mark.parametrize(("address", "data", "message"), [
    (RSDP_AT, b"RSD PTR!", "damaged"), (RSDP_AT + 8, b"\x12", "damaged"), (RSDP_AT + 24, b"\1", "damaged in its second part"),
    (RSDP_AT + 20, struct.pack("<I", 20), "damaged in its second part"), (RSDP_AT + 20, struct.pack("<I", 1 << 31), "damaged in its second part"),
    (TABLES_AT, b"XSDU", "fails its checksum"), (TABLES_AT + 4, struct.pack("<I", 35), "35 bytes long"),
    (TABLES_AT + 4, struct.pack("<I", 1 << 30), "bytes long")])
def test_a_damaged_root_is_named(address: int, data: bytes, message: str) -> None:
    machine = firmware()
    machine.memory_write(address, data)
    with pytest.raises(AcpiError, match=message):
        tables(machine)


@pytest.mark.parametrize("rsdp", [1, 0x200, 8 * MIB, (1 << 52) - 1])
def test_a_root_pointer_that_is_elsewhere(rsdp: int) -> None:
    with pytest.raises(AcpiError):
        tables(firmware(), rsdp)


def test_a_root_of_another_kind() -> None:
    machine = firmware()
    machine.memory_write(TABLES_AT, table(b"SSDT", bytes(16)))
    with pytest.raises(AcpiError, match="'SSDT', not the XSDT"):
        tables(machine)


@pytest.mark.parametrize("offset", [0x200, 0x400])
def test_a_table_with_a_wrong_checksum_is_left_out_and_named(offset: int) -> None:
    machine = firmware()
    machine.ram[TABLES_AT + offset + 37] ^= 0x10
    found = tables(machine)
    assert len(found.by_signature) == 1
    assert len(found.damaged) == 1 and "fails its checksum" in found.damaged[0]


def test_entries_that_lead_nowhere() -> None:
    machine = firmware()
    machine.memory_write(TABLES_AT, table(b"XSDT", struct.pack("<4Q", TABLES_AT + 0x200, 0, 1 << 63, TABLES_AT + 0x400)))
    found = tables(machine)
    assert sorted(found.by_signature) == ["APIC", "FACP"]
    assert len(found.damaged) == 2


def test_fadt() -> None:
    fadt = Fadt.parse(tables(firmware()).table("FACP"))
    assert fadt.pm_timer == Register(AddressSpaceId.SYSTEM_IO, PM_TIMER, 4)
    assert fadt.pm1a_control == Register(AddressSpaceId.SYSTEM_IO, PM1A_CONTROL, 2)
    assert fadt.pm1b_control is None
    assert fadt.reset == Register(AddressSpaceId.SYSTEM_IO, RESET_PORT, 1)
    assert (fadt.reset_value, fadt.pm_timer_width, fadt.century, fadt.smi_command, fadt.acpi_enable) == (6, 24, 0x32, SMI_COMMAND, 2)
    assert fadt.dsdt == TABLES_AT + 0x800


@pytest.mark.parametrize(("offset", "data", "field", "value"), [
    (112, struct.pack("<I", 0), "reset", None),                                                     # RESET_REG_SUP is not set
    (112, struct.pack("<I", 1 << 8), "pm_timer_width", 32),
    (116, struct.pack("<BBBBQ", 2, 8, 0, 1, 0x10), "reset", None),                                  # PCI configuration space
    (116, struct.pack("<BBBBQ", 1, 8, 0, 1, 0x10000), "reset", None),                               # no port
    (116, struct.pack("<BBBBQ", 0, 8, 0, 1, 0xFED00000), "reset", Register(AddressSpaceId.SYSTEM_MEMORY, 0xFED00000, 1)),
    (116, struct.pack("<BBBBQ", 0, 8, 0, 1, 1 << 60), "reset", None),                               # no physical address
    (208, struct.pack("<BBBBQ", 1, 32, 0, 3, 0x1808), "pm_timer", Register(AddressSpaceId.SYSTEM_IO, 0x1808, 4)),
    (76, struct.pack("<I", 0), "pm_timer", None), (64, struct.pack("<I", 0xFFFF), "pm1a_control", None),
    (48, struct.pack("<I", 0x12345678), "smi_command", 0), (108, b"\xB2", "century", 0), (140, bytes(8), "dsdt", TABLES_AT + 0x800)])
def test_fadt_fields(offset: int, data: bytes, field: str, value: object) -> None:
    raw = bytearray(acpi_tables(4)[TABLES_AT + 0x200])
    raw[offset:offset + len(data)] = data
    assert getattr(Fadt.parse(bytes(raw)), field) == value


def test_fadt_of_acpi_1() -> None:
    fadt = Fadt.parse(acpi_tables(4)[TABLES_AT + 0x200][:116])
    assert (fadt.reset, fadt.dsdt) == (None, TABLES_AT + 0x800)
    assert fadt.pm_timer is not None
    with pytest.raises(AcpiError, match="only 115 bytes"):
        Fadt.parse(bytes(115))


def test_madt() -> None:
    madt = Madt.parse(tables(firmware(3)).table("APIC"))
    assert (madt.local_apic, madt.cpus, madt.io_apics) == (LOCAL_APIC_AT, [0, 1, 2], [IoApicEntry(0, IO_APIC_AT, 0)])
    assert madt.isa(0) == Line(2)
    assert madt.isa(9) == Line(9, level=True)
    assert madt.isa(4) == Line(4)


@pytest.mark.parametrize(("entry", "note"), [
    (struct.pack("<BBBBI", 0, 8, 0, 0, 1), None), (struct.pack("<BB", 0, 1), "impossible length 1"), (struct.pack("<BB", 0x7F, 0), "impossible length 0"),
    (struct.pack("<BB", 0x7F, 2), None), (b"\1", "impossible length 0"), (struct.pack("<BBB", 1, 12, 0), "impossible length 12"),
    (struct.pack("<BBBBI", 1, 8, 0, 0, 1), "impossible length 8"), (struct.pack("<BBBBIH", 2, 10, 5, 0, 2, 0), "makes no sense"),
    (struct.pack("<BB2xQ", 5, 12, 1 << 60), "makes no sense"), (struct.pack("<BB2xQ", 5, 12, 0xFEE10000), None)])
def test_madt_entries(entry: bytes, note: str | None) -> None:
    madt = Madt.parse(table(b"APIC", struct.pack("<II", LOCAL_APIC_AT, 1) + entry))
    assert (note is None) == (madt.notes == [])
    assert note is None or note in madt.notes[0]


def test_madt_without_a_body() -> None:
    with pytest.raises(AcpiError, match="only 36 bytes"):
        Madt.parse(table(b"APIC", b""))


def name(body: bytes, path: bytes = b"_S5_") -> bytes:
    return b"\x08" + path + body


@pytest.mark.parametrize(("code", "types"), [
    (name(b"\x12\x06\x04\x0A\x05\x00\x00\x00"), (5, 0)), (name(b"\x12\x08\x04\x0A\x05\x0A\x06\x00\x00", b"\\_S5_"), (5, 6)),
    (name(b"\x12\x05\x04\x00\x00\x00\x00"), (0, 0)), (name(b"\x12\x05\x04\x01\x01\x00\x00"), (1, 1)), (name(b"\x12\x04\x01\x0A\x07"), (7, 7)),
    (name(b"\x12\x4B\x00\x02\x0B\x05\x00\x0C\x03\x00\x00\x00"), (5, 3)), (b"x_S5_" + name(b"\x12\x04\x01\x0A\x07"), (7, 7)),
    (b"\x10\x20\x5C_S5_" + name(b"\x12\x04\x01\x0A\x02"), (2, 2))])
def test_soft_off(code: bytes, types: tuple[int, int]) -> None:
    assert soft_off(bytes(36) + code) == types


@pytest.mark.parametrize(("code", "message"), [
    (b"", "has no"), (b"_S5_", "has no"), (name(b""), "cut off"), (name(b"\x14\x06"), "not a constant package"), (name(b"\x12"), "cut off"),
    (name(b"\x12\x05\x04\x0A"), "cut off"), (name(b"\x12\x02\x00"), "holds"), (name(b"\x12\x04\x01\x0A\x08"), "holds"),
    (name(b"\x12\x08\x02\x0D\x35\x00"), "not a number"), (name(b"\x12\x06\x02\x0B\x05"), "cut off"), (name(b"\x12\x02\x04\x0A\x05\x00\x00"), "holds")])
def test_soft_off_that_cannot_be_read(code: bytes, message: str) -> None:
    with pytest.raises(AcpiError, match=message):
        soft_off(bytes(36) + code)


@given(st.integers(0, 1 << 32))
@settings(max_examples=300, deadline=None)
def test_random_damage_ends_in_a_table_or_an_acpi_error(seed: int) -> None:
    chance = random.Random(seed)
    machine = firmware()
    for _ in range(chance.randint(1, 6)):
        address, data = chance.choice(list(acpi_tables(4).items()))
        at = address + chance.randrange(len(data))
        machine.ram[at] = chance.randrange(256)
    if chance.random() < 0.7:                            # and the checksums put right again, as a wrong firmware would
        for address, data in acpi_tables(4).items():
            raw = machine.memory_read(address, len(data))
            machine.memory_write(address, checksummed(checksummed(raw[:20], 8) + raw[20:], 32) if address == RSDP_AT else checksummed(raw, 9))
    with contextlib.suppress(AcpiError):
        found = tables(machine)
        for signature, parse in (("FACP", Fadt.parse), ("APIC", Madt.parse), ("DSDT", soft_off)):
            if signature in found.by_signature:
                parse(found.table(signature))
        assert 0 <= soft_off(machine.memory_read(TABLES_AT + 0x800, 60))[0] <= 7


def test_the_fakes_own_dsdt() -> None:
    assert soft_off(acpi_tables(1)[TABLES_AT + 0x800]) == (SLP_TYP_S5, 0)
