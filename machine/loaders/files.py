"""Reading what a user names: one line for every way in which that fails."""

from __future__ import annotations

from pathlib import Path

from machine.errors import LoadError


def read_file(path: str | Path, what: str, limit: int) -> bytes:
    """The bytes of a file.

    Args:
        path: where it is.
        what: what it should be ("kernel", "firmware").
        limit: bytes, more than which is not read.

    Raises:
        LoadError: it cannot be read, is empty or too large.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise LoadError(f"{what} {path}: that is a folder, not a file")
        size = path.stat().st_size
        if size > limit:
            raise LoadError(f"{what} {path}: {size} bytes are too large; at most {limit >> 20} MiB fit")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise LoadError(f"{what} {path}: {error.strerror or error}") from None
    if not data:
        raise LoadError(f"{what} {path}: the file is empty")
    if len(data) > limit:
        raise LoadError(f"{what} {path}: it is too large; at most {limit >> 20} MiB fit")
    return data
