"""Telemetry: the live data of the running system, as tables that the shell and synthesis can read.

A `Source` is a named table whose columns are known without reading it; `rows()` is the state at that instant. `kernel.sources` holds the kernel's
own; whoever has something to tell adds another. Cells are plain values in base units (docs/contracts.md section 5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol


class Kind(Enum):
    """What a cell holds."""

    TEXT = auto()
    INTEGER = auto()
    REAL = auto()
    BOOLEAN = auto()
    SIZE = auto()           # bytes
    DURATION = auto()       # ns
    RATIO = auto()          # 0..1
    ADDRESS = auto()        # physical unless its column says otherwise
    TIME = auto()           # ns since 1970, UTC


@dataclass(frozen=True)
class Column:
    """A column of a source."""

    name: str
    kind: Kind
    doc: str


class Source(Protocol):
    """Live rows."""

    name: str
    doc: str
    columns: tuple[Column, ...]

    def rows(self) -> list[tuple[object, ...]]:
        """The rows now; each has one cell a column."""


Row = tuple[object, ...]


@dataclass
class LiveSource:
    """A source whose rows are what a function returns."""

    name: str
    doc: str
    columns: tuple[Column, ...]
    read: Callable[[], list[Row]]

    def rows(self) -> list[Row]:
        """The rows now."""
        return self.read()


class Telemetry:
    """All sources by name, in the order in which they were added."""

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}

    def add(self, source: Source) -> None:
        """Offer a source; a name can be taken once."""
        assert source.name not in self.sources, f"two sources are named {source.name!r}"
        self.sources[source.name] = source
