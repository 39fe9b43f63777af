"""What docs/contracts.md section 5 says of `kernel/telemetry.py`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol


class Kind(Enum):
    """What a cell holds."""

    TEXT = auto()
    INTEGER = auto()
    REAL = auto()
    BOOLEAN = auto()
    SIZE = auto()
    DURATION = auto()
    RATIO = auto()
    ADDRESS = auto()
    TIME = auto()


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
        """The rows now."""
