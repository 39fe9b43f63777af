"""From the root pointer to the tables: RSDP -> XSDT or RSDT -> every table with a right checksum.

Source: ACPI 6.5, 5.2.5 (RSDP), 5.2.6 (header), 5.2.7 (RSDT), 5.2.8 (XSDT). Everything here was written by firmware: lengths have limits, a table
whose bytes do not sum to zero is left out and named in `damaged`, and pointers may lead nowhere.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from kernel.errors import AcpiError, BadMemory
from kernel.hardware import PhysicalMemory

RSDP_SIGNATURE = b"RSD PTR "
RSDP_V1 = struct.Struct("<8sB6sBI")             # signature, checksum, OEM ID, revision, RSDT address: 20 bytes
RSDP_V2 = struct.Struct("<IQB3x")               # length, XSDT address, extended checksum: to 36 bytes
HEADER = struct.Struct("<4sIBB6s8sI4sI")        # signature, length, revision, checksum, OEM ID, OEM table, OEM revision, creator, its revision
MAX_TABLE = 1 << 20
MAX_TABLES = 256
EBDA_POINTER = 0x40E                            # BIOS data area: segment of the extended BIOS data area
EBDA_SEARCHED = 1024
BIOS_AREA, BIOS_AREA_END = 0xE0000, 0x100000    # 5.2.5.1: where an RSDP may be on a PC, on a 16-byte boundary


class Tables:
    """The tables of one machine.

    Args:
        rsdp: physical address of the root pointer; 0 = look where 5.2.5.1 says.

    Attributes:
        by_signature: whole tables, header included; of several with one signature the first.
        damaged: one line for each table that was left out.

    Raises:
        AcpiError: there is no usable root.
    """

    def __init__(self, memory: PhysicalMemory, rsdp: int) -> None:
        self._memory = memory
        self.by_signature: dict[str, bytes] = {}
        self.damaged: list[str] = []
        self.rsdp = rsdp or find_rsdp(memory)
        for address in self._root_entries():
            try:
                table = read_table(memory, address)
            except AcpiError as error:
                self.damaged.append(str(error))
                continue
            self.by_signature.setdefault(signature_of(table), table)

    def table(self, signature: str) -> bytes:
        """A whole table. Raises: AcpiError."""
        table = self.by_signature.get(signature)
        if table is None:
            raise AcpiError(f"ACPI: there is no {signature}; the firmware has {', '.join(self.by_signature) or 'no tables'}")
        return table

    def _root_entries(self) -> Iterator[int]:
        """Physical addresses out of the XSDT, or where there is none out of the RSDT."""
        root, size = read_rsdp(self._memory, self.rsdp)
        table = read_table(self._memory, root)
        wanted = "XSDT" if size == 8 else "RSDT"
        if signature_of(table) != wanted:
            raise AcpiError(f"ACPI: the table at {root:#x} is {signature_of(table)!r}, not the {wanted}")
        body = table[HEADER.size:]
        for start in range(0, min(len(body) // size, MAX_TABLES) * size, size):
            yield int.from_bytes(body[start:start + size], "little")


def find_rsdp(memory: PhysicalMemory) -> int:
    """Search the BIOS areas for the root pointer. Raises: AcpiError."""
    areas = [(BIOS_AREA, BIOS_AREA_END - BIOS_AREA)]
    try:
        ebda = int.from_bytes(memory.read(EBDA_POINTER, 2), "little") << 4
        if ebda:
            areas.insert(0, (ebda, EBDA_SEARCHED))
    except BadMemory:
        pass
    for base, size in areas:
        try:
            data = memory.read(base, size)
        except BadMemory:
            continue
        for offset in range(0, size, 16):
            if data.startswith(RSDP_SIGNATURE, offset) and sums_to_zero(data[offset:offset + RSDP_V1.size]):
                return base + offset
    raise AcpiError("ACPI: the firmware has no root pointer")


def read_rsdp(memory: PhysicalMemory, address: int) -> tuple[int, int]:
    """The root table's physical address and the size of its entries: 8 (XSDT) or 4 (RSDT). Raises: AcpiError."""
    try:
        first = memory.read(address, RSDP_V1.size)
        signature, _sum, _oem, revision, rsdt = RSDP_V1.unpack(first)
        if signature != RSDP_SIGNATURE or not sums_to_zero(first):
            raise AcpiError(f"ACPI: the root pointer at {address:#x} is damaged")
        if revision < 2:
            return rsdt, 4
        length, xsdt, _extended = RSDP_V2.unpack(memory.read(address + RSDP_V1.size, RSDP_V2.size))
        if not RSDP_V1.size + RSDP_V2.size <= length <= 4096 or not sums_to_zero(memory.read(address, length)):
            raise AcpiError(f"ACPI: the root pointer at {address:#x} is damaged in its second part")
    except BadMemory as error:
        raise AcpiError(f"ACPI: the root pointer at {address:#x} is not in memory") from error
    return (xsdt, 8) if xsdt else (rsdt, 4)


def read_table(memory: PhysicalMemory, address: int) -> bytes:
    """A table at a physical address, checked. Raises: AcpiError."""
    try:
        signature, length, *_rest = HEADER.unpack(memory.read(address, HEADER.size))
        name = signature.decode("ascii", "backslashreplace")
        if not HEADER.size <= length <= MAX_TABLE:
            raise AcpiError(f"ACPI: {name} at {address:#x} says that it is {length} bytes long")
        table = memory.read(address, length)
    except BadMemory as error:
        raise AcpiError(f"ACPI: a table at {address:#x} is not in memory") from error
    if not sums_to_zero(table):
        raise AcpiError(f"ACPI: {name} at {address:#x} fails its checksum")
    return table


def signature_of(table: bytes) -> str:
    """The four letters of a table."""
    return table[:4].decode("ascii", "backslashreplace")


def sums_to_zero(data: bytes) -> bool:
    """The checksum of every ACPI structure: its bytes add up to 0 modulo 256."""
    return sum(data) & 0xFF == 0
