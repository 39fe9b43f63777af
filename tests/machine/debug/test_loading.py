"""Segment and control registers written from outside: what a processor would do, what it would refuse, and that the guest runs on rightly."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import pytest

from machine import Configuration, ExitReason, Firmware, Machine
from machine.debug.registers import BY_NAME, REGISTERS
from machine.debug.target import Target
from machine.errors import TargetError
from machine.loaders import bzimage
from machine.loaders.entry import LongMode, ProtectedMode
from tests.machine.engine.bench_guest import assemble
from tests.machine.rom import rom

GDT, CODE, DATA = 0x20000, 0x10, 0x18
CODE_32, CODE_64, BOTH, READ_ONLY, EXECUTE_ONLY, ABSENT = 0x00CF9B000000FFFF, 0x00AF9B000000FFFF, 0x00EF9B000000FFFF, 0x00CF91000000FFFF, 0x00CF99000000FFFF, \
    0x00CF13000000FFFF
BASED, USER_DATA, USER_CODE, TSS, CONFORMING = 0x12CF93345678FFFF, 0x00CFF3000000FFFF, 0x00AFFB000000FFFF, 0x0000890008000067, 0x00AF9F000000FFFF
ENTRIES = (0, 0, CODE_64, bzimage.FLAT_DATA, CODE_32, BOTH, READ_ONLY, EXECUTE_ONLY, ABSENT, BASED, USER_DATA, USER_CODE, TSS, CONFORMING)
SELECTOR = {name: 8 * index for index, name in enumerate(
    ("", "", "code64", "data", "code32", "both", "read-only", "execute-only", "absent", "based", "user data", "user code", "tss", "conforming"))}
PROGRAM, OTHER_TABLES = 0x10000, 0x100000


def new(text: str = "hlt") -> Machine:
    """In 64-bit code at PROGRAM, low memory mapped where it is."""
    machine = Machine(Firmware(rom("hlt")), Configuration(memory=16 << 20, clock="instructions", reboot=False))
    machine.memory.write(bzimage.PAGE_TABLES, bzimage._identity_map())
    machine.memory.write(GDT, b"".join(entry.to_bytes(8, "little") for entry in ENTRIES))
    machine.memory.write(PROGRAM, assemble(text, PROGRAM))
    LongMode(PROGRAM, 0x8000, 0, bzimage.PAGE_TABLES, GDT, 8 * len(ENTRIES) - 1, CODE, DATA).apply(machine.engine.vcpus[0])
    return machine


@pytest.fixture
def target() -> Iterator[Target]:
    machine = new()
    yield Target(machine)
    machine.close()


def put(target: Target, name: str, value: int) -> None:
    register = BY_NAME[name]
    target.write_register(0, register, value.to_bytes(register.bits // 8, "little"))


def get(target: Target, name: str) -> int:
    return int.from_bytes(target.read_register(0, BY_NAME[name]), "little")


def test_in_real_mode_the_selector_makes_the_base_and_the_guest_stores_through_it() -> None:
    machine = Machine(Firmware(rom("mov byte ptr [0x10], 0x5a; hlt")), Configuration(memory=4 << 20, clock="instructions", reboot=False))
    target = Target(machine)
    target.step(0)
    put(target, "ds", 0x1230)
    assert get(target, "ds") == 0x1230 and get(target, "rip") == 0xFFFFF000
    machine.run(timeout=5.0)
    assert machine.memory.read(0x12310, 1) == b"\x5a"
    machine.close()


def test_cs_leaves_the_linear_rip_so_that_both_can_be_set_in_either_order() -> None:
    machine = Machine(Firmware(rom("hlt")), Configuration(memory=4 << 20, clock="instructions", reboot=False))
    call = "mov ax, cs; mov [0x600], ax; call here; "
    machine.memory.write(0x20100, assemble(call + "here: pop bx; mov [0x602], bx; hlt", 0x100, 16))
    target = Target(machine)
    for names in (("cs", "rip"), ("rip", "cs")):
        for name in names:
            put(target, name, {"cs": 0x2000, "rip": 0x20100}[name])
        assert (get(target, "cs"), get(target, "rip"), machine.engine.vcpus[0].rip) == (0x2000, 0x20100, 0x100)
    machine.run(timeout=5.0)
    behind = 0x100 + len(assemble(call + "here: ", 0x100, 16))
    assert machine.memory.read(0x600, 4) == b"\x00\x20" + behind.to_bytes(2, "little"), "CS, and an offset in it"
    machine.close()


def test_long_mode_loads_descriptors(target: Target) -> None:
    put(target, "ds", SELECTOR["based"])
    put(target, "fs", SELECTOR["based"])
    assert (get(target, "fs"), get(target, "fs_base")) == (SELECTOR["based"], 0x12345678)
    put(target, "fs", 0)
    assert get(target, "fs_base") == 0
    put(target, "ss", 0)
    put(target, "cs", SELECTOR["code32"])
    assert target.describe(0) == "active, 32-bit, ring 0"
    put(target, "cs", SELECTOR["code64"])
    put(target, "es", SELECTOR["conforming"] | 3)
    assert target.describe(0) == "active, 64-bit, ring 0"
    put(target, "ss", SELECTOR["user data"] | 3)
    put(target, "cs", SELECTOR["user code"] | 3)
    assert target.describe(0) == "active, 64-bit, ring 3"


@pytest.mark.parametrize(("name", "selector", "says"), [
    ("ds", 0x10000, "16 bits"), ("cs", 0, "null selector"), ("ss", 3, "null selector"), ("cs", SELECTOR["data"], "no code segment"),
    ("cs", SELECTOR["both"], "64-bit and 32-bit at once"), ("ss", SELECTOR["read-only"], "no writable data"), ("ss", SELECTOR["code64"], "no writable data"),
    ("ds", SELECTOR["execute-only"], "cannot be read"), ("ds", SELECTOR["absent"], "not present"), ("ds", SELECTOR["tss"], "system descriptor"),
    ("es", SELECTOR["data"] | 3, "asks for ring 3, its descriptor belongs to ring 0"), ("ss", SELECTOR["user data"], "ring 0"), ("cs", CODE | 3, "ring 3"),
    ("gs", 8 * len(ENTRIES), "beyond the GDT's limit of 0x6f"), ("gs", 4, "none is loaded"), ("gs", 8, "system descriptor")])
def test_selectors_that_a_mov_would_not_take_change_nothing(target: Target, name: str, selector: int, says: str) -> None:
    before = target.registers(0)
    with pytest.raises(TargetError, match=says):
        put(target, name, selector)
    assert target.registers(0) == before


def test_the_guest_s_own_mov_agrees_about_every_selector() -> None:
    """MOV to DS, with #GP and #NP leading to a shutdown here, against what a debugger may load."""
    for selector in range(8 * len(ENTRIES) + 8):
        machine = new(f"mov eax, {selector:#x}; mov ds, eax; hlt")
        target = Target(machine)
        taken = machine.run(timeout=5.0).reason is ExitReason.DEAD
        machine.close()
        machine = new()
        target = Target(machine)
        try:
            put(target, "ds", selector)
            loaded = True
        except TargetError:
            loaded = False
        assert loaded == taken, hex(selector)
        machine.close()


