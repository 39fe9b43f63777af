"""What the console's commands do to real guests: conditions, interrupts, traces, pokes, typing, stacks, and what is said of each processor's exceptions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machine import Configuration, Firmware, Machine
from machine.debug.command import Voice
from machine.debug.monitor import COMMANDS, Monitor
from machine.debug.symbols import Symbols
from machine.errors import LoadError
from machine.loaders import bzimage
from machine.loaders.entry import LongMode
from machine.replay import Player
from tests.machine.engine.bench_guest import assemble
from tests.machine.rom import EIGHT_BITS, rom, say

ECHO = EIGHT_BITS + "again: mov dx, 0x3fd; in al, dx; test al, 1; jz again; mov dx, 0x3f8; in al, dx; out dx, al; jmp again"
# vector 8, the timer's, leads to a handler that counts; the loop waits for it
TICKS = ("xor ax, ax; mov ds, ax; mov ss, ax; mov sp, 0x7000; mov word ptr [0x20], 0xf100; mov word ptr [0x22], 0xf000; mov al, 0x34; out 0x43, al;"
         "mov al, 0; out 0x40, al; mov al, 4; out 0x40, al; sti; again: hlt; inc bx; jmp again")
HANDLER = "push ax; inc word ptr [0x600]; mov al, 0x20; out 0x20, al; pop ax; iret"


class Console(Monitor):
    """A monitor that remembers what it has said."""

    def __init__(self, machine: Machine, symbols: Symbols | None = None) -> None:
        self.lines: list[str] = []
        super().__init__(machine, self.lines.append, symbols or Symbols([]))

    def said(self, *lines: str) -> str:
        self.lines.clear()
        for line in lines:
            assert self.execute(line), (line, self.lines)
        return "\n".join(self.lines)


def real_mode(text: str, clock: str = "instructions", cpus: int = 1) -> Console:
    return Console(Machine(Firmware(rom(text)), Configuration(memory=4 << 20, cpus=cpus, clock=clock, reboot=False)))


def long_mode(text: str, symbols: Symbols | None = None) -> Console:
    machine = Machine(Firmware(rom("hlt")), Configuration(memory=4 << 20, clock="instructions", reboot=False))
    machine.memory.write(bzimage.PAGE_TABLES, bzimage._identity_map())
    machine.memory.write(bzimage.GDT, bytes(16) + bzimage.FLAT_CODE_64.to_bytes(8, "little") + bzimage.FLAT_DATA.to_bytes(8, "little"))
    machine.memory.write(0x10000, assemble(text, 0x10000))
    LongMode(0x10000, 0x8000, 0, bzimage.PAGE_TABLES, bzimage.GDT, 31, 0x10, 0x18).apply(machine.engine.vcpus[0])
    return Console(machine, symbols)


def ticking_machine() -> Machine:
    """A guest that sleeps from tick to tick."""
    program = bytearray(rom(TICKS))
    handler = assemble(HANDLER, 0xF100, 16)
    program[0x100:0x100 + len(handler)] = handler
    machine = Machine(Firmware(bytes(program).rjust(65536, b"\xf4")), Configuration(memory=4 << 20, clock="instructions", reboot=False))
    machine.board.as_firmware_leaves_it()
    for port, value in ((0x20, 0x11), (0x21, 8), (0x21, 4), (0x21, 1), (0x21, 0xFE)):
        machine.ports.write(port, 1, value)
    return machine


@pytest.fixture
def ticking() -> Iterator[Console]:
    machine = ticking_machine()
    yield Console(machine)
    machine.close()


def test_a_condition_decides_and_only_stops_are_counted() -> None:
    console = real_mode("mov cx, 0; again: inc cx; cmp cx, 50; jb again; hlt")
    assert "break 1: 0xfffff003" in console.said("break 0xfffff003 if cx >= 20")
    assert "ecx 00000014" in console.said("c", "r")
    assert "  1  break          1 hits  0xfffff003  if cx >= 20" in console.said("b")
    assert "ecx 00000015" in console.said("c", "r") and console.execute("disable 1")
    assert "(off) " in console.said("b") and "halted" in console.said("c 0.001", "cpus")
    console.machine.close()


def test_points_at_one_place_are_told_apart() -> None:
    console = real_mode("again: inc cx; mov [0x600], cx; jmp again")
    console.said("b 0xfffff000", "b 0xfffff000 if cx == 5", "w 0x600 2", "w 0x600 2 rw", "disable 1")
    assert "breakpoint 2" in console.said("d 3", "d 4", "c") and console.machine.engine.breakpoints.addresses == {0xFFFFF000}
    console.said("d 2")
    assert not console.machine.engine.breakpoints.addresses
    console.said("enable 1")
    assert console.machine.engine.breakpoints.addresses == {0xFFFFF000} and "breakpoint 1" in console.said("c")
    assert "there are none" in console.said("d all", "b") and not console.machine.engine.breakpoints.addresses
    console.machine.close()


def test_catching_an_interrupt_and_tracing_some_things(ticking: Console) -> None:
    text = ticking.said("trace on interrupts pit8254", "catch 8", "c")
    assert "trace: interrupts pit8254" in text and "cpu0 takes interrupt 0x8" in text and "pit8254: " in text
    assert "interrupt: cpu 0 has taken vector 0x8" in text and "pic-master" not in text
    assert "  1  interrupt      1 hits  vector 0x8" in ticking.said("b")
    assert "trace: pit8254" in ticking.said("trace off inter*") and "takes" not in ticking.said("c")
    assert "trace: everything" in ticking.said("trace on") and "pic-master: " in ticking.said("c") and "trace: off" in ticking.said("trace off", "trace")
    ticking.said("delete 1", "c 0.02")
    assert ticking.machine.engine.vcpus[0].regs[3] & 0xFFFF >= 10, "nothing stops it any more"


def test_going_back_tells_no_trace_twice(ticking: Console) -> None:
    ticking.said("trace on", "c 0.003")
    assert "takes" not in ticking.said("back 3") and " -> " not in "\n".join(ticking.lines)


def test_until_next_over_hlt_and_steps_that_wait(ticking: Console) -> None:
    vcpu = ticking.machine.engine.vcpus[0]
    assert "hlt" in ticking.said("until cs:f022", "until f000:f022") and "halted" in ticking.said("step")
    assert not ticking.execute("step") and "waits (halted)" in ticking.lines[-1]
    counted = vcpu.regs[3]
    assert "inc bx" in ticking.said("next") and vcpu.regs[3] == counted, "the interrupt came and was dealt with"
    assert "push ax" in ticking.said("until f000:f100") and "iret" in ticking.said("next 5")
    assert "inc bx" in ticking.said("finish")


def test_registers_and_memory_are_written_and_going_back_keeps_that() -> None:
    console = real_mode("again: inc ax; mov [0x600], ax; jmp again")
    assert "eax" in console.said("step", "set eax 0x12345678", "r") and "eax 12345678" in "\n".join(console.lines)
    assert "ah        0x77  119" in console.said("set ah = 0x77") and console.machine.engine.vcpus[0].regs[0] == 0x12347778
    assert "de ad be ef" in console.said("write 0x700 de ad beef", "x 0x700 4") and "01 00 02 00" in console.said("pwrite 0x704 w 1 2", "xp 0x704 4")
    assert "efbeadde 00020001" in console.said("x 0x700 8 d")
    console.said("step 9", "back 4")
    assert console.machine.memory.read(0x700, 4) == bytes.fromhex("deadbeef") and console.machine.engine.vcpus[0].regs[0] & 0xFFFF > 0x7778
    assert not console.execute("set cr0 0x80000000") and console.lines[-1] == "cr0: PG needs PE"
    console.machine.close()


def test_typing_and_waiting_for_text() -> None:
    console = real_mode(ECHO)
    heard = bytearray()
    console.machine.board.serial_out = heard.extend
    console.said("c 0.0001", "type hello there", "wait there")
    assert heard.endswith(b"hello there") and console.machine.board.serial_out == heard.extend
    assert "stopped" not in "\n".join(console.lines)
    console.machine.script = Player(console.machine, [])
    assert not console.execute("type more") and "comes from it" in console.lines[-1]
    console.machine.close()


def test_the_host_s_clock_counts_only_while_it_steps() -> None:
    console = real_mode("again: inc ax; jmp again", clock="host")
    assert not console.machine.engine.breakpoints.counting
    console.said("step 3")
    assert console.machine.engine.breakpoints.counting
    console.said("c 0.001")
    assert not console.machine.engine.breakpoints.counting and not console.execute("back")
    console.machine.close()


def test_stack_and_callers_by_frame_pointer() -> None:
    text = ("push rbp; mov rbp, rsp; call one; hlt; one: push rbp; mov rbp, rsp; sub rsp, 32; mov rax, 0x10040; call rax; leave; ret;"
            ".align 64; push rbp; mov rbp, rsp; hlt")
    symbols = Symbols([(0x10000, "start"), (0x1000A, "one"), (0x10040, "two")])
    console = long_mode(text, symbols)
    assert "leave" not in console.said("until two", "step 2")
    lines = console.said("bt").splitlines()
    assert lines[0].startswith("#0  0x1004") and "<two+" in lines[0] and "<one+" in lines[1] and "<start+" in lines[2] and len(lines) == 3, lines
    stack = console.said("stack 10")
    assert stack.count("return address") == 2 and "<one+" in stack
    console.machine.close()


def test_expressions() -> None:
    console = real_mode("mov bx, 0x1234; mov ax, 0x40; mov es, ax; mov si, 8; hlt")
    console.symbols = Symbols([(0x500, "table"), (0x700, "ax")])
    console.said("step 5")
    values = {"0x10": 0x10, "10": 10, "table": 0x500, "table+0x10-1": 0x50F, "bx": 0x1234, "$bx": 0x1234, "bh": 0x12, "bl": 0x34, "ax": 0x700, "$ax": 0x40,
              "es:8": 0x408, "es:si": 0x408, "0040:0010": 0x410, "f000:fff0": 0xFFFF0, "cs:f000": 0xFFFFF000, "1+2 + 3": 6}
    for text, value in values.items():
        assert console.said(f"print {text}").split()[0] == f"{value:#x}", text
    assert "ip        0xf00b  61451" in console.said("set ip 0xf00b") and "0xfffff00b" in console.said("p rip")
    assert not console.execute("set ip 0x10000") and "ip has 16 bits" in console.lines[-1]
    console.said("set cs 0x1000", "set ip 0x20")
    assert console.said("p rip").startswith("0x10020 ") and console.said("p cs:ip").startswith("0x10020 ")
    console.said("set cs 0xf000", "set ip 0xf00b")
    assert console.said("p rip").startswith("0xff00b "), "a selector that is loaded makes a base of real mode"
    console.machine.close()


def test_names_from_a_list_and_from_what_is_none(tmp_path: Path) -> None:
    (tmp_path / "System.map").write_text("0000000000000600 D counter\nffffffff81000000 T _text\n\nffffffff81000040 t secondary [module]\n")
    symbols = Symbols.from_file(tmp_path / "System.map")
    assert symbols.name(0xFFFFFFFF81000042) == "secondary+0x2" and symbols.beginning("_t") == ["_text"]
    (tmp_path / "prose").write_text("no symbols here")
    with pytest.raises(LoadError, match="neither an ELF file nor a list"):
        Symbols.from_file(tmp_path / "prose")
    console = real_mode("hlt")
    console.said(f"symbols {tmp_path / 'System.map'}")
    assert console.completions("x cou") == ["counter "] and console.completions("x rsp+cou") == ["counter "]
    console.machine.close()


def test_completion_and_shortened_commands() -> None:
    console = real_mode("hlt")
    assert set(console.completions("wa")) == {"watch ", "walk ", "wait "}
    assert console.completions("dev lap") == ["lapic0 "] and console.completions("trace on int") == ["interrupts "]
    assert console.completions("set cr") == ["cr0 ", "cr2 ", "cr3 ", "cr4 ", "cr8 "] and console.completions("nothing x") == []
    assert not console.execute("wa 0x600") and console.lines[-1] == "wa may be wait, walk, watch"
    assert "usage" not in console.said("regis") and "usage" not in console.said("disas")
    assert "break 0x7c00 if" in console.said("help break")
    console.machine.close()


def test_a_device_by_register_the_map_the_screen_and_mistakes() -> None:
    console = real_mode(say("x") + "mov dx, 0x2f8; in al, dx; mov ax, 0xb800; mov ds, ax; mov word ptr [0], 0x0741; hlt")
    console.said("c 0.001")
    assert console.said("dev com1 lcr").splitlines()[0].split()[:3] == ["0x0003", "LCR", "0x03"]
    text = console.said("map")
    assert "port   0x03f8..0x03ff  com1.registers" in text and "ROM" in text and "lapics" in text and "RAM" not in console.said("map ports")
    assert "1  port 0x2f8 read, nothing there" in console.said("mistakes")
    other = real_mode("mov dx, 0x2f8; in al, dx; in al, dx; hlt")
    assert other.said("trace on mistakes", "c 0.001").count("port: 0x2f8 read, nothing there") == 1
    other.machine.close()
    assert console.said("screen").splitlines()[0] == "A"
    console.machine.close()


def test_each_processor_has_its_own_last_exceptions() -> None:
    console = real_mode("again: int3; jmp again", cpus=2)
    machine = console.machine
    machine.memory.write(3 * 4, (0x0500).to_bytes(4, "little"))
    machine.memory.write(6 * 4, (0x0504).to_bytes(4, "little"))
    machine.memory.write(0x500, b"\xcf\x90\x90\x90" + assemble("pop bx; add bx, 2; push bx; iret", 0x504, 16))
    machine.memory.write(0x10000, b"\x0f\x0b" * 5 + b"\xf4")
    other = machine.engine.vcpus[1]
    other.init()
    other.startup(0x10)
    for vcpu in machine.engine.vcpus:
        vcpu.write_register(4, 0x7000 - 0x800 * vcpu.index)
    console.said("c 0.01")
    first, second = machine.engine.exceptions.last(0), machine.engine.exceptions.last(1)
    assert {(one.vector, one.software, one.rip, one.cs_base) for one in first} == {(3, True, 0xF001, 0xF0000)}, "IRET has loaded CS"
    assert len(first) == 16
    assert [(one.vector, one.software, one.cs_base, one.rip) for one in second] == [(6, False, 0x10000, 2 * number) for number in range(5)]
    text = console.said("why 1")
    assert "#UD invalid opcode at 0x10008, 16-bit code, ring 0" in text and "ud2" in text and "INT3" not in text
    text = console.said("why 0")
    assert "INT3, to go on at 0xff001" in text and "#UD" not in text
    machine.close()


def test_what_was_not_yet_is_not_told_after_going_back() -> None:
    console = real_mode("nop; nop; int3; nop; int3; again: jmp again")
    console.machine.memory.write(3 * 4, (0x0500).to_bytes(4, "little"))
    console.machine.memory.write(0x500, b"\xcf")
    console.machine.engine.vcpus[0].write_register(4, 0x7000)
    console.said("step 20")
    assert console.said("why").count("to go on at") == 2
    console.said("back 15")
    assert console.said("why").count("to go on at") == 1
    console.said("back continue")
    assert "no exception" in console.said("why")
    console.machine.close()


def test_why_tells_the_descriptor_that_a_selector_names() -> None:
    console = long_mode("mov eax, 0x10; mov ss, eax; hlt")
    console.said("c")
    console.said("why")
    assert any("GDT selector 0x10" in line for line in console.lines)
    assert console.ended is not None
    console.machine.close()
    console = long_mode("lidt [rip + table]; mov eax, 0x10; mov ss, eax; hlt; table: .word 0xfff; .quad 0x200000")
    console.machine.memory.write(0x20100, assemble("again: jmp again", 0x20100))
    console.machine.memory.write(0x200000 + 16 * 13, (0x100).to_bytes(2, "little") + (0x10).to_bytes(2, "little") + b"\x00\x8e\x02\x00" + bytes(8))
    console.said("c 0.0001")
    text = console.said("why")
    assert "#GP general protection at " in text and "mov ss, eax" in text and "GDT 0x0010: 64-bit code" in text and "interrupt gate to 0x10:0x20100" in text
    console.machine.close()


WORDS = ["all", "on", "off", "if", "com1", "lapic0", "interrupts", "rsp", "$rip", "cs:ip", "f000:fff0", "0x600", "0x7000", "-1", "-5", "0", "2",
         "99999999999999999999", "0xffffffffffffffff", "0x8000000000000000", "ax", "cr0", "eflags", "b", "q", "w", "rw", "zz", "==", "0x600==0", "", "+", ":",
         "1e999", "nan", "0xfee00000"]
UNSUITED = ("save", "symbols", "quit", "wait", "until", "continue", "finish", "next", "step", "back")    # those write files, or may run for long


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([name for command in COMMANDS for name in command.names if command.names[0] not in UNSUITED]),
                          st.lists(st.one_of(st.sampled_from(WORDS), st.text("x0-9:+$ \x00\u00e9", max_size=4)), max_size=4)), max_size=6))
def test_no_line_hurts_the_console(lines: list[tuple[str, list[str]]]) -> None:
    console = real_mode("again: inc ax; mov [0x600], ax; int3; jmp again")
    try:
        for name, words in [*lines, ("step", ["5"]), *lines]:
            count = len(console.lines)
            if console.ended is None and not console.execute(" ".join((name, *words))):
                assert len(console.lines) > count, (name, words)
    finally:
        console.machine.close()


class Heard:
    """In a terminal's place."""

    def __init__(self) -> None:
        self.text = b""

    def write(self, data: bytes) -> None:
        self.text += data

    def flush(self) -> None:
        return


def test_what_a_guest_asks_of_its_terminal_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """A shell asks where the cursor is; the answer would come as if typed at the console."""
    for piece in (1, 2, 100):
        heard = Heard()
        voice = Voice(heard, shared=True)  # type: ignore[arg-type]
        text = b"\x1b[1mred\x1b[0m / # \x1b[6n\x1b[?7l\x1b[c\x1bZ.\x1b"
        for at in range(0, len(text), piece):
            voice.guest(text[at:at + piece])
        voice.flush()
        assert heard.text == b"\x1b[1mred\x1b[0m / # \x1b[?7l."
        voice.guest(b"[31mx\n")
        voice.flush()
        assert heard.text.endswith(b"\x1b[31mx\n")
    voice.guest(b"half a line")
    voice.running = lambda: True
    voice.say("of a trace")
    voice.running = lambda: False
    voice.say("one")
    voice.say("two")
    assert capsys.readouterr().out == "of a trace\n\none\ntwo\n"
    heard = Heard()
    other = Voice(heard, shared=False)  # type: ignore[arg-type]
    other.guest(b"\x1b[6n")
    other.flush()
    assert heard.text == b"\x1b[6n", "a file gets all of it"
