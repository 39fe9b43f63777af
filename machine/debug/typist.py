"""Text that a debugger's user types at the guest's serial line: it arrives as the chip has room for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from devices.backends.terminal import SerialLine


class Typist:
    """Host input. Args: line: the chip."""

    def __init__(self, line: SerialLine) -> None:
        self._line = line
        self._waiting = bytearray()

    def type(self, text: str) -> None:
        """To be sent while the machine runs."""
        self._waiting += text.encode()

    def fileno(self) -> int | None:
        """Nothing to wait on."""
        return None

    def pump(self) -> bool:
        """As many characters as there is room for. True if some are left."""
        room = min(self._line.space(), len(self._waiting))
        if room > 0:
            self._line.receive(bytes(self._waiting[:room]))
            del self._waiting[:room]
        return bool(self._waiting)
