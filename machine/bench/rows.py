"""Figures, and how they stand against their budgets."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        name: for programs.
        doc: what was measured, for people.
        unit: of `ours` and `peer`.
        ours: the median of our figures; None where it could not be measured.
        peer: QEMU's for the same work; None where there is none.
        ratio: the median of each pair's ratio, peer / ours for speeds: 1 is as fast as QEMU, 0.5 half as fast.
        budget: what DESIGN.md section 4 allows, in words.
        met: whether it is kept; None where there is no budget or no figure.
        note: why a figure is missing.
    """

    name: str
    doc: str
    unit: str = ""
    ours: float | None = None
    peer: float | None = None
    ratio: float | None = None
    budget: str = ""
    met: bool | None = None
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def against_peer(name: str, doc: str, unit: str, pairs: list[tuple[float, float | None]], least: float, scale: float = 1.0) -> Row:
    """A row whose budget is a share of the peer's speed. `pairs` are (ours, peer's), taken in turn; both are costs, shown times `scale`."""
    ours = statistics.median(mine for mine, _ in pairs) * scale
    known = [(mine, other) for mine, other in pairs if other is not None]
    budget = f">= {least:g}x QEMU's speed"
    if not known:
        return Row(name, doc, unit, ours, budget=budget, note="no qemu-system-x86_64 on this host to compare with")
    ratio = statistics.median(other / mine for mine, other in known)
    return Row(name, doc, unit, ours, statistics.median(other for _, other in known) * scale, ratio, budget, ratio >= least)


def within(name: str, doc: str, unit: str, values: list[float], most: float | None, peers: list[float] | None = None) -> Row:
    """A row whose budget is a number; None for no budget."""
    ours = statistics.median(values)
    peer = statistics.median(peers) if peers else None
    return Row(name, doc, unit, ours, peer, peer / ours if peer is not None else None, "" if most is None else f"<= {most:g} {unit}",
               None if most is None else ours <= most)


def table(rows: list[Row]) -> str:
    """The rows for a terminal."""
    cells = [("", "ours", "QEMU", "speed against QEMU", "budget", "")]
    for row in rows:
        mark = "" if row.met is None else "kept" if row.met else "MISSED"
        cells.append((row.doc, _figure(row.ours, row.unit), _figure(row.peer, row.unit), "" if row.ratio is None else f"{row.ratio:.2f}x", row.budget,
                      row.note or mark))
    widths = [max(len(line[column]) for line in cells) for column in range(5)]
    return "".join("  ".join([line[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(line[1:4], widths[1:4], strict=True)),
                              line[4].ljust(widths[4]), line[5]]).rstrip() + "\n" for line in cells)


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f} {unit}"