def test_cr3_takes_the_old_translations_away() -> None:
    """The guest reads through one map, then a debugger puts another in its place: the very next read goes by it."""
    machine = new("mov ecx, 0x400000; again: mov rbx, [rcx]; jmp again")
    target, memory = Target(machine), machine.memory
    memory.write(OTHER_TABLES, memory.read(bzimage.PAGE_TABLES, 0x6000))
    moved = memory.read(OTHER_TABLES, 0x6000)
    for place in range(0, 0x3000, 8):                    # the copy's tables lead to each other
        entry = int.from_bytes(moved[place:place + 8], "little")
        if entry & 1 and not entry & 0x80:
            memory.write(OTHER_TABLES + place, (entry - bzimage.PAGE_TABLES + OTHER_TABLES).to_bytes(8, "little"))
    physical = target.walk(0, 0x400000).steps[-1]
    memory.write(physical.address - bzimage.PAGE_TABLES + OTHER_TABLES, (0x600000 | physical.entry & 0xFFF).to_bytes(8, "little"))
    memory.write(0x400000, b"\x11" * 8)
    memory.write(0x600000, b"\x22" * 8)
    machine.run(limit=machine.stats.retired + 10)
    assert get(target, "rbx") == 0x1111111111111111
    put(target, "cr3", OTHER_TABLES)
    assert target.read(0, 0x400000, 2) == b"\x22\x22"
    machine.run(limit=machine.stats.retired + 10)
    assert get(target, "rbx") == 0x2222222222222222
    machine.close()


