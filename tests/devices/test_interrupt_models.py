"""The interrupt controllers against plain models of what their documents say, under schedules made at random: priorities, and that nothing gets lost."""

from __future__ import annotations

import random

import pytest

from devices.core.log import AccessLog
from devices.pic8259 import Pic8259Pair
from tests.devices.test_lapic import EOI, INITIAL, LINT0, PERIODIC, SVR, TIMER, TPR, Bench, select_entry, wire_pic


def naive_level(requests: int, masked: int, in_service: int, lowest: int, special: bool, nested_input: int | None) -> int | None:
    """8259A data sheet, "Priority resolver": level by level from the highest."""
    for step in range(1, 9):
        level = (lowest + step) % 8
        bit = 1 << level
        asks = bool(requests & bit and not masked & bit)
        serves = bool(in_service & bit and not (special and masked & bit))
        if serves:
            return level if asks and level == nested_input else None
        if asks:
            return level
    return None


@pytest.mark.parametrize("seed", range(4))
def test_8259a_priority_resolver(seed: int) -> None:
    chance = random.Random(seed)
    chip = Pic8259Pair(AccessLog()).master
    state = chip.state
    state.awaited = 0
    for _ in range(2000):
        state.edges, state.ocw1, state.in_service = chance.getrandbits(8) & 0xFB, chance.getrandbits(8), chance.getrandbits(8) & chance.getrandbits(8)
        state.elcr, state.lines = chance.getrandbits(8) & 0xF8, chance.getrandbits(8)
        state.lowest, state.special_mask, nested = chance.randrange(8), chance.random() < 0.3, chance.random() < 0.3
        state.icw4 = 0x11 if nested else 0x01
        direct = state.elcr | 4
        requests = state.edges & ~direct | state.lines & direct
        assert chip.requests() == requests
        assert chip.level() == naive_level(requests, state.ocw1, state.in_service, state.lowest, state.special_mask, 2 if nested else None)


