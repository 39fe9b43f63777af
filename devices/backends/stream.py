"""A byte stream to one client over TCP, for servers that are asked between slices: nothing here blocks unless it is told to.

One client at a time; another may connect when it has gone. What cannot be sent because the client has gone is dropped.
"""

from __future__ import annotations

import contextlib
import select
import socket

CHUNK = 65536
PATIENCE = 5.0                       # seconds for a client to take what it is sent


class StreamError(Exception):
    """The address cannot be listened on; one line."""


class ByteStream:
    """Listens on a host and port (0 takes a free one). Raises StreamError."""

    def __init__(self, host: str, port: int) -> None:
        self._client: socket.socket | None = None
        try:
            self._server = socket.create_server((host, port), reuse_port=False)
        except (OSError, OverflowError) as error:
            raise StreamError(f"{host}:{port}: {getattr(error, 'strerror', None) or error}") from None
        self._server.setblocking(False)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.getsockname()[1])

    @property
    def connected(self) -> bool:
        """Whether there is a client."""
        return self._client is not None

    def fileno(self) -> int:
        """What to wait on: the client, or the next one's call."""
        return (self._client or self._server).fileno()

    def wait(self, seconds: float | None = None) -> None:
        """Block until something has come."""
        select.select([self], [], [], seconds)

    def read(self) -> bytes:
        """What has come; nothing if nothing has. Accepts a client if there is none."""
        if self._client is None:
            try:
                self._client, _ = self._server.accept()
            except OSError:
                return b""
            self._client.setblocking(False)
            self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            data = self._client.recv(CHUNK)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self.hang_up()
        return data

    def write(self, data: bytes) -> None:
        """Send all of it; a client that does not take it in time is let go."""
        if self._client is None:
            return
        try:
            self._client.settimeout(PATIENCE)
            self._client.sendall(data)
            self._client.setblocking(False)
        except OSError:
            self.hang_up()

    def hang_up(self) -> None:
        """Let the client go."""
        if self._client is not None:
            with contextlib.suppress(OSError):
                self._client.close()
            self._client = None

    def close(self) -> None:
        """Stop listening."""
        self.hang_up()
        self._server.close()
