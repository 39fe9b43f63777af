"""Names for addresses, from the symbol table of an ELF file, or from lines `address type name`: Linux's System.map and /proc/kallsyms, the output of nm."""

from __future__ import annotations

import bisect
from pathlib import Path

from machine.errors import LoadError

FARTHEST = 1 << 16                     # bytes behind a symbol that still belong to it, where its size is not said
LARGEST_LIST = 1 << 26                 # bytes


class Symbols:
    """Names and addresses, both ways. Args: (address, name) pairs."""

    def __init__(self, pairs: list[tuple[int, str]]) -> None:
        self._pairs = sorted(pairs)
        self._addresses = [address for address, _ in self._pairs]
        self._by_name = {name: address for address, name in self._pairs}

    @classmethod
    def from_file(cls, path: str | Path) -> Symbols:
        """Of a file of either kind. Raises LoadError in one line."""
        try:
            with Path(path).open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    return cls.from_elf(path)
                file.seek(0)
                lines = [line.split() for line in file.read(LARGEST_LIST).decode("ascii", "replace").splitlines()]
            return cls([(int(words[0], 16), words[2]) for words in lines if words])
        except OSError as error:
            raise LoadError(f"symbols {path}: {error.strerror}") from None
        except (ValueError, IndexError):
            raise LoadError(f"symbols {path}: this is neither an ELF file nor a list of `address type name`") from None

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

    def beginning(self, start: str) -> list[str]:
        """Names that begin so, for completion."""
        return sorted(name for name in self._by_name if name.startswith(start))

    def describe(self, address: int) -> str:
        """`0xffffffff81000012 <main+0x12>`, or the address alone."""
        name = self.name(address)
        return f"{address:#x} <{name}>" if name else f"{address:#x}"

    def name(self, address: int) -> str:
        """`main+0x12`; empty for an address that no symbol is near."""
        index = bisect.bisect_right(self._addresses, address) - 1
        if index < 0 or address - self._addresses[index] >= FARTHEST:
            return ""
        start, name = self._pairs[index]
        return name if start == address else f"{name}+{address - start:#x}"


NO_SYMBOLS = Symbols([])
