"""Walking a guest's page tables as its processor would: linear to physical, with every entry on the way.

Source: Intel SDM volume 3A, chapter 4: no paging, 32-bit (4.3), PAE (4.4) and 4-level (4.5). The walk sets no accessed or dirty bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

PG, PSE, PAE, LMA = 1 << 31, 1 << 4, 1 << 5, 1 << 10
PRESENT, WRITABLE, USER, ACCESSED, DIRTY, LARGE, NO_EXECUTE = 1, 2, 4, 1 << 5, 1 << 6, 1 << 7, 1 << 63
FRAME = 0x000F_FFFF_FFFF_F000


@dataclass(frozen=True, slots=True)
class Step:
    """One entry on the way."""

    level: str
    address: int
    entry: int

    @property
    def words(self) -> str:
        """What the entry says of its page or table."""
        if not self.entry & PRESENT:
            return "not present"
        found = ["writable" if self.entry & WRITABLE else "read only", "user" if self.entry & USER else "supervisor"]
        found += [word for bit, word in ((ACCESSED, "accessed"), (DIRTY, "dirty")) if self.entry & bit]
        if self.entry & LARGE and self.level in ("PDE", "PDPTE"):
            found.append("large")
        if self.entry & NO_EXECUTE:
            found.append("no execute")
        return ", ".join(found)


@dataclass(frozen=True, slots=True)
class Walk:
    """Where a linear address leads; `physical` is None where an entry is not present."""

    linear: int
    mode: str
    steps: tuple[Step, ...]
    physical: int | None
    rights: str = "rwx"


def walk(read: Callable[[int, int], bytes], linear: int, cr0: int, cr3: int, cr4: int, efer: int) -> Walk:
    """Follow the tables.

    Args:
        read: physical memory, (address, length).
        linear: the address; its upper 32 bits count in long mode only.
        cr0, cr3, cr4, efer: of the processor.
    """
    if not cr0 & PG:
        return Walk(linear, "no paging", (), linear & 0xFFFFFFFF)
    if efer & LMA:
        if linear >> 47 not in (0, (1 << 17) - 1):
            return Walk(linear, "4-level, not canonical:", (), None, "")
        levels = (("PML4E", 39, 9), ("PDPTE", 30, 9), ("PDE", 21, 9), ("PTE", 12, 9))
        return _follow(read, linear, "4-level", levels, cr3 & FRAME, 8)
    linear &= 0xFFFFFFFF
    if cr4 & PAE:
        return _follow(read, linear, "PAE", (("PDPTE", 30, 2), ("PDE", 21, 9), ("PTE", 12, 9)), cr3 & 0xFFFFFFE0, 8)
    return _follow(read, linear, "32-bit", (("PDE", 22, 10), ("PTE", 12, 10)), cr3 & 0xFFFFF000, 4, pse=bool(cr4 & PSE))


Levels = tuple[tuple[str, int, int], ...]          # (name, lowest bit of the index, its bits)


def _follow(read: Callable[[int, int], bytes], linear: int, mode: str, levels: Levels, table: int, size: int, pse: bool = True) -> Walk:
    steps: list[Step] = []
    rights = {"w": True, "x": True, "u": True}
    for name, shift, width in levels:
        address = table + size * (linear >> shift & (1 << width) - 1)
        entry = int.from_bytes(read(address, size), "little")
        steps.append(Step(name, address, entry))
        if not entry & PRESENT:
            return Walk(linear, mode, tuple(steps), None, "")
        if not (mode == "PAE" and name == "PDPTE"):            # whose other bits are reserved
            rights["w"] &= bool(entry & WRITABLE)
            rights["u"] &= bool(entry & USER)
        if size == 8:
            rights["x"] &= not entry & NO_EXECUTE
        offset = (1 << shift) - 1
        large = entry & LARGE and name in ("PDE", "PDPTE") and pse and not (mode == "PAE" and name == "PDPTE")
        if large or shift == 12:
            base = entry & FRAME & ~offset if size == 8 else entry & 0xFFFFFFFF & ~offset
            if large and size == 4:
                base |= (entry >> 13 & 0xFF) << 32             # PSE-36
            text = "r" + ("w" if rights["w"] else "-") + ("x" if rights["x"] else "-") + ("u" if rights["u"] else "-")
            return Walk(linear, mode, tuple(steps), base | linear & offset, text)
        table = entry & (FRAME if size == 8 else 0xFFFFF000)
    raise AssertionError("the last level ends the walk")
