from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from kernel.gate import Reason, TrapFrame
from kernel.tasks.loader import STACK_TOP
from kernel.tasks.task import State, Task
from tests.kernel.fake import PROGRAM, Bench, Layout, folk_pack, program_archive

ERROR = (1 << 64) - 1
SPAWN, EXIT, YIELD, WRITE_CHAR, GET_PID, TASK_LIST, UPTIME, TASK_LIST_DETAILED, MEMORY, WAIT = 5, 6, 7, 9, 10, 11, 12, 0x26, 0x84, 0x99
SCRATCH = STACK_TOP - 0x100


def current(bench: Bench, cpu: int = 0) -> Task:
    task = bench.kernel.system.scheduler.queues[cpu].current
    assert task is not None
    return task


def put(bench: Bench, data: bytes) -> int:
    current(bench).space.write_user(SCRATCH, data)
    return SCRATCH


def test_numbers_of_its_own(booted: Bench) -> None:
    assert [booted.nucleus.syscall(cpu, GET_PID) for cpu in range(4)] == [1, 2, 3, 4]
    assert booted.nucleus.syscall(0, TASK_LIST) == 4
    assert current(booted).syscalls == 2
    assert booted.kernel.system.dispatcher.cpus[0].syscalls == 2


def test_uptime_is_kernel_time(booted: Bench) -> None:
    booted.run(25)
    assert booted.nucleus.syscall(0, UPTIME) == 250


def test_unknown_calls_are_counted_and_answered(booted: Bench) -> None:
    assert booted.nucleus.syscall(0, 0x777) == ERROR
    assert booted.nucleus.syscall(0, 1 << 63) == ERROR
    assert booted.kernel.system.syscalls.unknown == 2
    assert "pulse (1) asked for the unknown call 0x777" in "".join(booted.messages())


def test_exit_ends_the_task_and_its_cpu_idles(booted: Bench) -> None:
    task = current(booted, 2)
    booted.nucleus.syscall(2, EXIT, 7)
    assert booted.nucleus.running[2] == 0
    assert (task.state, task.exit_code) == (State.EXITED, 7)
    assert len(booted.kernel.system.tasks.tasks) == 3


def test_the_dead_are_buried_when_no_cpu_needs_them(booted: Bench) -> None:
    system = booted.kernel.system
    used, held = system.frames.statistics().used, current(booted, 2).memory
    booted.nucleus.syscall(2, EXIT, 0)
    assert system.frames.statistics().used == used      # CPU 2 may still have its tables loaded
    booted.nucleus.interrupt(1, 0x20)
    assert system.frames.statistics().used == used
    booted.nucleus.interrupt(2, 0x20)                   # it has come by with the nucleus's own
    assert system.frames.statistics().used == used - held


def test_a_task_that_moved_is_buried_only_when_both_cpus_have_come_by(booted: Bench) -> None:
    system, nucleus = booted.kernel.system, booted.nucleus
    for cpu in range(4):
        nucleus.syscall(cpu, EXIT, 0)
    booted.run()
    assert system.frames.statistics().used == 0
    booted.kernel.system.tasks.spawn("pulse")
    nucleus.interrupt(0, 0xFE)
    mover = current(booted, 0)
    blocker = system.tasks.spawn("pulse", pinned=0)
    system.scheduler.give_up(0)                         # the pinned one comes next here, and CPU 1 takes the other
    system.scheduler.queues[0].ready.sort(key=lambda task: task is mover)
    held = mover.memory
    nucleus.interrupt(0, 0x40)
    assert current(booted, 0) is blocker
    nucleus.cr3[0] = mover.space.root                   # the answer is not carried out yet: the old tables are still loaded
    nucleus.interrupt(1, 0xFE)
    assert current(booted, 1) is mover
    used = system.frames.statistics().used
    nucleus.syscall(1, EXIT, 0)
    nucleus.interrupt(1, 0x20)
    assert system.frames.statistics().used == used
    nucleus.interrupt(0, 0x20)
    assert system.frames.statistics().used == used
    nucleus.interrupt(0, 0x20)
    assert system.frames.statistics().used == used - held


def test_yield_lets_others_run(booted: Bench) -> None:
    booted.kernel.system.tasks.spawn("spinner", pinned=0)
    first = current(booted)
    assert booted.nucleus.syscall(0, YIELD) == 0
    assert current(booted).name == "spinner"
    booted.nucleus.syscall(0, YIELD)
    assert current(booted) is first


def test_wait_for_the_next_tick(booted: Bench) -> None:
    assert booted.nucleus.syscall(0, WAIT) == 0
    assert booted.nucleus.running[0] == 0
    booted.nucleus.interrupt(0, 0xFE)
    assert booted.nucleus.running[0] == 0
    booted.nucleus.interrupt(1, 0x20)
    booted.nucleus.interrupt(0, 0x20)
    assert booted.nucleus.running[0] != 0


def test_output_comes_in_whole_lines_and_clean(booted: Bench) -> None:
    for byte in b"hi \x1b[31m\xff\n":
        assert booted.nucleus.syscall(0, WRITE_CHAR, byte) == 0
    assert booted.messages()[-1] == "[OUTPUT] hi \N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}"
    for _ in range(300):
        booted.nucleus.syscall(0, WRITE_CHAR, ord("x"))
    assert booted.messages()[-1] == f"[OUTPUT] {'x' * 256}"
    booted.nucleus.syscall(0, EXIT, 0)
    assert "[OUTPUT] " + "x" * 44 in booted.messages()


