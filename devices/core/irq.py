"""Interrupt wires between chips."""

from __future__ import annotations

from collections.abc import Callable

Sink = Callable[[bool], None]


class IrqLine:
    """A wire: one chip drives it, any number listen, and it remembers its level.

    Attributes:
        level: what it carries now.
        name: what traces call it.
    """

    __slots__ = ("_sinks", "level", "name")

    def __init__(self, sink: Sink | None = None, name: str = "") -> None:
        self.level = False
        self.name = name
        self._sinks: tuple[Sink, ...] = () if sink is None else (sink,)

    def connect(self, sink: Sink) -> None:
        """One more listener; told at once if the line is high."""
        self._sinks += (sink,)
        if self.level:
            sink(True)

    def set(self, level: bool) -> None:
        """Drive the line; the listeners hear of changes only."""
        if level != self.level:
            self.level = level
            for sink in self._sinks:
                sink(level)

    def raise_(self) -> None:
        """Drive it high."""
        self.set(True)

    def lower(self) -> None:
        """Drive it low."""
        self.set(False)

    def pulse(self) -> None:
        """Drive it high, then low: one edge for listeners that latch edges."""
        self.set(True)
        self.set(False)


class WiredOr:
    """Several drivers of one wire, as PCI functions share an INTx pin: the output is high while any input is."""

    def __init__(self, output: IrqLine) -> None:
        self._output = output
        self._high = 0

    def input(self, name: str = "") -> IrqLine:
        """A new wire into the junction."""
        return IrqLine(self._changed, name)

    def _changed(self, level: bool) -> None:
        self._high += 1 if level else -1
        self._output.set(self._high > 0)
