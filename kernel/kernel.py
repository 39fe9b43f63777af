"""The kernel: what happens when the nucleus calls for the first time, and the services above it.

How it is used, from outside:

    kernel = Kernel(machine.hardware)           # the gate is open; nothing has run yet
    kernel.spawn(conversation(kernel))          # coroutines on the kernel's loop; they may begin with `await kernel.online()`
    machine.run(until=..., service=kernel.service)      # service() between slices: never blocks, costs nothing when nothing is ready

    kernel.ready        HELLO was said and every CPU is online
    kernel.panicked     None, or why the system stands still
    kernel.telemetry    live sources, from the first moment (without rows until HELLO)
    kernel.console      prompt(), write(), on_interrupt (Ctrl-C while no prompt is open)
    kernel.log          kernel.clock        kernel.options (the command line's name=value pairs)
    kernel.power_off()  kernel.reboot()     after the console has sent what it holds
    kernel.close()      cancel what still runs

Options of the kernel's command line (fw_cfg `opt/folkering/cmdline`): `terminal=plain|TERM`, `columns=N`, `rows=N`, `quiet` (boot messages stay in the
log), `programs=NAME[,NAME..]` (ring-3 programs, CPU 0 gets the first, and so on round; default `pulse`).
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from kernel.acpi import sleep_states
from kernel.acpi.fadt import SIGNATURE as FADT_SIGNATURE
from kernel.acpi.fadt import Fadt
from kernel.acpi.madt import SIGNATURE as MADT_SIGNATURE
from kernel.acpi.madt import Madt
from kernel.acpi.tables import Tables, read_table
from kernel.archive import Archive
from kernel.boot_record import BootRecord
from kernel.clock import Clock
from kernel.console import Console
from kernel.drivers.pci import Pci
from kernel.drivers.rtc import read_rtc
from kernel.drivers.uart16550 import COM1, COM1_IRQ, Uart16550
from kernel.errors import AcpiError, ArchiveError, BadMemory, KernelError
from kernel.gate import IDLE, Answer, CpuArea, Gate, Reason
from kernel.hardware import PAGE_SIZE, Hardware, PhysicalMemory
from kernel.interrupts import TIMER_VECTOR, Interrupts
from kernel.log import Level, Log, counted
from kernel.loop import KernelLoop
from kernel.memory.address_space import nucleus_tables
from kernel.memory.frames import FrameAllocator
from kernel.power import Power
from kernel.sources import add_sources
from kernel.system import System
from kernel.tasks.dispatch import Dispatcher
from kernel.tasks.scheduler import Scheduler
from kernel.tasks.syscalls import Syscalls
from kernel.tasks.table import TaskTable
from kernel.telemetry import Telemetry

NAME = "Folkering"
DEFAULT_PROGRAMS = "pulse"
NS = 1_000_000_000
ONLINE_TIMEOUT = 2 * NS                 # after HELLO: a CPU that has not come by then is given up
FIRST_TICKS = 0.02                      # seconds: two
RTC_RETRIES, RTC_PAUSE = 10, 0.02       # an update takes 2 ms; seconds
LAST_WORDS_TIMEOUT, SHIFT_OUT = 1.0, 0.02       # seconds: for the console to send what it holds, and its last FIFO load
OUTPUT_LINES = 100                      # of tasks, in a second
MIB = 1 << 20

Result = TypeVar("Result")


class Kernel:
    """One kernel on one machine.

    Args:
        hardware: the machine, as a driver sees it.

    Attributes:
        panicked: None, or why the system stands still.
    """

    def __init__(self, hardware: Hardware) -> None:
        self.hardware = hardware
        self.memory = PhysicalMemory(hardware)
        self.clock = Clock()
        self.log = Log()
        self.log.now = lambda: self.clock.reached
        self.loop = KernelLoop(self.clock.now, lambda: self.clock.reached, hardware.wake)
        self.loop.set_exception_handler(self._on_loop_exception)
        self.uart = Uart16550(hardware, COM1, self.log)
        self.console = Console(self.uart, self.loop, self.log)
        self.telemetry = Telemetry()
        self.options: dict[str, str] = {}
        self.panicked: str | None = None
        self._system: System | None = None
        self._services: set[asyncio.Task[Any]] = set()
        self._online = asyncio.Event()
        self._bug: BaseException | None = None
        self._output_second = self._output_lines = 0
        add_sources(self.telemetry, self.log, lambda: self._system)
        self.gate = Gate(self.memory, lambda message: self.log.once("gate", message))
        self.gate.halted = lambda: self.panicked is not None
        self.gate.on(Reason.HELLO, self._hello)
        self.gate.on(Reason.ONLINE, self._cpu_online)
        self.gate.on(Reason.INTERRUPT, self._interrupt)
        self.gate.on(Reason.EXCEPTION, self._exception)
        self.gate.on(Reason.SYSCALL, self._syscall)
        self.gate.attach(hardware, self._enter)

    # -- what happens at boot ------------------------------------------------------------------------------------------

    def _boot(self, area: CpuArea) -> None:
        record = BootRecord.read(self.memory, area.boot_record)         # what the nucleus knows of the machine
        self.clock.start(record.tsc_hz, area.tsc_enter)                 # time begins
        self._start_console(record)                                     # from here on people can read what happens
        frames = self._start_memory(record, area)                       # which frames are ours
        fadt, madt, sleep_types = self._read_acpi(record)               # what the firmware says
        self._start_timer(fadt)                                         # time between gate calls
        interrupts = self._start_interrupts(madt, area)                 # wires to vectors; the console's first
        self._system = self._start_tasks(record, frames, interrupts, Power(self.hardware, fadt, sleep_types))
        self._find_devices(self._system)                                # PCI functions
        self.gate.areas = {cpu: record.cpu_areas + cpu * PAGE_SIZE for cpu in range(record.cpu_count)}
        self.spawn(self._set_wall_clock(fadt.century if fadt else 0), "rtc")
        self._add_cpu(area)                                             # this CPU has work from now on

    def _start_console(self, record: BootRecord) -> None:
        self.options = parse_options(record.cmdline)
        self.console.configure(self.options)
        self.log.mirror = lambda line: self.console.write(line + "\n")
        self.log.mirror_from = Level.WARNING if "quiet" in self.options else Level.INFO
        if self.uart.probe():
            self.uart.start()
        else:
            self.log.warning("uart", f"no 16550A answers at {COM1:#x}: there is no console")
        loader = record.bootloader or "nobody it knows"
        self.log.info("kernel", f"{NAME}: {counted(record.cpu_count, 'CPU')}, TSC at {record.tsc_hz / 1e6:.0f} MHz, loaded by {loader}")

    def _start_memory(self, record: BootRecord, area: CpuArea) -> FrameAllocator:
        if area.address != record.cpu_areas:
            raise KernelError(f"boot record: CPU areas at {record.cpu_areas:#x}, but the boot CPU called with {area.address:#x}")
        used = [(record.kernel_phys, record.kernel_size), (record.cpu_areas, record.cpu_count * PAGE_SIZE), (area.boot_record, PAGE_SIZE)]
        used += [(table, PAGE_SIZE) for table in nucleus_tables(self.memory, record.cr3)]
        used += [(module.base, module.size) for module in record.modules]
        frames = FrameAllocator(record.memory_map, used)
        figures = frames.statistics()
        self.log.info("memory", f"{figures.total // MIB} MiB to give in {counted(len(frames.regions), 'range')}, {figures.free // MIB} MiB free")
        return frames

    def _read_acpi(self, record: BootRecord) -> tuple[Fadt | None, Madt, tuple[int, int] | None]:
        fadt, madt, sleep_types = None, Madt(), None
        try:
            tables = Tables(self.memory, record.rsdp)
            for note in tables.damaged:
                self.log.warning("acpi", note)
            self.log.info("acpi", f"tables: {', '.join(tables.by_signature)}")
            madt = Madt.parse(tables.table(MADT_SIGNATURE))
            for note in madt.notes:
                self.log.warning("acpi", note)
            fadt = Fadt.parse(tables.table(FADT_SIGNATURE))
            sleep_types = sleep_states.soft_off(read_table(self.memory, fadt.dsdt))
        except AcpiError as error:                      # each thing that is missing costs what depends on it, not the boot
            self.log.error("acpi", str(error))
        return fadt, madt, sleep_types

    def _start_timer(self, fadt: Fadt | None) -> None:
        timer = fadt.pm_timer if fadt else None
        if fadt is None or timer is None:
            self.log.error("clock", "there is no PM timer: between interrupts time stands still")
            return
        self.clock.use_pm_timer(lambda: timer.read(self.hardware), fadt.pm_timer_width)

    def _start_interrupts(self, madt: Madt, area: CpuArea) -> Interrupts:
        interrupts = Interrupts(self.hardware, self.log)
        interrupts.start(madt)
        try:
            vector = interrupts.connect_isa(COM1_IRQ, "com1", self.uart.interrupt, area.lapic_id)
        except KernelError as error:
            self.log.error("interrupts", str(error))
        else:
            self.uart.enable_interrupts()
            self.log.info("interrupts", f"8259 masked, {counted(len(madt.io_apics), 'I/O APIC')}, com1 on vector {vector:#x}")
        return interrupts

    def _start_tasks(self, record: BootRecord, frames: FrameAllocator, interrupts: Interrupts, power: Power) -> System:
        scheduler = Scheduler(lambda: self.clock.reached, self._kick)
        tasks = TaskTable(self.memory, frames, record, self._open_archive(record), scheduler, self.log)
        syscalls = Syscalls(tasks, scheduler, self.clock, self._task_output)
        dispatcher = Dispatcher(self.memory, self.clock, scheduler, tasks, syscalls, interrupts, self.panic)
        return System(record, self.clock, frames, interrupts, scheduler, tasks, syscalls, dispatcher, power, [])

    def _open_archive(self, record: BootRecord) -> Archive | None:
        if not record.modules:
            self.log.warning("archive", "the loader brought no archive: there are no programs")
            return None
        module = record.modules[0]
        try:
            archive = Archive(lambda offset, length: self.memory.read(module.base + offset, length), module.size)
        except (ArchiveError, BadMemory) as error:
            self.log.error("archive", str(error))
            return None
        self.log.info("archive", f"{module.size // 1024} KiB: {', '.join(archive.entries) or 'empty'}")
        return archive

    def _find_devices(self, system: System) -> None:
        system.functions.extend(Pci(self.hardware).enumerate())
        self.log.info("pci", f"{counted(len(system.functions), 'function')}: {', '.join(one.name for one in system.functions) or 'none'}")

    async def _set_wall_clock(self, century_register: int) -> None:
        for left in reversed(range(RTC_RETRIES)):
            try:
                wall = read_rtc(self.hardware, century_register)
            except KernelError as error:
                if not left:
                    self.log.warning("rtc", str(error))
                await asyncio.sleep(RTC_PAUSE)
            else:
                self.clock.wall_start = wall - self.clock.now()
                return

    # -- calls of the nucleus ------------------------------------------------------------------------------------------

    def _enter(self, value: int) -> None:
        """The gate's door. Nothing may be raised into the machine that calls: an error of this kernel's own comes out of `service`."""
        try:
            self.gate.enter(value)
        except Exception as error:  # noqa: BLE001 -- must not reach the machine, which could only drop it; `service` raises it
            self._bug = error
            self.panic(f"an error of the kernel itself: {error!r}\n{traceback.format_exc()}")
            self.hardware.wake()
        finally:
            self.clock.leave_gate()
            if self.panicked is not None:
                self.clock.now()                        # no handler moves time any more, and services still sleep on it

    def _hello(self, area: CpuArea) -> Answer:
        try:
            self._boot(area)
        except KernelError as error:
            self.panic(str(error))
            return IDLE
        return self.system.dispatcher.answer(area.cpu)

    def _cpu_online(self, area: CpuArea) -> Answer:
        self.clock.at_gate(area.tsc_enter, resynchronize=False)
        self._add_cpu(area)
        return self.system.dispatcher.answer(area.cpu)

    def _interrupt(self, area: CpuArea) -> Answer:
        answer = self.system.dispatcher.interrupt(area)
        if area.vector == TIMER_VECTOR and area.cpu == 0:
            self.uart.tick()
            if not self._online.is_set() and self.clock.reached > ONLINE_TIMEOUT:
                self._give_up_cpus()
        return answer

    def _exception(self, area: CpuArea) -> Answer:
        return self.system.dispatcher.exception(area)

    def _syscall(self, area: CpuArea) -> Answer:
        return self.system.dispatcher.syscall(area)

    def _add_cpu(self, area: CpuArea) -> None:
        system = self.system
        system.dispatcher.add_cpu(area, system.record.tsc_hz)
        self._start_program(area.cpu)
        if len(system.dispatcher.cpus) == system.record.cpu_count:
            self._all_online()

    def _start_program(self, cpu: int) -> None:
        tasks = self.system.tasks
        names = [name for name in self.options.get("programs", DEFAULT_PROGRAMS).split(",") if name]
        if tasks.archive is None or not names:
            return
        try:
            tasks.spawn(names[cpu % len(names)], pinned=cpu)
        except KernelError as error:
            self.log.error("tasks", str(error))

    def _all_online(self) -> None:
        system = self.system
        self.log.info("kernel", f"{counted(len(system.dispatcher.cpus), 'CPU')} online, {counted(len(system.tasks.tasks), 'task')}")
        self.log.mirror_from = Level.WARNING            # from now on the console belongs to people
        self._online.set()

    def _give_up_cpus(self) -> None:
        missing = sorted(set(range(self.system.record.cpu_count)) - set(self.system.dispatcher.cpus))
        self.log.error("kernel", f"CPU {', '.join(map(str, missing))} did not come online within {ONLINE_TIMEOUT // NS} s")
        self._all_online()

    def _kick(self, cpu: int) -> None:
        """Let an idle CPU come by; the one whose call is being answered looks for work anyway."""
        if cpu != self.gate.inside:
            self.system.interrupts.wake_cpu(self.system.dispatcher.cpus[cpu].lapic_id)

    def _task_output(self, line: str) -> None:
        """A line of a task's, into the log; so many a second, because the log is there for others, too."""
        second = self.clock.reached // NS
        if second != self._output_second:
            self._output_second, self._output_lines = second, 0
        self._output_lines += 1
        if self._output_lines <= OUTPUT_LINES:
            self.log.debug("output", line.rstrip("\n"))
        else:
            self.log.once("output", f"tasks print more than {OUTPUT_LINES} lines a second: the rest is not kept")

    # -- services ------------------------------------------------------------------------------------------------------

    @property
    def system(self) -> System:
        """The parts of the running system. Raises: KernelError before HELLO."""
        if self._system is None:
            raise KernelError("the nucleus has not said HELLO")
        return self._system

    @property
    def ready(self) -> bool:
        """HELLO was said, every CPU is online, and nothing has gone so wrong that all stands still."""
        return self._online.is_set() and self.panicked is None

    async def online(self) -> None:
        """Wait until `ready`, and for the first ticks: until then every CPU's account is empty. Raises: KernelError when the system panics instead."""
        await self._online.wait()
        if self.panicked is None:
            await asyncio.sleep(FIRST_TICKS)
        if self.panicked is not None:
            raise KernelError(self.panicked)

    def service(self) -> None:
        """Let the services run; the machine calls this between slices. Raises only what is an error of the kernel itself."""
        if self._bug is not None:
            bug, self._bug = self._bug, None
            raise bug
        if not self.loop.has_work:
            return
        begun = self.clock.now()
        self.loop.step()
        if self._system is not None:
            self._system.dispatcher.served += self.clock.now() - begun

    def spawn(self, coroutine: Coroutine[Any, Any, Result], name: str | None = None) -> asyncio.Task[Result]:
        """Run a coroutine as a service on the kernel's loop; the task tells how it ended."""
        task = self.loop.create_task(coroutine, name=name)
        self._services.add(task)
        task.add_done_callback(self._services.discard)
        return task

    def call(self, function: Callable[[], None]) -> None:
        """Run a function on the kernel's loop soon; from any thread."""
        self.loop.call_soon_threadsafe(function)

    def power_off(self) -> None:
        """Switch the machine off, once the console has sent what it holds."""
        self.spawn(self._end(Power.switch_off), "power-off")

    def reboot(self) -> None:
        """Reset the machine, once the console has sent what it holds."""
        self.spawn(self._end(Power.reset), "reboot")

    async def _end(self, act: Callable[[Power], None]) -> None:
        try:
            async with asyncio.timeout(LAST_WORDS_TIMEOUT):
                await self.console.drain()
                await asyncio.sleep(SHIFT_OUT)
        except TimeoutError:
            pass                                        # a line that nobody reads must not keep the machine on
        try:
            act(self.system.power)
        except KernelError as error:
            self.log.error("power", str(error))

    def panic(self, reason: str) -> None:
        """Stop: every CPU idles from its next call on, and the reason is the last thing on the console."""
        if self.panicked is not None:
            return
        self.panicked = reason
        self.log.mirror = None
        for line in f"panic: {reason}".splitlines():
            self.log.error("kernel", line)
        self.uart.write_dying(f"\n*** KERNEL PANIC: {reason}\n".replace("\n", "\r\n").encode())
        self._online.set()

    def close(self) -> None:
        """Cancel every service and end the loop; the kernel is not used after this."""
        if not self.loop.is_closed():
            self.loop.finish()

    def _on_loop_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback failed, or a task whose end nobody looked at."""
        error = context.get("exception")
        self.log.error("kernel", f"{context['message']}: {error!r}")
        if error is not None:
            self.log.debug("kernel", "".join(traceback.format_exception(error)))


def parse_options(command_line: str) -> dict[str, str]:
    """`name=value` words of a command line, last one wins; a bare word has an empty value."""
    words = (word.partition("=") for word in command_line.split())
    return {name: value for name, _equals, value in words}
