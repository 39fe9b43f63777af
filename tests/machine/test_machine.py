"""The whole PC: how runs end, resets, deadlines, waiting, what a guest cannot break."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator

import keystone
import pytest

from devices.core.log import UnmodelledAccess
from machine import Configuration, ExitReason, Firmware, Machine, MachineError
from machine.checkpoint import digest
from machine.configuration import HOST, INSTRUCTIONS
from machine.errors import EngineError
from machine.recording import Recorder
from machine.replay import Event, Player
from tests.machine.rom import EIGHT_BITS, rom, say

Build = Callable[..., Machine]
CLOCKS = (INSTRUCTIONS, HOST)
GENEROUS = 5.0                                   # seconds of host time that no run here comes near
RESET_BY_CF9 = "mov dx, 0xcf9; mov al, 2; out dx, al; mov al, 6; out dx, al; spin: jmp spin;"


@pytest.fixture
def build() -> Iterator[Build]:
    machines: list[Machine] = []

    def make(text: str, clock: str = INSTRUCTIONS, **options: object) -> Machine:
        configuration = Configuration(memory=4 << 20, clock=clock, **options)  # type: ignore[arg-type]
        machines.append(Machine(Firmware(rom(text)), configuration))
        return machines[-1]

    yield make
    for machine in machines:
        machine.close()


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize(("text", "reason", "value"), [
    ("mov dx, 0x604; mov ax, 0x2000; out dx, ax; hlt", ExitReason.POWER_OFF, 0),
    ("mov al, 0x21; out 0xf4, al; hlt", ExitReason.DEBUG_EXIT, 0x21),
    ("mov eax, 0x12345; mov dx, 0xf4; out dx, eax; hlt", ExitReason.DEBUG_EXIT, 0x12345),
    ("cli; hlt", ExitReason.DEAD, 0),
    (RESET_BY_CF9, ExitReason.RESET, 0),
    ("in al, 0x92; or al, 1; out 0x92, al; spin: jmp spin", ExitReason.RESET, 0),
    ("xor ax, ax; mov ds, ax; lidt [0x600]; int 3; hlt", ExitReason.SHUTDOWN, 0),
])
def test_a_run_ends_for_the_guests_reason(build: Build, clock: str, text: str, reason: ExitReason, value: int) -> None:
    outcome = build(text, clock, reboot=False).run(timeout=GENEROUS)
    assert (outcome.reason, outcome.value) == (reason, value)


@pytest.mark.parametrize("clock", CLOCKS)
def test_a_reset_starts_over_with_memory_as_it_was_and_chips_as_new(build: Build, clock: str) -> None:
    """The first run leaves a mark in memory and masks in the 8259A; the second finds the one and not the other."""
    text = ("xor ax, ax; mov ds, ax; cmp byte ptr [0x600], 0x5a; je second; mov byte ptr [0x600], 0x5a; mov al, 0x37; out 0x21, al;"
            + RESET_BY_CF9 + "second: in al, 0x21; out 0xf4, al; hlt")
    machine = build(text, clock)
    outcome = machine.run(timeout=GENEROUS)
    assert (outcome.reason, outcome.value, machine.stats.resets) == (ExitReason.DEBUG_EXIT, 0, 1)


def test_a_triple_fault_reboots_unless_it_is_not_to(build: Build) -> None:
    text = "xor ax, ax; mov ds, ax; inc byte ptr [0x600]; cmp byte ptr [0x600], 3; je done; lidt [0x700]; int 3; done: mov al, 9; out 0xf4, al; hlt"
    machine = build(text)
    assert machine.run(timeout=GENEROUS).value == 9
    assert machine.stats.triple_faults == 2


def test_timeout_is_the_hosts_time(build: Build) -> None:
    assert build("spin: jmp spin").run(timeout=0.01).reason is ExitReason.TIMEOUT


def test_until_is_asked_between_slices_and_a_run_can_go_on(build: Build) -> None:
    machine = build(say("hi") + "mov al, 1; out 0xf4, al; hlt")
    text = bytearray()
    machine.board.serial_out = text.extend
    assert machine.run(until=lambda: True).reason is ExitReason.CONDITION
    assert bytes(text) == b""
    assert machine.run(timeout=GENEROUS).reason is ExitReason.DEBUG_EXIT
    assert bytes(text) == b"hi"


@pytest.mark.parametrize("clock", CLOCKS)
def test_a_halted_processor_is_woken_by_a_timer(build: Build, clock: str) -> None:
    """8254 channel 0 in mode 0, vector 0x20 of the 8259A, by LINT0 of a local APIC in virtual-wire mode."""
    text = ("xor ax, ax; mov ds, ax; mov word ptr [0x80], 0xf080; mov word ptr [0x82], 0xf000; mov ax, 0xff00; mov sp, 0x7000; mov ss, sp;"
            "mov al, 0x11; out 0x20, al; mov al, 0x20; out 0x21, al; mov al, 4; out 0x21, al; mov al, 1; out 0x21, al; mov al, 0xfe; out 0x21, al;"
            "mov al, 0x30; out 0x43, al; mov al, 0x50; out 0x40, al; mov al, 0x10; out 0x40, al; sti; again: hlt; jmp again")
    machine = build(text, clock)
    machine.board.as_firmware_leaves_it()
    machine.board.open_segments()
    handler = bytes.fromhex("b007e6f4f4")                 # mov al, 7; out 0xf4, al; hlt
    machine.memory.write(0xFF080, handler)
    outcome = machine.run(timeout=GENEROUS)
    assert (outcome.reason, outcome.value) == (ExitReason.DEBUG_EXIT, 7)
    assert machine.clock.now() >= 0x1050 * 1_000_000_000 // 1_193_182
    assert machine.engine.vcpus[0].delivered == 1


def test_waking_from_another_thread_ends_an_idle_wait(build: Build) -> None:
    machine = build("cli; hlt", HOST)
    woken: list[int] = []
    waker = threading.Thread(target=lambda: (woken.append(1), machine.wake()))

    def service() -> None:
        if not waker.is_alive() and not woken:
            waker.start()

    assert machine.run(until=lambda: bool(woken) and not waker.is_alive(), service=service, timeout=GENEROUS).reason is ExitReason.CONDITION
    waker.join()


def test_stop_ends_a_busy_run(build: Build) -> None:
    machine = build("spin: jmp spin", HOST)
    stopper = threading.Thread(target=machine.stop)
    assert machine.run(service=lambda: None if stopper.is_alive() or stopper.ident else stopper.start(), timeout=GENEROUS).reason is ExitReason.STOPPED
    stopper.join()


def test_host_input_reaches_the_guest(build: Build) -> None:
    """COM1 echoes what it gets, until an exclamation mark."""
    from devices.backends.terminal import Terminal

    text = (say(">") + "again: mov dx, 0x3fd; in al, dx; test al, 1; jz again; mov dx, 0x3f8; in al, dx; out dx, al; cmp al, 0x21; jne again;"
            "mov al, 1; out 0xf4, al; hlt")
    machine = build(text, HOST)
    source, keyboard = os.pipe()
    back, sink = os.pipe()
    terminal = Terminal(machine.board.serial, machine.stop, source, sink)
    machine.board.serial_out = terminal.write
    machine.inputs.append(terminal)
    machine.flush.append(terminal.flush)
    seen: list[bytes] = []
    terminal.watch = seen.append
    assert machine.run(until=lambda: bool(seen), timeout=GENEROUS).reason is ExitReason.CONDITION
    os.write(keyboard, b"hello!")
    assert machine.run(timeout=GENEROUS).reason is ExitReason.DEBUG_EXIT
    assert os.read(back, 100) == b">hello!"
    for end in (source, keyboard, back, sink):
        os.close(end)


def test_two_runs_on_the_instruction_clock_are_the_same(build: Build) -> None:
    text = (EIGHT_BITS + "mov cx, 2000; again: in al, 0x40; mov bl, al; in al, 0x61; xor bl, al; mov dx, 0x3f8; mov al, bl; out dx, al; rdtsc;"
            "mov dx, 0x3f8; out dx, al; loop again; mov al, 0; out 0xf4, al; hlt")
    seen = []
    for _ in range(2):
        machine = build(text)
        output = bytearray()
        machine.board.serial_out = output.extend
        machine.run(timeout=GENEROUS)
        seen.append((bytes(output), machine.clock.now(), machine.stats.retired, machine.stats.slices))
    assert seen[0] == seen[1] and len(seen[0][0]) == 4000


def test_a_schedule_seed_gives_another_schedule_each_time_the_same(build: Build) -> None:
    """Two processors write to one serial port; which letters come when depends on their turns alone."""
    def writer(letter: str, rounds: int) -> str:
        return f"mov dx, 0x3f8; mov bx, {rounds}; next: mov al, {ord(letter)}; out dx, al; mov cx, 60; wait: loop wait; dec bx; jnz next;"

    second = bytes(keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_16).asm(writer("b", 60000) + "hlt", 0)[0])
    seen = []
    for seed in (None, 1, 1, 2):
        machine = build(EIGHT_BITS + writer("a", 4000) + "mov al, 0; out 0xf4, al; hlt", cpus=2, schedule_seed=seed)
        output = bytearray()
        machine.board.serial_out = output.extend
        machine.memory.write(0x8000, second)
        machine.engine.vcpus[1].startup(8)
        assert machine.run(timeout=GENEROUS).reason is ExitReason.DEBUG_EXIT
        assert output.count(b"a") == 4000 and output.count(b"ab") >= 2
        seen.append(bytes(output))
    assert seen[1] == seen[2]
    assert len(set(seen)) == 3


@pytest.mark.parametrize("seed", range(20))
def test_whoever_is_runnable_gets_a_turn_whatever_the_seed(build: Build, seed: int) -> None:
    """The only processor that runs was overlooked when a round ended while it was looked for."""
    assert build("mov cx, 60000; wait: loop wait; mov al, 1; out 0xf4, al; hlt", cpus=4, schedule_seed=seed).run(timeout=GENEROUS).value == 1


# --- what a guest cannot break -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("clock", CLOCKS)
def test_a_jump_into_a_hole_is_a_fault_of_the_guests(clock: str) -> None:
    """The bus answers all ones there, which is no instruction: #UD, and with no handler a triple fault."""
    unreal = ("cli; lgdt cs:[0xf400]; lidt cs:[0xf500]; mov eax, cr0; or al, 1; mov cr0, eax; .byte 0x66, 0xea, 0x00, 0x00, 0x00, 0xd0, 0x08, 0x00; hlt")
    image = bytearray(rom(unreal))
    image[0x400:0x406] = (23).to_bytes(2, "little") + (0xFFFFF410).to_bytes(4, "little")
    image[0x410:0x428] = bytes(8) + (0x00CF9B000000FFFF).to_bytes(8, "little") + (0x00CF93000000FFFF).to_bytes(8, "little")
    holed = Machine(Firmware(bytes(image)), Configuration(memory=4 << 20, clock=clock, reboot=False))
    outcome = holed.run(timeout=GENEROUS)
    assert outcome.reason is ExitReason.SHUTDOWN
    assert any(device == "mmio" for device, _register, _kind in holed.log.counts)
    holed.close()


