"""The user's terminal, played by a pseudo-terminal and pipes."""

from __future__ import annotations

import os
import pty
import signal
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.backends.output import Recorder
from devices.backends.terminal import Terminal


class Line:
    """A serial line that takes `room` bytes."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.got = bytearray()

    def space(self) -> int:
        return self.room

    def receive(self, data: bytes) -> object:
        assert len(data) <= self.room
        self.got += data
        self.room -= len(data)
        return None


@pytest.fixture
def tty() -> Iterator[tuple[int, int]]:
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


def test_keys_reach_the_line_and_ctrl_a_does_not(tty: tuple[int, int]) -> None:
    keyboard, device = tty
    line, left = Line(), []
    terminal = Terminal(line, lambda: left.append(True), device, device)
    terminal.make_raw()
    os.write(keyboard, b"ls\x03\r\x01\x01\x01h")
    terminal.pump()
    terminal.flush()
    assert bytes(line.got) == b"ls\x03\r\x01"
    assert b"Ctrl-A x  leave" in os.read(keyboard, 1000)
    os.write(keyboard, b"a\x01")
    terminal.pump()
    os.write(keyboard, b"xz")                          # the two keys of an escape may come apart
    terminal.pump()
    assert (bytes(line.got), left) == (b"ls\x03\r\x01a", [True])
    terminal.restore()


def test_raw_mode_is_taken_back(tty: tuple[int, int]) -> None:
    device = tty[1]
    before = termios.tcgetattr(device)
    handler = signal.getsignal(signal.SIGTERM)
    terminal = Terminal(Line(), lambda: None, device, device)
    terminal.make_raw()
    assert not termios.tcgetattr(device)[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
    assert signal.getsignal(signal.SIGTERM) != handler
    terminal.restore()
    terminal.restore()
    assert termios.tcgetattr(device) == before
    assert signal.getsignal(signal.SIGTERM) == handler


def test_raw_mode_is_taken_back_when_a_signal_kills_the_process(tty: tuple[int, int]) -> None:
    device = tty[1]
    before = termios.tcgetattr(device)
    child = os.fork()
    if child == 0:
        Terminal(Line(), lambda: None, device, device).make_raw()
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM
    assert termios.tcgetattr(device) == before


def test_what_the_chip_has_no_room_for_waits() -> None:
    source, keyboard = os.pipe()
    line = Line(room=3)
    terminal = Terminal(line, lambda: None, source, 1)
    os.write(keyboard, b"abcdef")
    assert terminal.pump() and terminal.fileno() is None
    line.room = 10
    assert not terminal.pump() and terminal.fileno() == source
    assert bytes(line.got) == b"abcdef"
    os.close(keyboard)
    terminal.pump()
    assert terminal.fileno() is None, "the end of a file is no reason to wait for more"
    os.close(source)


def test_the_end_of_a_file_is_said_if_wanted() -> None:
    source, keyboard = os.pipe()
    line = Line(room=3)
    terminal = Terminal(line, lambda: None, source, 1)
    terminal.farewell = b"\x04"
    os.write(keyboard, b"abcd")
    os.close(keyboard)
    assert terminal.pump() and bytes(line.got) == b"abc"
    line.room = 10
    while terminal.fileno() is not None or bytes(line.got) != b"abcd\x04":
        terminal.pump()
    assert not terminal.pump() and bytes(line.got) == b"abcd\x04", "once"
    os.close(source)


def test_ctrl_a_in_a_file_is_a_byte_like_any_other() -> None:
    source, keyboard = os.pipe()
    line, left = Line(), []
    terminal = Terminal(line, lambda: left.append(1), source, 1)
    os.write(keyboard, b"\x01x")
    terminal.pump()
    assert (bytes(line.got), left) == (b"\x01x", [])
    os.close(source)
    os.close(keyboard)


def test_a_reader_that_has_gone_ends_the_run() -> None:
    reader, sink = os.pipe()
    os.close(reader)
    left: list[int] = []
    terminal = Terminal(Line(), lambda: left.append(1), None, sink)
    terminal.write(b"x")
    terminal.flush()
    assert left == [1]
    os.close(sink)


def test_output_is_watched_and_recorded(tmp_path: Path) -> None:
    recorder = Recorder(str(tmp_path / "log"))
    seen: list[bytes] = []
    recorder.watch = seen.append
    for byte in b"hello":
        recorder.write(bytes((byte,)))
    recorder.close()
    assert (seen, (tmp_path / "log").read_bytes()) == ([b"hello"], b"hello")
