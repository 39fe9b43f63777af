"""A function's way to guest memory."""

from __future__ import annotations

from typing import Protocol


class DmaFault(Exception):
    """Guest memory could not be reached: no memory there, or the IOMMU said no.

    Attributes:
        iova: the address that the device used.
        reason: one line that says why, with the walk where there was one.
    """

    def __init__(self, iova: int, reason: str) -> None:
        super().__init__(f"DMA at {iova:#x}: {reason}")
        self.iova = iova
        self.reason = reason


class DmaPort(Protocol):
    """Reads and writes at I/O virtual addresses, in any length; both raise `DmaFault`, and then a write has changed nothing."""

    def read(self, iova: int, length: int) -> bytes: ...
    def write(self, iova: int, data: bytes) -> None: ...


class RamPort:
    """A `DmaPort` straight into a byte array at address 0, without translation: for tests and for machines without an IOMMU."""

    def __init__(self, ram: bytearray) -> None:
        self.ram = ram

    def _check(self, iova: int, length: int) -> None:
        if iova < 0 or length < 0 or iova + length > len(self.ram):
            raise DmaFault(iova, f"{length} bytes are not within {len(self.ram):#x} bytes of memory")

    def read(self, iova: int, length: int) -> bytes:
        """`length` bytes from `iova`. Raises DmaFault beyond the end."""
        self._check(iova, length)
        return bytes(self.ram[iova:iova + length])

    def write(self, iova: int, data: bytes) -> None:
        """All of `data` to `iova`. Raises DmaFault beyond the end."""
        self._check(iova, len(data))
        self.ram[iova:iova + len(data)] = data
