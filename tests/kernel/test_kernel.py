from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from kernel.errors import KernelError
from kernel.gate import Reason
from kernel.kernel import Kernel, parse_options
from kernel.telemetry import Column, Kind, LiveSource
from tests.kernel.fake import (
    AREAS_AT,
    KERNEL_AT,
    NUCLEUS_ROOT_AT,
    PAGE,
    PM1A_CONTROL,
    RECORD_AT,
    RSDP_AT,
    TABLES_AT,
    Bench,
    Layout,
)

MakeBench = Callable[..., Bench]


def test_boot_messages(booted: Bench) -> None:
    booted.run()
    assert booted.screen.replace("\r\n", "\n") == (
        "[KERNEL] Folkering: 4 CPUs, TSC at 1000 MHz, loaded by nobody it knows\n"
        "[MEMORY] 12 MiB to give in 2 ranges, 12 MiB free\n"
        "[ACPI] tables: FACP, APIC\n"
        "[INTERRUPTS] 8259 masked, 1 I/O APIC, com1 on vector 0x30\n"
        "[ARCHIVE] 16 KiB: pulse, spinner, notes\n"
        "[PCI] 3 functions: Intel Q35 host bridge, Intel ICH9 LPC bridge, Intel ICH9 SMBus\n"
        "[KERNEL] 4 CPUs online, 4 tasks\n")


def test_quiet_keeps_them_in_the_log(make_bench: MakeBench) -> None:
    one = make_bench(Layout(cmdline="quiet terminal=plain columns=132 rows=43"))
    one.nucleus.boot()
    one.run()
    assert "Folkering" not in one.screen and any("Folkering" in message for message in one.messages())
    assert (one.kernel.console.terminal, one.kernel.console.columns, one.kernel.console.rows, one.kernel.console.colour) == ("plain", 132, 43, False)


@pytest.mark.parametrize(("line", "options"), [
    ("", {}), ("quiet a=1  b=x=y", {"quiet": "", "a": "1", "b": "x=y"}), ("a=1 a=2", {"a": "2"}), ("=x", {"": "x"})])
def test_options(line: str, options: dict[str, str]) -> None:
    assert parse_options(line) == options


def test_ready_means_every_cpu(make_bench: MakeBench) -> None:
    one = make_bench()
    waited: list[str] = []

    async def conversation() -> None:
        await one.kernel.online()
        waited.append("online")

    one.kernel.spawn(conversation())
    one.kernel.service()
    one.nucleus.hello()
    for cpu in (2, 1, 3):
        assert not one.kernel.ready
        one.nucleus.online(cpu)
    assert one.kernel.ready and waited == []
    one.run(1)
    assert waited == []
    one.run(2)
    assert waited == ["online"]


def test_a_cpu_that_does_not_come_is_given_up(make_bench: MakeBench) -> None:
    one = make_bench()
    one.nucleus.hello()
    one.nucleus.online(1)
    for _ in range(205):
        one.machine.now += 10_000_000
        one.nucleus.interrupt(0, 0x20)
    assert one.kernel.ready
    assert any("CPU 2, 3 did not come online within 2 s" in message for message in one.messages())
    one.nucleus.online(3)                               # late, and welcome
    assert len(one.kernel.telemetry.sources["cpus"].rows()) == 3


def test_who_waits_for_a_system_that_panics_is_told(make_bench: MakeBench) -> None:
    one = make_bench()
    one.nucleus.record[7] = 0
    one.nucleus.write_record()
    told: list[str] = []

    async def conversation() -> None:
        try:
            await one.kernel.online()
        except KernelError as error:
            told.append(str(error))

    one.kernel.spawn(conversation())
    one.nucleus.hello()
    one.kernel.service()
    assert told == ["boot record: a TSC of 0 Hz is implausible"]
    assert "*** KERNEL PANIC: boot record: a TSC of 0 Hz is implausible" in one.screen
    assert not one.kernel.ready


def test_services_outlive_a_panic(booted: Bench) -> None:
    async def service() -> str:
        await asyncio.sleep(0.05)
        return "still here"

    task, waiting = booted.kernel.spawn(service()), booted.kernel.spawn(booted.kernel.online())
    booted.kernel.service()
    booted.kernel.panic("for a test")
    booted.run(8)
    assert task.result() == "still here"
    assert isinstance(waiting.exception(), KernelError)


