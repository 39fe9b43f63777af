"""What can go wrong while images are built: always the source's fault, always said with file and line."""

from __future__ import annotations


class ImageError(Exception):
    """An image cannot be built. The message is one line; where a source line is to blame it starts with `file:line: `."""
