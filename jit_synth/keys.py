"""The key that signs what is synthesized here: Ed25519 (RFC 8032), made at first boot from the host's randomness.

An Ed25519 private key is any 32 random bytes, so making one needs no cryptography; the library is loaded when something is signed or checked.
On disk: magic, seed, and the first eight bytes of the seed's SHA-256, so that a damaged key is named as such instead of making every skill look forged.
"""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from jit_synth.files import read_bounded, write_whole
from jit_synth.refusals import LineageError, SynthesisError, ToolchainMissing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FILE_NAME = "signing.key"
MAGIC, SEED_SIZE, CHECK_SIZE = b"FOLKKEY1", 32, 8
OWNER_ONLY = 0o600


class Keys:
    """The signing key of one installation.

    Args:
        folder: where it is kept; made at the first use if it is not there. None: a key for this process only, whose signatures nobody else accepts.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._path = None if folder is None else folder / FILE_NAME

    def ensure(self) -> None:
        """Make the key now if there is none: what first boot does. Raises: LineageError, SynthesisError."""
        assert self._seed

    def sign(self, message: bytes) -> bytes:
        """The signature, 64 bytes. Raises: LineageError (the key is damaged), SynthesisError (it cannot be kept), ToolchainMissing."""
        return self._private.sign(message)

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether this key made the signature over the message. Raises: as `sign`."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._private.public_key().verify(signature, message)
        except InvalidSignature:
            return False
        return True

    @cached_property
    def name(self) -> str:
        """The key's fingerprint: 16 hexadecimal digits of its public half's SHA-256."""
        return hashlib.sha256(self._private.public_key().public_bytes_raw()).hexdigest()[:16]

    @cached_property
    def _private(self) -> Ed25519PrivateKey:
        try:
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        except ImportError as trouble:
            raise ToolchainMissing(f"the signature library does not load: {trouble}") from None
        return Ed25519PrivateKey.from_private_bytes(self._seed)

    @cached_property
    def _seed(self) -> bytes:
        if self._path is None:
            return os.urandom(SEED_SIZE)
        try:
            data = read_bounded(self._path, 1024)
            if data is None:
                seed = os.urandom(SEED_SIZE)
                write_whole(self._path, MAGIC + seed + _check(seed), OWNER_ONLY)
                return seed
        except OSError as trouble:
            raise SynthesisError(f"the signing key {self._path} cannot be kept: {trouble.strerror}") from None
        seed = data[len(MAGIC):len(MAGIC) + SEED_SIZE]
        if data != MAGIC + seed + _check(seed) or len(seed) != SEED_SIZE:
            raise LineageError(f"the signing key {self._path} is damaged; without it no stored skill can be trusted: remove it to make a new one")
        return seed


def _check(seed: bytes) -> bytes:
    return hashlib.sha256(seed).digest()[:CHECK_SIZE]
