"""What a guest says, on its way to a file or to nobody. `terminal.py` is the way to a person."""

from __future__ import annotations

from collections.abc import Callable

CHUNK = 4096


class OutputLost(Exception):
    """What a guest said cannot be kept any more; the message is one line with the file's name."""


class Gathered:
    """Output that leaves in pieces rather than byte by byte.

    Attributes:
        watch: told of every piece, e.g. to look for a text.
    """

    def __init__(self) -> None:
        self.watch: Callable[[bytes], None] | None = None
        self._output = bytearray()

    def write(self, data: bytes) -> None:
        """Bytes of the guest; they leave at the next `flush`, if not before."""
        self._output += data
        if len(self._output) >= CHUNK:
            self.flush()

    def flush(self) -> None:
        """Let go of what has been gathered. Raises OutputLost where that is a file which takes no more."""
        if not self._output:
            return
        data, self._output = bytes(self._output), bytearray()
        if self.watch is not None:
            self.watch(data)
        self._put(data)

    def _put(self, data: bytes) -> None:
        raise NotImplementedError


class Recorder(Gathered):
    """Output that is kept in a file, or nowhere: a serial line without a person at its other end.

    Args:
        path: the file; None keeps nothing.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: str | None = None) -> None:
        super().__init__()
        self._path = path
        self._file = open(path, "wb", buffering=0) if path is not None else None   # noqa: SIM115 -- closed by `close`

    def _put(self, data: bytes) -> None:
        try:
            while data and self._file is not None:
                data = data[self._file.write(data) or 0:]
        except OSError as error:
            raise OutputLost(f"{self._path}: {error.strerror}") from None

    def close(self) -> None:
        """Nothing more will come. Raises OutputLost."""
        try:
            self.flush()
        finally:
            if self._file is not None:
                self._file.close()
