"""SeaBIOS, memtest86+, Linux and a multiboot game on the board in full: what each of them finds. Third-party programs, unmodified."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from machine import Configuration, ExitReason, Firmware, Linux, Machine
from machine.boot import Boot, Multiboot, kernel_from_files
from machine.recording import Recorder, read
from machine.scenario.scenario import Scenario
from tests.guests import debian_busybox, debian_invaders, debian_linux, debian_memtest, debian_seabios
from machine.loaders.initrd import build

__all__ = ["debian_busybox", "debian_invaders", "debian_linux", "debian_memtest", "debian_seabios"]       # fixtures

pytestmark = pytest.mark.guest

PATIENCE = 240                          # seconds of wall time for what takes a few
KEY_ENTER = 28
LINUX_LOOKS = """
mount -t proc proc /proc
mount -t sysfs sys /sys
echo "clock: $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
grep -E 'i8042|HPET|MMCONFIG' /proc/interrupts /proc/iomem
poweroff -f
"""


class Pc:
    """A machine, with what it has said so far."""

    def __init__(self, boot: Boot, **options: object) -> None:
        self.machine = Machine(boot, Configuration(**options))           # type: ignore[arg-type]
        self.serial, self.debug = bytearray(), bytearray()
        self.machine.board.serial_out, self.machine.board.debug_out = self.serial.extend, self.debug.extend
        self._seen = -1

    def until(self, condition: Callable[[], bool]) -> None:
        outcome = self.machine.run(until=condition, timeout=PATIENCE)
        assert outcome.reason is ExitReason.CONDITION, f"{outcome}\n{self.serial.decode(errors='replace')}\n{self.machine.screen().text()}"

    def shows(self, pattern: str) -> Callable[[], bool]:
        """Whether the screen shows this; looked at when it has changed."""
        def looks() -> bool:
            vga = self.machine.board.vga
            if vga.changes == self._seen:
                return False
            self._seen = vga.changes
            return re.search(pattern, "\n".join(vga.lines())) is not None

        return looks


@pytest.fixture
def pcs() -> Iterator[list[Pc]]:
    made: list[Pc] = []
    yield made
    for pc in made:
        pc.machine.close()


def test_seabios_takes_all_it_needs_from_fw_cfg_and_finds_nothing_to_boot(pcs: list[Pc], debian_seabios: Path) -> None:
    pc = Pc(Firmware.from_file(debian_seabios), memory=256 << 20, cpus=4, clock="instructions")
    pcs.append(pc)
    pc.until(lambda: b"No bootable device" in pc.serial)
    said, console = pc.debug.decode(errors="replace"), pc.serial.decode(errors="replace")
    assert "Found 4 cpu(s) max supported 4 cpu(s)" in said
    assert "qemu/e820: addr 0x0000000000000000 len 0x0000000010000000 [RAM]" in said
    assert "(via xsdt)" in said and "ACPI: parse DSDT" in said
    assert "PCIe: using q35 mmconfig at 0xb0000000" in said and "PS2 keyboard initialized" in said
    assert "SeaBIOS (version" in console and "Booting from Hard Disk" in console, "the serial console that etc/sercon-port asks for"
    assert pc.machine.mmio.read(0xB0000000, 4) == 0x29C08086, "where the MCFG says"
    pc.serial.clear()
    pc.until(lambda: pc.serial.count(b"No bootable device") >= 1)        # a minute of virtual time later it resets the machine and tries again
    assert pc.machine.stats.resets == 1 and pc.machine.time.now() > 60 * 10**9


@pytest.mark.parametrize("cpus", [1, 4])
def test_memtest_runs_and_finds_no_error(cpus: int, pcs: list[Pc], debian_memtest: Path) -> None:
    pc = Pc(Linux.from_files(debian_memtest), memory=8 << 20, cpus=cpus)
    pcs.append(pc)
    pc.until(pc.shows("Press <F1>"))
    for pressed in (True, False):
        pc.machine.board.i8042.keyboard.key(KEY_ENTER, pressed)
    pc.until(pc.shows(r"Test #8 .*\n(?:.*\n)*.*Status: Testing"))
    screen = pc.machine.screen()
    assert "Memtest86+" in screen.lines()[0] and "Folkering Virtual CPU" in screen.lines()[0]
    assert re.search(r"Memory +: +8MB", screen.text())
    assert re.search(rf"CPU: \d Cores {cpus} Threads", screen.text())
    assert re.search(r"Pass +\d+%", screen.text()) and re.search(r"Errors: 0 *$", screen.text(), re.MULTILINE)
    assert ("SMP: 4T (PAR)" in screen.text()) == (cpus == 4)


@pytest.mark.parametrize("cpus", [1, 4])
def test_linux_finds_the_chips(cpus: int, pcs: list[Pc], debian_linux: Path, debian_busybox: Path) -> None:
    initrd = build(debian_busybox, LINUX_LOOKS)
    pc = Pc(Linux(debian_linux.read_bytes(), initrd, "console=ttyS0"), cpus=cpus)
    pcs.append(pc)
    outcome = pc.machine.run(timeout=PATIENCE)
    said = pc.serial.decode(errors="replace")
    assert outcome.reason is ExitReason.POWER_OFF, said[-2000:]
    assert f"clock: {'hpet' if cpus > 1 else 'tsc'}" in said, "with several processors Linux trusts only the counters of vendors that it knows"
    assert "hpet0: 3 comparators, 64-bit 14.318180 MHz counter" in said
    assert "PCI: MMCONFIG for domain 0000 [bus 00-ff] at [mem 0xb0000000-0xbfffffff]" in said
    assert "input: AT Translated Set 2 keyboard" in said and "Console: colour VGA+ 80x25" in said
    assert re.search(r"b0000000-bfffffff : PCI MMCONFIG", said) and re.search(r"fed00000-fed003ff : HPET 0", said)
    assert re.search(r"/proc/interrupts: +1:(?: +\d+)+ +IO-APIC +1-edge +i8042", said)
    assert "WARNING" not in said and "firmware bug" not in said.lower()


def test_a_multiboot_game_draws_and_moves(pcs: list[Pc], debian_invaders: Path) -> None:
    boot = kernel_from_files(debian_invaders)
    assert isinstance(boot, Multiboot)
    pc = Pc(boot, memory=16 << 20)
    pcs.append(pc)
    pc.until(pc.shows(r"(?m)-\*-.*-\*-"))
    first = pc.machine.screen().lines()
    pc.until(lambda: pc.machine.board.vga.lines() != first)


def shown(pc: Scenario, text: str) -> Callable[[], bool]:
    """Whether the screen shows this; looked at when it has changed."""
    seen = -1

    def looks() -> bool:
        nonlocal seen
        before, seen = seen, pc.machine.board.vga.changes
        return seen != before and text in pc.screen().text()

    return looks


def test_keys_for_memtest_are_recorded_and_come_again(debian_memtest: Path, tmp_path: Path) -> None:
    """F1 opens its menu, F10 leaves it, Escape resets the machine."""
    boot, configuration = Linux.from_files(debian_memtest), Configuration(8 << 20, clock="instructions")
    with Scenario.boot(boot, configuration) as pc, (tmp_path / "keys").open("wb") as file:
        recorder = Recorder(pc.machine, file.write)
        pc.wait_until(shown(pc, "Press <F1>"), "the first screen", within=1)
        pc.press("f1")
        pc.wait_until(shown(pc, "<F1>  Test selection"), "the menu", within=0.5)
        pc.press("f10")
        pc.wait_until(shown(pc, "│ Test #"), "the menu to go", within=0.5)
        pc.press("esc")
        pc.wait_until(lambda: pc.machine.stats.resets == 1, "a reset", within=0.5)
        pc.wait_until(shown(pc, "Press <F1>"), "the first screen again", within=1)
        recorder.finish()
    recording = read(tmp_path / "keys")
    assert [event.data for event in recording.events if event.inlet == "keyboard"] == [b"+59", b"-59", b"+68", b"-68", b"+1", b"-1"]
    again = Machine(boot, configuration)
    player = recording.player(again)
    assert again.run(until=lambda: player.arrived, timeout=PATIENCE).reason is ExitReason.CONDITION
    assert recording.difference(again, player.arrived) is None and again.stats.resets == 1
    again.close()


def test_a_multiboot_game_is_played_with_the_keyboard(debian_invaders: Path) -> None:
    """The ship moves to the left; without hands it stays where it is."""
    with Scenario.boot(kernel_from_files(debian_invaders), Configuration(16 << 20, clock="instructions")) as pc:
        pc.wait_until(shown(pc, "/ \\"), "the ship", within=1)
        with pc.fork() as left_alone:
            left_alone.run_for(0.15)
            still = left_alone.screen().lines()
        pc.press("left", "left")
        pc.run_for(0.15)
        moved = pc.screen().lines()
    ship, other = (next(line for line in lines if "/ \\" in line).index("/") for lines in (still, moved))
    assert other < ship