def test_writes_to_rom_are_dropped_and_counted(build: Build) -> None:
    text = ("mov eax, dword ptr cs:[0xf000]; mov ebx, eax; not eax; mov dword ptr cs:[0xf000], eax; cmp ebx, dword ptr cs:[0xf000]; je kept; hlt;"
            "kept: mov al, 3; out 0xf4, al; hlt")
    machine = build(text)
    assert machine.run(timeout=GENEROUS).value == 3
    assert machine.memory.rom_writes >= 1


def test_strict_mode_names_what_is_not_modelled(build: Build) -> None:
    text = "mov al, 0x0b; out 0x70, al; mov al, 3; out 0x71, al; mov al, 0; out 0xf4, al; hlt"        # RTC register B, DSE
    with pytest.raises(UnmodelledAccess, match="rtc.*DSE"):
        build(text, strict=True).run(timeout=GENEROUS)
    lenient = build(text)
    assert lenient.run(timeout=GENEROUS).reason is ExitReason.DEBUG_EXIT
    assert any("DSE" in line for line in lenient.log.lines)


def test_what_cannot_be_built_gets_one_line() -> None:
    image = Firmware(rom("hlt"))
    for configuration, says in ((Configuration(cpus=0), "0 CPUs"), (Configuration(cpus=65), "65 CPUs"), (Configuration(clock="sundial"), "sundial"),
                                (Configuration(memory=12345), "whole pages"), (Configuration(memory=1 << 50), "whole pages")):
        with pytest.raises(MachineError, match=says) as caught:
            Machine(image, configuration)
        assert "\n" not in str(caught.value)


