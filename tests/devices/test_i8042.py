"""8042 with keyboard and mouse, by the PS/2 Hardware Interface Technical Reference."""

from __future__ import annotations

import pytest

from devices.core.clock import ManualTime, VirtualClock
from devices.core.irq import IrqLine
from devices.core.log import AccessLog
from devices.core.reset import ResetKind
from devices.i8042 import I8042
from devices.ps2_keyboard import TRANSLATION, scan_codes, translate

MS = 1_000_000
KEY_A, KEY_B, KEY_RIGHT, KEY_PAUSE = 30, 48, 106, 119


class Bench:
    def __init__(self) -> None:
        self.time = ManualTime()
        self.clock = VirtualClock(self.time)
        self.edges: list[str] = []
        self.irq1 = IrqLine(lambda level: self.edges.append("1") if level else None)
        self.irq12 = IrqLine(lambda level: self.edges.append("12") if level else None)
        self.log = AccessLog()
        self.resets: list[ResetKind] = []
        self.chip = I8042(self.clock, self.irq1, self.irq12, self.log, self.resets.append)

    def command(self, value: int, *data: int) -> None:
        self.chip.blocks["command"].write(0, 1, value)
        self.data(*data)

    def data(self, *values: int) -> None:
        for value in values:
            self.chip.blocks["data"].write(0, 1, value)

    def status(self) -> int:
        return self.chip.blocks["command"].read(0, 1)

    def drain(self) -> list[int]:
        """Everything there is to read, as a driver polls it: the mouse's bytes with bit 8 set."""
        seen = []
        while (status := self.status()) & 1:
            seen.append(self.chip.blocks["data"].read(0, 1) | (status & 0x20) << 3)
        return seen

    def mouse(self, *values: int) -> list[int]:
        for value in values:
            self.command(0xD4, value)
        return [byte & 0xFF for byte in self.drain()]

    def keyboard(self, *values: int) -> list[int]:
        self.data(*values)
        return self.drain()

    def wait(self, ns: int) -> None:
        end = self.time.now() + ns
        while (deadline := self.clock.next_deadline()) is not None and deadline <= end:
            self.time.advance(max(deadline - self.time.now(), 0))
            self.clock.run_due()
        self.time.advance(end - self.time.now())


@pytest.fixture
def ps2() -> Bench:
    return Bench()


def test_self_test_and_interface_tests(ps2: Bench) -> None:
    ps2.command(0xAA)
    ps2.command(0xAB)
    ps2.command(0xA9)
    assert ps2.drain() == [0x55, 0x00, 0x00]


def test_command_byte_and_the_rest_of_the_ram(ps2: Bench) -> None:
    ps2.command(0x60, 0x47)
    ps2.command(0x65, 0x99)
    ps2.command(0x20)
    ps2.command(0x25)
    assert ps2.drain() == [0x47, 0x99]
    assert ps2.status() & 8
    ps2.data(0xEE)
    assert not ps2.status() & 8


def test_output_buffer_status_and_interrupt(ps2: Bench) -> None:
    assert ps2.status() & 0x21 == 0
    ps2.chip.keyboard.key(KEY_A, True)
    assert ps2.status() & 0x21 == 0x01 and ps2.irq1.level
    assert ps2.drain() == [0x1E] and not ps2.irq1.level
    ps2.chip.keyboard.key(KEY_A, False)
    ps2.command(0x60, 0x44)
    assert not ps2.irq1.level and ps2.drain() == [0x9E]


def test_each_byte_is_an_edge(ps2: Bench) -> None:
    ps2.chip.keyboard.key(KEY_RIGHT, True)
    assert ps2.drain() == [0xE0, 0x4D] and ps2.edges == ["1", "1"]


def test_without_translation_the_guest_sees_set_2(ps2: Bench) -> None:
    ps2.command(0x60, 0x05)
    ps2.chip.keyboard.key(KEY_RIGHT, True)
    ps2.chip.keyboard.key(KEY_RIGHT, False)
    assert ps2.drain() == [0xE0, 0x74, 0xE0, 0xF0, 0x74]


@pytest.mark.parametrize("key", [*range(1, 84), 87, 88])
def test_key_numbers_of_the_main_block_are_set_1(key: int) -> None:
    assert translate(scan_codes(key, True)) == bytes((key,)) and translate(scan_codes(key, False)) == bytes((key | 0x80,))


def test_translation_is_one_to_one_below_0x80() -> None:
    assert len(TRANSLATION) == 0x100 and len(set(TRANSLATION[:0x80])) == 0x80


