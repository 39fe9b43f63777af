"""POST codes, debug console, debug exit."""

from __future__ import annotations

from devices.core.log import AccessLog
from devices.debug_ports import KEPT_CODES, DebugConsole, DebugExit, PostCodes


def test_post_codes_read_back_and_the_last_ones_are_kept() -> None:
    chip = PostCodes(AccessLog())
    port = chip.blocks["port"]
    for code in range(KEPT_CODES + 10):
        port.write(0, 1, code & 0xFF)
    assert port.read(0, 1) == (KEPT_CODES + 9) & 0xFF
    assert (chip.state.written, len(chip.state.codes), chip.state.codes[0]) == (KEPT_CODES + 10, KEPT_CODES, 10)


def test_the_console_is_found_by_what_it_reads() -> None:
    text: list[bytes] = []
    port = DebugConsole(AccessLog(), text.append).blocks["port"]
    assert port.read(0, 1) == 0xE9
    for byte in b"hi\n":
        port.write(0, 1, byte)
    assert b"".join(text) == b"hi\n"


def test_the_exit_takes_writes_of_every_size() -> None:
    values: list[int] = []
    port = DebugExit(AccessLog(), values.append).blocks["port"]
    port.write(0, 1, 0x21)
    port.write(0, 2, 0x1234)
    port.write(0, 4, 0xFFFFFFFF)
    assert values == [0x21, 0x1234, 0xFFFFFFFF]