def test_output_cannot_wash_the_log_away(booted: Bench) -> None:
    for _ in range(400):
        booted.nucleus.syscall(0, WRITE_CHAR, 0x0A)
    assert sum(record.facility == "output" for record in booted.kernel.log.records) == 101


def test_spawn(booted: Bench) -> None:
    name = put(booted, b"spinner")
    number = booted.nucleus.syscall(0, SPAWN, name, 7)
    assert booted.kernel.system.tasks.tasks[number].name == "spinner"


@pytest.mark.parametrize(("name", "length", "message"), [
    (b"nobody", 6, "there is no 'nobody'"), (b"notes", 5, "data, not a program"), (b"\xff\xfe", 2, "there is no"), (b"x", 33, None)])
def test_spawn_refused(booted: Bench, name: bytes, length: int, message: str | None) -> None:
    at = put(booted, name)
    assert booted.nucleus.syscall(0, SPAWN, at, length) == ERROR
    assert message is None or message in booted.messages()[-1]


@pytest.mark.parametrize("pointer", [0, 1, STACK_TOP, STACK_TOP - 2, 0x7FFF_FFFF_F000, 1 << 47, 0xFFFF_8000_0000_0000, ERROR])
def test_bad_pointers_are_the_callers_mistake(booted: Bench, pointer: int) -> None:
    assert booted.nucleus.syscall(0, SPAWN, pointer, 8) == ERROR
    assert booted.nucleus.syscall(0, TASK_LIST_DETAILED, pointer, 1 << 40) == ERROR
    assert booted.kernel.system.syscalls.faults == 2
    assert current(booted).alive


def test_program_text_is_not_written_for_a_task(booted: Bench) -> None:
    assert booted.nucleus.syscall(0, TASK_LIST_DETAILED, 0x400000, 64) == ERROR


def test_task_list_detailed(booted: Bench) -> None:
    booted.run(10)
    assert booted.nucleus.syscall(0, TASK_LIST_DETAILED, SCRATCH, 3 * 32 + 31) == 3
    records = [struct.unpack("<II16sQ", current(booted).space.read_user(SCRATCH + 32 * index, 32)) for index in range(3)]
    assert [(number, name.rstrip(b"\0")) for number, _state, name, _time in records] == [(1, b"pulse"), (2, b"pulse"), (3, b"pulse")]
    assert all(time == 100 for *_rest, time in records)


def test_memory_statistics(booted: Bench) -> None:
    result = booted.nucleus.syscall(0, MEMORY)
    figures = booted.kernel.system.frames.statistics()
    assert (result >> 32, result & 0xFFFFFFFF) == (figures.total // 4096, figures.free // 4096)


def test_a_syscall_from_ring_0_or_with_a_wrong_vector_kills(booted: Bench) -> None:
    address = booted.nucleus.running[0]
    frame = booted.nucleus.frame(0)
    frame.cs = 8
    frame.vector = 0x100
    frame.store(booted.machine.memory, address)
    booted.nucleus.call(0, Reason.SYSCALL)
    booted.nucleus.call(1, Reason.SYSCALL)              # its frame says vector 0
    assert len(booted.kernel.system.tasks.tasks) == 2


def test_a_frame_that_is_elsewhere_kills(booted: Bench) -> None:
    booted.nucleus.call(0, Reason.INTERRUPT, 0x20, frame=0x5000)
    assert booted.nucleus.running[0] == 0
    assert "came with the frame 0x5000" in booted.messages()[-1]


@pytest.mark.parametrize(("vector", "text"), [(14, "#PF at rip 0x400000, error 0x6, cr2 0x1234"), (13, "#GP at rip"), (6, "#UD"), (200, "exception 200")])
def test_an_exception_in_ring_3_kills_the_task_alone(booted: Bench, vector: int, text: str) -> None:
    booted.nucleus.call(1, Reason.EXCEPTION, vector, 6, 0x1234)
    assert booted.nucleus.running[1] == 0
    assert text in booted.messages()[-1] and "pulse (2) killed" in booted.messages()[-1]
    assert booted.kernel.panicked is None
    assert "killed" in booted.screen or booted.run() is None and "killed" in booted.screen


def test_an_exception_in_ring_0_is_a_panic_with_registers(booted: Bench) -> None:
    TrapFrame(rip=0xFFFF_FFFF_8000_1234, cs=8, rax=0xABCD).store(booted.machine.memory, 0x5000)
    booted.nucleus.call(0, Reason.EXCEPTION, 14, 2, 0x10, frame=0x5000)
    assert booted.kernel.panicked is not None and "#PF at rip 0xffffffff80001234" in booted.kernel.panicked
    assert "*** KERNEL PANIC: cpu 0: #PF" in booted.screen and "0x000000000000abcd" in booted.screen


def test_programs_by_name_and_by_cpu(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(Layout(cmdline="programs=pulse,spinner", archive=program_archive()))
    bench.nucleus.boot()
    assert [current(bench, cpu).name for cpu in range(4)] == ["pulse", "spinner", "pulse", "spinner"]


@pytest.mark.parametrize("archive", [b"", folk_pack({}), folk_pack({"pulse": (0, b"junk" * 100)}), b"FOLKjunk" * 20, folk_pack({"pulse": (1, PROGRAM)})])
def test_no_program_is_no_obstacle(make_bench: Callable[..., Bench], archive: bytes) -> None:
    bench = make_bench(Layout(archive=archive))
    bench.nucleus.boot()
    assert bench.kernel.ready
    assert bench.nucleus.running == dict.fromkeys(range(4), 0)
    bench.run(3)
    assert bench.kernel.telemetry.sources["system"].rows()[0][8] == 1.0     # idle
