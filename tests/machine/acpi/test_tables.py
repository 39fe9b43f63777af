"""ACPI tables: lengths, checksums and pointers as ACPI 6.5 asks, and what a disassembler reads in them."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from machine.acpi import aml, madt, placement
from machine.acpi.table import Table
from machine.address_map import ECAM, HPET_BASE, PIRQ_IRQS
from machine.description import acpi_tables

ADDRESS = 0xF0000


def all_tables() -> list[Table]:
    return acpi_tables(4)


class Memory:
    """The placed tables, read by address."""

    def __init__(self, data: bytes, base: int) -> None:
        self.data, self.base = data, base

    def at(self, address: int, length: int) -> bytes:
        assert self.base <= address <= self.base + len(self.data) - length
        return self.data[address - self.base:address - self.base + length]

    def table(self, address: int) -> bytes:
        length = struct.unpack("<I", self.at(address + 4, 4))[0]
        return self.at(address, length)


@pytest.fixture
def memory() -> Memory:
    return Memory(placement.place(all_tables(), ADDRESS).data, ADDRESS)


def test_5_2_5_3_the_rsdp_has_both_checksums_and_leads_to_the_xsdt(memory: Memory) -> None:
    root = memory.at(placement.place(all_tables(), ADDRESS).rsdp, 36)
    assert root[:8] == b"RSD PTR " and root[15] == 2
    assert sum(root[:20]) & 0xFF == 0 and sum(root) & 0xFF == 0
    assert memory.at(struct.unpack_from("<Q", root, 24)[0], 4) == b"XSDT"


def test_5_2_8_every_table_is_reached_and_sums_to_zero(memory: Memory) -> None:
    root = memory.at(ADDRESS, 36)
    xsdt = memory.table(struct.unpack_from("<Q", root, 24)[0])
    found = {memory.at(address, 4): memory.table(address) for (address,) in struct.iter_unpack("<Q", xsdt[36:])}
    assert set(found) == {b"FACP", b"APIC", b"HPET", b"MCFG"}
    facp = found[b"FACP"]
    dsdt_address, x_dsdt, facs_address = struct.unpack_from("<I", facp, 40)[0], struct.unpack_from("<Q", facp, 140)[0], struct.unpack_from("<I", facp, 36)[0]
    assert dsdt_address == x_dsdt
    for data in (xsdt, *found.values(), memory.table(dsdt_address)):
        assert sum(data) & 0xFF == 0, data[:4]
    assert facs_address % 64 == 0 and memory.at(facs_address, 8) == b"FACS" + struct.pack("<I", 64)


def test_table_loader_gives_the_same_tables(memory: Memory) -> None:
    """A firmware that carries out the commands at the same address gets, byte for byte, what a direct boot gets."""
    tables = all_tables()
    files = placement.loader_files(tables)
    blobs = {name: bytearray(data) for name, data in files.items()}
    where: dict[str, int] = {}
    script = files[placement.LOADER_FILE]
    assert len(script) % placement.ENTRY_SIZE == 0
    for at in range(0, len(script), placement.ENTRY_SIZE):
        command = struct.unpack_from("<I", script, at)[0]
        name = script[at + 4:at + 60].rstrip(b"\0").decode()
        if command == placement.ALLOCATE:
            align, zone = struct.unpack_from("<IB", script, at + 60)
            where[name] = 0xF0000 if name == placement.RSDP_FILE else 0xF0040
            assert where[name] % align == 0 and zone in (placement.ZONE_HIGH, placement.ZONE_FSEG)
        elif command == placement.ADD_POINTER:
            target = script[at + 60:at + 116].rstrip(b"\0").decode()
            offset, size = struct.unpack_from("<IB", script, at + 116)
            value = int.from_bytes(blobs[name][offset:offset + size], "little") + where[target]
            blobs[name][offset:offset + size] = value.to_bytes(size, "little")
        else:
            assert command == placement.ADD_CHECKSUM
            offset, start, length = struct.unpack_from("<III", script, at + 60)
            blobs[name][offset] = 0
            blobs[name][offset] = -sum(blobs[name][start:start + length]) & 0xFF
    direct = placement.place(tables, ADDRESS).data
    xsdt = struct.unpack_from("<Q", blobs[placement.RSDP_FILE], 24)[0]
    assert blobs[placement.TABLES_FILE][xsdt - 0xF0040:][:4] == b"XSDT"
    assert bytes(blobs[placement.RSDP_FILE])[:24] == direct[:8] + bytes(blobs[placement.RSDP_FILE])[8:9] + direct[9:24]
    facp = blobs[placement.TABLES_FILE].index(b"FACP")
    assert sum(blobs[placement.TABLES_FILE][facp:facp + 276]) & 0xFF == 0
    assert sum(blobs[placement.RSDP_FILE]) & 0xFF == 0


def test_5_2_12_the_madt_names_every_processor_and_the_overrides() -> None:
    data = madt.madt(3, 0xFEE00000, 0xFEC00000, 3, 9).data
    at, kinds = 44, []
    while at < len(data):
        kinds.append((data[at], data[at + 2:at + data[at + 1]]))
        at += data[at + 1]
    assert at == len(data)
    assert [body[1] for kind, body in kinds if kind == madt.LOCAL_APIC] == [0, 1, 2]
    overrides = [struct.unpack("<BBIH", body) for kind, body in kinds if kind == madt.SOURCE_OVERRIDE]
    assert overrides == [(0, 0, 2, 0), (0, 9, 9, 0xD)]


def test_hpet_3_2_4_names_the_block_and_its_base() -> None:
    data = next(one for one in all_tables() if one.name == "HPET").data
    assert len(data) == 56
    assert struct.unpack_from("<IBBBBQ", data, 36) == (0x8086A201, 0, 64, 0, 0, HPET_BASE)


def test_mcfg_4_1_2_has_one_window_for_all_buses_and_the_dsdt_reserves_it() -> None:
    data = next(one for one in all_tables() if one.name == "MCFG").data
    assert len(data) == 60 and struct.unpack_from("<QHBB", data, 44) == (ECAM[0], 0, 0, 255)
    assert aml.memory32(*ECAM) in next(one for one in all_tables() if one.name == "DSDT").data


def test_6_2_13_routing_of_pci_interrupts_for_both_kinds_of_controllers(tmp_path: Path, memory: Memory) -> None:
    """Before \\_PIC (1) the ISA interrupts that firmware routes PIRQs to, then GSI 16-23."""
    if shutil.which("acpiexec") is None:
        pytest.skip("acpiexec (acpica-tools) is not installed")
    length = len(next(one for one in all_tables() if one.name == "DSDT").data)
    (tmp_path / "dsdt.aml").write_bytes(memory.table(ADDRESS + memory.data.index(b"DSDT" + struct.pack("<I", length))))
    commands = "execute \\_SB.PCI0._PRT\nexecute \\_PIC 1\nexecute \\_SB.PCI0._PRT\nquit\n"
    done = subprocess.run(["acpiexec", "dsdt.aml"], cwd=tmp_path, input=commands, capture_output=True, text=True, timeout=60, check=False)
    numbers = [int(number, 16) for number in re.findall(r"\[Integer\] = ([0-9A-F]{16})", done.stdout)]
    entries = [tuple(numbers[at:at + 4]) for at in range(0, len(numbers), 4)]
    swizzle = [(slot << 16 | 0xFFFF, pin, (slot + pin) % 8) for slot in range(32) for pin in range(4)]
    assert entries[:128] == [(address, pin, 0, PIRQ_IRQS[pirq]) for address, pin, pirq in swizzle], done.stdout
    assert entries[-128:] == [(address, pin, 0, 16 + pirq) for address, pin, pirq in swizzle] and len(entries) <= 257


def test_fadt_5_2_9_3_says_that_there_are_a_keyboard_controller_and_a_vga() -> None:
    data = next(one for one in all_tables() if one.name == "FACP").data
    boot = struct.unpack_from("<H", data, 109)[0]
    assert boot & 0b111 == 0b011


@pytest.mark.parametrize(("body", "encoded"), [(0, "01"), (62, "3f"), (63, "4104"), (4093, "4fff"), (4094, "810001")])
def test_20_2_4_package_lengths(body: int, encoded: str) -> None:
    assert aml.package_length(body).hex() == encoded


def test_20_2_3_integers_take_their_shortest_form() -> None:
    assert [aml.integer(value).hex() for value in (0, 1, 2, 0x1234, 0x12345678, 1 << 40)] == [
        "00", "01", "0a02", "0b3412", "0c78563412", "0e0000000000010000"]


def test_19_6_37_eisa_ids() -> None:
    assert aml.eisa_id("PNP0501") == b"\x0c\x41\xd0\x05\x01"


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no AML name"):
        aml.name_string("A.B.C")


@pytest.mark.parametrize("signature", ["DSDT", "FACP", "APIC", "HPET", "MCFG", "XSDT", "FACS"])
def test_the_reference_disassembler_reads_it_without_complaint(signature: str, tmp_path: Path, memory: Memory) -> None:
    if shutil.which("iasl") is None:
        pytest.skip("iasl (acpica-tools) is not installed")
    at = memory.data.index(signature.encode() + struct.pack("<I", len(next(one for one in all_tables() if one.name == signature).data)))
    (tmp_path / "table.aml").write_bytes(memory.table(ADDRESS + at))
    done = subprocess.run(["iasl", "-d", "table.aml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    source = (tmp_path / "table.dsl").read_text()
    assert done.returncode == 0 and "Error" not in done.stderr and "Incorrect checksum" not in source
    if signature == "DSDT":
        assert "S5 System State" in source and "Device (PCI0)" in source
        assert all(f'EisaId ("{pnp}")' in source for pnp in ("PNP0501", "PNP0303", "PNP0F13", "PNP0B00", "PNP0C02"))
        assert subprocess.run(["iasl", "table.dsl"], cwd=tmp_path, capture_output=True, text=True, check=False).returncode == 0
