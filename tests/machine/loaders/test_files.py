"""Files that a user names, and firmware images."""

from __future__ import annotations

from pathlib import Path

import pytest

from machine.errors import LoadError
from machine.loaders import firmware
from machine.loaders.files import read_file

VECTOR = b"\xea\x5b\xe0\x00\xf0".ljust(16, b"\x90")


def test_every_unreadable_file_gets_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "large").write_bytes(bytes(2000))
    for name, says in (("none", "No such file"), ("", "folder"), ("empty", "empty"), ("large", "too large")):
        with pytest.raises(LoadError, match=says) as caught:
            read_file(tmp_path / name, "kernel", 1000)
        assert "\n" not in str(caught.value) and str(caught.value).startswith("kernel ")


def test_a_rom_ends_at_4_gib_in_whole_pages() -> None:
    base, rom = firmware.as_rom(bytes(5000) + VECTOR)
    assert (base, len(rom), rom[-16:]) == ((1 << 32) - 8192, 8192, VECTOR)


@pytest.mark.parametrize(("image", "says"), [(b"", "16 bytes to 16 MiB"), (bytes((16 << 20) + 1), "16 MiB"), (bytes(4096), "blank"), (b"\xff" * 4096, "blank")])
def test_what_is_no_firmware_is_refused(image: bytes, says: str) -> None:
    with pytest.raises(LoadError, match=says):
        firmware.as_rom(image)
