"""The console's breakpoints, watchpoints and interrupts to stop at: numbered, listed, switched off and on, with conditions and counts of hits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from machine.errors import TargetError

if TYPE_CHECKING:
    from machine.debug.symbols import Symbols
    from machine.debug.target import Target
    from machine.engine.breakpoints import Hit

BREAK, WATCH, INTERRUPT = "break", "watch", "interrupt"
ANY_VECTOR = -1
HOW = {"r": (True, False, "read"), "w": (False, True, "write"), "rw": (True, True, "access")}


@dataclass
class Point:
    """One of them.

    Attributes:
        number: what it is called.
        kind: BREAK, WATCH or INTERRUPT.
        address: linear; of an interrupt the vector, or ANY_VECTOR.
        cpu: whose page tables say where a watchpoint is.
        length, how: bytes that are watched, and a key of `HOW`.
        condition: an expression that must hold, or nothing.
        hits: how often it has stopped the machine.
        enabled: whether it does.
        seen: what was at a watchpoint when it was last looked at.
    """

    number: int
    kind: str
    address: int
    cpu: int = 0
    length: int = 0
    how: str = "w"
    condition: str = ""
    hits: int = 0
    enabled: bool = True
    seen: bytes = b""


class Points:
    """Those of one console."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._points: dict[int, Point] = {}
        self._next = 1

    def __iter__(self) -> Iterator[Point]:
        return iter(self._points.values())

    def add(self, point: Point) -> Point:
        """Number it and arm it. Raises TargetError."""
        point.number = self._next
        self._arm(point)
        self._points[point.number] = point
        self._next += 1
        return point

    def find(self, text: str, address: int | None) -> Point:
        """By its number, or by its address. Raises TargetError."""
        if text.isdigit() and int(text) in self._points:
            return self._points[int(text)]
        found = next((point for point in self if point.kind != INTERRUPT and point.address == address), None)
        if found is None:
            raise TargetError(f"there is no breakpoint or watchpoint {text}; `break` lists them")
        return found

    def remove(self, point: Point) -> None:
        """Forget it."""
        del self._points[point.number]
        if point.enabled:
            self._disarm(point)

    def enable(self, point: Point, enabled: bool) -> None:
        """Switch it on or off. Raises TargetError."""
        if enabled and not point.enabled:
            self._arm(point)
        elif point.enabled and not enabled:
            point.enabled = False
            self._disarm(point)
        point.enabled = enabled

    def hit(self, hit: Hit) -> Point | None:
        """The one that stopped a processor; of several at a place the first."""
        if hit.kind == "breakpoint":
            return next((point for point in self if point.enabled and point.kind == BREAK and point.address == hit.address), None)
        watch = self._target.watched(hit.address, hit.size)
        return next((point for point in self if watch is not None and point.enabled and point.kind == WATCH
                     and (point.address, point.length, *HOW[point.how][:2]) == (watch.linear, watch.length, watch.on_read, watch.on_write)), None)

    def catches(self, vector: int) -> Point | None:
        """The one that waits for an interrupt."""
        return next((point for point in self if point.enabled and point.kind == INTERRUPT and point.address in (vector, ANY_VECTOR)), None)

    def look(self, point: Point) -> bytes:
        """What is at a watchpoint now."""
        try:
            return self._target.read(point.cpu, point.address, point.length)
        except TargetError:
            return b""

    def lines(self, symbols: Symbols) -> list[str]:
        """The table."""
        rows = []
        for point in self:
            what = self.words(point, symbols)
            condition = f"  if {point.condition}" if point.condition else ""
            state = "" if point.enabled else "(off) "
            rows.append(f"{point.number:3}  {point.kind:9}  {point.hits:5} hits  {state}{what}{condition}")
        return rows or ["there are none"]

    def words(self, point: Point, symbols: Symbols) -> str:
        """What one waits for."""
        if point.kind == INTERRUPT:
            return "any vector" if point.address == ANY_VECTOR else f"vector {point.address:#x}"
        if point.kind == WATCH:
            return f"{HOW[point.how][2]} of {point.length} bytes at {symbols.describe(point.address)}"
        return symbols.describe(point.address)

    def _arm(self, point: Point) -> None:
        if point.kind == BREAK:
            self._target.add_breakpoint(point.address)
        elif point.kind == WATCH:
            self._target.add_watchpoint(point.cpu, point.address, point.length, *HOW[point.how][:2])
            point.seen = self.look(point)

    def _disarm(self, point: Point) -> None:
        others = [other for other in self if other.enabled and other is not point and (other.kind, other.address) == (point.kind, point.address)]
        if point.kind == BREAK and not others:
            self._target.remove_breakpoint(point.address)
        elif point.kind == WATCH and not any((other.length, other.how) == (point.length, point.how) for other in others):
            self._target.remove_watchpoint(point.address, point.length, *HOW[point.how][:2])
