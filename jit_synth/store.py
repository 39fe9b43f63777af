"""Learned commands on disk: one file a skill, `<request digest>.skill`, written whole, checked by its reader.

Layout, little endian: magic, u32 length of the record, u32 length of the module; the record, its signature, the module; nothing more. Every bit counts:
the lengths must add up to the file's size, and `lineage.check` covers the rest. The store itself trusts nothing and verifies nothing: it only parses.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

from jit_synth.files import read_bounded, write_whole
from jit_synth.lineage import SIGNATURE_SIZE, Sealed
from jit_synth.refusals import LineageError, SynthesisError

SUFFIX, ASIDE = ".skill", ".refused"
HEADER = struct.Struct("<8sII")
MAGIC = b"FOLKSKL1"
LARGEST = 1 << 20                       # bytes of a skill's file
_NAME = re.compile(r"[0-9a-f]{64}")


class Store:
    """A folder of skills.

    Args:
        folder: made when the first skill is saved. None: nothing outlives the process.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def load(self, request: str) -> Sealed | None:
        """The skill filed under a request's digest; None if there is none. Unchecked.

        Raises:
            LineageError: the file is truncated, foreign or cannot be read; it is named.
        """
        return None if self._folder is None else self._read(self._path(request))

    def save(self, request: str, sealed: Sealed) -> None:
        """File a skill, in the place of an older one. Raises: SynthesisError (the disk is full, the folder not writable)."""
        if self._folder is None:
            return
        data = HEADER.pack(MAGIC, len(sealed.record), len(sealed.wasm)) + sealed.record + sealed.signature + sealed.wasm
        assert len(data) <= LARGEST
        try:
            write_whole(self._path(request), data)
        except OSError as trouble:
            raise SynthesisError(f"the skill cannot be stored in {self._folder}: {trouble.strerror}") from None

    def set_aside(self, request: str) -> None:
        """Rename a refused skill's file, so that it is not met again and can be looked at."""
        if self._folder is not None:
            path = self._path(request)
            try:
                path.replace(path.with_suffix(ASIDE))
            except OSError:
                return                  # read-only or gone: it is refused again next time

    def requests(self) -> Iterator[str]:
        """The digests of all skills, in the order of their names. Files with other names are none of ours."""
        if self._folder is not None and self._folder.is_dir():
            for path in sorted(self._folder.glob(f"*{SUFFIX}")):
                if _NAME.fullmatch(path.stem):
                    yield path.stem

    def _path(self, request: str) -> Path:
        assert self._folder is not None and _NAME.fullmatch(request)
        return self._folder / f"{request}{SUFFIX}"

    def _read(self, path: Path) -> Sealed | None:
        try:
            data = read_bounded(path, LARGEST)
        except OSError as trouble:
            raise LineageError(f"the skill file {path.name} cannot be read: {trouble.strerror}") from None
        if data is None:
            return None
        if len(data) < HEADER.size or data[:len(MAGIC)] != MAGIC:
            raise LineageError(f"the skill file {path.name} is refused: it is not a skill")
        _, record_size, wasm_size = HEADER.unpack_from(data)
        if len(data) != HEADER.size + record_size + SIGNATURE_SIZE + wasm_size:
            raise LineageError(f"the skill file {path.name} is refused: it is truncated or has something appended")
        signature_at = HEADER.size + record_size
        return Sealed(data[HEADER.size:signature_at], data[signature_at:signature_at + SIGNATURE_SIZE], data[signature_at + SIGNATURE_SIZE:])
