"""Any e820 table becomes a memory map that keeps the protocol's promises (PROTOCOL.md, "Memory Map Feature") and claims no page that is not RAM."""

from __future__ import annotations

import itertools
import struct
from functools import cache

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from images import builder
from tests.boot import MIB, NUCLEUS, pc
from tests.conformance.limine import probe

PAGE = 4096
MEMORY = 32 * MIB
RAM, RESERVED = 1, 2
USABLE, ACPI, RECLAIMABLE, EXECUTABLE = 0, 2, 5, 6
LOWER_END, ONE_MIB = 0x9F000, MIB
ACPI_PAGES = 3                      # what the firmware itself takes for tables, at most

Range = tuple[int, int, int]        # base, length, type


@cache
def rom() -> bytes:
    return builder.rom()


@cache
def image() -> bytes:
    return probe.image()


def boot(table: list[Range]) -> list[Range]:
    """The memory map that the probe got."""
    e820 = b"".join(struct.pack("<QQI", *entry) for entry in table)
    with pc(rom(), {NUCLEUS: image(), "etc/e820": e820}, memory=MEMORY) as machine:
        machine.run("done\r\n")
        return probe.parse(machine.text).ranges


def ram_pages(table: list[Range]) -> set[int]:
    """Pages that are RAM as a whole and nothing else: by the byte, the slow and obvious way."""
    edges = sorted({edge for base, length, _kind in table for edge in (base, base + length)})
    pages: set[int] = set()
    run_start = run_end = 0
    for low, high in itertools.pairwise(edges):
        kinds = {kind for base, length, kind in table if base <= low and high <= base + length}
        if kinds == {RAM}:
            if low != run_end:
                pages |= set(range(-(-run_start // PAGE), run_end // PAGE))
                run_start = low
            run_end = high
    pages |= set(range(-(-run_start // PAGE), run_end // PAGE))
    return pages - set(range(LOWER_END // PAGE, ONE_MIB // PAGE)) - {0}


def check(table: list[Range]) -> None:
    ranges = boot(table)
    assert ranges == sorted(ranges)
    for base, length, kind in ranges:
        assert length > 0
        assert kind not in (USABLE, RECLAIMABLE) or base % PAGE == length % PAGE == 0
    for base, length, kind in ranges:
        if kind in (USABLE, RECLAIMABLE):
            others = [other for other in ranges if other != (base, length, kind)]
            assert not any(start < base + length and base < start + size for start, size, _kind in others)
    ours = {page for base, length, kind in ranges if kind in (USABLE, RECLAIMABLE, EXECUTABLE) for page in range(base // PAGE, (base + length) // PAGE)}
    expected = ram_pages(table)
    assert ours <= expected
    assert len(expected - ours) <= ACPI_PAGES
    assert all(any(base <= page * PAGE < base + length for base, length, kind in ranges if kind == ACPI) for page in expected - ours)


ENOUGH: Range = (ONE_MIB, 8 * MIB, RAM)
LOW: Range = (0, 0x9FC00, RAM)


@st.composite
def somewhere(draw: st.DrawFn) -> Range:
    """A range above what a boot needs: anywhere, any size, any type; often touching its neighbours."""
    base = draw(st.integers(9 * 256, 31 * 256)) * PAGE + draw(st.sampled_from([0, 0, 0, 1, 0x123, 0xFFF]))
    length = draw(st.sampled_from([0, 1, PAGE - 1, PAGE, 2 * PAGE, 256 * PAGE, 300 * PAGE])) + draw(st.sampled_from([0, 0, 7]))
    return base, length, draw(st.sampled_from([RAM, RAM, RESERVED, 3, 4, 5, 6, 0, 0xFFFFFFFF]))


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(somewhere(), max_size=12), st.randoms(use_true_random=False))
def test_any_table(ranges: list[Range], random: object) -> None:
    table = [LOW, ENOUGH, *ranges]
    random.shuffle(table)  # type: ignore[attr-defined]
    check(table)


@pytest.mark.parametrize("table", [
    [LOW, ENOUGH],
    [(0, 32 * MIB, RAM)],
    [(0, 32 * MIB, RAM), (0, 32 * MIB, RAM)],
    [(0, 32 * MIB, RAM), (16 * MIB, 0x1800, RESERVED)],
    [(16 * MIB, 0x1800, RESERVED), (0, 32 * MIB, RAM)],
    [LOW, (ONE_MIB, 0x7FF800, RAM), (ONE_MIB + 0x7FF800, 0x1800, RAM)],
    [LOW, ENOUGH, (20 * MIB, 0xFFF, RAM)],
    [LOW, ENOUGH, ((1 << 64) - 16, 8, RAM), ((1 << 64) - PAGE, PAGE, RAM), (1 << 60, 1 << 60, RESERVED), (0, (1 << 64) - 1, RESERVED)],
], ids=["plain", "one range", "twice", "a hole", "the hole first", "joined inside a page", "less than a page", "impossible"])
def test_particular_tables(table: list[Range]) -> None:
    possible = [entry for entry in table if entry[0] + entry[1] < 1 << 52]
    assert boot(table) == boot(possible), "what cannot be is ignored"
    check(possible)