def test_pause_and_unknown_keys() -> None:
    assert translate(scan_codes(KEY_PAUSE, True)) == b"\xe1\x1d\x45\xe1\x9d\xc5" and scan_codes(KEY_PAUSE, False) == b""
    assert scan_codes(0x2FF, True) == scan_codes(0, True) == b""


def test_held_keyboard_clock_keeps_bytes_until_it_is_released(ps2: Bench) -> None:
    ps2.command(0xAD)
    ps2.chip.keyboard.key(KEY_A, True)
    assert ps2.drain() == []
    ps2.command(0xAE)
    assert ps2.drain() == [0x1E]


def test_keyboard_commands(ps2: Bench) -> None:
    assert ps2.keyboard(0xFF) == [0xFA, 0xAA]
    assert ps2.keyboard(0xF2) == [0xFA, 0xAB, 0x41]                     # 0x83, translated
    assert ps2.keyboard(0xEE) == [0xEE]
    assert ps2.keyboard(0xED, 0x05) == [0xFA, 0xFA] and ps2.chip.state.keyboard.leds == 5
    assert ps2.keyboard(0xF0, 0x00) == [0xFA, 0xFA, 0x41]               # 2, translated
    assert ps2.keyboard(0xF0, 0x03) == [0xFA, 0xFE]
    assert ps2.keyboard(0x12) == [0xFE]


def test_a_command_in_place_of_a_parameter_is_a_command(ps2: Bench) -> None:
    assert ps2.keyboard(0xED, 0xF4) == [0xFA, 0xFA] and ps2.chip.state.keyboard.leds == 0


def test_disabled_keyboard_reports_no_keys(ps2: Bench) -> None:
    assert ps2.keyboard(0xF5) == [0xFA]
    ps2.chip.keyboard.key(KEY_A, True)
    assert ps2.drain() == []
    assert ps2.keyboard(0xF4) == [0xFA]
    ps2.chip.keyboard.key(KEY_A, True)
    assert ps2.drain() == [0x1E]


def test_typematic_delay_and_rate(ps2: Bench) -> None:
    ps2.keyboard(0xF3, 0x20)                                            # 500 ms, then 30 a second
    ps2.chip.keyboard.key(KEY_A, True)
    assert ps2.drain() == [0x1E]
    ps2.wait(499 * MS)
    assert ps2.drain() == []
    ps2.wait(1 * MS)
    assert ps2.drain() == [0x1E]
    ps2.wait(67 * MS)
    assert ps2.drain() == [0x1E, 0x1E]
    ps2.chip.keyboard.key(KEY_B, True)                                  # another key takes over
    ps2.wait(500 * MS)
    assert ps2.drain() == [0x30, 0x30]
    ps2.chip.keyboard.key(KEY_B, False)
    ps2.wait(1000 * MS)
    assert ps2.drain() == [0xB0]


def test_a_full_keyboard_buffer_says_so(ps2: Bench) -> None:
    ps2.command(0x60, 0x05)
    for _ in range(40):
        ps2.chip.keyboard.key(KEY_A, True)
    assert ps2.drain() == [0x1C] * 17 + [0x00]


def test_mouse_reset_and_identity(ps2: Bench) -> None:
    assert ps2.mouse(0xFF) == [0xFA, 0xAA, 0x00]
    assert ps2.mouse(0xF2) == [0xFA, 0x00]


def test_mouse_bytes_carry_the_aux_flag_and_irq_12(ps2: Bench) -> None:
    ps2.command(0x60, 0x47)
    ps2.command(0xD4, 0xF4)
    assert ps2.irq12.level and not ps2.irq1.level and ps2.drain() == [0x1FA]


def test_mouse_reports_movement_and_buttons(ps2: Bench) -> None:
    ps2.mouse(0xF4)
    ps2.chip.mouse.move(5, -3, buttons=1)
    assert [byte & 0xFF for byte in ps2.drain()] == [0x29, 0x05, 0xFD]
    ps2.chip.mouse.move(-300, 0, buttons=0)
    assert [byte & 0xFF for byte in ps2.drain()] == [0x18, 0x01, 0x00, 0x18, 0xD3, 0x00]


def test_movement_adds_up_while_nobody_reads(ps2: Bench) -> None:
    ps2.mouse(0xF4)
    for _ in range(100):
        ps2.chip.mouse.move(1, 0)
    packets = [byte & 0xFF for byte in ps2.drain()]
    assert sum(packets[1::3]) == 100 and len(packets) < 30


