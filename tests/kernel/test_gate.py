from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel.gate import FRAME_SIZE, Answer, CpuArea, Reason, TrapFrame, initial_fxsave
from tests.kernel.fake import AREAS_AT, IDLE_FRAMES_AT, MIB, PAGE, Bench, bench


def answer_of(one: Bench, cpu: int = 0) -> tuple[int, int]:
    frame, root = struct.unpack("<QQ", one.machine.memory_read(AREAS_AT + cpu * PAGE + 0x38, 16))
    return frame, root


def test_layouts_are_the_contract() -> None:
    assert CpuArea.LAYOUT.size == 0x60
    assert TrapFrame.LAYOUT.size == FRAME_SIZE == 176
    frame = TrapFrame(*range(22))
    assert (frame.r15, frame.rax, frame.vector, frame.error, frame.rip, frame.cs, frame.rflags, frame.rsp, frame.ss) == (0, 14, 15, 16, 17, 18, 19, 20, 21)
    image = initial_fxsave()
    assert (len(image), image[0:2], image[24:28]) == (512, b"\x7f\x03", b"\x80\x1f\0\0")


def test_frame_round_trip_and_description() -> None:
    machine = bench().machine
    frame = TrapFrame(*(1 << number for number in range(22)))
    frame.store(machine.memory, 0x5000)
    assert TrapFrame.load(machine.memory, 0x5000) == frame
    assert "rip 0x00000000000020000"[:8] in frame.describe().replace("   ", " ")
    assert len(frame.describe().splitlines()) == 8


def test_the_gate_is_where_the_nucleus_looks_for_it() -> None:
    assert bench().machine.identify == 0x4B4C4F46


def test_each_cpu_gets_its_own_pinned_program(booted: Bench) -> None:
    frames = {booted.nucleus.running[cpu] for cpu in range(4)}
    assert len(frames) == 4 and 0 not in frames
    for cpu in range(4):
        frame = booted.nucleus.frame(cpu)
        assert (frame.rip, frame.cs, frame.ss, frame.rflags) == (0x400000, 0x23, 0x1B, 0x202)
        assert answer_of(booted, cpu)[1] & 1            # tables this CPU has not seen: reload


@pytest.mark.parametrize("value", [0, 1, 0xFFF, AREAS_AT + 8, 0xFFFFF000, 64 * MIB, AREAS_AT - PAGE, AREAS_AT + 4 * PAGE, 1 << 33, -1])
def test_what_is_no_cpu_area_is_counted(booted: Bench, value: int) -> None:
    refused = booted.kernel.gate.refused
    booted.machine.enter(value)
    assert booted.kernel.gate.refused == refused + 1
    assert any("[GATE]" in message for message in booted.messages())
    booted.kernel.service()


def test_calls_out_of_order(make_bench: Callable[..., Bench]) -> None:
    one = make_bench()
    for reason in (Reason.ONLINE, Reason.INTERRUPT, Reason.EXCEPTION, Reason.SYSCALL):
        one.nucleus.call(0, reason)
    assert one.kernel.gate.refused == 4
    one.nucleus.hello()
    one.nucleus.hello()                                 # twice
    one.nucleus.online(0)                               # the boot CPU again
    one.nucleus.call(3, Reason.INTERRUPT, 0x20)         # before its ONLINE
    one.nucleus.call(1, 0)
    one.nucleus.call(1, 6)
    assert one.kernel.gate.refused == 9
    one.nucleus.online(1)
    one.nucleus.online(1)
    assert one.kernel.gate.refused == 10
    assert not one.kernel.ready
    one.kernel.service()


def test_a_cpu_cannot_speak_for_another(booted: Bench) -> None:
    area = bytearray(booted.machine.memory_read(AREAS_AT, PAGE))
    struct.pack_into("<I", area, 8, 2)
    struct.pack_into("<I", area, 16, Reason.INTERRUPT)
    booted.machine.memory_write(AREAS_AT, bytes(area))
    booted.machine.enter(AREAS_AT)
    assert "is not its area" in booted.messages()[-1]