# --- a person at the console, on the instruction clock ---------------------------------------------------------------------------------------
TICKS = ("xor ax, ax; mov ds, ax; mov ss, ax; mov sp, 0x7000; mov word ptr [0x80], 0x7c00; mov word ptr [0x82], 0;"
         "mov word ptr [0x90], 0x7c00; mov word ptr [0x92], 0;"
         "mov al, 0x11; out 0x20, al; mov al, 0x20; out 0x21, al; mov al, 4; out 0x21, al; mov al, 1; out 0x21, al; mov al, 0xee; out 0x21, al;"
         "mov al, 0x34; out 0x43, al; mov al, 0; out 0x40, al; out 0x40, al;"
         + EIGHT_BITS + "mov dx, 0x3fc; mov al, 8; out dx, al; mov dx, 0x3f9; mov al, 1; out dx, al; sti;"
         "again: hlt; mov dx, 0x3fd; in al, dx; test al, 1; jz again; mov dx, 0x3f8; in al, dx; out dx, al; mov al, 7; inc bx; cmp bx, 2; jne again;"
         "out 0xf4, al; hlt")
END_OF_INTERRUPT = bytes.fromhex("50 b020 e620 58 cf")


class Person:
    """The host's clock and its waiting, and somebody who types at two moments of the host's. Waiting takes a little longer than was asked for."""

    LATE = 60_000

    def __init__(self, machine: Machine, *when: int) -> None:
        self.now, self.waits, self._machine, self._when = 1_000_000_000, list[float](), machine, list(when)
        machine.inputs.append(self)

    def fileno(self) -> int:
        return 99

    def pump(self) -> bool:
        while self._when and self._when[0] <= self.now:
            self._when.pop(0)
            self._machine.board.serial.receive(b"k")
        return False

    def host_time(self) -> int:
        self.now += 1_000
        return self.now

    def select(self, readers: list[int], _writers: list[int], _others: list[int], wait: float) -> tuple[list[int], list[int], list[int]]:
        self.waits.append(wait)
        end = self.now + int(wait * 1e9) + self.LATE
        key = self._when[0] if self._when and self._when[0] < end else None
        self.now = end if key is None else max(key, self.now)
        return ([99] if key is not None else []), [], []


