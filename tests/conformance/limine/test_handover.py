"""What our loader hands over, against the Limine boot protocol (PROTOCOL.md, base revision 3), seen by an executable of our own.

The same checks run against the loader on QEMU, so that nothing here is true of our PC alone.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator

import pytest

from images import builder
from images.errors import ImageError
from tests.boot import ARCHIVE, CMDLINE, MIB, NUCLEUS, Pc, has_qemu, pc, qemu
from tests.conformance.limine import probe
from tests.conformance.limine.probe import Report, State

CPUS, MEMORY = 3, 64 * MIB
ARCHIVE_DATA = bytes(range(256)) * 50 + b"end"
HHDM_MINIMUM = 0xFFFF800000000000
USABLE, RESERVED, ACPI, RECLAIMABLE, EXECUTABLE = 0, 1, 2, 5, 6
STACK = 64 << 10
CR0_WANTED = 1 << 0 | 1 << 4 | 1 << 16 | 1 << 31        # PE ET WP PG
EFER_WANTED = 1 << 8 | 1 << 10 | 1 << 11                # LME LMA NXE
IF, DF, VM = 1 << 9, 1 << 10, 1 << 17


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {NUCLEUS: probe.image(), ARCHIVE: ARCHIVE_DATA, CMDLINE: b"key=value other"}


@pytest.fixture(scope="module")
def booted(files: dict[str, bytes]) -> Iterator[Pc]:
    with pc(builder.rom(), files, cpus=CPUS, memory=MEMORY) as machine:
        machine.run("done\r\n")
        yield machine


@pytest.fixture(scope="module", params=["ours", pytest.param("qemu", marks=pytest.mark.guest)])
def report(request: pytest.FixtureRequest, files: dict[str, bytes]) -> Report:
    if request.param == "ours":
        return probe.parse(request.getfixturevalue("booted").text)
    if not has_qemu():
        pytest.skip("qemu-system-x86_64 is not installed")
    return probe.parse(qemu(builder.rom(), files, "-smp", str(CPUS), "-m", "64", until="done"))


# --- machine state at entry -------------------------------------------------------------------------------------------------------------------
def test_the_entry_point_request_is_honoured(report: Report) -> None:
    assert report.boot.registers, "the probe's ELF entry would have printed wrong_entry and stopped"


def test_registers_are_zero_but_for_the_stack(report: Report) -> None:
    for name, value in report.boot.registers.items():
        assert value == 0 or name in {"rsp", "rflags"}, name


def each(report: Report) -> list[State]:
    assert len(report.others) == CPUS - 1
    return [report.boot, *report.others]


def test_flags_and_return_address(report: Report) -> None:
    for state in each(report):
        assert not state.registers["rflags"] & (IF | DF | VM)
        assert state.numbers["return"] == 0


def test_control_registers(report: Report) -> None:
    for state in each(report):
        assert state.numbers["cr0"] & CR0_WANTED == CR0_WANTED
        assert state.numbers["cr4"] & 1 << 5, "PAE"
        assert state.numbers["efer"] & EFER_WANTED == EFER_WANTED
        assert state.numbers["cr3"] == report.boot.numbers["cr3"], "one address space"


def test_the_page_attribute_table(report: Report) -> None:
    for state in each(report):
        assert state.numbers["pat"].to_bytes(8, "little")[:6] == bytes((6, 4, 7, 0, 5, 1)), "WB WT UC- UC WP WC"


def test_segments_and_their_descriptors(report: Report) -> None:
    for state in each(report):
        assert state.numbers["cs"] == 0x28
        assert {state.numbers[name] for name in ("ds", "es", "ss", "fs", "gs")} == {0x30}
        assert state.numbers["gdt_limit"] >= 7 * 8 - 1
        null, code16, data16, code32, data32, code64, data64 = state.descriptors
        assert null == 0
        assert (code16 & 0xFFFF, data16 & 0xFFFF) == (0xFFFF, 0xFFFF)
        assert [descriptor >> 52 & 0b110 for descriptor in (code16, code32, code64)] == [0, 0b100, 0b010], "D and L bits"
        assert [bool(descriptor >> 43 & 1) for descriptor in (code16, data16, code32, data32, code64, data64)] == [True, False] * 3, "code, data"
        assert all(descriptor >> 47 & 1 for descriptor in (code16, data16, code32, data32, code64, data64)), "present"
        assert all(descriptor >> 41 & 1 for descriptor in (data16, data32, data64)), "writable"


def test_the_gdt_and_the_stacks_are_in_reclaimable_memory(report: Report) -> None:
    tops = []
    for state in each(report):
        base = report.boot.numbers["hhdm"]
        assert kind_of(report, state.numbers["gdt"] - base, 56) == RECLAIMABLE
        top = state.registers["rsp"] + 8 - base
        assert kind_of(report, top - STACK, STACK) == RECLAIMABLE
        tops.append(top)
    assert all(high - low >= STACK for low, high in itertools.pairwise(sorted(tops))), "each has its own"


# --- features -------------------------------------------------------------------------------------------------------------------------------------
def test_the_base_revision_is_granted(report: Report) -> None:
    assert (report.boot.numbers["revision_used"], report.boot.numbers["revision_wanted"]) == (3, 0)


def test_only_requests_between_the_markers_are_answered(report: Report) -> None:
    assert report.boot.numbers["outside"] == 0
    assert report.boot.numbers["unknown"] == 0


def test_bootloader_and_platform(report: Report) -> None:
    assert report.texts["name"] == "Folkering loader"
    assert report.texts["version"]
    assert (report.boot.numbers["firmware_type"], report.boot.numbers["paging_mode"]) == (0, 0), "BIOS; four levels"
    assert report.boot.numbers["stack_size"]
    assert report.boot.numbers["entry_point"]


def test_the_direct_map_is_in_the_upper_half(report: Report) -> None:
    assert report.boot.numbers["hhdm"] >= HHDM_MINIMUM
    assert report.boot.numbers["hhdm"] % 4096 == 0


def test_the_executable_is_where_it_was_linked(report: Report, files: dict[str, bytes]) -> None:
    assert report.boot.numbers["virtual_base"] == builder.NUCLEUS_BASE
    assert kind_of(report, report.boot.numbers["physical_base"], 4096) == EXECUTABLE
    address, size, path = report.files["executable_file"]
    assert (size, path) == (len(files[NUCLEUS]), "/opt/folkering/nucleus")
    assert kind_of(report, address - report.boot.numbers["hhdm"], size) == EXECUTABLE


def test_the_archive_is_module_0(report: Report) -> None:
    address, size, path = report.files["module"]
    assert (report.boot.numbers["modules"], size, path) == (1, len(ARCHIVE_DATA), "/opt/folkering/archive")
    assert address % 4096 == 0
    assert kind_of(report, address - report.boot.numbers["hhdm"], size) == EXECUTABLE


def test_the_command_line(report: Report) -> None:
    assert report.texts["cmdline"] == "key=value other"


def test_processors(report: Report) -> None:
    lapic_ids = [lapic for _uid, lapic, _address in report.cpus]
    assert lapic_ids == list(range(CPUS))
    assert report.boot.numbers["bsp"] in lapic_ids
    infos = [address for _uid, _lapic, address in report.cpus]
    assert [state.registers["rdi"] for state in report.others] == infos[1:], "RDI is the processor's own info"
    for state in report.others:
        assert all(value == 0 for name, value in state.registers.items() if name not in {"rdi", "rsp", "rflags"})


def test_the_memory_map_is_sorted_aligned_and_free_of_overlaps(report: Report) -> None:
    assert report.ranges == sorted(report.ranges)
    for base, length, kind in report.ranges:
        if kind in {USABLE, RECLAIMABLE}:
            assert base % 4096 == length % 4096 == 0
            assert length > 0
    for (base, length, kind), (following, _length, other) in itertools.pairwise(report.ranges):
        assert base + length <= following
        assert (base + length, kind) != (following, other), "neighbours of one type are one range"


def test_most_of_the_memory_is_usable(report: Report) -> None:
    usable = sum(length for _base, length, kind in report.ranges if kind == USABLE)
    assert MEMORY - 2 * MIB < usable < MEMORY
    assert kind_of(report, 0xA0000, 0x60000) == RESERVED


def test_the_rsdp_is_physical(report: Report) -> None:
    assert 0 < report.boot.numbers["rsdp"] < 1 << 32


def kind_of(report: Report, base: int, length: int) -> int | None:
    """The type of the range that holds all of [base, base+length)."""
    return next((kind for start, size, kind in report.ranges if start <= base and base + length <= start + size), None)


# --- what only the machine's owner can see --------------------------------------------------------------------------------------------------------
def test_files_are_in_memory_as_they_were_given(booted: Pc, files: dict[str, bytes]) -> None:
    report = probe.parse(booted.text)
    for name, data in (("executable_file", files[NUCLEUS]), ("module", ARCHIVE_DATA)):
        address, size, _path = report.files[name]
        assert booted.machine.memory.read(address - report.boot.numbers["hhdm"], size) == data


def test_the_acpi_tables_are_installed(booted: Pc) -> None:
    memory = booted.machine.memory
    rsdp = memory.read(probe.parse(booted.text).boot.numbers["rsdp"], 36)
    assert rsdp[:8] == b"RSD PTR "
    assert sum(rsdp[:20]) % 256 == sum(rsdp) % 256 == 0
    xsdt = struct.unpack_from("<Q", rsdp, 24)[0]
    length = struct.unpack("<I", memory.read(xsdt + 4, 4))[0]
    table = memory.read(xsdt, length)
    assert (table[:4], sum(table) % 256) == (b"XSDT", 0)
    signatures = {memory.read(pointer, 4) for pointer, in struct.iter_unpack("<Q", table[36:])}
    assert {b"FACP", b"APIC"} <= signatures
    assert kind_of(probe.parse(booted.text), xsdt, length) == ACPI


def walk(booted: Pc, virtual: int) -> tuple[int, bool, bool] | None:
    """Physical address, writable, executable: by the loader's page tables (SDM volume 3A 4.5)."""
    table = probe.parse(booted.text).boot.numbers["cr3"]
    writable, executable = True, True
    for shift in (39, 30, 21, 12):
        entry = int.from_bytes(booted.machine.memory.read((table & 0x000FFFFFFFFFF000) + 8 * (virtual >> shift & 511), 8), "little")
        if not entry & 1:
            return None
        writable, executable = writable and bool(entry & 2), executable and not entry >> 63
        table = entry
        if shift == 12 or entry & 0x80:
            mask = (1 << shift) - 1
            return (entry & 0x000FFFFFFFFFF000 & ~mask) | virtual & mask, writable, executable
    return None


