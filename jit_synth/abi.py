"""How data enters and leaves a module.

Imports, all from module `env`, in the manner of the original's `folk_*` functions:

    folk_rows_<source>(at, size) -> needed     live rows of one telemetry source; capability telemetry.<source>
    folk_stream_read(at, size) -> needed       the value in the pipe; capability pipe.read
    folk_stream_write(at, length)              the result, appended; capability pipe.write

A read returns how many bytes it needs; it writes them at `at` if `size` suffices, and nothing otherwise. One run sees one state of a source, however
often it reads. The bytes: u32 count of rows, u32 zero; then the rows, eight bytes a cell: an i64 (a BOOLEAN is 0 or 1), an f64 for REAL and RATIO, or
for TEXT the address and length (u32 each) of UTF-8 that lies behind the rows. A result is rows without the header, its texts anywhere in memory;
a result that is text is its UTF-8. A module exports `memory` and `run: () -> ()`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence

from jit_synth.refusals import CommandStopped, StopKind
from jit_synth.values import REAL_KINDS, Row, Shape, Type
from kernel.telemetry import Column, Kind

CELL, HEADER = 8, 8
STREAM_READ, STREAM_WRITE, SOURCE_PREFIX = "folk_stream_read", "folk_stream_write", "folk_rows_"
READ_SIGNATURE: tuple[tuple[str, ...], str] = (("i32", "i32"), "i32")
WRITE_SIGNATURE: tuple[tuple[str, ...], str] = (("i32", "i32"), "")
LARGEST_INPUT = 16 << 20               # bytes; what a command may copy in at once

PIPE_READ, PIPE_WRITE, TELEMETRY = "pipe.read", "pipe.write", "telemetry"
PIPE = frozenset({PIPE_READ, PIPE_WRITE})


def source_import(source: str) -> str:
    """The import that reads a source."""
    return SOURCE_PREFIX + source


def capability_of(name: str) -> str:
    """The capability that an import of module `env` needs."""
    if name.startswith(SOURCE_PREFIX):
        return f"{TELEMETRY}.{name.removeprefix(SOURCE_PREFIX)}"
    return {STREAM_READ: PIPE_READ, STREAM_WRITE: PIPE_WRITE}.get(name, f"env.{name}")


def is_granted(capability: str, grants: Iterable[str]) -> bool:
    """Whether a capability is among the grants; `telemetry` grants every `telemetry.<source>`. The pipe is always granted."""
    return capability in PIPE or any(capability == grant or capability.startswith(grant + ".") for grant in grants)


class PackedRows:
    """Rows in the module's layout; only the addresses of texts depend on where they will lie."""

    def __init__(self, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        self.count = len(rows)
        self._formats = "<" + "".join("d" if column.kind in REAL_KINDS else "II" if column.kind is Kind.TEXT else "q" for column in columns)
        self._texts = [index for index, column in enumerate(columns) if column.kind is Kind.TEXT]
        self._rows = rows
        self._encoded: dict[str, bytes] = {}
        for row in rows:
            for index in self._texts:
                text = row[index]
                if text not in self._encoded:
                    self._encoded[str(text)] = str(text).encode()
        self._texts_at = HEADER + len(columns) * CELL * len(rows)
        self.size = self._texts_at + sum(len(data) for data in self._encoded.values())

    def at(self, address: int) -> bytes:
        """The bytes for this address, `size` of them."""
        layout = struct.Struct(self._formats)
        place, places = address + self._texts_at, dict[str, tuple[int, int]]()
        for text, data in self._encoded.items():
            places[text] = (place, len(data))
            place += len(data)
        packed = [struct.pack("<II", self.count, 0)]
        if not self._texts:
            packed += [layout.pack(*row) for row in self._rows]
        else:
            for row in self._rows:
                cells: list[object] = []
                for index, cell in enumerate(row):
                    if index in self._texts:
                        cells += places[str(cell)]
                    else:
                        cells.append(cell)
                packed.append(layout.pack(*cells))
        return b"".join([*packed, *self._encoded.values()])


def unpack(kind: Type, data: bytes, read: Callable[[int, int], bytes]) -> list[Row]:
    """The rows of a result. `read(address, length)` gives bytes of the module's memory, and raises where there are none.

    Raises:
        CommandStopped: BAD_RESULT or NOT_FINITE.
    """
    if kind.shape is Shape.TEXT:
        return [(_utf8(data),)]
    stride = CELL * len(kind.columns)
    if stride == 0 or len(data) % stride:
        raise CommandStopped(StopKind.BAD_RESULT, f"{len(data)} bytes are no rows of {len(kind.columns)} cells")
    layout = struct.Struct("<" + "".join("d" if column.kind in REAL_KINDS else "Q" if column.kind is Kind.TEXT else "q" for column in kind.columns))
    rows: list[Row] = []
    for cells in layout.iter_unpack(data):
        row: list[object] = []
        for cell, column in zip(cells, kind.columns, strict=True):
            if column.kind is Kind.TEXT:
                row.append(_utf8(read(cell & 0xFFFF_FFFF, cell >> 32)))
            elif column.kind is Kind.BOOLEAN:
                row.append(bool(cell))
            elif column.kind in REAL_KINDS and cell - cell != 0.0:
                raise CommandStopped(StopKind.NOT_FINITE)
            else:
                row.append(cell)
        rows.append(tuple(row))
    if kind.shape is not Shape.TABLE and len(rows) != 1:
        if not rows:
            raise CommandStopped(StopKind.NO_ROWS)
        raise CommandStopped(StopKind.BAD_RESULT, f"{len(rows)} rows are no {kind.shape.value}")
    return rows


def _utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise CommandStopped(StopKind.BAD_RESULT, "a text is not UTF-8") from None
