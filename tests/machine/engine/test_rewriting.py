"""A store into its own block is counted once, can be stepped over and passes its breakpoint, however slices fall."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest

from machine.engine.engine import Reason
from machine.engine.table import FIRST_SIZE, NOBODY, Table
from tests.machine.engine.bench_guest import PROGRAM, Guest, assemble

REWRITE = "mov eax, 0x33; lea rbx, [rip + target + 1]; mov [rbx], al; nop; target: mov cl, 1; mov [0x3000], rcx; hlt"
INSTRUCTIONS = 10                    # with the three of `Guest.load`


@pytest.fixture(params=[True, False], ids=["counted", "free"])
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    made = Guest(counted=request.param)
    yield made
    made.close()


@pytest.mark.parametrize("budget", [1, 2, 3, 4, 5, 6, 7, 100])
def test_a_program_has_as_many_instructions_in_slices_of_any_length(budget: int) -> None:
    guest = Guest(counted=True)
    guest.load(REWRITE)
    retired = 0
    for _ in range(2 * INSTRUCTIONS):
        result = guest.engine.run(0, budget)
        retired += result.retired
        if result.reason is Reason.HALT:
            break
    guest.close()
    assert (retired, guest.u64(0x3000) & 0xFF) == (INSTRUCTIONS, 0x33)


def test_single_steps(guest: Guest) -> None:
    guest.load(REWRITE)
    guest.engine.breakpoints.instrument()
    steps = 1
    while guest.engine.step(0).reason is not Reason.HALT:
        steps += 1
        assert steps <= INSTRUCTIONS
    assert (steps, guest.u64(0x3000) & 0xFF) == (INSTRUCTIONS, 0x33)


def test_a_breakpoint_stops_it_once(guest: Guest) -> None:
    guest.load(REWRITE)
    where = PROGRAM + len(assemble("lidt [0x7ff0]; mov ax, 0x28; ltr ax; mov eax, 0x33; lea rbx, [rip + 16]"))
    guest.engine.breakpoints.add(where)
    assert guest.engine.run(0, 10_000_000).reason is Reason.BREAK
    assert guest.engine.vcpus[0].rip == where
    assert guest.engine.run(0, 10_000_000).reason is Reason.HALT
    assert guest.u64(0x3000) & 0xFF == 0x33


# --- the table -------------------------------------------------------------------------------------------------------------------------
def pairs(table: Table) -> dict[int, int]:
    """As native code sees it."""
    found, at = {}, table.pointer.value
    while key := ctypes.c_uint64.from_address(at).value:
        if key != NOBODY:
            found[key] = ctypes.c_uint64.from_address(at + 8).value
        at += 16
    return found


def test_a_table_holds_who_has_come_and_not_gone() -> None:
    table, expected = Table(), {}
    assert pairs(table) == {}
    for key in range(100, 100 + 5 * FIRST_SIZE):
        table.set(key, key + 1000)
        expected[key] = key + 1000
        assert pairs(table) == expected
        if key % 3 == 0:
            table.forget(key - 2)
            del expected[key - 2]
            assert pairs(table) == expected
    table.set(120, 7)
    table.forget(99)
    assert pairs(table) == {**expected, 120: 7}
    for key in tuple(expected):
        table.forget(key)
    assert pairs(table) == {}


def test_a_table_stays_where_it_is_while_as_many_come_as_go() -> None:
    table = Table()
    where = table.pointer.value
    for key in range(100, 1000):
        table.set(key, 1)
        table.forget(key)
    assert table.pointer.value == where
