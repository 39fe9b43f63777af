"""Results by the hash of what they were made from: `$XDG_CACHE_HOME/folkering/images/<key>.images`, one file a result.

A file is its SHA-256, then the blobs with their lengths; one that does not match is ignored and written anew. Writing goes to a temporary file
that is renamed into place, so that several processes may build at once and none sees half a file. Without a writable cache nothing is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections.abc import Sequence
from pathlib import Path

KEPT = 8                            # results; older ones are from sources that have changed since
DIGEST_SIZE = 32
LENGTH = struct.Struct("<Q")


def directory() -> Path:
    """Where results are kept (XDG Base Directory Specification 0.8: a relative path in the variable is ignored)."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(configured) if configured and Path(configured).is_absolute() else Path("~/.cache").expanduser()
    return base / "folkering" / "images"


def load(folder: Path, key: str, count: int) -> list[bytes] | None:
    """The `count` blobs stored under `key`, or None."""
    try:
        raw = (folder / f"{key}.images").read_bytes()
    except OSError:
        return None
    payload = memoryview(raw)[DIGEST_SIZE:]
    if hashlib.sha256(payload).digest() != raw[:DIGEST_SIZE]:
        return None
    blobs, at = [], 0
    while at < len(payload):
        (length,) = LENGTH.unpack_from(payload, at)
        blobs.append(bytes(payload[at + LENGTH.size:at + LENGTH.size + length]))
        at += LENGTH.size + length
    return blobs if len(blobs) == count else None


def store(folder: Path, key: str, blobs: Sequence[bytes]) -> bool:
    """Keep blobs under `key`. Returns False where that is impossible."""
    import tempfile

    payload = b"".join(LENGTH.pack(len(blob)) + blob for blob in blobs)
    temporary = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".building-", dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(payload).digest() + payload)
        os.replace(temporary, folder / f"{key}.images")
    except OSError:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        return False
    _forget_old(folder)
    return True


def _forget_old(folder: Path) -> None:
    with contextlib.suppress(OSError):                  # another process may be at the same
        results = sorted(folder.glob("*.images"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in results[KEPT:]:
            path.unlink(missing_ok=True)
