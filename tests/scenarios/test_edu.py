"""A card that a guest drives: our own kernel uses an EDU device to its end, on our PC and on QEMU; SeaBIOS and Linux find it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.pci.card import Card
from machine import Configuration, Firmware, Linux, Machine, Multiboot
from machine.boot import Boot
from machine.cards import CARDS
from machine.loaders.initrd import build
from machine.outcome import ExitReason
from machine.trace import Trace
from tests.boot import has_qemu, qemu_kernel
from tests.guests import debian_busybox, debian_linux, debian_seabios
from tests.machine.probe import PROBE
from tests.scenarios.edu_guest import kernel

__all__ = ["debian_busybox", "debian_linux", "debian_seabios"]           # fixtures

MIB = 1 << 20
PATIENCE = 60.0
SAID = """\
slot {slot:02X}
class 00FF0010 status 00000010 pin 01 line {line:02X}
assigned and answering
size FFF00000
identification 010000ED liveness EDCBA987
factorial 00375F00 00000000
there and back, the same
INTx 01 for 00000100
raised by hand, status 00000018 02 for 0000005A
INTx disabled 02
by the IOAPIC 02 03 pending 00000000
MSI at 40 control 00000080
message 01 for 00000001 factorial 00000078
no bus master: messages 01 memory 11223344 and again: messages 02 for 00000099 INTx 02
done"""
LINES = {1: 10, 2: 11, 3: 11, 4: 10}         # what a firmware fills in for INTA# of these slots
REFUSED = {("edu", "COMMAND"), ("edu", "MSI_ADDRESS"), ("edu", "DMA_COMMAND")}


class Pc:
    """A machine with cards and what it says."""

    def __init__(self, boot: Boot, cards: int = 1, plugged: tuple[Card, ...] = (), **options: object) -> None:
        values = {"memory": 16 * MIB, "clock": "instructions", "cards": plugged or (CARDS["edu"],) * cards, **options}
        configuration = Configuration(**values)                          # type: ignore[arg-type]
        self.machine = Machine(boot, configuration)
        self.serial, self.debug = bytearray(), bytearray()
        self.machine.board.serial_out, self.machine.board.debug_out = self.serial.extend, self.debug.extend

    def run(self, until: bytes) -> str:
        """What COM1 has said when it says `until`."""
        outcome = self.machine.run(until=lambda: until in self.serial, timeout=PATIENCE)
        assert outcome.reason is ExitReason.CONDITION, f"{outcome}: {self.serial.decode(errors='replace')}"
        return self.text

    @property
    def text(self) -> str:
        return self.serial.decode(errors="replace").replace("\r\n", "\n").rstrip("\n")


@pytest.fixture
def pcs() -> Iterator[list[Pc]]:
    made: list[Pc] = []
    yield made
    for pc in made:
        pc.machine.close()


@pytest.mark.parametrize("cards", [1, 4])
@pytest.mark.parametrize("clock", ["instructions", "host"])
def test_a_guest_uses_the_card_to_its_end(clock: str, cards: int, pcs: list[Pc]) -> None:
    pcs.append(pc := Pc(Multiboot(kernel()), cards, clock=clock))
    assert pc.run(b"done\r\n") == SAID.format(slot=cards, line=LINES[cards])
    name = "edu" if cards == 1 else f"edu-{cards}"
    assert {(device.replace(name, "edu"), register) for device, register, _ in pc.machine.log.counts} == REFUSED, pc.machine.log.lines


@pytest.mark.guest
@pytest.mark.parametrize("cards", [1, 4])
def test_it_says_the_same_on_qemu(cards: int) -> None:
    if not has_qemu():
        pytest.skip("qemu-system-x86_64 is not installed")
    plugged = [word for slot in range(1, cards + 1) for word in ("-device", f"edu,addr={slot}")]
    assert qemu_kernel(kernel(), "-m", "64", *plugged, until="done") == SAID.format(slot=cards, line=LINES[cards])


def test_after_a_reset_the_card_is_as_it_was_at_first(pcs: list[Pc]) -> None:
    pcs.append(pc := Pc(Multiboot(kernel())))
    pc.run(b"no bus master")
    pc.serial.clear()
    pc.machine.ports.write(0xCF9, 1, 0x06)
    assert pc.run(b"done\r\n") == SAID.format(slot=1, line=10) and pc.machine.stats.resets == 1


def test_the_same_run_again_and_from_a_snapshot(pcs: list[Pc], tmp_path: Path) -> None:
    """Two runs leave the same trace; a machine that was saved while a transfer was under way comes to the same end."""
    traces: list[bytearray] = []
    for _ in range(2):
        pcs.append(pc := Pc(Multiboot(kernel())))
        traces.append(trace := bytearray())
        Trace(pc.machine, trace.extend)
        pc.run(b"done\r\n")
    assert traces[0] == traces[1]
    lines = traces[0].decode().splitlines()
    assert len([line for line in lines if " 00:01.0 dma " in line]) == 4, "two transfers, two messages"
    assert [line.split()[-1] for line in lines if " takes interrupt " in line] == ["0x2b", "0x2b", "0x50", "0x50", "0x50", "0x40", "0x40"]

    pcs.append(half := Pc(Multiboot(kernel())))
    half.machine.run(until=lambda: half.machine.board.cards["edu"].state.dma_command != 0, timeout=PATIENCE)
    half.machine.save(tmp_path / "half")
    loaded = Machine.load(tmp_path / "half")
    rest = bytearray()
    loaded.board.serial_out = rest.extend
    assert loaded.run(until=lambda: b"done\r\n" in rest, timeout=PATIENCE).reason is ExitReason.CONDITION
    loaded.close()
    assert bytes(half.serial + rest) == bytes(pcs[0].serial)


@pytest.mark.guest
def test_seabios_assigns_what_the_card_asks_for(pcs: list[Pc], debian_seabios: Path) -> None:
    pcs.append(pc := Pc(Firmware.from_file(debian_seabios), 2, memory=128 * MIB))
    pc.run(b"No bootable device")
    said = pc.debug.decode(errors="replace")
    assert "Found 4 PCI devices" in said and "PCI: init bdf=00:01.0 id=1234:11e8" in said and "PCI: init bdf=00:02.0 id=1234:11e8" in said
    for number, base in re.findall(r"map device bdf=00:(0\d)\.0  bar 0, addr ([0-9a-f]{8}), size 00100000 \[mem\]", said):
        name = {"01": "edu", "02": "edu-2"}[number]
        config = pc.machine.board.cards[name].config
        assert config.read(0x10, 4) == int(base, 16) and pc.machine.mmio.read(int(base, 16), 4) == 0x010000ED
        assert config.read(0x3C, 1) == LINES[int(number)] and config.read(4, 2) & 3 == 3
    assert "Q35 LPC init: elcr=00 0c" in said and len(re.findall("map device", said)) == 2
    assert not [line for line in pc.machine.log.lines if "edu" in line]


@pytest.mark.guest
def test_seabios_assigns_every_kind_of_base_address(pcs: list[Pc], debian_seabios: Path) -> None:
    pcs.append(pc := Pc(Firmware.from_file(debian_seabios), plugged=(PROBE, PROBE), memory=128 * MIB))
    pc.run(b"No bootable device")
    found = re.findall(r"map device bdf=00:0([12])\.0  bar (\d), addr ([0-9a-f]{8}), size ([0-9a-f]{8}) \[(\w+)\]", pc.debug.decode(errors="replace"))
    assert sorted((slot, bar, int(size, 16), kind) for slot, bar, _, size, kind in found) == sorted(
        (slot, *bar) for slot in "12" for bar in (("0", 0x1000, "mem"), ("1", 0x20, "io"), ("2", 0x2000, "prefmem")))
    bases = {(slot, bar): int(base, 16) for slot, bar, base, _, _ in found}
    for slot in "12":
        pc.machine.mmio.write(bases[slot, "0"], 4, int(slot))
        pc.machine.ports.write(bases[slot, "1"], 4, 10 * int(slot))
    for slot in "12":
        assert pc.machine.mmio.read(bases[slot, "2"], 4) == int(slot) and pc.machine.ports.read(bases[slot, "1"], 4) == 10 * int(slot)


LOOK = """
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for d in /sys/bus/pci/devices/*; do echo "found $(basename $d) $(cat $d/vendor) $(cat $d/device) $(cat $d/class) $(head -n1 $d/resource)"; done
for d in 0000:00:01.0 0000:00:02.0; do echo 1 > /sys/bus/pci/devices/$d/enable; echo "irq $d $(cat /sys/bus/pci/devices/$d/irq)"; done
base=$(head -n1 /sys/bus/pci/devices/0000:00:02.0/resource | cut -d' ' -f1)
echo "reads $(devmem $base 32)"
devmem $((base + 4)) 32 0x0000ffff
echo "alive $(devmem $((base + 4)) 32)"
poweroff -f
"""


@pytest.mark.guest
@pytest.mark.parametrize(("append", "irqs"), [("", {1: 17, 2: 18}), ("noapic", {1: 10, 2: 11})])
def test_linux_finds_the_cards(append: str, irqs: dict[int, int], pcs: list[Pc], debian_linux: Path, debian_busybox: Path) -> None:
    initrd = build(debian_busybox, LOOK)
    pcs.append(pc := Pc(Linux(debian_linux.read_bytes(), initrd, f"console=ttyS0 {append}"), 2, memory=256 * MIB, clock="host"))
    outcome = pc.machine.run(timeout=PATIENCE)
    assert outcome.reason is ExitReason.POWER_OFF, pc.text[-2000:]
    resource = {1: "0x00000000c0000000 0x00000000c00fffff", 2: "0x00000000c0100000 0x00000000c01fffff"}
    for slot in (1, 2):
        assert f"found 0000:00:0{slot}.0 0x1234 0x11e8 0x00ff00 {resource[slot]}" in pc.text, pc.text[-2000:]
        assert f"irq 0000:00:0{slot}.0 {irqs[slot]}" in pc.text, "what _PRT says"
    assert "reads 0x010000ED" in pc.text and "alive 0xFFFF0000" in pc.text
    assert not [line for line in pc.machine.log.lines if "edu" in line]