def test_what_is_in_use_is_never_handed_out(booted: Bench) -> None:
    frames = booted.kernel.system.frames
    used = [(KERNEL_AT, 0x10000), (AREAS_AT, 4 * PAGE), (RECORD_AT, PAGE), (NUCLEUS_ROOT_AT, 2 * PAGE)]
    while frames.statistics().free:
        frame = frames.allocate()
        assert all(frame + PAGE <= base or base + size <= frame for base, size in used)


def test_without_acpi_the_system_runs_and_says_what_is_missing(make_bench: MakeBench) -> None:
    one = make_bench()
    one.machine.memory_write(RSDP_AT, bytes(36))
    one.nucleus.boot()
    assert one.kernel.ready
    messages = "\n".join(one.messages())
    assert "the root pointer at 0xe0000 is damaged" in messages
    assert "no PM timer" in messages and "no I/O APIC serves interrupt 4 of com1" in messages
    one.kernel.power_off()
    for _ in range(150):
        one.run()
    assert "does not say how this machine is switched off" in one.messages()[-1]


def test_a_damaged_fadt_costs_the_timer_and_not_the_console(make_bench: MakeBench) -> None:
    one = make_bench()
    one.machine.ram[TABLES_AT + 0x200 + 100] ^= 1
    one.nucleus.boot()
    one.run()
    assert one.kernel.ready and "FACP at 0xe1200 fails its checksum" in one.screen


def test_no_uart_no_console_and_no_end(make_bench: MakeBench) -> None:
    one = make_bench()
    one.machine.uart.dead = True
    one.nucleus.boot()
    one.run(3)
    assert one.kernel.ready and any("no 16550A answers" in message for message in one.messages())


def test_power_off_after_the_last_word(booted: Bench) -> None:
    booted.kernel.console.write("x" * 200 + "the last word\n")
    booted.kernel.power_off()
    booted.kernel.service()
    assert not booted.machine.powered_off
    booted.run(5)
    assert booted.machine.powered_off and booted.screen.endswith("the last word\r\n")


def test_power_off_although_nobody_reads(booted: Bench) -> None:
    booted.run()
    booted.machine.port_overrides[0x3F8 + 5] = lambda: 0
    booted.kernel.console.write("x" * 200)
    booted.kernel.power_off()
    booted.run(90)
    assert not booted.machine.powered_off
    booted.run(30)
    assert booted.machine.powered_off


def test_power_off_turns_acpi_on_first(booted: Bench) -> None:
    booted.machine.pm1_control = 0
    booted.kernel.power_off()
    booted.run(5)
    assert booted.machine.powered_off and booted.machine.pm1_control & 1
    assert booted.machine.port_read(PM1A_CONTROL, 2) >> 10 & 7 == 5


def test_reboot(booted: Bench) -> None:
    booted.kernel.reboot()
    booted.run(5)
    assert booted.machine.was_reset and not booted.machine.powered_off


def test_reboot_without_a_reset_register(make_bench: MakeBench) -> None:
    one = make_bench()
    one.machine.memory_write(RSDP_AT, bytes(36))
    one.nucleus.boot()
    one.kernel.reboot()
    for _ in range(150):
        one.run()
    assert one.machine.was_reset


def test_wall_time_comes_from_the_rtc(booted: Bench) -> None:
    booted.run(2)
    expected = int(datetime(2026, 11, 24, 12, 34, 56, tzinfo=UTC).timestamp()) * 10**9
    assert abs(booted.kernel.clock.wall() - expected) < 50_000_000


def test_an_rtc_in_an_update_is_asked_again(make_bench: MakeBench) -> None:
    one = make_bench()
    one.machine.cmos[0x0A] = 0xA6
    one.nucleus.boot()
    one.run(3)
    assert one.kernel.clock.wall_start == 0
    one.machine.cmos[0x0A] = 0x26
    one.run(3)
    assert one.kernel.clock.wall_start > 0


def test_an_rtc_that_never_answers_is_given_up_with_a_line(make_bench: MakeBench) -> None:
    one = make_bench()
    one.machine.cmos[0x0A] = 0xA6
    one.nucleus.boot()
    one.run(40)
    assert any("does not settle" in message for message in one.messages())


