"""GDB itself, through our firmware's boot: 16-bit, 32-bit and 64-bit code, four threads, a watchpoint, and backwards."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

from devices.backends.stream import ByteStream
from images.builder import build
from machine import Configuration, ExitReason, Firmware, Machine, Outcome
from machine.debug.rsp import GdbServer
from machine.debug.target import Target
from tests.boot import files_of

pytestmark = pytest.mark.guest

GDB = shutil.which("gdb")
NUCLEUS_ENTRY = 0xFFFFFFFF80000000
SECONDS = 60.0


@pytest.fixture
def machine() -> Iterator[Machine]:
    images = build()
    made = Machine(Firmware(images.rom, files_of(images)), Configuration(memory=64 << 20, cpus=4, clock="instructions"))
    yield made
    made.close()


def first_in_mode(mode: str) -> int:
    """Linear address of the first instruction that the firmware executes in a mode."""
    images = build()
    machine = Machine(Firmware(images.rom, files_of(images)), Configuration(memory=64 << 20, clock="instructions"))
    target, vcpu = Target(machine), machine.engine.vcpus[0]
    for _ in range(200):
        if f", {mode}," in target.describe(0):
            break
        machine.step(0)
    found = vcpu.cs_base + vcpu.rip
    assert f", {mode}," in target.describe(0)
    machine.close()
    return found


def debugged(machine: Machine, *commands: str, until: Callable[[], bool] | None = None) -> tuple[str, Outcome]:
    """What GDB says to these commands, and how the machine ended."""
    if GDB is None:
        pytest.skip("gdb is not installed")
    server = GdbServer(machine, ByteStream("127.0.0.1", 0), wait=True)
    words = [GDB, "-nx", "-batch", "-ex", "set architecture i386:x86-64", "-ex", f"target remote 127.0.0.1:{server._stream.port}"]
    process = subprocess.Popen([*words, *(word for command in commands for word in ("-ex", command))], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               stdin=subprocess.DEVNULL, text=True)
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.append(process.communicate(timeout=SECONDS)[0]))
    reader.start()
    try:
        outcome = server.run(until=until, timeout=SECONDS)
    finally:
        server.close()
        process.kill() if not reader.is_alive() else None
        reader.join()
    return said[0], outcome


def places(text: str) -> list[int]:
    return [int(value, 16) for value in re.findall(r"^rip +(0x[0-9a-f]+)", text, re.MULTILINE)]


def test_breakpoints_in_every_mode_and_a_step_back(machine: Machine) -> None:
    protected = first_in_mode("32-bit")
    text, outcome = debugged(
        machine, "info registers rip", "stepi", "info registers rip", f"hbreak *{protected:#x}", f"break *{NUCLEUS_ENTRY:#x}", "continue", "monitor cpus",
        "continue", "info threads", "monitor cpus", "info registers rip", "stepi", "stepi", "info registers rip", "reverse-stepi", "info registers rip",
        "reverse-stepi", "info registers rip", "reverse-continue", "info registers rip", "kill")
    assert outcome.reason is ExitReason.STOPPED
    reset, second, entry, two_on, one_on, back, earlier = places(text)
    assert reset == 0xFFFFFFF0 and second == 0xFFFF0000 and entry == NUCLEUS_ENTRY
    assert len({entry, one_on, two_on}) == 3 and back == entry and earlier == protected
    assert re.search(r"^\*  0  active, 32-bit, ring 0 .*\n   1  wait-for-sipi", text, re.MULTILINE)
    assert all(f"Thread {number} (active, 64-bit, ring 0)" in text for number in (1, 2, 3, 4))


def test_a_breakpoint_in_16_bit_code(machine: Machine) -> None:
    text, _ = debugged(machine, "break *0xffff0000", "continue", "info registers rip", "monitor cpus", "kill")
    assert places(text) == [0xFFFF0000] and "Breakpoint 1, " in text
    assert "*  0  active, real mode" in text


def test_a_watchpoint_and_what_the_monitor_knows(machine: Machine) -> None:
    text, _ = debugged(machine, f"break *{NUCLEUS_ENTRY:#x}", "continue", "watch -l *(unsigned long*)($rsp-8)", "continue", "info registers rip",
                       f"monitor walk {NUCLEUS_ENTRY:#x}", "monitor device lapic0", "monitor why", "monitor gdt", "monitor nonsense", "monitor help", "kill")
    assert "Hardware watchpoint 2" in text and "New value = 18446744071562067973" in text, "the return address of the nucleus's first call"
    assert "4-level walk of 0xffffffff80000000" in text and "SVR " in text
    assert "no exception" in text and "64-bit code" in text and "there is no command nonsense" in text and "backtrace, bt" in text
    assert places(text)[-1] != NUCLEUS_ENTRY


def test_registers_and_memory_can_be_written(machine: Machine) -> None:
    text, _ = debugged(machine, f"break *{NUCLEUS_ENTRY:#x}", "continue", "set $rbx = 0x1122334455667788", "print/x $rbx", "set $xmm3.uint128 = 5",
                       "print/x $xmm3.uint128", "print/x $eflags", "set *(unsigned*)($rsp-64) = 0xcafe", "x/1xw $rsp-64", "print $cs", "print/x $cr0",
                       "x/1xb 0x7fffffffffff", "kill")
    assert "= 0x1122334455667788" in text and ":\t0x0000cafe" in text and "Cannot access memory" in text
    assert "= 0x5" in text


def test_segment_and_control_registers_can_be_written_and_the_guest_runs_on(machine: Machine) -> None:
    """Page tables are copied elsewhere and CR3 is turned to the copy; the nucleus then comes to where it idles without a kernel, as ever."""
    output = bytearray()
    machine.board.serial_out = output.extend
    copy = "\n".join(f"set {{unsigned long}}{0x3000000 + 8 * place:#x} = {{unsigned long}}($tables + {8 * place})" for place in (0, 511))
    text, _ = debugged(
        machine, f"break *{NUCLEUS_ENTRY:#x}", "continue", "set $tables = (unsigned long)$cr3", *copy.splitlines(), "set $cr3 = 0x3000000", "print/x $cr3",
        "set $fs_base = 0x12345678", "print/x $fs_base", "set $fs_base = 0x8000000000000000", "set $k_gs_base = 0x4000", "print/x $k_gs_base",
        "set $cr0 = $cr0 | 0x10000", "print/x $cr0 & 0x10000", "set $cr0 = 0x33", "set $cr4 = 0", "set $efer = $efer | 0x2000", "set $cr2 = 0x1234",
        "print/x $cr2", "set $ds = 0x7777", "set $es = $ss", "print $es == $ss", "set $mxcsr = 0x1f81", "print $mxcsr", "set $eflags = $eflags | 1",
        "print $eflags", "stepi", "print/x $cr3", "print/x $fs_base", "detach", until=lambda: b"no gate" in output)
    for part in ("= 0x3000000\n", "= 0x12345678\n", "'E.fs_base: 0x8000000000000000 is not a canonical address'", "= 0x4000\n", "= 0x10000\n",
                 "'E.cr0: PG cannot be cleared in 64-bit code'", "'E.cr4: PAE cannot be cleared in long mode'", "'E.efer: 0x2000 is reserved", "= 0x1234\n",
                 "'E.ds: selector 0x7777 is", "= 1\n", "[ IE IM DM ZM OM UM PM ]", "[ CF ", "= 0x3000000\n"):
        assert part in text, (part, text)
    assert b"no gate" in output


def test_a_debugger_that_leaves_lets_the_machine_run(machine: Machine) -> None:
    output = bytearray()
    machine.board.serial_out = output.extend
    if GDB is None:
        pytest.skip("gdb is not installed")
    server = GdbServer(machine, ByteStream("127.0.0.1", 0), wait=True)
    process = subprocess.Popen([GDB, "-nx", "-batch", "-ex", f"target remote 127.0.0.1:{server._stream.port}", "-ex", "break *0xffff0000", "-ex", "detach"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    assert server.run(until=lambda: b"no gate" in output, timeout=SECONDS).reason is ExitReason.CONDITION
    assert process.wait(SECONDS) == 0
    server.close()