def test_paging_and_long_mode_can_be_left_and_entered(target: Target) -> None:
    put(target, "cs", SELECTOR["code32"])
    put(target, "cr0", get(target, "cr0") & ~(1 << 31))
    assert get(target, "efer") & 1 << 10 == 0 and target.walk(0, PROGRAM).mode == "no paging"
    put(target, "efer", 0x801)
    put(target, "cr4", 0x200)
    with pytest.raises(TargetError, match=r"reserved"):
        put(target, "cr4", 1 << 21)
    put(target, "efer", 0x901)
    with pytest.raises(TargetError, match=r"needs CR4\.PAE"):
        put(target, "cr0", 0x80000033)
    put(target, "cr4", 0x220)
    put(target, "cr0", 0x80000033)
    assert get(target, "efer") & 1 << 10 and target.walk(0, PROGRAM).physical == PROGRAM
    put(target, "cs", SELECTOR["code64"])
    target.machine.memory.write(PROGRAM, assemble("mov rax, 0x123456789abc; mov [0x3000], rax; hlt", PROGRAM))
    target.machine.run(timeout=5.0)
    assert target.machine.memory.read(0x3000, 8) == (0x123456789ABC).to_bytes(8, "little")


def test_write_protection_follows_cr0() -> None:
    machine = new("mov [0x400000], rax; mov [0x400008], rax; hlt")
    target = Target(machine)
    entry = target.walk(0, 0x400000).steps[-1]
    machine.memory.write(entry.address, (entry.entry & ~2).to_bytes(8, "little"))
    target.step(0)
    put(target, "cr0", get(target, "cr0") | 1 << 16)
    assert machine.run(timeout=5.0).reason is ExitReason.SHUTDOWN, "a page fault without an IDT"
    assert machine.engine.exceptions.last(0)[0].cr2 == 0x400008
    machine.close()


@pytest.mark.parametrize(("name", "value", "says"), [
    ("cr0", 1 << 32 | 0x80000033, "upper half"), ("cr0", 0x80000032, "PG needs PE"), ("cr0", 0xA0000033, "NW needs CD"), ("cr0", 0x33, "64-bit code"),
    ("cr3", 1 << 40, "40 bits"), ("cr4", 0x200, "PAE cannot be cleared"), ("cr4", 1 << 63, "reserved"), ("efer", 0x1D01, "0x1000 is reserved"),
    ("efer", 0xC01, "LME cannot change"), ("eflags", 1 << 17, "VM cannot be changed"), ("fs_base", 1 << 47, "not a canonical address"),
    ("cr8", 16, "four bits"), ("k_gs_base", 0x7FFF << 48, "not a canonical address"), ("mxcsr", 1 << 16, "reserved")])
def test_values_that_no_processor_holds_change_nothing(target: Target, name: str, value: int, says: str) -> None:
    before = target.registers(0)
    with pytest.raises(TargetError, match=says):
        put(target, name, value)
    assert target.registers(0) == before