class NaiveApic:
    """SDM 10.8.3, 10.8.4 with sets."""

    def __init__(self) -> None:
        self.requests: set[int] = set()
        self.in_service: set[int] = set()
        self.task = 0

    def offer(self) -> int | None:
        processor = max([self.task // 16, *(vector // 16 for vector in self.in_service)])
        allowed = [vector for vector in self.requests if vector // 16 > processor]
        return max(allowed, default=None)

    def take(self) -> None:
        vector = self.offer()
        if vector is not None:
            self.requests.discard(vector)
            self.in_service.add(vector)

    def end(self) -> None:
        if self.in_service:
            self.in_service.discard(max(self.in_service))


@pytest.mark.parametrize("seed", range(4))
def test_lapic_offers_what_the_priorities_say(seed: int) -> None:
    chance = random.Random(seed)
    bench, model = Bench(), NaiveApic()
    cpu = bench.cpus[0]
    for _ in range(2000):
        action = chance.choice(("request", "request", "take", "take", "end", "end", "task"))
        if action == "request":
            vector = chance.randrange(16, 256)
            bench.request(vector)
            model.requests.add(vector)
        elif action == "take":
            cpu.take()
            model.take()
            bench.apics[0].poll()
        elif action == "end":
            bench.write(EOI, 0)
            model.end()
        else:
            model.task = chance.choice((0, 0, 0x20, 0x7F, 0xF0))
            bench.write(TPR, model.task)
        assert cpu.offered == model.offer()
        assert (set(bench.bits(0x200)), set(bench.bits(0x100))) == (model.requests, model.in_service)


@pytest.mark.parametrize("seed", range(6))
def test_no_level_interrupt_is_lost_and_none_is_left(seed: int) -> None:
    """Devices hold lines until their handler has run; handlers may be late, nested or interrupted by masks. In the end all are served."""
    chance = random.Random(seed)
    bench = Bench(3)
    pins = range(16, 24)
    vector_of = {pin: 0x30 + 0x10 * (pin - 16) for pin in pins}
    pin_of = {vector: pin for pin, vector in vector_of.items()}
    entries = {pin: 0x8000 | chance.choice((0x000, 0x100)) | vector_of[pin] for pin in pins}
    for pin in pins:
        select_entry(bench, pin, entries[pin], chance.choice((0, 1, 2, 0xFF) if entries[pin] & 0x100 else (0, 1, 2)) << 24)
    raised, served = dict.fromkeys(pins, 0), dict.fromkeys(pins, 0)
    stacks: list[list[int]] = [[], [], []]

    def handler_step(index: int, *, may_wait: bool) -> None:
        """The processor takes what is on offer, or ends a handler."""
        stack = stacks[index]
        if bench.cpus[index].offered is not None and not (may_wait and chance.random() < 0.4):
            vector = bench.cpus[index].take()
            assert vector is not None
            stack.append(vector)
        elif stack:
            pin = pin_of[stack.pop()]
            if bench.ioapic.pins[pin].level:
                served[pin] += 1
                bench.ioapic.pins[pin].lower()
            bench.write(EOI, 0, index)

    for _ in range(1500):
        pin = chance.choice(pins)
        if chance.random() < 0.4 and not bench.ioapic.pins[pin].level:
            bench.ioapic.pins[pin].raise_()
            raised[pin] += 1
        if chance.random() < 0.1:
            select_entry(bench, pin, entries[pin] | 0x10000)
            handler_step(chance.randrange(3), may_wait=True)
            select_entry(bench, pin, entries[pin])
        handler_step(chance.randrange(3), may_wait=True)
    for _ in range(500):
        for index in range(3):
            handler_step(index, may_wait=False)
    assert raised == served and sum(served.values()) > 100
    assert not any(line.level for line in bench.ioapic.pins) and stacks == [[], [], []]
    assert all(entry & 0x4000 == 0 for entry in bench.ioapic.state.entry)


@pytest.mark.parametrize("seed", range(4))
def test_apic_and_8259a_share_one_processor(seed: int) -> None:
    """ExtINT, the local timer and IPIs at once: each is served as often as it was acknowledged, and the 8259A's lines all come through."""
    chance = random.Random(seed)
    bench = Bench(2)
    wire_pic(bench)
    bench.pic.lines[1].lower()
    bench.write(LINT0, 0x700)
    bench.write(TIMER, PERIODIC | 0xEC)
    bench.write(INITIAL, 50_000)
    stack: list[int] = []
    asked, served = dict.fromkeys(range(16), 0), dict.fromkeys(range(16), 0)
    asked[1] = 1                                               # `wire_pic` raised that line: the edge stays latched
    ticks = 0

    def step() -> None:
        nonlocal ticks
        if bench.cpus[0].offered is not None and len(stack) < 20:
            vector = bench.cpus[0].take()
            assert vector is not None
            stack.append(vector)
            bench.apics[0].poll()
        elif stack:
            vector = stack.pop()
            if 0x20 <= vector < 0x30:
                irq = vector - 0x20
                served[irq] += 1
                bench.pic.lines[irq].lower()
                if irq >= 8:
                    bench.pic.slave.blocks["ports"].write(0, 1, 0x20)
                bench.pic.master.blocks["ports"].write(0, 1, 0x20)
            else:
                ticks += vector == 0xEC
                bench.write(EOI, 0)

    irqs = [irq for irq in range(16) if irq != 2]
    for _ in range(2000):
        irq = chance.choice(irqs)
        if chance.random() < 0.3 and not bench.pic.lines[irq].level and not (bench.pic.master, bench.pic.slave)[irq >> 3].requests() >> (irq & 7) & 1:
            bench.pic.lines[irq].raise_()
            asked[irq] += 1
        if chance.random() < 0.1:
            bench.request(chance.randrange(0x40, 0xE0))
        bench.pass_time(chance.choice((0, 0, 40_000)))
        step()
    bench.write(TIMER, PERIODIC | 0x100EC)
    for _ in range(500):
        step()
    assert asked == served and stack == [] and ticks > 100
    assert bench.pic.vector() is None and bench.bits(0x200) == [] and bench.read(SVR) == 0x1FF