def test_intellimouse_knocks(ps2: Bench) -> None:
    ps2.mouse(0xF3, 200, 0xF3, 100, 0xF3, 80)
    assert ps2.mouse(0xF2) == [0xFA, 3]
    ps2.mouse(0xF4)
    ps2.chip.mouse.move(0, 0, wheel=-1)
    assert [byte & 0xFF for byte in ps2.drain()] == [0x08, 0, 0, 0xFF]
    ps2.mouse(0xF3, 200, 0xF3, 200, 0xF3, 80)
    assert ps2.mouse(0xF2) == [0xFA, 4]
    ps2.chip.mouse.move(0, 0, buttons=0x10)
    assert [byte & 0xFF for byte in ps2.drain()] == [0x08, 0, 0, 0x20]


def test_mouse_status_resolution_and_refusals(ps2: Bench) -> None:
    ps2.mouse(0xE8, 3, 0xE7)
    assert ps2.mouse(0xE9) == [0xFA, 0x10, 3, 100]
    assert ps2.mouse(0xF3, 55) == [0xFA, 0xFE] and ps2.mouse(0x01) == [0xFE]


def test_mouse_wrap_and_remote(ps2: Bench) -> None:
    assert ps2.mouse(0xEE, 0x55, 0xF4, 0xEC) == [0xFA, 0x55, 0xF4, 0xFA]
    ps2.mouse(0xF0, 0xF4)
    ps2.chip.mouse.move(4, 0)
    assert ps2.drain() == [] and ps2.mouse(0xEB) == [0xFA, 0x08, 4, 0]


def test_bytes_written_for_keyboard_and_mouse(ps2: Bench) -> None:
    ps2.command(0xD2, 0x1E)
    ps2.command(0xD3, 0x77)
    assert ps2.drain() == [0x1E, 0x177]


def test_reset_line(ps2: Bench) -> None:
    ps2.command(0xFE)
    ps2.command(0xD1, 0x02)
    ps2.command(0xD1, 0x03)
    ps2.command(0xF1)
    assert ps2.resets == [ResetKind.INIT, ResetKind.INIT]
    ps2.command(0xD0)
    assert ps2.drain() == [0x03]


def test_output_port_has_idle_lines_and_keeps_what_is_written(ps2: Bench) -> None:
    ps2.command(0xD0)
    assert ps2.drain() == [0xCF], "clock and data of both serial lines are high"
    ps2.command(0xD1, 0xFF)
    ps2.command(0xD0)
    assert ps2.drain() == [0xCF], "bits 4 and 5 follow the output buffer"
    ps2.command(0xD1, 0x47)
    ps2.command(0xD0)
    assert ps2.drain() == [0x47]


def test_unknown_command_is_noted(ps2: Bench) -> None:
    ps2.command(0xB5)
    assert ps2.log.total() == 1 and ps2.drain() == []


def test_snapshot_with_a_key_held_down(ps2: Bench) -> None:
    ps2.chip.keyboard.key(KEY_A, True)
    other = Bench()
    keyboard = other.chip.keyboard
    other.chip.restore(ps2.chip.save())
    assert other.irq1.level and other.drain() == [0x1E] and other.chip.keyboard is keyboard
    other.wait(500 * MS)
    assert other.drain() == [0x1E]
    other.chip.reset()
    assert other.clock.next_deadline() is None


def test_what_is_heard_can_be_entered_again(ps2: Bench) -> None:
    heard: list[tuple[str, bytes]] = []
    other = Bench()
    for bench in (ps2, other):
        bench.mouse(0xF4)
    ps2.chip.keyboard.heard, ps2.chip.mouse.heard = lambda data: heard.append(("keyboard", data)), lambda data: heard.append(("mouse", data))
    ps2.chip.keyboard.key(KEY_RIGHT, True)
    ps2.chip.mouse.move(3, -300, 1, 5)
    ps2.chip.mouse.move(1 << 40, 0)
    ps2.chip.keyboard.key(KEY_RIGHT, False)
    assert heard == [("keyboard", b"+106"), ("mouse", b"3 -300 1 5"), ("mouse", b"1048576 0 0 5"), ("keyboard", b"-106")]
    for device, data in heard:
        (other.chip.keyboard if device == "keyboard" else other.chip.mouse).enter(data)
    assert other.chip.save() == ps2.chip.save() and ps2.chip.state.mouse.buttons == 5


@pytest.mark.parametrize("data", [
    b"", b"+", b"30", b"*30", b"+0", b"+768", b"+-1", b"+x", b"+%d" % 10**99, b"0 0 0", b"0 0 0 32",
    b"0 0 0 -1", b"1048577 0 0 0", b"0 0 0 0 0", b"a b c d", b"%d 0 0 0" % 10**99])
def test_what_makes_no_sense_cannot_be_entered(ps2: Bench, data: bytes) -> None:
    for enter in (ps2.chip.keyboard.enter, ps2.chip.mouse.enter):
        with pytest.raises(ValueError, match="is no (key|movement)"):
            enter(data)
    assert ps2.drain() == []