def test_what_can_be_written_reads_back_and_the_guest_sees_it() -> None:
    machine = new("mov ecx, 0x10; mov rax, fs:[rcx]; swapgs; mov rbx, gs:[rcx]; pushfq; pop rcx; mov rdx, cr2; mov edi, 0x3000; stmxcsr [rdi];"
                  "movups [rdi + 0x10], xmm9; mov rsi, cr8; hlt")
    target = Target(machine)
    machine.memory.write(0x500010, b"\x77" * 8)
    machine.memory.write(0x510010, b"\x78" * 8)
    values = {"fs_base": 0x500000, "gs_base": 0xFFFF800000000000, "k_gs_base": 0x510000, "eflags": 0xCD7, "cr2": 0xDEAD0000BEEF, "mxcsr": 0x1F00,
              "xmm9": 1 << 127 | 5, "cr8": 5}
    for name, value in values.items():
        put(target, name, value)
        assert get(target, name) == value
    machine.run(timeout=5.0)
    assert [get(target, name) for name in ("rax", "rbx", "rcx", "rdx", "rsi")] == [0x7777777777777777, 0x7878787878787878, 0xCD7, 0xDEAD0000BEEF, 5]
    assert machine.memory.read(0x3000, 4) == (0x1F00).to_bytes(4, "little") and machine.memory.read(0x3010, 16) == (1 << 127 | 5).to_bytes(16, "little")
    assert target.lapic(0).state.tpr == 0x50
    assert get(target, "gs_base") == 0x510000 and get(target, "k_gs_base") == 0xFFFF800000000000, "SWAPGS"
    machine.close()


def test_flat_32_bit_segments_are_told_from_based_ones() -> None:
    """A base in DS must reach the very next store in 32-bit code, where the translator leaves bases out while all are 0."""
    machine = new()
    machine.memory.write(PROGRAM, assemble("mov [0x600], eax; mov [0x600], eax; hlt", PROGRAM, 32))
    based = bzimage.FLAT_DATA | 0x4000 << 16
    machine.memory.write(GDT + SELECTOR["based"], based.to_bytes(8, "little"))
    machine.engine.vcpus[0].init()
    ProtectedMode(PROGRAM, 0x1234, 0, GDT, 8 * len(ENTRIES) - 1, SELECTOR["code32"], DATA).apply(machine.engine.vcpus[0])
    target = Target(machine)
    target.step(0)
    put(target, "ds", SELECTOR["based"])
    machine.run(timeout=5.0)
    assert machine.memory.read(0x600, 2) == machine.memory.read(0x4600, 2) == b"\x34\x12"
    machine.close()


@pytest.mark.parametrize("seed", range(12))
def test_no_value_hurts_the_host(seed: int) -> None:
    """Random values in random registers, the guest runs after each: whatever becomes of the guest, the host is told of it."""
    chance = random.Random(seed)
    machine = new("again: inc rax; mov [rsp], rax; call next; next: pop rbx; jmp again") if seed % 2 else Machine(
        Firmware(rom("again: inc ax; mov [0x600], ax; push ax; pop bx; jmp again")), Configuration(memory=4 << 20, clock="instructions", reboot=False))
    target = Target(machine)
    for _ in range(200):
        register = chance.choice(REGISTERS)
        one, old = 1 << chance.randrange(register.bits), int.from_bytes(target.read_register(0, register), "little")
        value = chance.choice((chance.getrandbits(register.bits), one, old ^ one, chance.choice(list(SELECTOR.values())), 0, (1 << register.bits) - 1))
        with contextlib.suppress(TargetError):
            put(target, register.name, value % (1 << register.bits))
        if machine.engine.vcpus[0].activity.value == "active":
            machine.run(limit=machine.stats.retired + 20, timeout=5.0)
        else:
            machine.engine.vcpus[0].init()
    machine.close()
