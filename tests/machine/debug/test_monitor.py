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
    assert "=> 0xfffff000" in said(monitor, "step")
    assert "=> 0xfffff00c <again>" in said(monitor, "step 5")
    assert "loop" in said(monitor, "next")
    assert "inc ax" in said(monitor, "step", "step")
    assert "<again>" in said(monitor, "back")
    assert "loop" in said(monitor, "back", "back", "back")[-60:] or "ret" in said(monitor, "list")


def test_breakpoints_by_symbol_watchpoints_and_the_end(monitor: Monitor) -> None:
    text = said(monitor, "break again", "break", "continue")
    assert text.splitlines()[0] == "0xfffff00c <again>" and "breakpoint at 0xfffff00c <again>" in text
    text = said(monitor, "delete again", "watch 0x600 2 w", "c")
    assert "watchpoint: cpu 0 has written 2 bytes at physical 0x600" in text and "ret" in text
    assert "= 1" in said(monitor, "x 0x600 2").replace("01 00", "= 1")
    monitor.target.remove_watchpoint(0x600, 2, False, True)
    assert "the guest has ended: debug exit" in said(monitor, "c")
    assert monitor.ended is not None and monitor.ended.value == 3


def test_back_to_the_last_stop(monitor: Monitor) -> None:
    said(monitor, "b again", "c", "c")
    assert "rax 0000000000000001" in said(monitor, "r")
    assert "<again>" in said(monitor, "back continue")
    assert "rax 0000000000000000" in said(monitor, "r")
    assert "oldest moment" in said(monitor, "back continue")


def test_looking_around(monitor: Monitor) -> None:
    said(monitor, "step 3")
    text = said(monitor, "registers", "cpus", "devices", "dev pic-master", "walk 0x1234", "idt 6", "time", "why", "memory 0xfffffff0 16", "list again 2",
                "x $rip+1 4", "help")
    for part in ("cs base 0xffff0000", "* 0  ", "lapic0", "MASK", "no paging walk", "leads to", "instructions counted", "no exception", "ffff",
                 "<again>", "step, s"):
        assert part in text, part
    assert all(command.names[0] in text for command in COMMANDS)


def test_why_names_the_exception_and_where_its_vector_leads(monitor: Monitor) -> None:
    machine = Machine(Firmware(rom("xor ax, ax; mov ds, ax; lidt [0x600]; int 3")), Configuration(memory=4 << 20, clock="instructions", reboot=False))
    lines: list[str] = []
    Monitor(machine, lines.append).execute("c")
    asker = Monitor(machine, lines.append)
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
    assert "#PF page fault at RIP 0x1000a: the kernel wrote 0x1234567890, which is not present" in text
    machine.close()


@pytest.mark.parametrize("line", ["jump", "x", "x nowhere", "break $rxx", "delete 0x1", "cpu 7", "watch 0x600 2 q", "device nothing", "trace maybe",
                                  "step many", "dev nothing", "walk"])
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
    assert "=> 0xfffff002" in done.stdout and "the guest has ended: debug exit" in done.stdout and "`back` may go to before that" in done.stdout
