"""A firmware image: at the top of 4 GiB. Its last 128 KiB are seen once more below 1 MiB, while the host bridge shows no RAM there: see memory.py."""

from __future__ import annotations

from machine.errors import LoadError
from machine.memory import MIB, PAGE

TOP = 1 << 32
MAX_SIZE = 16 * MIB
MIN_SIZE = 16                       # the reset vector alone


def as_rom(image: bytes) -> tuple[int, bytes]:
    """(base, image) of the ROM: whole pages that end at 4 GiB, padded at their front.

    Raises:
        LoadError: it is too small or too large, or blank at the reset vector.
    """
    if not MIN_SIZE <= len(image) <= MAX_SIZE:
        raise LoadError(f"firmware: {len(image)} bytes; an image has {MIN_SIZE} bytes to {MAX_SIZE // MIB} MiB")
    if image[-16:] in (bytes(16), b"\xff" * 16):
        raise LoadError("firmware: its last 16 bytes, where the processor starts, are blank: the file is truncated or no firmware")
    padded = bytes(-len(image) % PAGE) + image
    return TOP - len(padded), padded
