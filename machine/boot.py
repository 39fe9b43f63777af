"""What a machine starts with: a Linux or multiboot kernel placed in memory, or a firmware that runs from the reset vector.

Each way of booting names the ROMs that must be on the board, the files that its fw_cfg offers, and puts itself into memory again at every reset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from machine.errors import LoadError
from machine.loaders.files import read_file
from machine.memory import GIB, MIB

if TYPE_CHECKING:
    from machine.board import Board
    from machine.loaders.entry import EntryState

MAX_KERNEL, MAX_INITRD, MAX_FIRMWARE = 256 * MIB, 2 * GIB, 64 * MIB
DIRECT_TABLES = 0xF0000             # ACPI tables of a boot without firmware: the BIOS area, where there is RAM and nobody looks for free memory


class Boot(Protocol):
    """One way to start."""

    def roms(self) -> tuple[tuple[int, bytes], ...]:
        """(base, image) of each ROM."""

    def files(self) -> dict[str, bytes]:
        """What fw_cfg offers beside what the board itself puts there."""

    def prepare(self, board: Board) -> EntryState:
        """Fill memory, and say where the boot processor starts. Called after each reset."""


@dataclass(frozen=True, slots=True)
class Linux:
    """A bzImage with an optional initrd and a command line."""

    kernel: bytes
    initrd: bytes = b""
    append: str = ""

    @classmethod
    def from_files(cls, kernel: str | Path, initrd: str | Path | None = None, append: str = "") -> Linux:
        """Read and check the files. Raises LoadError."""
        from machine.loaders.bzimage import Kernel

        image = read_file(kernel, "kernel", MAX_KERNEL)
        Kernel.parse(image)
        return cls(image, read_file(initrd, "initrd", MAX_INITRD) if initrd is not None else b"", append)

    def roms(self) -> tuple[tuple[int, bytes], ...]:
        """None: nothing runs before the kernel."""
        return ()

    def files(self) -> dict[str, bytes]:
        """None."""
        return {}

    def prepare(self, board: Board) -> EntryState:
        """Place ACPI tables, kernel, initrd and command line."""
        from machine.description import memory_map
        from machine.loaders.bzimage import load

        rsdp = _without_firmware(board)
        return load(board.memory, self.kernel, self.initrd, self.append, rsdp, memory_map(board.memory))


@dataclass(frozen=True, slots=True)
class Multiboot:
    """A multiboot 1 kernel, modules as (bytes, text) pairs, and a command line."""

    kernel: bytes
    modules: tuple[tuple[bytes, str], ...] = ()
    append: str = ""

    @classmethod
    def from_files(cls, kernel: str | Path, modules: Sequence[tuple[str | Path, str]] = (), append: str = "") -> Multiboot:
        """Read and check the files; `modules` are (file, text). Raises LoadError."""
        from machine.loaders.multiboot import Kernel

        image = read_file(kernel, "kernel", MAX_KERNEL)
        Kernel.parse(image)
        return cls(image, tuple((read_file(path, "module", MAX_INITRD), text) for path, text in modules), append)

    def roms(self) -> tuple[tuple[int, bytes], ...]:
        """None: nothing runs before the kernel."""
        return ()

    def files(self) -> dict[str, bytes]:
        """None."""
        return {}

    def prepare(self, board: Board) -> EntryState:
        """Place ACPI tables, where a search of the BIOS area finds them, kernel, modules and boot information."""
        from machine.description import memory_map
        from machine.loaders.multiboot import load

        _without_firmware(board)
        return load(board.memory, self.kernel, self.modules, self.append, memory_map(board.memory))


def kernel_from_files(kernel: str | Path, initrd: str | Path | None = None, append: str = "",
                      modules: Sequence[tuple[str | Path, str]] = ()) -> Linux | Multiboot:
    """A kernel of either kind, told apart by its header; to a multiboot kernel the initrd is its first module, named after the file. Raises LoadError."""
    from machine.loaders.multiboot import find_header

    if find_header(read_file(kernel, "kernel", MAX_KERNEL)) is not None:
        first = [] if initrd is None else [(initrd, Path(initrd).name)]
        return Multiboot.from_files(kernel, [*first, *modules], append)
    if modules:
        raise LoadError(f"kernel {kernel}: modules go with a multiboot kernel; Linux takes --initrd")
    return Linux.from_files(kernel, initrd, append)


def _without_firmware(board: Board) -> int:
    """What a firmware would have left: ACPI tables, in RAM that it has locked, and chips. Returns the address of the RSDP."""
    from machine.acpi.placement import place
    from machine.description import acpi_tables

    tables = place(acpi_tables(board.cpus), DIRECT_TABLES)
    board.open_segments()
    board.memory.write(DIRECT_TABLES, tables.data)
    board.lock_segments()
    board.as_firmware_leaves_it()
    return tables.rsdp


@dataclass(frozen=True, slots=True)
class Firmware:
    """A ROM image that starts at the reset vector, and files for it in fw_cfg."""

    image: bytes
    extra: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def from_file(cls, path: str | Path, extra: dict[str, bytes] | None = None) -> Firmware:
        """Read and check an image. Raises LoadError."""
        from machine.loaders.firmware import as_rom

        image = read_file(path, "firmware", MAX_FIRMWARE)
        as_rom(image)
        return cls(image, extra or {})

    def roms(self) -> tuple[tuple[int, bytes], ...]:
        """The image at the top of 4 GiB."""
        from machine.loaders.firmware import as_rom

        return (as_rom(self.image),)

    def files(self) -> dict[str, bytes]:
        """What was given."""
        return dict(self.extra)

    def prepare(self, board: Board) -> EntryState:
        """Nothing to do: ROM is seen where the processor starts, as reset leaves it."""
        from machine.loaders.entry import ResetVector

        return ResetVector()
