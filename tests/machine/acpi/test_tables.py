"""ACPI tables: lengths, checksums and pointers as ACPI 6.5 asks, and what a disassembler reads in them."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from machine.acpi import aml, dsdt, fadt, madt, placement, rsdp
from machine.acpi.table import Table

ADDRESS = 0xF0000


def all_tables() -> list[Table]:
    return [rsdp.rsdp(), rsdp.xsdt(("FACP", "APIC")), fadt.fadt(0x600, 9, 0xB2, 2, 3, has_8042=False, has_vga=False), fadt.facs(),
            dsdt.dsdt((dsdt.SERIAL, dsdt.CLOCK), (0xC0000000, 0xFEBFFFFF)), madt.madt(4, 0xFEE00000, 0xFEC00000, 4, 9)]


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
    assert set(found) == {b"FACP", b"APIC"}
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


@pytest.mark.parametrize("signature", ["DSDT", "FACP", "APIC", "XSDT", "FACS"])
def test_the_reference_disassembler_reads_it_without_complaint(signature: str, tmp_path: Path, memory: Memory) -> None:
    if shutil.which("iasl") is None:
        pytest.skip("iasl (acpica-tools) is not installed")
    at = memory.data.index(signature.encode() + struct.pack("<I", len(next(one for one in all_tables() if one.name == signature).data)))
    (tmp_path / "table.aml").write_bytes(memory.table(ADDRESS + at))
    done = subprocess.run(["iasl", "-d", "table.aml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    source = (tmp_path / "table.dsl").read_text()
    assert done.returncode == 0 and "Error" not in done.stderr and "Incorrect checksum" not in source
    if signature == "DSDT":
        assert "S5 System State" in source and 'EisaId ("PNP0501")' in source and "Device (PCI0)" in source
        assert subprocess.run(["iasl", "table.dsl"], cwd=tmp_path, capture_output=True, text=True, check=False).returncode == 0
