"""From the reset vector to the nucleus: every stage's line, every size of machine, and each thing that can be wrong with the files, in one line."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

import pytest

from devices.core.clock import host_time
from images import builder
from images.builder import Images
from machine.configuration import HOST, INSTRUCTIONS
from tests.boot import ARCHIVE, CMDLINE, MIB, NUCLEUS, files_of, has_qemu, pc, qemu

NO_GATE = "[NUCLEUS] no gate: nothing answers at port 0xFC0, idling"
GIB = 1 << 30
STAGES = (r"\[POST 10\] .*long mode", r"\[POST 11\] fw_cfg: \d+ files", r"\[POST 12\] memory: \d+ MiB usable", r"\[POST 13\] processors: \d+",
          r"\[POST 14\] ACPI: RSDP at 0x[0-9a-f]+", r"\[LOADER\] nucleus: \d+ bytes, archive: \d+ bytes", r"\[LOADER\] 4 segments at 0xffffffff80000000",
          r"\[LOADER\] processors started", r"\[LOADER\] entering the nucleus", r"\[NUCLEUS\] Folkering at 0xffffffff80000000.*by Folkering loader",
          r"\[NUCLEUS\] TSC \d+ MHz, LAPIC timer \d+ MHz", r"\[NUCLEUS\] W\^X, NX", r"\[NUCLEUS\] CPUs online", re.escape(NO_GATE))


@pytest.fixture(scope="module")
def images() -> Images:
    return builder.assemble_all()


def check(text: str, cpus: int) -> None:
    """Every stage, in order, once; all processors."""
    assert re.search("(?s)" + ".*\n".join(STAGES), text), text
    assert f"processors started: {cpus} of {cpus}" in text
    assert f"CPUs online: {cpus} of {cpus}" in text
    assert "error" not in text
    assert "exception" not in text


# --- machines of every size ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("clock", [INSTRUCTIONS, HOST])
@pytest.mark.parametrize("cpus", [1, 4])
def test_the_whole_way(images: Images, cpus: int, clock: str) -> None:
    with pc(images.rom, files_of(images), cpus=cpus, clock=clock) as machine:
        machine.run(NO_GATE)
        check(machine.text, cpus)
        assert "(CPUID)" in machine.text, "our PC tells its clock rates"


@pytest.mark.parametrize(("memory", "usable"), [(4, 3), (16, 15), (128, 127), (512, 511), (4096, 4095), (5120, 5119), (20480, 20479)])
def test_memory_of_every_size(images: Images, memory: int, usable: int) -> None:
    with pc(images.rom, files_of(images), memory=memory * MIB) as machine:
        machine.run(NO_GATE)
        check(machine.text, 1)
        assert f"memory: {usable} MiB usable" in machine.text


def test_many_processors(images: Images) -> None:
    with pc(images.rom, files_of(images), cpus=32) as machine:
        machine.run(NO_GATE)
        check(machine.text, 32)


def test_the_boot_is_over_soon(images: Images) -> None:
    """DESIGN.md section 4 gives the whole start 2 s; of virtual time, which a counted guest spends by the instruction, this part is a small one."""
    with pc(images.rom, files_of(images), cpus=4, memory=256 * MIB) as machine:
        started = host_time()
        machine.run(NO_GATE)
        assert machine.machine.stats.retired < 3_000_000
        assert host_time() - started < 2_000_000_000


@pytest.mark.parametrize(("port", "value"), [(0xCF9, 0x06), (0xCF9, 0x0E), (0x92, 0x01)], ids=["hard", "full", "fast INIT"])
def test_a_reset_boots_again(images: Images, port: int, value: int) -> None:
    """Memory keeps what it held; nothing of it may matter."""
    with pc(images.rom, files_of(images), cpus=4, reboot=True) as machine:
        machine.run(NO_GATE)
        machine.output.clear()
        machine.machine.hardware.port_write(port, 1, 0x02)
        machine.machine.hardware.port_write(port, 1, value)
        machine.run(NO_GATE)
        check(machine.text, 4)


def test_post_codes_tell_how_far_it_came(images: Images) -> None:
    with pc(images.rom, files_of(images)) as machine:
        machine.run(NO_GATE)
        assert machine.machine.board.post.state.codes == [
            0x01, 0x02, 0x03, 0x10, 0x11, 0x12, 0x13, 0x14, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x2F]


def test_a_platform_without_tables_still_boots(images: Images) -> None:
    """No etc/e820: sizes from CMOS. No etc/table-loader: no RSDP."""
    files = files_of(images) | {"etc/e820": b"", "etc/table-loader": b""}
    with pc(images.rom, files, memory=5 * GIB) as machine:
        machine.run(NO_GATE)
        assert "memory: 5119 MiB usable" in machine.text
        assert "the platform has no etc/table-loader" in machine.text


def test_a_memory_map_with_everything_in_it(images: Images) -> None:
    """Unsorted, misaligned, adjoining, unknown types and an empty range."""
    table = [(0x100000, 24 * MIB, 1), (0, 0x9FC00, 1), (0x9FC00, 0x400, 2), (25 * MIB, 0, 1), (25 * MIB + 0x123, 7 * MIB - 0x123, 1), (32 * MIB, 0x1000, 3),
             (32 * MIB + 0x1000, 0x1000, 4), (32 * MIB + 0x2000, 0x1000, 5), (32 * MIB + 0x3000, 0x1000, 77)]
    e820 = b"".join(struct.pack("<QQI", *entry) for entry in table)
    with pc(images.rom, files_of(images) | {"etc/e820": e820}) as machine:
        machine.run(NO_GATE)
        check(machine.text, 1)
        assert "memory: 31 MiB usable" in machine.text


# --- what can be wrong ----------------------------------------------------------------------------------------------------------------------
def patched(image: bytes, at: int, new: bytes) -> bytes:
    return image[:at] + new + image[at + len(new):]


TEXT_HEADER = 64                                # the first program header: type, flags, offset, vaddr, paddr, filesz, memsz
BAD_FILES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "text": (lambda _image: b"#!/bin/sh\n", "is not an ELF file"),
    "zeros": (lambda _image: bytes(4096), "is not an ELF file"),
    "header only": (lambda image: image[:64], "impossible program headers"),
    "32-bit": (lambda image: patched(image, 4, b"\x01"), "is not a 64-bit x86-64 ELF file"),
    "big endian": (lambda image: patched(image, 5, b"\x02"), "is not a 64-bit x86-64 ELF file"),
    "another processor": (lambda image: patched(image, 18, b"\xb7\x00"), "is not a 64-bit x86-64 ELF file"),
    "shared": (lambda image: patched(image, 16, b"\x03\x00"), "is not a static executable"),
    "interpreter": (lambda image: patched(image, TEXT_HEADER, b"\x03\x00\x00\x00"), "is not a static executable"),
    "header size": (lambda image: patched(image, 54, b"\x20\x00"), "impossible program headers"),
    "no headers": (lambda image: patched(image, 56, b"\x00\x00"), "impossible program headers"),
    "too many headers": (lambda image: patched(image, 56, b"\xff\xff"), "impossible program headers"),
    "headers beyond": (lambda image: patched(image, 32, struct.pack("<Q", len(image))), "impossible program headers"),
    "headers far beyond": (lambda image: patched(image, 32, b"\xff" * 8), "impossible program headers"),
    "nothing to load": (lambda image: b"".join((image[:56], b"\x01\x00", image[58:64], b"\x04", image[65:])), "has nothing to load"),
    "truncated": (lambda image: image[:0x2000], "is truncated"),
    "segment beyond": (lambda image: patched(image, TEXT_HEADER + 8, b"\xff" * 8), "is truncated"),
    "more in the file": (lambda image: patched(image, TEXT_HEADER + 32, b"\xff" * 8), "impossible program headers"),
    "huge": (lambda image: patched(image, TEXT_HEADER + 40, struct.pack("<Q", 1 << 40)), "is larger than 64 MiB"),
    "writable code": (lambda image: patched(image, TEXT_HEADER + 4, b"\x07"), "writable and executable"),
    "lower half": (lambda image: patched(image, TEXT_HEADER + 16, struct.pack("<Q", 0x400000)), "below 0xffffffff80000000"),
    "misaligned": (lambda image: patched(image, TEXT_HEADER + 16, struct.pack("<Q", 0xFFFFFFFF80000010)), "does not begin with a page"),
    "out of order": (lambda image: patched(image, TEXT_HEADER + 16, struct.pack("<Q", 0xFFFFFFFF80100000)), "over another one"),
    "last page": (lambda image: patched(image, TEXT_HEADER + 16, struct.pack("<Q", 0xFFFFFFFFFFFFF000)), "over another one"),
    "entry in data": (lambda image: patched(image, 24, struct.pack("<Q", 0xFFFFFFFF80004000)), "starts outside its executable segments"),
    "entry nowhere": (lambda image: patched(image, 24, struct.pack("<Q", 5)), "starts outside its executable segments"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_nucleus_is_refused_in_one_line(images: Images, name: str) -> None:
    damage, message = BAD_FILES[name]
    with pc(images.rom, {NUCLEUS: damage(images.nucleus), ARCHIVE: images.archive}) as machine:
        machine.run("; halted\r\n")
        last = machine.text.splitlines()[-1]
        assert last.startswith("[LOADER] error: opt/folkering/nucleus ")
        assert message in last
        assert machine.text.count("error") == 1


@pytest.mark.parametrize("files", [{}, {NUCLEUS: b""}, {ARCHIVE: b"x"}], ids=["nothing", "empty", "archive alone"])
def test_a_missing_nucleus(images: Images, files: dict[str, bytes]) -> None:
    with pc(images.rom, files) as machine:
        machine.run("; halted\r\n")
        assert machine.text.endswith("[LOADER] error: fw_cfg has no file opt/folkering/nucleus, or it is empty; halted\n")


def test_too_little_memory(images: Images) -> None:
    with pc(images.rom, files_of(images) | {ARCHIVE: bytes(4 * MIB)}, memory=4 * MIB) as machine:
        machine.run("; halted\r\n")
        assert machine.text.endswith("[LOADER] error: not enough memory below 4 GiB; halted\n")


def test_without_archive_and_command_line(images: Images) -> None:
    with pc(images.rom, {NUCLEUS: images.nucleus}) as machine:
        machine.run(NO_GATE)
        assert "bytes, no archive" in machine.text


def command(number: int, *parts: bytes) -> bytes:
    return (struct.pack("<I", number) + b"".join(parts)).ljust(128, b"\0")


def name_of(text: str) -> bytes:
    return text.encode().ljust(56, b"\0")


RSDP, TABLES = name_of("etc/acpi/rsdp"), name_of("etc/acpi/tables")
ALLOCATE_RSDP = command(1, RSDP, struct.pack("<IB", 16, 2))
ALLOCATE_TABLES = command(1, TABLES, struct.pack("<IB", 64, 1))


@pytest.mark.parametrize(("script", "message"), [
    (command(1, name_of("etc/nothing"), struct.pack("<IB", 16, 1)), "names a file that fw_cfg does not have"),
    (ALLOCATE_TABLES, "does not lead to a root pointer"),
    (ALLOCATE_RSDP + command(2, RSDP, TABLES, struct.pack("<IB", 24, 8)), "has a bad pointer command"),
    (ALLOCATE_RSDP + ALLOCATE_TABLES + command(2, RSDP, TABLES, struct.pack("<IB", 0xFFFFFFFF, 8)), "has a bad pointer command"),
    (ALLOCATE_RSDP + ALLOCATE_TABLES + command(2, RSDP, TABLES, struct.pack("<IB", 16, 3)), "has a bad pointer command"),
    (ALLOCATE_RSDP + command(3, RSDP, struct.pack("<III", 8, 0, 0xFFFFFFFF)), "has a bad checksum command"),
    (ALLOCATE_RSDP + command(3, RSDP, struct.pack("<III", 99999, 0, 8)), "has a bad checksum command"),
    (command(3, TABLES, struct.pack("<III", 8, 0, 8)), "has a bad checksum command"),
    (ALLOCATE_RSDP * 40, "loads too many files"),
    (bytes(0x20000), "does not lead to a root pointer"),
])
def test_a_bad_table_script_is_refused(images: Images, script: bytes, message: str) -> None:
    with pc(images.rom, files_of(images) | {"etc/table-loader": script}) as machine:
        machine.run("; halted\r\n")
        assert machine.text.splitlines()[-1] == f"[LOADER] error: ACPI: etc/table-loader {message}; halted"


def test_unknown_table_commands_are_passed_over(images: Images) -> None:
    script = command(9, b"x" * 100) + ALLOCATE_RSDP + command(0)
    with pc(images.rom, files_of(images) | {"etc/table-loader": script}) as machine:
        machine.run(NO_GATE)
        assert "[POST 14] ACPI: RSDP at 0xf0000, 1 files" in machine.text


# --- QEMU ---------------------------------------------------------------------------------------------------------------------------------------
@pytest.mark.guest
@pytest.mark.parametrize("options", ["-smp 4 -m 512", "-smp 1 -m 128", "-smp 2 -m 5G", "-smp 4 -m 4096", "-smp 2 -m 64 -global fw_cfg_io.dma_enabled=off",
                                     "-smp 3 -m 256 -cpu max", "-smp 2 -m 256 -machine pc"])
def test_on_qemu(images: Images, options: str) -> None:
    if not has_qemu():
        pytest.skip("qemu-system-x86_64 is not installed")
    text = qemu(images.rom, files_of(images) | {CMDLINE: b"x"}, *options.split(), until=NO_GATE)
    check(text, int(options.split()[1]))
    assert ("files, by port" in text) == ("dma_enabled=off" in options)
    assert ("SMEP" in text) == ("max" in options)


@pytest.mark.guest
def test_a_bad_nucleus_on_qemu(images: Images) -> None:
    if not has_qemu():
        pytest.skip("qemu-system-x86_64 is not installed")
    text = qemu(images.rom, {NUCLEUS: b"MZ" + bytes(200)}, "-m", "64", until="halted")
    assert text.endswith("[LOADER] error: opt/folkering/nucleus is not an ELF file; halted")
    assert qemu(images.rom, {}, "-m", "64", until="halted").endswith("has no file opt/folkering/nucleus, or it is empty; halted")
