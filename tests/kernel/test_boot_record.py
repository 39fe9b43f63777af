from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.boot_record import BootRecord, MemoryKind
from kernel.errors import BootRecordError
from tests.kernel.fake import (
    AREAS_AT,
    ARCHIVE_AT,
    CMDLINE_AT,
    HHDM,
    KERNEL_AT,
    KERNEL_VIRT,
    MIB,
    RECORD_AT,
    RESPONSES_AT,
    Bench,
    Layout,
    Machine,
    Nucleus,
    program_archive,
)

FIELDS = ("hhdm", "memmap", "modules", "rsdp", "kernel_phys", "kernel_virt", "kernel_size", "tsc_hz", "lapic_timer_hz", "cr3", "cpu_count", "cpu_areas",
          "cmdline", "name")
NASTY = (0, 1, 7, 0xFFF, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, 1 << 52, 1 << 63, HHDM - 1, HHDM + 1, HHDM + (1 << 40), KERNEL_VIRT + 1, (1 << 64) - 1)


def prepared(**changes: object) -> tuple[Machine, Nucleus]:
    machine = Machine()
    return machine, Nucleus(machine, Layout(cmdline="a=1 quiet", archive=program_archive(), **changes))     # type: ignore[arg-type]


def test_everything_that_is_in_it() -> None:
    machine, nucleus = prepared()
    machine.ram[KERNEL_AT + 0x100:KERNEL_AT + 0x107] = b"loader\0"
    nucleus.record[13] = KERNEL_VIRT + 0x100             # through the window where the nucleus is linked
    nucleus.write_record()
    record = BootRecord.read(machine.memory, RECORD_AT)
    assert (record.cpu_count, record.cpu_areas, record.cmdline, record.bootloader) == (4, AREAS_AT, "a=1 quiet", "loader")
    assert [(module.path, module.base, module.size) for module in record.modules] == [("archive", ARCHIVE_AT, len(program_archive()))]
    assert record.memory_map[1].kind is MemoryKind.ACPI_RECLAIMABLE
    assert record.memory_map[0].end == 0x9F000


@pytest.mark.parametrize(("field", "value", "message"), [
    ("hhdm", 0, "not in the upper half"), ("hhdm", HHDM + 1, "not in the upper half"), ("memmap", 0, "no memory map"),
    ("memmap", 1, "outside the direct map"), ("memmap", HHDM + (1 << 40), "not guest RAM"), ("modules", HHDM - 8, "outside the direct map"),
    ("rsdp", 1 << 60, "no physical address"), ("tsc_hz", 0, "implausible"), ("tsc_hz", 1 << 50, "implausible"), ("cr3", 0, "no page"),
    ("cr3", 0x1001, "no page"),
    ("cpu_count", 0, "0 CPUs"), ("cpu_count", 257, "257 CPUs"), ("cpu_areas", 0, "not pages below 4 GiB"), ("cpu_areas", 0x1010, "not pages below 4 GiB"),
    ("cpu_areas", 0xFFFFF000, "not pages below 4 GiB"), ("cpu_areas", 0xF0000000, "not guest RAM"), ("cmdline", 5, "outside the direct map"),
    ("name", HHDM + 16 * MIB - 2, "not guest RAM"), ("kernel_size", 0, "")])
def test_each_field_is_checked(field: str, value: int, message: str) -> None:
    machine, nucleus = prepared()
    machine.ram[-2:] = b"ab"
    nucleus.record[FIELDS.index(field)] = value
    nucleus.write_record()
    if message:
        with pytest.raises(BootRecordError, match=message):
            BootRecord.read(machine.memory, RECORD_AT)
    else:
        BootRecord.read(machine.memory, RECORD_AT)       # only needed by who points into the nucleus's window


@pytest.mark.parametrize(("offset", "data", "message"), [
    (0, b"FOLKBOOK", "magic"), (8, struct.pack("<Q", 2), "version 2")])
def test_head(offset: int, data: bytes, message: str) -> None:
    machine, _nucleus = prepared()
    machine.memory_write(RECORD_AT + offset, data)
    with pytest.raises(BootRecordError, match=message):
        BootRecord.read(machine.memory, RECORD_AT)


@pytest.mark.parametrize(("entries", "message"), [
    (((0, MIB, 1),), "no usable memory"),
    (((MIB, 2 * MIB, 0), (2 * MIB, MIB, 0)), "overlaps another"),
    (((0, 8 * MIB, 1), (MIB, 0x1000, 1), (2 * MIB, MIB, 0)), "overlaps another"),        # hidden behind a small one in between
    (((MIB, 4 * MIB, 0), (2 * MIB, MIB, 1)), "overlaps a usable one"),
    (((MIB, 1 << 51, 0),), "not guest RAM"),
    (((64 * MIB, MIB, 0),), "not guest RAM"),
    (((MIB, 1 << 63, 1), (MIB, MIB, 0)), "beyond physical memory")])
def test_memory_maps_that_cannot_be(entries: tuple[tuple[int, int, int], ...], message: str) -> None:
    machine, _nucleus = prepared(memory_map=entries)
    with pytest.raises(BootRecordError, match=message):
        BootRecord.read(machine.memory, RECORD_AT)


def test_unknown_kinds_of_memory_are_left_alone() -> None:
    machine, _nucleus = prepared(memory_map=((MIB, MIB, 0), (4 * MIB, MIB, 99)))
    assert BootRecord.read(machine.memory, RECORD_AT).memory_map[1].kind is MemoryKind.RESERVED


def test_counts_and_strings_have_limits() -> None:
    machine, _nucleus = prepared()
    machine.memory_write(RESPONSES_AT + 8, struct.pack("<Q", 1 << 40))
    with pytest.raises(BootRecordError, match="at most 1024"):
        BootRecord.read(machine.memory, RECORD_AT)
    machine, _nucleus = prepared()
    machine.memory_write(CMDLINE_AT, b"x" * 5000)
    with pytest.raises(BootRecordError, match="longer than 4096"):
        BootRecord.read(machine.memory, RECORD_AT)


@pytest.mark.parametrize("field", range(len(FIELDS)))
@pytest.mark.parametrize("value", NASTY)
def test_a_kernel_given_a_corrupt_record_panics_with_one_line_or_boots(make_bench: Callable[..., Bench], field: int, value: int) -> None:
    bench = make_bench()
    bench.nucleus.record[field] = value
    bench.nucleus.write_record()
    bench.nucleus.hello()
    bench.kernel.service()                               # raises what is an error of the kernel itself
    assert bench.kernel.panicked is None or "\n" not in bench.kernel.panicked
    assert bench.kernel.panicked is None or "KERNEL PANIC" in bench.screen


@given(st.integers(0, 1 << 32))
@settings(max_examples=150, deadline=None)
def test_random_damage_to_record_and_responses(seed: int) -> None:
    from tests.kernel.fake import bench as new_bench

    chance = random.Random(seed)
    bench = new_bench()
    for _ in range(chance.randint(1, 12)):
        base, size = chance.choice(((RECORD_AT, 128), (RESPONSES_AT, 0x900), (RESPONSES_AT, 0x60), (RESPONSES_AT + 0x400, 24 * 8)))
        at = base + chance.randrange(size)
        bench.machine.ram[at] = chance.choice((0, 0xFF, chance.randrange(256), bench.machine.ram[at] ^ 1 << chance.randrange(8)))
    bench.nucleus.boot()
    bench.kernel.service()
    bench.kernel.close()
    assert bench.kernel.panicked is None or "\n" not in bench.kernel.panicked
