"""fw_cfg: how a virtual machine hands numbers and files to its firmware.

Specification: QEMU docs/specs/fw_cfg ("QEMU Firmware Configuration (fw_cfg) Device"). I/O port flavour: selector 0x510 (16 bits, little
endian), data 0x511 (bytes), DMA address 0x514 (64 bits, big endian). All items are read-only. The legacy write
bit of the selector is ignored, as it has been by QEMU since 2.4.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from devices.core.declare import RW, WO, Layout, Register
from devices.core.dma import DmaFault, DmaPort
from devices.core.log import AccessLog
from devices.core.registers import Chip

SIGNATURE, ID, RAM_SIZE, CPU_COUNT, MAX_CPUS, FILE_DIRECTORY, FIRST_FILE = 0x00, 0x01, 0x03, 0x05, 0x0F, 0x19, 0x20
KEY_MASK = 0x3FFF                     # bit 14 is the legacy write bit; bit 15, "architecture specific", holds nothing on this machine
ARCHITECTURE = 0x8000
TRADITIONAL, DMA = 1, 2               # bits of ID
DMA_SIGNATURE = b"QEMU CFG"
ERROR, READ, SKIP, SELECT, WRITE = 1, 2, 4, 8, 16
DESCRIPTOR = struct.Struct(">IIQ")    # control, length, address
NAME_SIZE, MAX_FILES = 56, 0x4000 - FIRST_FILE
CHUNK = 1 << 20                       # bytes of one DMA write


@dataclass
class State:
    """What has been selected, how far it has been read, and the half-written DMA address."""

    selector: int = 0
    offset: int = 0
    dma_high: int = 0


class FwCfg(Chip[State]):
    """The device.

    Args:
        log: as every chip's.
        dma: to guest memory.
        memory: bytes of RAM.
        cpus: processors at boot, and at most.
        files: by name, e.g. "etc/e820".

    Raises:
        ValueError: a name is too long or there are too many files.
    """

    NAME = "fw_cfg"
    BLOCKS = (
        Layout("selector", 2, (Register("SELECTOR", 0, 2, WO, doc="key of an item; rewinds it"),)),
        Layout("data", 1, (Register("DATA", 0, 1, RW, doc="the item's next byte, 0 behind its end"),)),
        Layout("dma", 8, (Register("DMA_HIGH", 0, 4, RW, doc="bits 63-32 of a descriptor's address, big endian"),
                          Register("DMA_LOW", 4, 4, RW, doc="bits 31-0; starts the transfer"))),
    )

    def __init__(self, log: AccessLog, dma: DmaPort, memory: int, cpus: int, files: dict[str, bytes]) -> None:
        super().__init__(log)
        self._dma = dma
        self.items: dict[int, bytes] = {
            SIGNATURE: b"QEMU", ID: struct.pack("<I", TRADITIONAL | DMA), RAM_SIZE: struct.pack("<Q", memory),
            CPU_COUNT: struct.pack("<H", cpus), MAX_CPUS: struct.pack("<H", cpus)}
        if len(files) > MAX_FILES:
            raise ValueError(f"fw_cfg: {len(files)} files; {MAX_FILES} is the most")
        directory = struct.pack(">I", len(files))
        for key, name in enumerate(sorted(files), FIRST_FILE):
            if not 0 < len(name.encode()) < NAME_SIZE:
                raise ValueError(f"fw_cfg: a file's name has 1 to {NAME_SIZE - 1} bytes: {name!r}")
            self.items[key] = files[name]
            directory += struct.pack(">IHH56s", len(files[name]), key, 0, name.encode())
        self.items[FILE_DIRECTORY] = directory

    # --- selector and data -------------------------------------------------------------------------------------------------------------
    def on_SELECTOR(self, _value: int) -> None:
        self.state.offset = 0

    def read_DATA(self) -> int:
        value = self.peek_DATA()
        if self.state.offset < len(self._item()):
            self.state.offset += 1
        return value

    def peek_DATA(self) -> int:
        item, offset = self._item(), self.state.offset
        return item[offset] if offset < len(item) else 0

    def on_DATA(self, value: int) -> None:
        self.log.note(self.name, "DATA", "written, items are read-only", value=value)

    def _item(self) -> bytes:
        selector = self.state.selector
        return b"" if selector & ARCHITECTURE else self.items.get(selector & KEY_MASK, b"")

    # --- DMA ---------------------------------------------------------------------------------------------------------------------------
    def peek_DMA_HIGH(self) -> int:
        return int.from_bytes(DMA_SIGNATURE[:4], "little")

    def peek_DMA_LOW(self) -> int:
        return int.from_bytes(DMA_SIGNATURE[4:], "little")

    def on_DMA_HIGH(self, value: int) -> None:
        self.state.dma_high = int.from_bytes(value.to_bytes(4, "little"), "big")

    def on_DMA_LOW(self, value: int) -> None:
        address = self.state.dma_high << 32 | int.from_bytes(value.to_bytes(4, "little"), "big")
        self.state.dma_high = 0
        try:
            control, length, target = DESCRIPTOR.unpack(self._dma.read(address, DESCRIPTOR.size))
        except DmaFault as fault:
            self.log.note(self.name, "DMA", f"descriptor unreachable: {fault.reason}", address=address)
            return
        if control & SELECT:
            self.state.selector = control >> 16
            self.state.offset = 0
        result = self._transfer(control, length, target)
        try:
            self._dma.write(address, struct.pack(">I", result))
        except DmaFault as fault:
            self.log.note(self.name, "DMA", f"result cannot be written: {fault.reason}", address=address)

    def _transfer(self, control: int, length: int, target: int) -> int:
        """Carry out one descriptor; the control word that the guest then finds."""
        item, state = self._item(), self.state
        offset, result = state.offset, 0
        if control & (READ | WRITE | SKIP):
            state.offset = min(len(item), offset + length)             # whether or not the guest's memory takes it
        if control & READ:
            try:
                self._copy(item[offset:], length, target)
            except DmaFault as fault:
                self.log.note(self.name, "DMA", f"target unreachable: {fault.reason}", address=target, length=length)
                result = ERROR
        elif control & WRITE:
            self.log.note(self.name, "DMA", "write to an item, which are read-only", key=state.selector)
            result = ERROR
        return result

    def _copy(self, data: bytes, length: int, target: int) -> None:
        """`length` bytes, zeros behind the end of `data`."""
        offset = 0
        while offset < length:
            size = min(CHUNK, length - offset)
            self._dma.write(target + offset, data[offset:offset + size].ljust(size, b"\0"))
            offset += size
