"""The kernel on the real PC: its own nucleus and programs, on counted instructions, so that each run is the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from images.builder import build
from kernel.kernel import Kernel
from tests.boot import MIB, Pc, files_of, pc

pytestmark = pytest.mark.guest
MS = 1_000_000


@dataclass
class Running:
    """A PC with a kernel on it, and a terminal that answers if asked to."""

    pc: Pc
    kernel: Kernel
    terminal: tuple[int, int] | None = None
    lines: list[str] = field(default_factory=list)
    answered: int = 0

    def service(self) -> None:
        self.kernel.service()
        if self.terminal is not None:
            asked, self.answered = bytes(self.pc.output[self.answered:]), len(self.pc.output)
            for corner in re.findall(rb"(\x1b\[999;999H)?\x1b\[6n", asked):
                self.type(b"\x1b[%d;%dR" % (self.terminal[1], self.terminal[0]) if corner else b"\x1b[5;1R")

    def type(self, data: bytes) -> None:
        self.pc.machine.board.serial.receive(data)

    def run(self, until: str | Callable[[], bool]) -> None:
        self.pc.run(until, self.service)

    def run_for(self, ns: int) -> None:
        end = self.kernel.clock.reached + ns
        self.run(lambda: self.kernel.clock.reached >= end)

    def rows(self, source: str) -> list[tuple[object, ...]]:
        return self.kernel.telemetry.sources[source].rows()

    async def talk(self) -> None:
        await self.kernel.online()
        while True:
            try:
                self.lines.append(await self.kernel.console.prompt("test> ", history=self.lines))
            except KeyboardInterrupt:
                self.lines.append("^C")
            except EOFError:
                self.kernel.power_off()
                return


@contextmanager
def running(cmdline: str = "terminal=plain", cpus: int = 4) -> Iterator[Running]:
    images = build()
    with pc(images.rom, files_of(images, cmdline), cpus=cpus, memory=64 * MIB) as one:
        kernel = Kernel(one.machine.hardware)
        try:
            system = Running(one, kernel)
            system.run(lambda: kernel.ready)
            yield system
        finally:
            kernel.close()


@pytest.mark.parametrize("cpus", [1, 2, 4, 7])
def test_every_cpu_comes_online_with_a_program_of_its_own(cpus: int) -> None:
    with running(cpus=cpus) as system:
        system.run_for(200 * MS)
        assert [row[:2] + row[3:4] for row in system.rows("tasks")] == [(cpu + 1, "pulse", cpu) for cpu in range(cpus)]
        assert system.kernel.gate.refused == 0
        timers = {row[2]: row[3] for row in system.rows("interrupts") if row[1] == "timer"}
        assert sorted(timers) == list(range(cpus))
        assert all(isinstance(count, int) and 18 <= count <= 22 for count in timers.values())       # 100 Hz for 200 ms
        assert all(isinstance(row[6], float) and row[6] < 0.1 for row in system.rows("cpus"))       # and otherwise nothing to do


def test_programs_that_compute_yield_and_fault() -> None:
    with running("terminal=plain programs=faulty,spinner,yielder,pulse") as system:
        system.run_for(100 * MS)
        assert [row[1] for row in system.rows("tasks")] == ["spinner", "yielder", "pulse"]
        assert re.search(r"faulty \(1\) killed: #PF at rip 0x4[0-9a-f]+, error 0x7", "\n".join(map(str, system.kernel.log.records)))
        cpus = {row[0]: row for row in system.rows("cpus")}
        assert cpus[0][1] == "idle" and cpus[1][2] == "spinner"
        assert isinstance(cpus[1][6], float) and cpus[1][6] > 0.99
        assert isinstance(cpus[3][6], float) and cpus[3][6] < 0.1
        used = system.kernel.system.frames.statistics().used
        assert used == sum(task.memory for task in system.kernel.system.tasks.tasks.values())       # what the dead one held is free again


def test_two_that_compute_share_a_cpu_and_a_third_takes_the_idle_one() -> None:
    with running("terminal=plain programs=spinner", cpus=1) as system:
        tasks = system.kernel.system.tasks
        second = tasks.spawn("spinner")
        system.run_for(400 * MS)
        first, second_time = tasks.tasks[1].user_ns, second.user_ns
        assert 0.8 < first / second_time < 1.25
    with running("terminal=plain programs=pulse", cpus=2) as system:
        spinners = [system.kernel.system.tasks.spawn("spinner") for _ in range(2)]
        system.run_for(200 * MS)
        assert {task.cpu for task in spinners} == {0, 1}


def test_an_idle_cpu_is_woken_by_an_interrupt_from_another() -> None:
    with running() as system:
        system.run_for(50 * MS)
        system.kernel.system.tasks.spawn("faulty", pinned=2)
        before = system.kernel.clock.reached
        system.run(lambda: any(row[:3] == (0xFE, "wake", 2) for row in system.rows("interrupts")))
        assert system.kernel.clock.reached - before < 10 * MS          # it did not have to wait for its tick
        system.run(lambda: len(system.rows("tasks")) == 4)


def test_lines_typed_through_the_uart_without_a_terminal() -> None:
    with running("terminal=plain quiet") as system:
        system.kernel.spawn(system.talk())
        system.run("test> ")
        system.type(b"first\nse\x7fecond\n")
        system.run(lambda: len(system.lines) == 2)
        system.type(b"half\x03")
        system.run(lambda: len(system.lines) == 3)
        assert system.lines == ["first", "second", "^C"]
        system.type(b"\x04")
        outcome = system.pc.machine.run(None, system.service)
        assert outcome.reason.name == "POWER_OFF"
        assert "\x1b" not in system.pc.text.split("test> ", 1)[1]


def test_prompt_toolkit_inside_the_system() -> None:
    with running("terminal=xterm quiet") as system:
        system.terminal = (90, 25)
        system.kernel.spawn(system.talk())
        system.run("test>")
        system.run_for(50 * MS)
        assert (system.kernel.console.columns, system.kernel.console.rows) == (90, 25)
        for keys, line in ((b"cpus\r", "cpus"), (b"\x1b[A\x7fx\r", "cpux"), (b"\x12pus\r\r", "cpus"), (b"gone\x03", "^C"), ("größe\x01>\r".encode(), ">größe")):
            count = len(system.lines)
            system.type(keys)
            system.run(lambda count=count: len(system.lines) > count)  # type: ignore[misc]
            assert system.lines[-1] == line
            system.run_for(30 * MS)
        assert system.kernel.uart.counts.overruns == 0


def test_a_long_text_leaves_whole_by_transmitter_interrupts() -> None:
    with running("terminal=plain quiet") as system:
        text = "".join(f"line {number} of a long text\n" for number in range(1000))
        system.kernel.console.write(text + "the end\n")
        system.run("the end\r\n")
        assert system.pc.text.endswith(text + "the end\n")
        assert system.kernel.uart.counts.dropped == 0 and system.kernel.uart.counts.stalls == 0


def test_reboot_is_a_reset() -> None:
    with running() as system:
        system.kernel.reboot()
        assert system.pc.machine.run(None, system.service).reason.name == "RESET"


def test_the_same_run_twice() -> None:
    seen = []
    for _ in range(2):
        with running() as system:
            system.run_for(100 * MS)
            seen.append((system.pc.machine.stats.retired, system.rows("cpus"), system.rows("interrupts"), system.pc.text))
    assert seen[0] == seen[1]
