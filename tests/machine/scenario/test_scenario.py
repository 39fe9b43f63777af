"""The vocabulary of scenarios, on a firmware that echoes what it is sent, and stops for a timer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keystone
import pytest

from machine.boot import Firmware, Linux
from machine.loaders.initrd import build
from machine.configuration import INSTRUCTIONS, Configuration
from machine.memory import MIB
from machine.outcome import ExitReason
from machine.scenario.scenario import Scenario, ScenarioFailure

Booter = Callable[..., Scenario]
SIZE, SEGMENT = 0x10000, 0xF0000
ECHO = ("mov dx, 0x3FB; mov al, 3; out dx, al; mov dx, 0x3F8; mov al, 0x3E; out dx, al;"      # characters of eight bits; >
        "ready: mov dx, 0x3FD; in al, dx; test al, 1; jz ready; mov dx, 0x3F8; in al, dx; cmp al, 0x21; je end; out dx, al; jmp ready;")
END = "end: mov al, 7; out 0xF4, al; hlt;"
# 8259A at 0x20 with all but IRQ 0 masked, 8254 channel 0 at 1 kHz, a handler that counts in [0x500]
TIMER = ("cli; xor ax, ax; mov ds, ax; mov word ptr [0x80], 0x9000; mov word ptr [0x82], 0xF000; mov ss, ax; mov sp, 0x7000;"
         "mov al, 0x11; out 0x20, al; mov al, 0x20; out 0x21, al; mov al, 4; out 0x21, al; mov al, 1; out 0x21, al; mov al, 0xFE; out 0x21, al;"
         "mov al, 0x34; out 0x43, al; mov al, 0xA9; out 0x40, al; mov al, 4; out 0x40, al; sti; idle: hlt; jmp idle")
HANDLER = "inc word ptr [0x500]; mov al, 0x20; out 0x20, al; iret"


def asm(text: str, address: int) -> bytes:
    code, _ = keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_16).asm(text, address)
    return bytes(code)


def firmware(text: str, more: str = "") -> Firmware:
    """A ROM that starts `text` at F000:8000, with `more` at F000:9000."""
    rom = bytearray(b"\xF4" * SIZE)
    for offset, code in ((0x8000, asm(text, 0x8000)), (0x9000, asm(more, 0x9000) if more else b""), (SIZE - 16, b"\xEA\x00\x80\x00\xF0")):
        rom[offset : offset + len(code)] = code
    return Firmware(bytes(rom))


SMALL = Configuration(16 * MIB, clock=INSTRUCTIONS, reboot=False)


def test_what_is_typed_comes_back_and_is_waited_for_once(scenarios: Booter) -> None:
    pc = scenarios(firmware(ECHO + END), SMALL)
    pc.wait_for(">")
    pc.type("hello\r\nhello, and much more than a FIFO holds at once\r\n")
    assert pc.wait_for(r"hel+o$").group() == "hello"
    assert "much" not in pc.console, "it stands where the line ended"
    assert pc.wait_for("hello, (.*)$").group(1).startswith("and much")
    with pytest.raises(ScenarioFailure, match="it did not happen within 0.01 s of virtual time\nthe console's last lines:\n    >hello\n    hello, and"):
        pc.wait_for("hello", within=0.01)


def test_the_end_says_how(scenarios: Booter) -> None:
    pc = scenarios(firmware(ECHO + END), SMALL)
    pc.wait_for(">")
    pc.type("!")
    outcome = pc.wait_for_end()
    assert (outcome.reason, outcome.value) == (ExitReason.DEBUG_EXIT, 7)


def test_an_end_nobody_waited_for_is_a_failure(scenarios: Booter) -> None:
    pc = scenarios(firmware(ECHO + END), SMALL)
    pc.wait_for(">")
    pc.type("!")
    with pytest.raises(ScenarioFailure, match="to say 'more'; it did not happen before the machine stopped: debug exit\nthe console's last lines:\n    >$"):
        pc.wait_for("more")


def test_virtual_time_passes_exactly(scenarios: Booter) -> None:
    pc = scenarios(firmware(ECHO + END), SMALL)
    for _ in range(3):
        before = pc.machine.clock.now()
        pc.run_for(0.001)
        assert pc.machine.clock.now() - before == 1_000_000


def test_an_interrupt_by_its_vector(scenarios: Booter) -> None:
    pc = scenarios(firmware(TIMER, HANDLER), SMALL)
    pc.machine.board.as_firmware_leaves_it()         # the 8259A's interrupts reach the processor
    assert pc.wait_for_interrupt(0x20) == 0
    first = pc.seconds
    for _ in range(10):
        pc.wait_for_interrupt(0x20, cpu=0)
    assert 0.0099 < pc.seconds - first < 0.0101
    with pytest.raises(ScenarioFailure, match="waited for interrupt 0x21 on processor 0; it did not happen within 0.05 s"):
        pc.wait_for_interrupt(0x21, cpu=0, within=0.05)
    count = int.from_bytes(pc.machine.memory.read(0x500, 2), "little")
    pc.wait_until(lambda: int.from_bytes(pc.machine.memory.read(0x500, 2), "little") == count + 5, "five ticks", within=0.01)


def test_an_address(scenarios: Booter) -> None:
    pc = scenarios(firmware(TIMER, HANDLER), SMALL)
    pc.machine.board.as_firmware_leaves_it()         # the 8259A's interrupts reach the processor
    for count in range(3):
        assert pc.run_to(SEGMENT + 0x9000) == 0
        vcpu = pc.machine.engine.vcpus[0]
        assert vcpu.cs_base + vcpu.rip == SEGMENT + 0x9000
        assert int.from_bytes(pc.machine.memory.read(0x500, 2), "little") == count
    with pytest.raises(ScenarioFailure, match="an instruction at 0xfa000"):
        pc.run_to(SEGMENT + 0xA000, within=0.01)


def test_run_to_leaves_nothing_behind_that_slows_the_host_s_clock(scenarios: Booter) -> None:
    pc = scenarios(firmware(TIMER, HANDLER), Configuration(memory=4 << 20))
    pc.machine.board.as_firmware_leaves_it()
    assert pc.run_to(SEGMENT + 0x9000) == 0
    engine = pc.machine.engine
    assert not engine.breakpoints.counting and not engine.breakpoints.addresses
    assert engine.run(0, 1_000_000).retired == 0 and engine.retired_in_slice() == 0, "nothing has been counted"


def test_a_fork_goes_its_own_way(scenarios: Booter) -> None:
    pc = scenarios(firmware(ECHO + END), SMALL)
    pc.wait_for(">")
    pc.type("one ")
    pc.wait_for("one ")
    with pc.fork() as copy:
        copy.type("two")
        copy.wait_for("two")
        assert copy.console == ">one two"
    pc.type("three")
    pc.wait_for("three")
    assert pc.console == ">one three"


def test_two_runs_are_one(scenarios: Booter) -> None:
    ends = []
    for _ in range(2):
        pc = scenarios(firmware(ECHO + END), SMALL)
        pc.wait_for(">")
        pc.type("the same, to the instruction")
        pc.wait_for("instruction")
        ends.append((pc.machine.stats.retired, pc.machine.clock.now(), pc.console))
    assert ends[0] == ends[1]


@pytest.mark.guest
def test_linux_talks(scenarios: Booter, debian_linux: Path, debian_busybox: Path) -> None:
    """A shell on the serial line, by the host's clock; a fork of it forgets."""
    pc = scenarios(Linux(debian_linux.read_bytes(), build(debian_busybox, 'echo "up"; exec sh'), "console=ttyS0 quiet"), Configuration(cpus=2))
    pc.wait_for("^up$")
    pc.wait_for("# ")
    with pc.fork() as copy:
        copy.type("answer=$((6*7)); echo it is $answer\n")
        copy.wait_for("^it is 42$")
    pc.type("echo it is ${answer:-unknown}\n")
    pc.wait_for("^it is unknown$")
