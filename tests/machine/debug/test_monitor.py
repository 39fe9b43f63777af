"""The debugger's console: each command, what it says, and what it says to nonsense."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from images.builder import build
from machine import Configuration, Firmware, Machine
from machine.debug.monitor import COMMANDS, Monitor
from machine.debug.symbols import Symbols
from machine.errors import LoadError
from tests.machine.rom import rom

ROOT = Path(__file__).resolve().parents[3]
# 0xf000: mov cx, 3 | call work | loop | out 0xf4 | work: inc ax; ret
TEXT = "xor ax, ax; mov ds, ax; mov ss, ax; mov sp, 0x7000; mov cx, 3; again: call work; loop again; out 0xf4, al; hlt; work: inc ax; mov [0x600], ax; ret"


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    machine = Machine(Firmware(rom(TEXT)), Configuration(memory=4 << 20, clock="instructions"))
    lines: list[str] = []
    made = Monitor(machine, lines.append, Symbols([(0xFFFFF00C, "again")]))
    made.lines = lines  # type: ignore[attr-defined]
    yield made
    machine.close()


def said(monitor: Monitor, *lines: str) -> str:
    monitor.lines.clear()  # type: ignore[attr-defined]
    for line in lines:
        assert monitor.execute(line), line
    return "\n".join(monitor.lines)  # type: ignore[attr-defined]


def test_stepping_over_calls_and_back(monitor: Monitor) -> None:
    assert "=> f000:f000  0xfffff000  31c0 " in said(monitor, "step")
    assert "=> f000:f00c  0xfffff00c <again>" in said(monitor, "step 5")
    assert "loop" in said(monitor, "next")
    assert "inc ax" in said(monitor, "step", "step")
    assert "<again>" in said(monitor, "back")
    assert "loop" in said(monitor, "back")
    assert "<again>" in said(monitor, "back 4"), "over the call: its three instructions and the CALL itself"
    assert "loop" in said(monitor, "next") and "inc ax" in said(monitor, "", "step") and "loop" in said(monitor, "finish")


def test_breakpoints_by_symbol_watchpoints_and_the_end(monitor: Monitor) -> None:
    text = said(monitor, "break again", "break", "continue")
    assert text.splitlines()[:2] == ["break 1: 0xfffff00c <again>", "  1  break          0 hits  0xfffff00c <again>"]
    assert "breakpoint 1 at f000:f00c  0xfffff00c <again>" in text
    text = said(monitor, "delete again", "watch 0x600 2 w", "c")
    assert "watchpoint 2: cpu 0 has written 2 bytes at physical 0x600: 00 00 -> 01 00" in text and "ret" in text
    assert "01 00" in said(monitor, "x 0x600 2")
    assert "watchpoint 2: cpu 0 has written 2 bytes at physical 0x600: 01 00 -> 02 00" in said(monitor, "step", "step", "next"), "in the middle of it"
    said(monitor, "delete 2")
    assert "the guest has ended: debug exit" in said(monitor, "c")
    assert monitor.ended is not None and monitor.ended.value == 3
    assert not monitor.execute("c") and "may go to before that" in monitor.lines[-1]  # type: ignore[attr-defined]
    assert "out 0xf4, al" in said(monitor, "back") and "the guest has ended" in said(monitor, "step"), "the end can be met again"


def test_back_to_the_last_stop(monitor: Monitor) -> None:
    said(monitor, "b again", "c", "c")
    assert "eax 00000001" in said(monitor, "r")
    assert "<again>" in said(monitor, "back continue")
    assert "eax 00000000" in said(monitor, "r")
    assert "oldest moment" in said(monitor, "back continue")


def test_looking_around(monitor: Monitor) -> None:
    said(monitor, "step 3")
    text = said(monitor, "registers", "cpus", "devices", "dev pic-master", "walk 0x1234", "idt 6", "time", "why", "memory 0xfffffff0 16", "list again 2",
                "x $rip+1 4", "help")
    for part in ("cs  f000  base 00000000ffff0000  limit 0000ffff  16-bit code, readable, DPL 0", "eflags 00000046  [PF ZF]  IOPL 0", "cr0  0000000060000010",
                 "*  0  ", "lapic0", "MASK", "no paging walk", "leads to", " 3 instructions", "no exception", "ffff", "<again>", "step, s"):
        assert part in text, part
    assert all(command.names[0] in text for command in COMMANDS)


def test_why_names_the_exception_and_where_its_vector_leads(monitor: Monitor) -> None:
    machine = Machine(Firmware(rom("xor ax, ax; mov ds, ax; lidt [0x600]; int 3")), Configuration(memory=4 << 20, clock="instructions", reboot=False))
    lines: list[str] = []
    asker = Monitor(machine, lines.append)
    asker.execute("c")
    asker.execute("why")
    text = "\n".join(lines)
    assert "triple fault" in text and "interrupt" not in text.splitlines()[0]
    assert "#GP general protection" in text and "#DF double fault" in text and "beyond the IVT's limit of 0x0" in text and "a third one" in text
    machine.close()


def test_a_page_fault_shows_its_walk() -> None:
    from machine.loaders import bzimage
    from machine.loaders.entry import LongMode
    from tests.machine.engine.bench_guest import assemble

    machine = Machine(Firmware(rom("hlt")), Configuration(memory=4 << 20, clock="instructions", reboot=False))
    machine.memory.write(bzimage.PAGE_TABLES, bzimage._identity_map())
    machine.memory.write(bzimage.GDT, bytes(16) + bzimage.FLAT_CODE_64.to_bytes(8, "little") + bzimage.FLAT_DATA.to_bytes(8, "little"))
    machine.memory.write(0x10000, assemble("mov rax, 0x1234567890; mov [rax], rbx", 0x10000))
    LongMode(0x10000, 0x8000, 0, bzimage.PAGE_TABLES, bzimage.GDT, 31, 0x10, 0x18).apply(machine.engine.vcpus[0])
    lines: list[str] = []
    monitor = Monitor(machine, lines.append)
    monitor.execute("c")
    monitor.execute("why")
    text = "\n".join(lines)
    assert "#PF page fault at 0x1000a, 64-bit code, ring 0: a write to 0x1234567890 by the supervisor: not present" in text
    assert "behind the #PF page fault, as it is now:\n  0x1000a  488918  mov qword ptr [rax], rbx\n  4-level walk of 0x1234567890, CR3 0x9000" in text
    assert "not present\n  vector 0x0e: empty\n  vector 0x08: empty" in text, "and why it became a double fault"
    machine.close()


@pytest.mark.parametrize("line", [
    "jump", "x", "x nowhere", "break $rxx", "delete 0x1", "cpu 7", "watch 0x600 2 q", "device nothing", "trace maybe", "step many", "dev nothing", "walk",
    "dev lapic0 nothing", "d 9", "d", "enable 4", "break 0x1 unless 3", "break 0x1 if", "break 0x1 if x == 1", "watch 0x600 0", "watch 0x600 5000",
    "catch 256", "trace on nothing*", "set rxx 1", "set rax", "set ax 0x10000", "set cr4 0x200000", "set cr0 0x80000000", "write 0x600", "write 0x600 zz",
    "write 0x600 q", "write 0xffff0000 00", "pwrite 0xfee00000 00", "x 0x10000000000000000", "idt 256",
    "idt -1", "continue 1e999", "x 0x600 4 z", "x zz:10", "xp", "print", "print 1+", "registers rxx", "ldt",
    "tss", "map nowhere", "help nothing", "why 7", "continue -1", "continue nan", "wait", "st", "back many", "next many", "step -1", "until", "cpu", "save",
    "idt nothing", "symbols"])
def test_nonsense_gets_one_line(monitor: Monitor, line: str) -> None:
    monitor.lines.clear()  # type: ignore[attr-defined]
    assert not monitor.execute(line)
    assert len(monitor.lines) == 1, "one line, and no traceback"  # type: ignore[attr-defined]


def test_symbols_of_the_nucleus_and_of_files_that_have_none(tmp_path: Path) -> None:
    (tmp_path / "nucleus.elf").write_bytes(build().nucleus)
    symbols = Symbols.from_elf(tmp_path / "nucleus.elf")
    entry = symbols.address("nucleus_entry")
    assert entry == 0xFFFFFFFF80000000 and symbols.name(entry + 5) == "nucleus_entry+0x5" and symbols.name(0x1000) == ""
    (tmp_path / "text").write_text("no ELF")
    for name, says in (("text", "no ELF file"), ("none", "No such file")):
        with pytest.raises(LoadError, match=says):
            Symbols.from_elf(tmp_path / name)


def test_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "rom").write_bytes(rom(TEXT))
    done = subprocess.run([sys.executable, "folkering.py", "debug", "--firmware", str(tmp_path / "rom"), "--memory", "4", "-c", "step 2", "-c", "c", "-c", "c"],
                          cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, "the last command came too late"
    assert "0xfffff002" in done.stdout and "the guest has ended: debug exit" in done.stdout and "`back` may go to before that" in done.stdout
