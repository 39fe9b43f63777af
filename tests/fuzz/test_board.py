"""Random port and MMIO accesses to the whole board and every card, while time passes: nothing raises, nothing hangs, answers fit, mistakes are counted."""

from __future__ import annotations

import random

import pytest

from devices.backends.disk import MemoryDisk
from devices.core.bus import Bus
from devices.pci.config_space import COMMAND, IO, MASTER, MEMORY
from machine.boot import Firmware
from machine.cards import CARDS, disk_card
from machine.configuration import Configuration
from machine.machine import Machine

HALT = bytes(0x10000 - 16) + b"\xf4" * 16
CARDS_ALL = (*CARDS.values(), disk_card(MemoryDisk(bytes(1 << 16))))
SIZES = (1, 1, 1, 2, 4, 4, 8)
PASSES = (1_000, 1_000_000, 1_000_000_000, 1_000_000_000_000)       # ns


class Guest:
    """Mostly hits what is mapped, at any offset and size; now and then anywhere."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.machine = Machine(Firmware(HALT), Configuration(memory=16 << 20, cpus=2, clock="instructions", cards=CARDS_ALL))
        self.machine.board.as_firmware_leaves_it()
        for card in self.machine.board.cards.values():
            card.config.write(COMMAND, 2, IO | MEMORY | MASTER)
        self.asked: list[object] = []
        board = self.machine.board
        board.on_power_off = lambda: self.asked.append("power off")
        board.on_debug_exit = self.asked.append
        board.on_reset = self.asked.append

    def place(self, bus: Bus) -> tuple[int, int]:
        chance, size = self.chance, self.chance.choice(SIZES)
        if bus is self.machine.ports:
            size = min(size, 4)
        region = chance.choice(bus.regions())
        if chance.random() < 0.97:
            near = min(region.length, 0x400) if chance.random() < 0.9 else region.length
            return min(region.base + chance.randrange(near), bus.limit - size), size
        return chance.randrange(min(bus.limit, 1 << 40) - size), size

    def access(self) -> None:
        chance, machine = self.chance, self.machine
        bus = machine.ports if chance.random() < 0.6 else machine.mmio
        address, size = self.place(bus)
        machine.engine.current = chance.randrange(2)
        if chance.random() < 0.5:
            assert 0 <= bus.read(address, size) < 1 << 8 * size, f"{bus.name} {address:#x}, {size} bytes"
        else:
            bus.write(address, size, chance.choice((0, 1, (1 << 8 * size) - 1, chance.getrandbits(8 * size))))
        if chance.random() < 0.05:
            machine.time.skip_to(machine.time.now() + chance.choice(PASSES))
            assert machine.clock.run_due() < 4096


@pytest.mark.parametrize("accesses", [pytest.param(20_000, id="quick"), pytest.param(1_000_000, id="a-million", marks=pytest.mark.guest)])
def test_no_sequence_of_accesses_harms_the_host(accesses: int) -> None:
    guest = Guest(seed=accesses)
    for _ in range(accesses):
        guest.access()
    log = guest.machine.log
    assert log.total() > accesses // 10 and len(log.counts) <= 2049
    assert {"power off"} < {what for what in guest.asked if isinstance(what, str)} | {what for what in guest.asked if isinstance(what, int)}