def test_a_panicked_kernel_lets_every_cpu_idle(booted: Bench) -> None:
    booted.kernel.panic("for a test")
    for cpu in range(4):
        booted.nucleus.interrupt(cpu, 0x20)
        assert answer_of(booted, cpu) == (0, 0) == (Answer().frame, Answer().cr3)


def test_an_answer_that_cannot_be_written_is_counted(booted: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(address: int, data: bytes) -> None:
        raise RuntimeError

    monkeypatch.setattr(booted.kernel.memory, "_write", read_only)
    booted.nucleus.interrupt(0, 0x20)
    assert "could not be written" in "".join(booted.messages()[-2:])


WORDS = st.one_of(
    st.integers(0, (1 << 64) - 1), st.sampled_from([0, 1, 0x20, 0x30, 0xFE, 0xFF, 0x100, IDLE_FRAMES_AT, AREAS_AT, 0xFFF, (1 << 64) - 1, 1 << 63, 0x10000000]))
AREAS = st.tuples(
    st.integers(0, 5), st.sampled_from([0, 1, 2, 3, (1 << 32) - 1]), st.sampled_from([0, 1, 2, 3, 4, 5, 6, 1 << 31]),
    st.one_of(st.integers(0, 0x110), st.just((1 << 32) - 1)), WORDS, WORDS, WORDS, WORDS, WORDS, WORDS, WORDS, WORDS, WORDS)


@given(st.lists(st.tuples(st.integers(0, 5), AREAS, st.booleans()), max_size=25))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_malicious_guest_is_answered_and_nothing_escapes(calls: list[tuple[int, tuple[int, ...], bool]]) -> None:
    one = bench()
    if calls and calls[0][2]:
        one.nucleus.boot()
    for slot, area, own_number in calls:
        values = (slot, *area[1:]) if own_number else area
        at = AREAS_AT + slot * PAGE
        one.machine.memory_write(at, struct.pack("<8s4I9Q", b"FOLKGATE", *values[:4], *values[4:]))
        one.machine.enter(at)
        one.kernel.service()
        frame = struct.unpack("<Q", one.machine.memory_read(at + 0x38, 8))[0]
        if one.kernel.panicked is None and slot < 4 and one.kernel.ready:
            living = {task.frame for task in one.kernel.system.tasks.tasks.values()}
            assert frame in living or frame == 0 or frame == values[8]      # refused: what the area held is left alone
    for source in one.kernel.telemetry.sources.values():
        for row in source.rows():
            assert len(row) == len(source.columns)
            assert all(abs(cell) < 1 << 63 for cell in row if isinstance(cell, int))
    one.kernel.close()


EVENTS = st.tuples(st.sampled_from(["tick", "syscall", "exception", "interrupt", "wild"]), st.integers(0, 3), st.integers(0, 0x105), WORDS)


@given(st.lists(EVENTS, max_size=60))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_programs_that_do_anything(events: list[tuple[str, int, int, int]]) -> None:
    one = bench()
    one.nucleus.boot()
    for what, cpu, number, word in events:
        idle = not one.nucleus.running[cpu]
        if what == "tick" or idle:
            one.run()
        elif what == "syscall":
            one.nucleus.syscall(cpu, number, word, word >> 3, word)
        elif what == "exception":
            one.nucleus.call(cpu, Reason.EXCEPTION, number, word, word) if one.nucleus.frame(cpu).in_user_mode else None
        elif what == "interrupt":
            one.nucleus.interrupt(cpu, number)
        else:
            frame = one.nucleus.frame(cpu)
            frame.rip, frame.rsp, frame.rax = word, word, word
            frame.store(one.machine.memory, one.nucleus.running[cpu])
            one.nucleus.interrupt(cpu, 0x20)
        assert one.kernel.panicked is None
    one.run(3)
    system = one.kernel.system
    held = sum(task.memory for task in system.tasks.tasks.values())
    assert system.frames.statistics().used == held      # the dead hold nothing once every CPU has come by
    for times in system.dispatcher.cpus.values():
        assert times.user + times.system + times.idle == times.elapsed
    one.kernel.close()
