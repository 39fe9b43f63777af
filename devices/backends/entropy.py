"""Random bytes for guests: the host's, or a stream that a seed determines, so that runs repeat."""

from __future__ import annotations

import hashlib
import os

BLOCK = hashlib.sha256().digest_size


class HostEntropy:
    """The host's random bytes; the place in the stream means nothing to them."""

    def read(self, _position: int, length: int) -> bytes:
        """`length` bytes that nobody has seen before."""
        return os.urandom(length)


class SeededEntropy:
    """An endless stream of which each block is the SHA-256 of seed and block number. It looks random, and keeps no secret from who knows the seed.

    Args:
        seed: any bytes.
    """

    def __init__(self, seed: bytes) -> None:
        self._seed = seed

    def read(self, position: int, length: int) -> bytes:
        """`length` bytes from `position`, the same each time."""
        first, last = position // BLOCK, (position + length - 1) // BLOCK
        blocks = b"".join(hashlib.sha256(self._seed + number.to_bytes(16, "little")).digest() for number in range(first, last + 1))
        return blocks[position - first * BLOCK:][:length]
