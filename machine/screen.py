"""What a person would see at the machine's monitor, as text and as a picture, at one moment."""

from __future__ import annotations

from pathlib import Path

from devices.text_picture import Picture, picture
from devices.vga_text import Cursor, VgaText


class Screen:
    """A copy of the text screen.

        screen = machine.screen()
        assert "Pass" in screen.text()
        screen.save("memtest.png")

    Attributes:
        cursor: where it is, and whether it shows.
    """

    def __init__(self, vga: VgaText) -> None:
        self._lines = vga.lines()
        self._picture = picture(vga)
        self.cursor: Cursor = vga.cursor()

    def lines(self) -> list[str]:
        """Rows from the top, without blanks at their ends."""
        return list(self._lines)

    def text(self) -> str:
        """All rows that have something on them or below them, each with its end of line."""
        return "\n".join(self._lines).rstrip("\n") + "\n"

    def picture(self) -> Picture:
        """Pixels, 8 x 16 a character."""
        return self._picture

    def save(self, path: str | Path) -> None:
        """Write a PNG file. Raises OSError."""
        Path(path).write_bytes(self._picture.png())