def test_idle_time_is_the_hosts_where_a_person_types(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was recorded so is played without the person at any speed."""
    lines: list[bytes] = []
    machine = build(TICKS)
    machine.board.as_firmware_leaves_it()
    machine.memory.write(0x7C00, END_OF_INTERRUPT)
    person = Person(machine, 1_000_000_000 + 2_345_678_901, 1_000_000_000 + 4_000_000_001)
    monkeypatch.setattr("machine.machine.host_time", person.host_time)
    monkeypatch.setattr("machine.outside.select.select", person.select)
    machine.paced = True
    recorder = Recorder(machine, lines.append)
    assert machine.run(timeout=20).reason is ExitReason.DEBUG_EXIT
    recorder.finish()
    assert len(person.waits) > 70 and 0.05 < max(person.waits) < 0.055, "it sleeps from tick to tick"
    assert 3_990_000_000 < machine.clock.now() < 4_000_000_000, "late by what a host's tick of waiting is too long, and does not get later"
    first, second = (json.loads(line) for line in lines if b"com1" in line)
    assert 2_340_000_000_000 < first[1] < 2_346_000_000_000 and first[1] % 54_925_000_000 > 1_000_000_000 and second[0] > first[0]
    again = build(TICKS)
    again.board.as_firmware_leaves_it()
    again.memory.write(0x7C00, END_OF_INTERRUPT)
    player = Player(again, [Event(*event[:2], event[2], event[3].encode("latin-1")) for event in (first, second)])
    person.waits.clear()
    again.paced = True
    assert again.run(timeout=20).reason is ExitReason.DEBUG_EXIT and player.position == 2
    assert digest(again) == digest(machine) and not person.waits


def test_what_comes_while_the_machine_is_about_to_sleep_wakes_it(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Input that was moved at the last look before a wait was waited with, until the next deadline."""
    machine = build(TICKS, HOST)
    machine.board.as_firmware_leaves_it()
    machine.memory.write(0x7C00, END_OF_INTERRUPT)
    waits: list[float] = []

    class Late:
        def fileno(self) -> None:
            return None

        def pump(self) -> bool:
            if machine.board.serial.space() and not waits:
                machine.board.serial.receive(b"k")
            return False

    def select_at_once(_readers: list[int], _writers: list[int], _others: list[int], wait: float) -> tuple[list[int], list[int], list[int]]:
        waits.append(wait)
        return [], [], []

    machine.inputs.append(Late())
    monkeypatch.setattr(machine, "_serve_inputs", lambda: None)            # only the last look before a wait is left
    monkeypatch.setattr("machine.outside.select.select", select_at_once)
    assert machine.run(timeout=GENEROUS).reason is ExitReason.DEBUG_EXIT and not waits, "two characters were read before anybody slept"


@pytest.mark.parametrize("clock", ["host", "instructions"])
def test_what_is_held_of_a_closed_machine_ends_in_one_line_or_does_nothing(clock: str) -> None:
    pc = Machine(Firmware(rom(EIGHT_BITS + "mov bx, 0x1234; again: jmp again")), Configuration(4 << 20, clock=clock))
    pc.run(until=lambda: pc.stats.slices > 0, timeout=5.0)
    engine, vcpu, memory, board = pc.engine, pc.engine.vcpus[0], pc.memory, pc.board
    rip = vcpu.rip
    pc.close()
    assert (vcpu.rip, vcpu.regs[3]) == (rip, 0x1234)
    for use in (lambda: engine.run(0, 1000), lambda: engine.step(0), lambda: engine.breakpoints.add(0x1000), lambda: vcpu.public_register(25, 8),
                lambda: vcpu.write_control(0, 0x11), lambda: engine.start_over(None)):
        with pytest.raises(EngineError, match="this engine is closed"):
            use()
    for use in (engine.interrupt, engine.park, engine.close, vcpu.nmi, vcpu.init, lambda: vcpu.post(0x33), lambda: vcpu.write_register(0, 5),
                lambda: memory.write(0x1000, b"x"), lambda: memory.steer(0, False, False), board.reset, pc.wake, pc.stop, pc.close):
        use()
