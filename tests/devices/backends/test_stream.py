"""A byte stream to one client: what comes, what goes, and clients that do not behave."""

from __future__ import annotations

import socket

import pytest

from devices.backends import stream
from devices.backends.stream import ByteStream, StreamError


def test_one_client_after_another() -> None:
    made = ByteStream("127.0.0.1", 0)
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", made.port)) as client:
            client.sendall(b"question")
            made.wait(5.0)
            assert made.read() in (b"question", b"") and made.connected
            made.write(b"answer")
            assert client.recv(6) == b"answer"
        while made.connected:
            made.wait(5.0)
            made.read()
    made.close()


def test_a_client_that_takes_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PATIENCE", 0.01)
    made = ByteStream("127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", made.port)):
        made.wait(5.0)
        made.read()
        made.write(bytes(64 << 20))
        assert not made.connected
    made.close()


def test_a_port_that_is_taken_is_one_line() -> None:
    made = ByteStream("127.0.0.1", 0)
    with pytest.raises(StreamError, match=f"127.0.0.1:{made.port}: "):
        ByteStream("127.0.0.1", made.port)
    made.close()
