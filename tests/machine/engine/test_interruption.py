"""What comes from the host while the guest runs: signals whose handlers raise, other threads, forked processes."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from machine import Configuration, ExitReason, Firmware, Machine
from machine.engine.engine import Reason
from machine.engine.vcpu import Activity
from tests.machine.engine.bench_guest import Guest
from tests.machine.rom import EIGHT_BITS, rom

SPIN = "again: inc qword ptr [0x3000]; jmp again"
LISTEN = "again: in al, 0x70; inc qword ptr [0x3000]; jmp again"
PATIENCE = 10                        # s until a child that hangs is given up


@pytest.fixture(params=[True, False], ids=["counted", "free"])
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    made = Guest(counted=request.param)
    yield made
    made.close()


class Rung(Exception):
    """By the alarm."""


@pytest.fixture
def alarm() -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise Rung

    gc.disable()                     # what a handler raises while it runs goes nowhere
    before = signal.signal(signal.SIGALRM, ring)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    gc.enable()
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("alarm")
@pytest.mark.parametrize("text", [SPIN, LISTEN])
def test_what_a_signal_handler_raises_ends_the_run(guest: Guest, text: str) -> None:
    printed: list[object] = []
    hook, sys.unraisablehook = sys.unraisablehook, printed.append
    try:
        for _ in range(12):
            guest.load(text)
            signal.setitimer(signal.ITIMER_REAL, 0.002)
            with pytest.raises(Rung):
                for _ in range(5000):
                    guest.engine.run(0, 200_000)
            assert not guest.engine.running
            assert guest.engine.run(0, 20_000).reason is Reason.BUDGET, "and nothing of it is left"
        assert not printed
        assert sys.unraisablehook == printed.append
    finally:
        sys.unraisablehook = hook


def in_child(guest: Guest) -> int:
    """Exit status of a forked process in which the guest's slice ends."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(PATIENCE)
        os._exit(0 if guest.engine.run(0, 100_000).reason is Reason.BUDGET else 1)
    return os.waitpid(child, 0)[1]


def test_slices_end_in_a_forked_process_and_in_its_parent(guest: Guest) -> None:
    guest.load(SPIN)
    assert guest.engine.run(0, 100_000).reason is Reason.BUDGET
    before = guest.u64(0x3000)
    assert in_child(guest) == 0
    assert guest.u64(0x3000) == before, "the child's memory is its own"
    assert guest.engine.run(0, 100_000).reason is Reason.BUDGET
    assert guest.u64(0x3000) > before


def test_an_engine_moves_from_thread_to_thread(guest: Guest) -> None:
    guest.load(SPIN)
    seen = []

    def run() -> None:
        seen.append(guest.engine.run(0, 100_000).reason)

    for _ in range(3):
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        run()
    assert seen == [Reason.BUDGET] * 6


def test_instructions_of_a_slice_that_a_device_ended_count() -> None:
    text = EIGHT_BITS + "mov cx, 100; again: loop again; mov dx, 0x3f8; mov al, 0x21; out dx, al; mov cx, 100; more: loop more; cli; hlt"
    totals = []
    for failing in (False, True):
        pc = Machine(Firmware(rom(text)), Configuration(4 << 20, clock="instructions"))

        def fail(_data: bytes) -> None:
            raise ZeroDivisionError

        if failing:
            pc.board.serial_out = fail
            with pytest.raises(ZeroDivisionError):
                pc.run(timeout=PATIENCE)
            assert pc.stats.retired > 100
        assert pc.run(timeout=PATIENCE).reason is ExitReason.DEAD
        totals.append((pc.stats.retired, pc.engine.vcpus[0].activity))
        pc.close()
    assert totals[0] == totals[1] and totals[0][1] is Activity.HALTED
