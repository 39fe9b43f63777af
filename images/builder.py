"""Builds what the machine boots from the assembly sources, or takes it from the cache.

    images/firmware, images/loader  -> rom.bin       64 KiB, ends at 4 GiB, starts at the reset vector
    kernel/nucleus                  -> nucleus.elf   ELF64, linked at 0xFFFFFFFF80000000
    images/programs                 -> archive.fpk   Folk-Pack of ring-3 programs, ELF64 each

`python -m images.builder OUTDIR` writes the three files.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

from images import cache

HERE = Path(__file__).parent
NUCLEUS = HERE.parent / "kernel" / "nucleus"
SOURCES = (HERE / "firmware", HERE / "loader", HERE / "programs", HERE / "include", NUCLEUS)

ROM_SIZE = 64 << 10                 # what a near jump from the reset vector reaches, and the smallest that QEMU's -bios takes
ROM_BASE = (4 << 30) - ROM_SIZE
RESET_VECTOR = (4 << 30) - 16
NUCLEUS_BASE = 0xFFFFFFFF80000000
PROGRAM_BASE = 0x400000
PAGE = 4096
ROM_ALIGNMENT = 64

ROM_SECTIONS = ("text", "rodata")


@dataclass(frozen=True, slots=True)
class Images:
    """The three files."""

    rom: bytes
    nucleus: bytes
    archive: bytes


def build(folder: Path | None = None) -> Images:
    """The images for the sources as they are now; `folder` replaces the cache directory. Raises: ImageError."""
    where = cache.directory() if folder is None else folder
    key = source_digest()
    blobs = cache.load(where, key, 3)
    if blobs is not None:
        return Images(*blobs)
    images = assemble_all()
    cache.store(where, key, (images.rom, images.nucleus, images.archive))
    return images


def source_digest() -> str:
    """Identifies everything that the images are made from: the assembly sources and the code that turns them into images."""
    digest = hashlib.sha256()
    for path in sorted(path for place in SOURCES for path in place.glob("*.asm")) + sorted(HERE.glob("*.py")):
        digest.update(f"{path.parent.name}/{path.name}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def assemble_all() -> Images:
    """Assemble everything, whatever the cache holds. Raises: ImageError."""
    from images.folk_pack import Entry, EntryType, pack

    programs = sorted((HERE / "programs").glob("*.asm"))
    archive = pack(Entry(path.stem, EntryType.ELF, program(path)) for path in programs)
    return Images(rom(), nucleus(), archive)


def rom() -> bytes:
    """The firmware ROM with the loader in it. Raises: ImageError."""
    from images.assembler import assemble
    from images.errors import ImageError
    from images.preprocessor import preprocess

    main = HERE / "firmware" / "rom.asm"
    body = assemble(preprocess(main, {"ROM_BASE": ROM_BASE}), ROM_BASE, ROM_SECTIONS, ROM_ALIGNMENT, bits=16)
    vector = assemble(preprocess(HERE / "firmware" / "reset_vector.asm", {"RESET_VECTOR": RESET_VECTOR, "RESET_ENTRY": body.symbols["reset_entry"]}),
                      RESET_VECTOR, ("text",), 16, bits=16).section("text").data
    image = bytearray(b"\xff" * ROM_SIZE)               # as erased flash reads
    for section in body.sections:
        if section.end > RESET_VECTOR:
            raise ImageError(f"{main}: the firmware is {section.end - RESET_VECTOR} bytes too large for its {ROM_SIZE >> 10} KiB")
        image[section.address - ROM_BASE:section.end - ROM_BASE] = section.data
    image[RESET_VECTOR - ROM_BASE:RESET_VECTOR - ROM_BASE + len(vector)] = vector
    return bytes(image)


def nucleus(main: Path = NUCLEUS / "nucleus.asm") -> bytes:
    """The nucleus as an ELF file; its entry is the label `nucleus_entry`. Raises: ImageError."""
    return _executable(main, NUCLEUS_BASE, "nucleus_entry")


def program(main: Path) -> bytes:
    """A ring-3 program as an ELF file; its entry is the label `start`. Raises: ImageError."""
    return _executable(main, PROGRAM_BASE, "start")


def _executable(main: Path, base: int, entry: str) -> bytes:
    from images import elf
    from images.assembler import assemble
    from images.errors import ImageError
    from images.preprocessor import preprocess

    unit = preprocess(main)
    if entry not in unit.labels:
        raise ImageError(f"{main}: there is no label {entry} to start at")
    return elf.executable(assemble(unit, base, elf.SECTIONS, PAGE), entry)


def main(arguments: list[str]) -> int:
    """Write the three files into the directory named by the only argument."""
    from images.errors import ImageError

    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write("usage: python -m images.builder OUTDIR\n")
        return 2
    target = Path(arguments[0])
    try:
        images = build()
        target.mkdir(parents=True, exist_ok=True)
        for name, data in (("rom.bin", images.rom), ("nucleus.elf", images.nucleus), ("archive.fpk", images.archive)):
            (target / name).write_bytes(data)
            sys.stdout.write(f"{target / name}: {len(data)} bytes\n")
    except (ImageError, OSError) as error:
        sys.stderr.write(f"images: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
