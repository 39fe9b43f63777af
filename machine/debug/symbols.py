"""Names for addresses, from the symbol table of an ELF file."""

from __future__ import annotations

import bisect
from pathlib import Path

from machine.errors import LoadError

FARTHEST = 1 << 16                     # bytes behind a symbol that still belong to it, where its size is not said


class Symbols:
    """Names and addresses, both ways. Args: (address, name) pairs."""

    def __init__(self, pairs: list[tuple[int, str]]) -> None:
        self._pairs = sorted(pairs)
        self._addresses = [address for address, _ in self._pairs]
        self._by_name = {name: address for address, name in self._pairs}

    @classmethod
    def from_elf(cls, path: str | Path) -> Symbols:
        """Of a file. Raises LoadError in one line."""
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile
        from elftools.elf.sections import SymbolTableSection

        try:
            with Path(path).open("rb") as file:
                table = ELFFile(file).get_section_by_name(".symtab")
                if not isinstance(table, SymbolTableSection):
                    raise LoadError(f"symbols {path}: the file has no symbol table")
                return cls([(symbol["st_value"], symbol.name) for symbol in table.iter_symbols()
                            if symbol.name and symbol["st_shndx"] != "SHN_UNDEF" and symbol["st_info"]["type"] in ("STT_NOTYPE", "STT_FUNC", "STT_OBJECT")])
        except OSError as error:
            raise LoadError(f"symbols {path}: {error.strerror}") from None
        except ELFError as error:
            raise LoadError(f"symbols {path}: this is no ELF file ({error})") from None

    def address(self, name: str) -> int | None:
        """Where a name is."""
        return self._by_name.get(name)

    def name(self, address: int) -> str:
        """`main+0x12`; empty for an address that no symbol is near."""
        index = bisect.bisect_right(self._addresses, address) - 1
        if index < 0 or address - self._addresses[index] >= FARTHEST:
            return ""
        start, name = self._pairs[index]
        return name if start == address else f"{name}+{address - start:#x}"


NO_SYMBOLS = Symbols([])
