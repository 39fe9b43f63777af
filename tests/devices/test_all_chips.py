"""What every chip has to stand. A chip comes in with one line in `CHIPS`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from devices.apic_bus import ApicBus
from devices.backends.disk import MemoryDisk
from devices.backends.entropy import SeededEntropy
from devices.core.clock import ManualTime, VirtualClock
from devices.core.cpu import ManualCpu
from devices.core.dma import RamPort
from devices.core.irq import IrqLine
from devices.core.log import AccessLog, UnmodelledAccess
from devices.core.registers import TODO, Block, Chip, Register, Touch
from devices.debug_ports import DebugConsole, DebugExit, PostCodes
from devices.fw_cfg import FwCfg
from devices.hpet import Hpet
from devices.i8042 import I8042
from devices.ioapic import IoApic
from devices.lapic import Lapic
from devices.pci.edu import Edu
from devices.pci.host_bridge import ConfigAddress, HostBridge
from devices.pci.lpc import LpcBridge
from devices.pci.msix import Msix
from devices.pic8259 import Pic8259Pair
from devices.pit8254 import Pit8254
from devices.pm import AcpiPm
from devices.port61 import Port61
from devices.reset_control import ResetControl, SystemControlPortA
from devices.rtc import Rtc
from devices.uart16550 import Uart16550
from devices.vga_text import VgaText
from devices.virtio.blk import VirtioBlk
from devices.virtio.rng import VirtioRng
from devices.virtio.transport_pci import plug_in


@dataclass
class Bench:
    """What chips are wired to. `heard` collects whatever they tell their surroundings."""

    strict: bool = False
    log: AccessLog = field(init=False)
    time: ManualTime = field(default_factory=ManualTime)
    clock: VirtualClock = field(init=False)
    bus: ApicBus = field(default_factory=ApicBus)
    cpu: ManualCpu = field(default_factory=ManualCpu)
    dma: RamPort = field(default_factory=lambda: RamPort(bytearray(4096)))
    lines: list[IrqLine] = field(default_factory=list)
    heard: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log = AccessLog(strict=self.strict)
        self.clock = VirtualClock(self.time)

    @property
    def line(self) -> IrqLine:
        """A new wire that leads nowhere."""
        return IrqLine(name="test")

    def hear(self, *what: object) -> None:
        self.heard.append(what)


CHIPS: dict[str, Callable[[Bench], Chip[Any]]] = {
    "pic-master": lambda bench: Pic8259Pair(bench.log).master,
    "pic-slave": lambda bench: Pic8259Pair(bench.log).slave,
    "lapic": lambda bench: Lapic(3, bench.cpu, bench.bus, bench.clock, bench.log, 1_000_000_000, Pic8259Pair(bench.log)),
    "ioapic": lambda bench: IoApic(bench.bus, bench.log, apic_id=4),
    "pit8254": lambda bench: Pit8254(bench.clock, bench.line, bench.log),
    "port61": lambda bench: Port61(bench.clock, Pit8254(bench.clock, bench.line, bench.log), bench.log),
    "rtc": lambda bench: Rtc(bench.clock, bench.line, bench.log),
    "uart16550": lambda bench: Uart16550(bench.clock, bench.line, bench.log),
    "uart16550-paced": lambda bench: Uart16550(bench.clock, bench.line, bench.log, paced=True),
    "acpi-pm": lambda bench: AcpiPm(bench.clock, bench.line, bench.log, bench.hear),
    "reset-control": lambda bench: ResetControl(bench.log, bench.hear),
    "port92": lambda bench: SystemControlPortA(bench.log, bench.hear),
    "post": lambda bench: PostCodes(bench.log),
    "debug-console": lambda bench: DebugConsole(bench.log, bench.hear),
    "debug-exit": lambda bench: DebugExit(bench.log, bench.hear),
    "fw_cfg": lambda bench: FwCfg(bench.log, bench.dma, 1 << 28, 4, {"opt/test": b"text"}),
    "host-bridge": lambda bench: HostBridge(bench.log),
    "lpc": lambda bench: LpcBridge(bench.log, bench.hear, bench.hear, 0x600),
    "hpet": lambda bench: Hpet(bench.clock, [bench.line for _ in range(24)], (bench.line, bench.line), bench.dma, bench.log),
    "i8042": lambda bench: I8042(bench.clock, bench.line, bench.line, bench.log, bench.hear),
    "vga-text": lambda bench: VgaText(bench.clock, bench.log),
    "edu": lambda bench: Edu(bench.clock, bench.dma, bench.log),
    "msix": lambda bench: Msix(bench.log, bench.dma),
    "virtio-blk": lambda bench: plug_in(bench.log, VirtioBlk(bench.log, MemoryDisk(bytes(1 << 16))), bench.dma),
    "virtio-rng": lambda bench: plug_in(bench.log, VirtioRng(bench.log, SeededEntropy(b"test")), bench.dma),
    "pci-config": lambda bench: ConfigAddress(bench.log),
}
KEEP_OVER_RESET = {"rtc"}                        # battery-backed
MOMENTS = {"checked"}                            # when a chip looked at the clock last; it looks again when it is restored
SIZES = (1, 2, 4, 8, 3, 16)


def everywhere(block: Block) -> Iterator[int]:
    """Every offset of a small block; of a large one those at and around its registers, and the ends."""
    if block.length <= 256:
        return iter(range(-2, block.length + 3))
    near = {entry + lane for entry in block.entries for lane in range(-1, 5)}
    return iter(sorted(near | {-1, block.length - 1, block.length, block.length + 1000}))


def poke(bench: Bench, chip: Chip[Any], seed: int, accesses: int = 300) -> None:
    """Accesses at random, mostly at registers, with time passing."""
    chance = random.Random(seed)
    blocks = list(chip.blocks.values())
    for _ in range(accesses):
        block = chance.choice(blocks)
        offset = chance.choice(list(block.entries)) if chance.random() < 0.9 else chance.randrange(block.length)
        size = chance.choice((1, 2, 4, 8))
        if chance.random() < 0.6:
            block.write(offset, size, chance.choice((0, 1, (1 << 8 * size) - 1, chance.getrandbits(8 * size))))
        else:
            block.read(offset, size)
        bench.time.advance(chance.choice((0, 1, 1000, 10_000_000)))
        bench.clock.run_due()


@pytest.fixture(params=list(CHIPS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_kept_registers_hold_their_reset_values(name: str) -> None:
    chip = CHIPS[name](Bench())
    given = chip.initial()
    for layout in chip.BLOCKS:
        for register in layout.registers:
            if hasattr(type(chip.state)(), register.name.lower()):
                expected = getattr(given, register.name.lower())
                kept = getattr(chip.state, register.name.lower())
                if name not in KEEP_OVER_RESET:
                    assert kept == expected, register.name


def test_every_register_says_what_it_is(name: str) -> None:
    chip = CHIPS[name](Bench())
    assert chip.NAME and chip.blocks
    views = chip.describe()
    assert len(views) == sum(register.count for layout in chip.BLOCKS for register in layout.registers)
    for view in views:
        assert 0 <= view.value < 1 << 8 * view.width, view.name


def test_reset_forgets_everything(name: str) -> None:
    if name in KEEP_OVER_RESET:
        pytest.skip("keeps its memory")
    bench = Bench()
    chip = CHIPS[name](bench)
    fresh = chip.save()
    poke(bench, chip, seed=1)
    assert chip.save() != fresh or not fresh
    chip.reset()
    assert without_moments(chip.save()) == without_moments(fresh)


def without_moments(saved: dict[str, Any]) -> dict[str, Any]:
    """A state without what depends on when it was looked at."""
    return {key: value for key, value in saved.items() if key not in MOMENTS}


@pytest.mark.parametrize("seed", range(3))
def test_snapshot_round_trip(name: str, seed: int) -> None:
    bench = Bench()
    chip = CHIPS[name](bench)
    poke(bench, chip, seed)
    saved = chip.save()
    assert plain(saved)
    twin_bench = Bench(time=bench.time)
    twin = CHIPS[name](twin_bench)
    twin.restore(saved)
    assert without_moments(twin.save()) == without_moments(saved)
    assert twin.describe() == chip.describe()
    poke_both = random.Random(seed)
    for _ in range(50):
        block = poke_both.choice(list(chip.blocks))
        offset, size = poke_both.choice(list(chip.blocks[block].entries)), poke_both.choice((1, 2, 4))
        assert chip.blocks[block].peek(offset, size) == twin.blocks[block].peek(offset, size), (block, offset)


def plain(value: object) -> bool:
    """Whether a snapshot can carry it."""
    if isinstance(value, dict):
        return all(isinstance(key, str | int) and plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(plain(item) for item in value)
    return value is None or isinstance(value, bool | int | str | bytes | bytearray)


def test_every_size_at_every_offset_is_answered(name: str) -> None:
    bench = Bench()
    chip = CHIPS[name](bench)
    for block in chip.blocks.values():
        for offset in everywhere(block):
            for size in SIZES:
                for value in (0, (1 << 8 * size) - 1):
                    block.write(offset, size, value)
                for answer in (block.peek(offset, size), block.read(offset, size)):
                    assert 0 <= answer < 1 << 8 * size, f"{block.name}+{offset:#x}, {size} bytes"
    bench.time.advance(10_000_000_000)
    bench.clock.run_due()


def test_peeks_have_no_side_effects(name: str) -> None:
    bench = Bench()
    chip = CHIPS[name](bench)
    poke(bench, chip, seed=2)
    before, heard, noted = chip.save(), list(bench.heard), bench.log.total()
    for block in chip.blocks.values():
        for offset in everywhere(block):
            for size in (1, 2, 4, 8):
                assert block.peek(offset, size) == block.peek(offset, size)
    chip.describe()
    assert (chip.save(), bench.heard, bench.log.total()) == (before, heard, noted)


def unmodelled(chip: Chip[Any]) -> list[tuple[Block, Register]]:
    """Registers with fields that the model leaves out, less those of banks."""
    return [(block, register) for block in chip.blocks.values() for register in block.layout.registers if register.mask(TODO) and not register.when]


def test_strict_mode_refuses_what_is_not_modelled(name: str) -> None:
    for block, register in unmodelled(CHIPS[name](Bench(strict=True))):
        touched = register.reset ^ (register.mask(TODO) & -register.mask(TODO))
        with pytest.raises(UnmodelledAccess, match=register.name):
            block.write(register.offset, register.width, touched)
        lenient = CHIPS[name](Bench())
        lenient.blocks[block.name].write(register.offset, register.width, touched)
        assert any("not modelled" in kind for _, _, kind in lenient.log.counts)


def test_traces_see_every_access(name: str) -> None:
    chip = CHIPS[name](Bench())
    seen: list[Touch] = []
    chip.trace = seen.append
    for block in chip.blocks.values():
        for offset, entry in block.entries.items():
            block.write(offset, entry.place.width, 0)
            block.read(offset, entry.place.width)
    own = [touch for touch in seen if touch.registers != "(none)"]
    assert {touch.block for touch in own} == set(chip.blocks) and all(touch.device == chip.name for touch in own)


class Guest(RuleBasedStateMachine):
    """A guest without any manners, and a debugger that takes snapshots meanwhile."""

    make: Callable[[Bench], Chip[Any]]

    @initialize()
    def power_on(self) -> None:
        self.bench = Bench()
        self.chip = type(self).make(self.bench)
        self.blocks = list(self.chip.blocks.values())
        self.saved = self.chip.save()

    def _place(self, which: int, at: int) -> tuple[Block, int]:
        block = self.blocks[which % len(self.blocks)]
        entries = list(block.entries)
        return block, entries[at % len(entries)] if at < 1000 else at % (block.length + 4) - 2

    @rule(which=st.integers(0, 3), at=st.integers(0, 1200), size=st.sampled_from((1, 2, 4, 8)), value=st.integers(0, (1 << 64) - 1))
    def write(self, which: int, at: int, size: int, value: int) -> None:
        block, offset = self._place(which, at)
        block.write(offset, size, value & (1 << 8 * size) - 1)

    @rule(which=st.integers(0, 3), at=st.integers(0, 1200), size=st.sampled_from((1, 2, 4, 8)))
    def read(self, which: int, at: int, size: int) -> None:
        block, offset = self._place(which, at)
        assert 0 <= block.read(offset, size) < 1 << 8 * size

    @rule(ns=st.sampled_from((1, 1000, 1_000_000, 3_600_000_000_000)))
    def wait(self, ns: int) -> None:
        self.bench.time.advance(ns)
        assert self.bench.clock.run_due() < 4096

    @rule()
    def take_interrupt(self) -> None:
        self.bench.cpu.take()

    @rule()
    def snapshot(self) -> None:
        self.saved = self.chip.save()

    @rule()
    def go_back(self) -> None:
        self.chip.restore(self.saved)
        assert without_moments(self.chip.save()) == without_moments(self.saved)

    @rule()
    def reset(self) -> None:
        self.chip.reset()

    @invariant()
    def can_be_looked_at(self) -> None:
        for view in self.chip.describe():
            assert 0 <= view.value < 1 << 8 * view.width, view.name


def test_no_guest_can_make_it_raise(name: str) -> None:
    guest = type("GuestOf" + name, (Guest,), {"make": staticmethod(CHIPS[name])})
    run_state_machine_as_test(guest, settings=settings(max_examples=15, stateful_step_count=30, deadline=None, derandomize=True, database=None,
                                                       suppress_health_check=list(HealthCheck)))
