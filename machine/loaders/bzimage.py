"""Linux bzImage by the 64-bit boot protocol, without a firmware.

Source: Linux Documentation/arch/x86/boot.rst ("The Real-Mode Kernel Header", "64-bit Boot Protocol") and zero-page.rst. The processor starts
at the load address + 0x200 in long mode, with an identity map, flat selectors 0x10 and 0x18, interrupts off, RSI at the zero page.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from machine.errors import LoadError
from machine.loaders.entry import LongMode
from machine.memory import MIB, PAGE, E820Entry, GuestMemory

SETUP_HEADER, SETUP_HEADER_END = 0x1F1, 0x290                 # of the file, and at the same offsets of the zero page
BOOT_FLAG, BOOT_FLAG_VALUE = 0x1FE, 0xAA55
JUMP_LENGTH = 0x201                                           # the header ends at 0x202 + this byte
MAGIC, MAGIC_VALUE = 0x202, b"HdrS"
VERSION, MIN_VERSION = 0x206, 0x020C                          # 2.12: xloadflags
TYPE_OF_LOADER, UNDEFINED_LOADER = 0x210, 0xFF
LOADFLAGS, LOADED_HIGH = 0x211, 1
RAMDISK_IMAGE, RAMDISK_SIZE, CMD_LINE_PTR = 0x218, 0x21C, 0x228
INITRD_ADDR_MAX, KERNEL_ALIGNMENT, RELOCATABLE = 0x22C, 0x230, 0x234
XLOADFLAGS, XLF_KERNEL_64, XLF_ABOVE_4G = 0x236, 1 << 0, 1 << 1
CMDLINE_SIZE, SYSSIZE, PREF_ADDRESS, INIT_SIZE = 0x238, 0x1F4, 0x258, 0x260
ENTRY_64 = 0x200
SECTOR, DEFAULT_SETUP_SECTS = 512, 4

VIDEO_MODE, VIDEO_COLUMNS, VIDEO_LINES, VIDEO_IS_VGA, VIDEO_POINTS = 0x06, 0x07, 0x0E, 0x0F, 0x10    # of screen_info, at the zero page's start
TEXT_MODE, COLUMNS, LINES, POINTS = 3, 80, 25, 16                             # the VGA after a reset; its cursor is at 0, 0
ACPI_RSDP_ADDR, EXT_RAMDISK_IMAGE, EXT_RAMDISK_SIZE = 0x070, 0x0C0, 0x0C4     # of the zero page
E820_ENTRIES, E820_TABLE, E820_MAX = 0x1E8, 0x2D0, 128

ZERO_PAGE, GDT, STACK_TOP, PAGE_TABLES, CMDLINE, LOW_END = 0x1000, 0x2000, 0x8000, 0x9000, 0x20000, 0x90000
IDENTITY_GIB = 8
BOOT_CS, BOOT_DS = 0x10, 0x18
FLAT_CODE_64, FLAT_DATA = 0x00AF9B000000FFFF, 0x00CF93000000FFFF
PRESENT_WRITE, LARGE_PAGE = 0x3, 1 << 7


@dataclass(frozen=True, slots=True)
class Kernel:
    """The header of a bzImage, checked."""

    setup: bytes                   # from the file's start to the protected-mode part
    payload: bytes
    load_address: int
    init_size: int
    cmdline_size: int
    initrd_max: int

    @classmethod
    def parse(cls, image: bytes) -> Kernel:
        """Check an image. Raises LoadError."""
        if len(image) < SETUP_HEADER_END or _u16(image, BOOT_FLAG) != BOOT_FLAG_VALUE or image[MAGIC:MAGIC + 4] != MAGIC_VALUE:
            kind = " (it is an ELF file; give the bzImage, often named vmlinuz)" if image[:4] == b"\x7fELF" else ""
            raise LoadError(f"kernel: this is no Linux bzImage, and it has no multiboot header{kind}")
        version = _u16(image, VERSION)
        if version < MIN_VERSION or not image[XLOADFLAGS] & XLF_KERNEL_64:
            raise LoadError(f"kernel: boot protocol {version >> 8}.{version & 0xFF:02} without a 64-bit entry; a 64-bit kernel of Linux 3.8 or later is needed")
        if not image[LOADFLAGS] & LOADED_HIGH:
            raise LoadError("kernel: it is a zImage, which is loaded low; give a bzImage")
        start = ((image[SETUP_HEADER] or DEFAULT_SETUP_SECTS) + 1) * SECTOR
        payload = image[start:]
        wanted = _u32(image, SYSSIZE) * 16
        if len(payload) + 15 < wanted:
            raise LoadError(f"kernel: the file is truncated: {start + wanted} bytes by its header, {len(image)} are there")
        return cls(image[:start], payload, _u64(image, PREF_ADDRESS), _u32(image, INIT_SIZE), _u32(image, CMDLINE_SIZE), _u32(image, INITRD_ADDR_MAX))


def load(memory: GuestMemory, image: bytes, initrd: bytes, cmdline: str, rsdp: int, e820: list[E820Entry]) -> LongMode:
    """Put a kernel, its initrd and command line into memory.

    Args:
        memory: the guest's.
        image: the bzImage.
        initrd: its bytes, empty for none.
        cmdline: text of the command line.
        rsdp: physical address of the ACPI root pointer.
        e820: the memory map that the kernel is told.

    Raises:
        LoadError: the kernel is no such file, or does not fit.
    """
    kernel = Kernel.parse(image)
    end = kernel.load_address + max(kernel.init_size, len(kernel.payload))
    if end > memory.low_size:
        raise LoadError(f"kernel: it needs memory up to {-(-end // MIB)} MiB; the machine has {memory.low_size // MIB} MiB (--memory)")
    text = cmdline.encode()
    if len(text) > min(kernel.cmdline_size, LOW_END - CMDLINE - 1) or b"\0" in text:
        raise LoadError(f"kernel: the command line has {len(text)} bytes; this kernel takes {kernel.cmdline_size}, without NUL")
    ramdisk = _place_initrd(memory, kernel, initrd, end)
    memory.write(kernel.load_address, kernel.payload)
    memory.write(CMDLINE, text + b"\0")
    memory.write(ZERO_PAGE, _zero_page(kernel, ramdisk, len(initrd), rsdp, e820))
    memory.write(GDT, struct.pack("<4Q", 0, 0, FLAT_CODE_64, FLAT_DATA))
    memory.write(PAGE_TABLES, _identity_map())
    return LongMode(kernel.load_address + ENTRY_64, STACK_TOP, ZERO_PAGE, PAGE_TABLES, GDT, 4 * 8 - 1, BOOT_CS, BOOT_DS)


def _place_initrd(memory: GuestMemory, kernel: Kernel, initrd: bytes, kernel_end: int) -> int:
    """As high as the kernel allows in low memory, whole pages."""
    if not initrd:
        return 0
    top = min(memory.low_size, kernel.initrd_max + 1)
    address = (top - len(initrd)) // PAGE * PAGE
    if address < kernel_end:
        raise LoadError(f"initrd: its {len(initrd)} bytes do not fit between the kernel's end at {kernel_end // MIB} MiB and {top // MIB} MiB (--memory)")
    memory.write(address, initrd)
    return address


def _zero_page(kernel: Kernel, ramdisk: int, ramdisk_size: int, rsdp: int, e820: list[E820Entry]) -> bytes:
    """`struct boot_params`: the setup header as the file has it, and what the loader says."""
    page = bytearray(PAGE)
    header_end = MAGIC + kernel.setup[JUMP_LENGTH]
    page[SETUP_HEADER:header_end] = kernel.setup[SETUP_HEADER:header_end]
    page[TYPE_OF_LOADER] = UNDEFINED_LOADER
    for at, value in ((VIDEO_MODE, TEXT_MODE), (VIDEO_COLUMNS, COLUMNS), (VIDEO_LINES, LINES), (VIDEO_IS_VGA, 1), (VIDEO_POINTS, POINTS)):
        page[at] = value
    for at, value in ((CMD_LINE_PTR, CMDLINE), (RAMDISK_IMAGE, ramdisk), (RAMDISK_SIZE, ramdisk_size)):
        struct.pack_into("<I", page, at, value & 0xFFFFFFFF)
    struct.pack_into("<II", page, EXT_RAMDISK_IMAGE, ramdisk >> 32, ramdisk_size >> 32)
    struct.pack_into("<Q", page, ACPI_RSDP_ADDR, rsdp)
    page[E820_ENTRIES] = min(len(e820), E820_MAX)
    for index, entry in enumerate(e820[:E820_MAX]):
        struct.pack_into("<QQI", page, E820_TABLE + 20 * index, entry.base, entry.length, entry.kind)
    return bytes(page)


def _identity_map() -> bytes:
    """PML4, one PDPT and `IDENTITY_GIB` page directories of 2 MiB pages."""
    tables = [struct.pack("<Q", PAGE_TABLES + PAGE | PRESENT_WRITE).ljust(PAGE, b"\0")]
    tables.append(b"".join(struct.pack("<Q", PAGE_TABLES + (2 + gib) * PAGE | PRESENT_WRITE) for gib in range(IDENTITY_GIB)).ljust(PAGE, b"\0"))
    tables.extend(struct.pack("<512Q", *(gib << 30 | index << 21 | LARGE_PAGE | PRESENT_WRITE for index in range(512))) for gib in range(IDENTITY_GIB))
    return b"".join(tables)


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at:at + 2], "little")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at:at + 4], "little")


def _u64(data: bytes, at: int) -> int:
    return int.from_bytes(data[at:at + 8], "little")