def test_an_error_of_the_kernels_own_comes_out_of_service(booted: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(vector: int, cpu: int) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(booted.kernel.system.interrupts, "handle", broken)
    booted.nucleus.interrupt(0, 0x20)                   # nothing is raised into the machine
    assert booted.machine.woken
    with pytest.raises(ZeroDivisionError):
        booted.kernel.service()
    assert booted.kernel.panicked is not None
    booted.kernel.service()


def test_a_service_that_fails_is_logged(booted: Bench) -> None:
    async def service() -> None:
        raise ValueError("for a test")

    booted.kernel.spawn(service())
    booted.kernel.service()
    import gc

    gc.collect()
    assert any("ValueError('for a test')" in message for message in booted.messages())


def test_spawn_tells_how_it_ended(booted: Bench) -> None:
    async def service() -> int:
        await asyncio.sleep(0.03)
        return 42

    task = booted.kernel.spawn(service())
    booted.run(2)
    assert not task.done()
    booted.run(3)
    assert task.result() == 42


def test_call_from_anywhere(booted: Bench) -> None:
    called: list[int] = []
    booted.kernel.call(lambda: called.append(1))
    assert booted.machine.woken == 1 and called == []
    booted.kernel.service()
    assert called == [1]


def test_an_idle_cpu_is_kicked_for_work_that_arrives(booted: Bench) -> None:
    for cpu in range(4):
        booted.nucleus.syscall(cpu, 0x99)
    booted.machine.ipis.clear()
    booted.kernel.system.tasks.spawn("spinner", pinned=3)
    assert booted.machine.ipis == [(3, 0xFE)]
    booted.nucleus.interrupt(3, 0xFE)
    assert booted.nucleus.running[3] != 0
    rows = {row[:3] for row in booted.kernel.telemetry.sources["interrupts"].rows()}
    assert (0xFE, "wake", 3) in rows


def test_unexpected_vectors_are_counted_and_named(booted: Bench) -> None:
    for vector in (0x21, 0x55, 0x55, 0x1FF):
        booted.nucleus.interrupt(2, vector)
    assert booted.kernel.system.interrupts.unexpected == 4
    assert [row[:4] for row in booted.kernel.telemetry.sources["interrupts"].rows() if row[1] == "unexpected"] == [
        (0x21, "unexpected", 2, 1), (0x55, "unexpected", 2, 2)]


def test_a_handler_in_trouble_is_logged_and_the_others_are_served(booted: Bench) -> None:
    served: list[str] = []

    def broken() -> None:
        raise KernelError("the device is gone")

    interrupts = booted.kernel.system.interrupts
    vector = interrupts.connect_isa(10, "disk", broken, 0)
    assert interrupts.connect_isa(10, "net", lambda: served.append("net"), 0) == vector == 0x31
    booted.nucleus.interrupt(0, vector)
    assert served == ["net"] and "disk, net: the device is gone" in booted.messages()[-1]


def test_vectors_and_pins_run_out_with_a_message(booted: Bench) -> None:
    interrupts = booted.kernel.system.interrupts
    with pytest.raises(KernelError, match="no I/O APIC serves interrupt 99"):
        interrupts.connect(interrupts._madt.isa(99), "x", lambda: None, 0)


# -- telemetry ---------------------------------------------------------------------------------------------------------

CELLS = {Kind.TEXT: str, Kind.INTEGER: int, Kind.SIZE: int, Kind.DURATION: int, Kind.ADDRESS: int, Kind.TIME: int, Kind.REAL: float, Kind.RATIO: float}
CONTRACT = {
    "system": "uptime DURATION, cpus INTEGER, tasks INTEGER, memory_total SIZE, memory_used SIZE, memory_free SIZE, interrupts INTEGER, syscalls INTEGER, "
              "idle RATIO",
    "cpus": "id INTEGER, state TEXT, task TEXT, user DURATION, system DURATION, idle DURATION, load RATIO, interrupts INTEGER, syscalls INTEGER",
    "tasks": "id INTEGER, name TEXT, state TEXT, cpu INTEGER, time DURATION, syscalls INTEGER, memory SIZE, priority INTEGER",
    "memory": "base ADDRESS, size SIZE, kind TEXT, used SIZE, free SIZE",
    "interrupts": "vector INTEGER, name TEXT, cpu INTEGER, count INTEGER, rate REAL",
    "log": "time DURATION, facility TEXT, level TEXT, message TEXT",
    "devices": "address TEXT, vendor INTEGER, device INTEGER, class TEXT, name TEXT",
}


def test_sources_have_the_contracts_columns(make_bench: MakeBench) -> None:
    sources = make_bench().kernel.telemetry.sources
    assert {name: ", ".join(f"{column.name} {column.kind.name}" for column in source.columns) for name, source in sources.items()} == CONTRACT
    assert all(source.name == name and source.doc and all(column.doc for column in source.columns) for name, source in sources.items())


def test_before_hello_there_are_no_rows(make_bench: MakeBench) -> None:
    assert all(source.rows() == [] for source in make_bench().kernel.telemetry.sources.values())


def test_cells_are_what_their_columns_say(booted: Bench) -> None:
    booted.run(10)
    for source in booted.kernel.telemetry.sources.values():
        rows = source.rows()
        assert rows
        for row in rows:
            assert [type(cell) for cell in row] == [CELLS[column.kind] for column in source.columns]
            for cell, column in zip(row, source.columns, strict=True):
                assert column.kind is not Kind.RATIO or (isinstance(cell, float) and 0 <= cell <= 1)


def test_figures_agree_with_each_other(booted: Bench) -> None:
    booted.nucleus.syscall(1, 0x99)
    booted.run(10)
    booted.nucleus.syscall(0, 10)
    sources = booted.kernel.telemetry.sources
    uptime, cpus, tasks, total, used, free, interrupts, syscalls, idle = sources["system"].rows()[0]
    assert uptime == 100_000_000 and cpus == 4 and tasks == 4
    assert isinstance(used, int) and isinstance(free, int) and used + free == total
    assert used == sum(row[6] for row in sources["tasks"].rows())       # type: ignore[misc]
    assert interrupts == sum(row[3] for row in sources["interrupts"].rows())    # type: ignore[misc]
    assert interrupts == sum(row[7] for row in sources["cpus"].rows())  # type: ignore[misc]
    assert syscalls == sum(row[8] for row in sources["cpus"].rows()) == 2       # type: ignore[misc]
    assert free == sum(row[4] for row in sources["memory"].rows())      # type: ignore[misc]
    for _id, _state, _task, user, system, idle_time, *_rest in sources["cpus"].rows():
        assert user + system + idle_time == 100_000_000                 # type: ignore[operator]
    assert [row[5] for row in sources["cpus"].rows()] == [0, 10_000_000, 0, 0]
    assert idle == 10 / 400
    assert [row[4] for row in sources["interrupts"].rows() if row[1] == "timer"] == [100.0] * 4


def test_another_source_can_be_added_once(booted: Bench) -> None:
    source = LiveSource("weather", "outside", (Column("sky", Kind.TEXT, "colour"),), lambda: [("blue",)])
    booted.kernel.telemetry.add(source)
    assert booted.kernel.telemetry.sources["weather"].rows() == [("blue",)]
    with pytest.raises(AssertionError, match="weather"):
        booted.kernel.telemetry.add(source)


def test_the_kernel_needs_nothing_but_hardware(make_bench: MakeBench) -> None:
    machine = make_bench().machine
    kernel = Kernel(machine)
    kernel.service()
    with pytest.raises(KernelError, match="has not said HELLO"):
        _ = kernel.system
    kernel.close()
    kernel.close()


def test_hello_from_elsewhere_is_a_panic(make_bench: MakeBench) -> None:
    one = make_bench()
    one.nucleus.record[11] = AREAS_AT + 4 * PAGE
    one.nucleus.write_record()
    one.nucleus.call(0, Reason.HELLO)
    assert one.kernel.panicked == f"boot record: CPU areas at {AREAS_AT + 4 * PAGE:#x}, but the boot CPU called with {AREAS_AT:#x}"
    assert struct.unpack("<QQ", one.machine.memory_read(AREAS_AT + 0x38, 16)) == (0, 0)
