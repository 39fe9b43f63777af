"""A kernel on a machine whose ports and registers answer at random: it boots, or says in one line why not, and never hangs or breaks."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.kernel import Kernel
from tests.kernel.fake import Bench, Layout, Machine, Nucleus, program_archive

CHIPS = {"uart": range(0x3F8, 0x400), "rtc": range(0x70, 0x72), "pci": range(0xCF8, 0xD00), "pm": range(0x600, 0x610), "everything": range(0x10000)}


class Haunted(Machine):
    """Some of its chips answer whatever they like."""

    def __init__(self, seed: int, ports: range, favourite: int | None) -> None:
        super().__init__()
        self.chance = random.Random(seed)
        self.ports, self.favourite = ports, favourite
        self.reads = 0

    def port_read(self, port: int, size: int) -> int:
        self.reads += 1
        if port in self.ports:
            if self.favourite is not None and self.chance.random() < 0.8:
                return self.favourite & (1 << 8 * size) - 1
            return self.chance.getrandbits(8 * size)
        return super().port_read(port, size)

    def port_write(self, port: int, size: int, value: int) -> None:
        if port not in self.ports:
            super().port_write(port, size, value)

    def mmio_read(self, address: int, size: int) -> int:
        return super().mmio_read(address, size) if self.ports.start else self.chance.getrandbits(8 * size)

    def mmio_write(self, address: int, size: int, value: int) -> None:
        if self.ports.start:
            super().mmio_write(address, size, value)


@pytest.mark.parametrize("chip", CHIPS)
@given(seed=st.integers(0, 1 << 32), favourite=st.sampled_from([None, 0, 0xFFFFFFFF, 0x61616161, 0xC4C4C4C4, 0xC2C2C2C2, 0x80808080]))
@settings(max_examples=6, deadline=None)
def test_it_boots_or_says_why(chip: str, seed: int, favourite: int | None) -> None:
    machine = Haunted(seed, CHIPS[chip], favourite)
    bench = Bench(machine, Nucleus(machine, Layout(archive=program_archive(), cmdline="terminal=plain")), Kernel(machine))
    bench.nucleus.boot()
    task = bench.kernel.spawn(bench.kernel.console.prompt("> "))
    for _ in range(20):
        machine.now += 10_000_000
        machine.pending.clear()
        for vector in (0x20, 0x30):
            bench.nucleus.interrupt(0, vector)
        bench.kernel.service()
    bench.kernel.power_off()
    bench.kernel.service()
    assert bench.kernel.panicked is None
    for source in bench.kernel.telemetry.sources.values():
        assert all(len(row) == len(source.columns) for row in source.rows())
    assert all(str(record).isprintable() for record in bench.kernel.log.records)
    assert machine.reads < 2_000_000
    task.cancel()
    bench.kernel.close()