def test_the_direct_map_is_complete_and_not_executable(booted: Pc) -> None:
    report = probe.parse(booted.text)
    base = report.boot.numbers["hhdm"]
    for start, length, kind in report.ranges:
        if kind in {USABLE, RECLAIMABLE, EXECUTABLE}:
            for physical in (start, start + length // 2 & -4096, start + length - 4096):
                assert walk(booted, base + physical) == (physical, True, False), hex(physical)


def test_segments_are_mapped_with_their_own_rights(booted: Pc) -> None:
    report = probe.parse(booted.text)
    physical, virtual = report.boot.numbers["physical_base"], report.boot.numbers["virtual_base"]
    rights = [walk(booted, virtual + page * 4096) for page in range(4)]
    assert rights == [(physical, False, True), (physical + 0x1000, False, False), (physical + 0x2000, True, False), (physical + 0x3000, True, False)]
    assert walk(booted, virtual + 4 * 4096) is None


def test_nothing_else_is_mapped_in_the_lower_half_than_the_rom(booted: Pc) -> None:
    assert walk(booted, 0) is None
    assert walk(booted, 0x100000) is None
    found = walk(booted, 0xFFFFF000)
    assert found is not None
    assert found[1:] == (False, True)


# --- executables that ask for what cannot be -------------------------------------------------------------------------------------------------------
def revised(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(("change", "message"), [
    (lambda text: revised(text, "LIMINE_BASE_REVISION_1, 3", "LIMINE_BASE_REVISION_1, 2"), "wants a Limine base revision below 3"),
    (lambda text: revised(text, "    .quad LIMINE_BASE_REVISION_0, LIMINE_BASE_REVISION_1, 3\n", ""), "wants a Limine base revision below 3"),
    (lambda text: revised(text, "LIMINE_BASE_REVISION_1, 3\n", "LIMINE_BASE_REVISION_1, 3, LIMINE_BASE_REVISION_0, LIMINE_BASE_REVISION_1, 3\n"),
     "has two Limine base revision tags"),
    (lambda text: revised(text, "unknown:\n    .quad 0\n", "unknown:\n    .quad 0\n    REQUEST RSDP_2, RSDP_3\n    .quad 0\n"), "makes a Limine request twice"),
], ids=["old revision", "no revision", "two revisions", "twice"])
def test_bad_requests_stop_the_boot_with_one_line(tmp_path_factory: pytest.TempPathFactory, change: Callable[[str], str], message: str) -> None:
    try:
        image = variant(tmp_path_factory, change)
    except ImageError as error:
        pytest.fail(str(error))
    with pc(builder.rom(), {NUCLEUS: image}, memory=MEMORY) as machine:
        machine.run("; halted\r\n")
        assert message in machine.text.splitlines()[-1]


def test_a_newer_revision_is_loaded_with_ours_and_told_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    image = variant(tmp_path_factory, lambda text: revised(text, "LIMINE_BASE_REVISION_1, 3", "LIMINE_BASE_REVISION_1, 9"))
    with pc(builder.rom(), {NUCLEUS: image}, memory=MEMORY) as machine:
        machine.run("done\r\n")
        numbers = probe.parse(machine.text).boot.numbers
    assert (numbers["revision_used"], numbers["revision_wanted"]) == (3, 9)
    assert "modules" not in numbers, "there was no archive, so there is no module response"


def variant(factory: pytest.TempPathFactory, change: Callable[[str], str]) -> bytes:
    """The probe with a change to its source."""
    folder = factory.mktemp("probe")
    text = probe.SOURCE.read_text().replace('"../../../images/', f'"{builder.HERE}/')
    (folder / "probe.asm").write_text(change(text))
    return builder.nucleus(folder / "probe.asm")
