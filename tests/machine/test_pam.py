"""RAM and ROM below 1 MiB, as the host bridge steers them: seen from a guest that reads, writes and runs there, across resets and copies, and on QEMU."""

from __future__ import annotations

import functools
import random
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import keystone
import pytest

from devices.core.dma import DmaFault
from machine import Configuration, ExitReason, Firmware, Machine
from machine.boot import Multiboot
from machine.checkpoint import digest
from machine.debug.target import Target
from machine.engine.vcpu import Activity
from machine.configuration import HOST, INSTRUCTIONS
from machine.memory import SEGMENTS
from tests.machine.rom import EIGHT_BITS, rom

Build = Callable[..., Machine]
CLOCKS = (INSTRUCTIONS, HOST)
QEMU = "qemu-system-x86_64"
PATIENCE = 5.0
DISABLED, READ_ONLY, WRITE_ONLY, NORMAL = range(4)
IMAGE, TOP = 256 << 10, 1 << 32
CODE = 0x8000                           # of the 32-bit program in the last 64 KiB, seen from 0xFFFF0000 and, while ROM is shown there, from 0xF0000
# With LGDT CS:[0xF400] in its 32-bit form, and JMP 8:0xFFFF8000.
FLAT = ("cli; .byte 0x66, 0x2e, 0x0f, 0x01, 0x16, 0x00, 0xf4; mov eax, cr0; or al, 1; mov cr0, eax; .byte 0x66, 0xea, 0x00, 0x80, 0xff, 0xff, 0x08, 0x00; hlt")
START = "mov ax, 16; mov ds, ax; mov es, ax; mov ss, ax; mov esp, 0x7000;" + EIGHT_BITS + """jmp main;
    put: push edx; mov edx, 0x3f8; out dx, al; shr eax, 8; out dx, al; shr eax, 8; out dx, al; shr eax, 8; out dx, al; pop edx; ret;
    main: """
END = "mov eax, 0x21; out 0xf4, al; hlt;"
AT = 0x2000                             # of the tests' word in its segment
OLD, NEW = 0x1234ABCD, 0x5678EF01
ECAM = 0xB0000000
ECAM_ON = "mov edx, 0xcf8; mov eax, 0x80000060; out dx, eax; mov edx, 0xcfc; mov eax, 0xb0000001; out dx, eax;"


def register(segment: int) -> tuple[int, int]:
    """PAM register of a segment, and where its two bits are (data sheet 5.1.18-5.1.24)."""
    return (0, 4) if segment == 12 else (1 + segment // 2, segment % 2 * 4)


def pam(number: int, value: int) -> str:
    at = 0x90 + number
    return f"mov edx, 0xcf8; mov eax, {0x80000000 | at & 0xFC}; out dx, eax; mov edx, {0xCFC + at % 4}; mov al, {value}; out dx, al;"


OPEN = "".join(f"mov edx, 0xcf8; mov eax, {0x80000000 | at}; out dx, eax; mov edx, 0xcfc; mov eax, {value}; out dx, eax;"
               for at, value in ((0x90, 0x33333333), (0x94, 0x00333333)))
CLOSE = OPEN.replace(str(0x33333333), "0").replace(str(0x00333333), "0")


@functools.cache
def image(text: str) -> bytes:
    """256 KiB, each double word its own offset, with a 32-bit program that runs from its upper end."""
    page = bytearray(rom(FLAT))
    page[0x400:0x406] = (23).to_bytes(2, "little") + (0xFFFFF410).to_bytes(4, "little")
    page[0x410:0x428] = bytes(8) + (0x00CF9B000000FFFF).to_bytes(8, "little") + (0x00CF93000000FFFF).to_bytes(8, "little")
    code, _ = keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_32).asm(START + text + END, TOP - 0x10000 + CODE)
    assert len(code) <= 0x7000
    whole = bytearray(b"".join(struct.pack("<I", 0xB0000000 | offset) for offset in range(0, IMAGE, 4)))
    whole[-len(page):] = page
    at = IMAGE - 0x10000 + CODE
    whole[at:at + len(code)] = bytes(code)
    return bytes(whole)


def in_rom(address: int) -> int:
    """What the bus answers below 1 MiB."""
    return 0xFFFFFFFF if address < 0xE0000 else 0xB0000000 | address - (1 << 20) + IMAGE


def words(data: bytes | bytearray) -> list[int]:
    return [int(word) for (word,) in struct.iter_unpack("<I", bytes(data))]


@pytest.fixture
def build() -> Iterator[Build]:
    machines: list[Machine] = []

    def make(text: str, clock: str = INSTRUCTIONS, **options: object) -> Machine:
        machines.append(Machine(Firmware(image(text)), Configuration(memory=4 << 20, clock=clock, **options)))     # type: ignore[arg-type]
        return machines[-1]

    yield make
    for machine in machines:
        machine.close()


def said(machine: Machine, value: int = 0x21) -> list[int]:
    """What it writes to COM1 until it ends."""
    output = bytearray()
    machine.board.serial_out = output.extend
    outcome = machine.run(timeout=PATIENCE)
    assert (outcome.reason, outcome.value) == (ExitReason.DEBUG_EXIT, value), (outcome, bytes(output))
    return words(output)


def tries(attributes: list[tuple[int, int]]) -> str:
    """Each: OLD is in RAM; with the segment's attribute in force, what is read, and again after NEW was written; then what RAM holds."""
    text = ""
    for segment, attribute in attributes:
        number, shift = register(segment)
        at = SEGMENTS[segment][0] + AT
        text += (OPEN + f"mov dword ptr [{at}], {OLD};" + pam(number, attribute << shift) + f"mov eax, [{at}]; call put; mov dword ptr [{at}], {NEW};"
                 f"mov eax, [{at}]; call put;" + OPEN + f"mov eax, [{at}]; call put;")
    return text


def answers(attributes: list[tuple[int, int]]) -> list[int]:
    found = []
    for segment, attribute in attributes:
        reads, writes = attribute & READ_ONLY, attribute & WRITE_ONLY
        bus, after = in_rom(SEGMENTS[segment][0] + AT), NEW if writes else OLD
        found += [OLD if reads else bus, after if reads else bus, after]
    return found


# --- data ----------------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("clock", CLOCKS)
def test_5_1_18_each_segment_in_each_of_its_four_attributes(build: Build, clock: str) -> None:
    attributes = [(segment, attribute) for segment in range(13) for attribute in range(4)]
    machine = build(tries(attributes), clock)
    assert said(machine) == answers(attributes)
    assert machine.memory.rom_writes == 2 * 13, "a store is lost in two of the four"


@pytest.mark.guest
def test_qemu_answers_the_same_where_it_models_the_attribute(build: Build, tmp_path: Path) -> None:
    """It takes write-only for normal (hw/pci-host/pam.c says so), and has an empty option ROM, all zeros, where nothing is here."""
    if shutil.which(QEMU) is None:
        pytest.skip(f"{QEMU} is not installed")
    attributes = [(segment, attribute) for segment in range(13) for attribute in (DISABLED, READ_ONLY, NORMAL) if attribute or segment >= 8]
    path, output = tmp_path / "rom", tmp_path / "serial"
    path.write_bytes(image(tries(attributes)))
    command = [QEMU, "-M", "q35", "-accel", "tcg", "-m", "32", "-display", "none", "-monitor", "none", "-nodefaults", "-no-reboot", "-bios", str(path),
               "-serial", f"file:{output}", "-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
    assert subprocess.run(command, timeout=PATIENCE, check=False).returncode == 0x21 << 1 | 1
    theirs = words(output.read_bytes())
    assert theirs == said(build(tries(attributes))) == answers(attributes)


def test_after_a_reset_all_segments_lead_to_the_bus(build: Build) -> None:
    places = (0xC0000, 0xDFFFC, 0xE0000, 0xEFFFC, 0xF0000, 0xF7FFC)
    assert said(build("".join(f"mov eax, [{at}]; call put;" for at in places))) == [in_rom(at) for at in places]
    assert said(build("mov eax, [0xFFFF0000 - 4]; call put;")) == [0xB0000000 | IMAGE - 0x10004], "PAM does not concern the ROM below 4 GiB"


def test_a_segment_is_shadowed_in_place(build: Build) -> None:
    """5.1.18: write-only, copy each word onto itself, read-only: the usual way."""
    segments = "".join(pam(number, 0x22) for number in (5, 6)) + pam(0, 0x20)
    lock = "".join(pam(number, 0x11) for number in (5, 6)) + pam(0, 0x10)
    text = segments + "mov esi, 0xE0000; mov edi, esi; mov ecx, 0x8000; .byte 0xf3, 0xa5;" + lock
    text += "mov eax, [0xE0000]; call put; mov eax, [0xF7FFC]; call put;"
    machine = build(text)
    assert said(machine) == [in_rom(0xE0000), in_rom(0xF7FFC)]
    assert machine.memory.rom_writes == 0
    assert machine.memory.segments[12].ram.view == machine.memory.segments[12].bus.view and machine.memory.read(0xE0000, 0x20000) == image(text)[-0x20000:]


def test_a_store_across_the_edge_of_a_segment_is_lost_in_part(build: Build) -> None:
    text = OPEN + "mov dword ptr [0xC3FFE], 0; mov dword ptr [0xC4000], 0; mov dword ptr [0xC7FFC], 0; mov dword ptr [0xC8000], 0;"
    text += pam(1, 0x13) + "mov dword ptr [0xC3FFE], 0x11223344; mov dword ptr [0xC7FFE], 0x55667788;"          # 0xC4000-0xC7FFF cannot be written
    text += "".join(f"mov eax, [{at}]; call put;" for at in (0xC3FFC, 0xC4000, 0xC7FFC, 0xC8000))
    assert said(build(text)) == [0x33440000, 0, 0, 0x5566]


def test_what_software_may_store_by(build: Build) -> None:
    """Read-modify-write, locked, string and 8-byte stores to RAM that is write-protected, and to write-only RAM."""
    stores = (f"inc dword ptr [{0xC0000}]; lock add dword ptr [{0xC0004}], 5; mov edi, 0xC0008; mov eax, 7; mov ecx, 4; rep stosd;"
              "fldz; fstp qword ptr [0xC0018]; mov eax, 9; xchg [0xC0020], eax;")
    fill = "mov edi, 0xC0000; mov eax, 0x01010101; mov ecx, 12; rep stosd;"
    look = OPEN + "".join(f"mov eax, [{0xC0000 + at}]; call put;" for at in range(0, 0x24, 4))
    locked, hidden = build(OPEN + fill + pam(1, READ_ONLY) + stores + look), build(OPEN + fill + pam(1, WRITE_ONLY) + stores + look)
    assert said(locked) == [0x01010101] * 9
    assert said(hidden) == [0, 4, 7, 7, 7, 7, 0, 0, 9], "all ones are read, and incremented"


def walk(chance: random.Random, length: int) -> tuple[str, list[int], bytes]:
    """Attributes, loads and stores at random. Returns the guest's program, what it says, and what 0xC0000-0xFFFFF holds in the end; of a model."""
    ram, bus = bytearray(0x40000), bytearray(b"\xff" * 0x20000) + image("")[-0x20000:]
    shows, takes = [False] * 13, [False] * 13
    text, heard = "", []

    def segment(at: int) -> int:
        return min(at >> 14, 12)

    for _ in range(length):
        kind, at = chance.choice("pwwr"), chance.choice((chance.randrange(12) << 14 | 0x4000, chance.randrange(0x10000, 0x38000))) - chance.randrange(6)
        size = chance.choice((1, 2, 4))
        if kind == "p":
            number, attribute = chance.randrange(13), chance.randrange(4)
            register_number, shift = register(number)
            other = number ^ 1
            value = attribute << shift
            if number != 12:
                value |= (shows[other] | takes[other] << 1) << (4 - shift)
            shows[number], takes[number] = bool(attribute & READ_ONLY), bool(attribute & WRITE_ONLY)
            text += pam(register_number, value)
        elif kind == "w":
            data = chance.randbytes(size)
            for offset, byte in enumerate(data):
                if takes[segment(at + offset)]:
                    ram[at + offset] = byte
            text += f"mov {({1: 'byte', 2: 'word', 4: 'dword'})[size]} ptr [{0xC0000 + at}], {int.from_bytes(data, 'little')};"
        else:
            heard.append(int.from_bytes(bytes((ram if shows[segment(at + offset)] else bus)[at + offset] for offset in range(size)), "little"))
            text += f"xor eax, eax; mov {({1: 'al', 2: 'ax', 4: 'eax'})[size]}, [{0xC0000 + at}]; call put;"
    return text, heard, bytes(ram)


@pytest.mark.parametrize("seed", range(6))
def test_a_random_walk_finds_what_a_model_finds(build: Build, seed: int) -> None:
    """Accesses of all sizes, many of them across the edges of segments. The program is not in what it looks at: only where it runs below 4 GiB."""
    text, heard, ram = walk(random.Random(seed), 700)
    machine = build(text, CLOCKS[seed % 2])
    assert said(machine) == heard
    machine.board.open_segments()
    assert machine.memory.read(0xC0000, 0x40000) == ram


def test_stops_among_stores_that_are_lost_change_nothing(build: Build) -> None:
    """A stop after each instruction: neither are PAUSEs counted anew, by which a processor gives its turn away, nor is a write that switches made twice."""
    text = ("mov esi, 0xFFFFF000; mov ebp, 5000; again: pause; mov [esi], al; nop; mov [esi], al; nop;"
            + pam(0, 0x20) + "mov [0xF0000], al; inc dword ptr [0xF2000];" + pam(0, 0x30) + "inc dword ptr [0xF2000]; dec ebp; jnz again;")
    ends = []
    for stops in ((), range(124_000, 134_000)):
        machine = build(text, cpus=2)
        machine.board.open_segments()
        machine.memory.write(0x1000, bytes(8) + (0x00CF9B000000FFFF).to_bytes(8, "little") + (0x00CF93000000FFFF).to_bytes(8, "little"))
        machine.memory.write(0x8000, bytes.fromhex("ff0500060000" "ebf8"))                # again: inc dword [0x600]; jmp again
        machine.engine.vcpus[1].protected_mode(0x8000, 0, 0, 0x1000, 23, 8, 16)
        machine.engine.vcpus[1].activity = Activity.ACTIVE
        for stop in (*stops, 600_000):
            machine.run(limit=stop, timeout=PATIENCE)
        ends.append((digest(machine), machine.memory.rom_writes))
    assert ends[0] == ends[1] and ends[0][1] > 200


# --- code ----------------------------------------------------------------------------------------------------------------------------------
COPY = pam(0, 0x30) + "mov esi, 0xFFFF0000; mov edi, 0xF0000; mov ecx, 0x4000; .byte 0xf3, 0xa5;"
SWITCH = """jmp over;
    there: {store}; mov bl, 0x52; mov ecx, 3; again: dec ecx; jnz again; mov bh, 0x52; ret; there_end:
    over: """
PATCH = "lea edi, [there]; and edi, 0xFFFFF; mov byte ptr [edi + {first}], 0x41; mov byte ptr [edi + {second}], 0x41;"


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("way", ["port", "memory"])
def test_the_next_instruction_comes_from_what_the_segment_shows_then(build: Build, clock: str, way: str) -> None:
    """Code of the F segment switches the F segment. ROM and RAM hold the same, but for what each says: R and A. A hundred times both ways."""
    store, length = ("out dx, al", 1) if way == "port" else ("mov byte ptr [esi], al", 2)
    prepare = pam(0, 0x30) if way == "port" else ECAM_ON
    first = length + 1
    second = length + 2 + 5 + 1 + 2 + 1                     # mov bl; mov ecx, 3; dec ecx; jnz; mov bh
    text = SWITCH.format(store=store) + COPY + PATCH.format(first=first, second=second) + prepare + "mov ebp, 100; xor ebx, ebx; round:"
    for value in (0x00, 0x30):                              # from RAM to ROM, from ROM to RAM
        text += (f"mov eax, 0x80000090; mov edx, 0xcf8; out dx, eax; mov edx, 0xcfc; mov esi, {ECAM + 0x90}; mov al, {value};"
                 "lea edi, [there]; and edi, 0xFFFFF; xor ebx, ebx; call edi; mov eax, ebx; call put;")
    machine = build(text + "dec ebp; jnz round;", clock)
    assert said(machine) == [0x5252, 0x4141] * 100


def test_a_write_that_switches_is_made_once_and_counted_once(build: Build) -> None:
    text = pam(0, 0x30) + pam(0, 0x10)
    machine = build(text)
    seen: list[tuple[int, int]] = []
    machine.board.host_bridge.trace = lambda touch: seen.append((touch.offset, touch.value)) if touch.write else None
    said(machine)
    assert seen == [(0x90, 0x30), (0x90, 0x10)]
    plain = build(text.replace("0xcfc", "0x80").replace(str(0xCFC), "128"))
    said(plain)
    assert machine.stats.retired == plain.stats.retired


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("store", ["mov word ptr [0xb0000091], 0x3333", "mov dword ptr [0xb000008f], 0x33333300", "movq qword ptr [0xb0000090], xmm0",
                                   "movdqu [0xb0000088], xmm0", "mov word ptr [0xb0000fff], 0x3333", "push dword ptr [0x600]"])
def test_a_store_that_comes_in_pieces_is_made_once_and_ends(build: Build, clock: str, store: str) -> None:
    """Each piece asked for a block of the instruction's own, which began with the first piece again, for ever."""
    sse = "mov eax, cr4; or eax, 0x200; mov cr4, eax; mov eax, 0x33333333; mov [0x600], eax; movd xmm0, eax; pshufd xmm0, xmm0, 0;"
    stack = "mov ebx, esp; mov esp, 0xb0000093;" if store.startswith("push") else ""
    after = ("mov esp, ebx;" if stack else "") + "inc dword ptr [0x604]; mov eax, [0x604]; call put;"
    machine = build(ECAM_ON + sse + stack + store + ";" + after, clock=clock)
    output = bytearray()
    machine.board.serial_out = output.extend
    assert machine.run(timeout=PATIENCE).reason is ExitReason.DEBUG_EXIT
    assert words(output) == [1]
    if "fff" not in store:
        assert machine.board.host_bridge.config.peek(0x91, 1) == 0x33
    machine.close()


@pytest.mark.parametrize("clock", CLOCKS)
def test_code_that_was_just_copied_or_patched_runs_as_it_is(build: Build, clock: str) -> None:
    """In a segment that is RAM; write-protected, what is patched stays as it was; write-only, the ROM runs while RAM changes under it."""
    call = "mov edi, 0xE0000; call edi; call put;"
    load = "mov dword ptr [0xE0000], 0x{0:02x}B8; mov dword ptr [0xE0004], 0xC300;"        # mov eax, imm32; ret
    text = OPEN
    for value in range(1, 20):
        text += load.format(value) + call
    text += pam(5, READ_ONLY) + load.format(0x55) + call + pam(5, WRITE_ONLY) + load.format(0x66) + "mov eax, [0xE0000]; call put;" + pam(5, NORMAL) + call
    assert said(build(text, clock)) == [*range(1, 20), 19, in_rom(0xE0000), 0x66]


@pytest.mark.parametrize("clock", CLOCKS)
def test_an_instruction_across_the_edge_takes_each_part_from_what_is_shown(clock: str) -> None:
    """Its first two bytes are in RAM at 0xEFFFE; the rest is in the F segment, where RAM and ROM differ."""
    text = OPEN + "mov word ptr [0xEFFFE], 0x11B8; mov dword ptr [0xF0000], 0xC3333333; mov ebp, 20; round:"          # mov eax, 0x..11; ret
    text += "".join(pam(0, value) + "mov edi, 0xEFFFE; call edi; call put;" for value in (0x00, 0x10)) + "dec ebp; jnz round;"
    whole = bytearray(image(text))
    whole[-0x10000:-0xFFFC] = bytes.fromhex("222222c3")
    machine = Machine(Firmware(bytes(whole)), Configuration(memory=4 << 20, clock=clock))
    heard = said(machine)
    machine.close()
    assert heard == [0x22222211, 0x33333311] * 20


def test_what_is_not_there_is_no_instruction(build: Build) -> None:
    machine = build("mov edi, 0xD0000; call edi;", reboot=False)
    assert machine.run(timeout=PATIENCE).reason is ExitReason.SHUTDOWN


@pytest.mark.parametrize("clock", CLOCKS)
def test_another_processor_leaves_a_loop_that_was_switched_away(clock: str) -> None:
    """It spins in RAM of the F segment, in blocks that are chained to each other; the ROM there has HLT in the loop's place."""
    spin = "mov ecx, 5000000; spin{0}: dec ecx; jnz spin{0}; mov eax, [0x600]; call put;"
    rom_image = bytearray(image(spin.format(1) + pam(0, 0) + spin.format(2) + spin.format(3)))
    rom_image[-0xF000:-0xEFFC] = bytes.fromhex("faf4ebfd")                # cli; again: hlt; jmp again
    machine = Machine(Firmware(bytes(rom_image)), Configuration(memory=4 << 20, cpus=2, clock=clock))
    machine.board.open_segments()
    machine.memory.write(0xF1000, bytes.fromhex("ff0500060000" "eb00" "ebf6"))         # again: inc dword [0x600]; jmp next; next: jmp again
    machine.memory.write(0x1000, bytes(8) + (0x00CF9B000000FFFF).to_bytes(8, "little") + (0x00CF93000000FFFF).to_bytes(8, "little"))
    machine.engine.vcpus[1].protected_mode(0xF1000, 0, 0, 0x1000, 23, 8, 16)
    machine.engine.vcpus[1].activity = Activity.ACTIVE
    counts = said(machine)
    machine.close()
    assert counts[0] > 1000 and counts[1] == counts[2]


@pytest.mark.parametrize("clock", CLOCKS)
def test_a_debugger_steps_over_and_stops_at_a_switch_once(build: Build, clock: str) -> None:
    machine = build("nop; nop;" + pam(0, 0x30) + "nop; here: nop;", clock)
    target = Target(machine)
    vcpu = machine.engine.vcpus[0]
    seen = []
    while machine.board.host_bridge.state.pam0 == 0:
        seen.append(vcpu.rip)
        target.step(0)
    switch = seen[-1]                                        # the OUT, one byte long
    assert len(seen) == len(set(seen)) and vcpu.rip == switch + 1
    other = build("nop; nop;" + pam(0, 0x30) + "nop; here: nop;", clock)
    target = Target(other)
    target.add_breakpoint(switch)
    stops = []
    while len(stops) < 4:
        outcome = target.resume(lambda: False, PATIENCE)
        stops.append((outcome.reason, other.engine.vcpus[0].rip, other.board.host_bridge.state.pam0))
        if outcome.reason is not ExitReason.BREAK:
            break
    assert stops[0] == (ExitReason.BREAK, switch, 0) and len(stops) == 2 and stops[1][0] is ExitReason.DEBUG_EXIT and stops[1][2] == 0x30


# --- resets and copies -----------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("clock", CLOCKS)
def test_a_reset_shows_the_rom_again_and_ram_below_survives(build: Build, clock: str) -> None:
    at = 0xF0000 + AT
    text = (f"mov eax, [{at}]; call put; cmp dword ptr [0x600], 0x5a; je second; mov dword ptr [0x600], 0x5a;" + OPEN + f"mov dword ptr [{at}], {NEW};"
            "mov edx, 0xcf9; mov al, 2; out dx, al; mov al, 6; out dx, al; spin: jmp spin; second:" + OPEN + f"mov eax, [{at}]; call put;")
    machine = build(text, clock)
    assert said(machine) == [in_rom(at), in_rom(at), NEW] and machine.stats.resets == 1


@pytest.mark.parametrize("clock", CLOCKS)
def test_a_checkpoint_holds_attributes_and_what_they_hide(build: Build, clock: str, tmp_path: Path) -> None:
    """Code runs in the F segment, whose RAM says A and whose ROM says R; the machine is taken while it shows the one, and put back while it shows the other."""
    say = "mov byte ptr [edi], 0xC3; mov word ptr [edi], 0x{0:02x}B0; mov byte ptr [edi + 2], 0xC3;"        # mov al, imm8; ret
    run = "mov edi, 0xF2000; xor eax, eax; call edi; call put;"
    stop = "mov al, {0}; out 0x80, al; wait{0}: cmp byte ptr [0x604], {0}; jb wait{0};"
    text = "mov byte ptr [0x604], 0;" + OPEN + "mov edi, 0xF2000;" + say.format(0x41) + run + stop.format(1) + run
    text += pam(0, 0) + "mov eax, [0xF2000]; call put;" + stop.format(2) + "mov eax, [0xF2000]; call put;" + OPEN + run
    text += "mov edi, 0xF2000;" + say.format(0x42) + run + pam(0, 0x20) + "mov byte ptr [0xF2001], 0x43;" + OPEN + run
    machine = build(text, clock)
    output = bytearray()
    machine.board.serial_out = output.extend
    rom_word = in_rom(0xF2000)
    points = {}
    for post in (1, 2):
        assert machine.run(until=lambda post=post: machine.board.post.state.code == post, timeout=PATIENCE).reason is ExitReason.CONDITION  # type: ignore[misc]
        points[post] = machine.checkpoint()
        machine.memory.write(0x604, bytes((post,)))

    def rest(pc: Machine) -> list[int]:
        pc.memory.write(0x604, b"\x02")
        return said(pc)

    whole = [0x41, 0x41, rom_word, rom_word, 0x41, 0x42, 0x43]
    assert words(output) == whole[:3]
    machine.restore(points[1])                               # to RAM while ROM is shown
    assert rest(machine) == whole[1:]
    for _ in range(2):                                       # and the other way, where the second time RAM holds other code
        machine.restore(points[2])
        assert rest(machine) == whole[3:]
    machine.restore(points[1])
    for point, expected in ((1, whole[1:]), (2, whole[3:])):
        with_own = machine.fork(points[point])
        assert rest(with_own) == expected
        with_own.close()
    machine.restore(points[2])
    machine.save(tmp_path / "saved")
    loaded = Machine.load(tmp_path / "saved")
    assert rest(loaded) == whole[3:]
    loaded.close()


# --- who else is concerned -------------------------------------------------------------------------------------------------------------------
def test_devices_and_debuggers_see_what_the_segment_shows(build: Build) -> None:
    machine = build("")
    memory, dma = machine.memory, machine.board.dma
    assert memory.read(0xE0000, 4) == struct.pack("<I", in_rom(0xE0000)) and memory.read(0xDFFFE, 4) == b"\xff\xff" + memory.read(0xE0000, 2)
    assert not memory.is_ram(0xC0000, 4) and memory.is_mapped(0xBFFFF + 1, 0x40000) and not memory.is_mapped(0xBFFFF, 4)
    for attribute in (DISABLED, READ_ONLY, WRITE_ONLY):
        machine.board.host_bridge.config.write(0x90, 1, attribute << 4)
        with pytest.raises(DmaFault):
            dma.write(0xF0000, b"1234")
        with pytest.raises(DmaFault):
            dma.read(0xF0000, 4)
    machine.board.open_segments()
    dma.write(0xEFFFE, b"1234")
    assert memory.is_ram(0x9FFFF + 0x20001, 0x100000) and dma.read(0xEFFFE, 4) == b"1234" == memory.read(0xEFFFE, 4)
    lost = memory.rom_writes
    machine.board.lock_segments()
    memory.write(0xEFFFE, b"5678")
    assert memory.read(0xEFFFE, 4) == b"5634" and memory.rom_writes == lost + 1


def test_a_kernel_without_firmware_finds_its_tables_in_locked_ram() -> None:
    header = struct.pack("<III", 0x1BADB002, 0x10000, -(0x1BADB002 + 0x10000) & 0xFFFFFFFF)
    code = bytes(keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_32).asm(
        "mov eax, [0xF0000]; mov dword ptr [0xF0000], 0; mov ebx, [0xF0000]; cmp eax, ebx; jne bad; cmp eax, 0x20445352; jne bad;"
        "mov dword ptr [0xE0000], 5; cmp dword ptr [0xE0000], 5; jne bad; mov al, 1; out 0xf4, al; bad: mov al, 2; out 0xf4, al; hlt", 0x100020)[0])
    kernel = (header + struct.pack("<5I", 0x100000, 0x100000, 0, 0, 0x100020)).ljust(32, b"\0") + code
    machine = Machine(Multiboot(kernel), Configuration(memory=4 << 20, clock=INSTRUCTIONS))
    assert machine.run(timeout=PATIENCE).value == 1
    assert machine.memory.rom_writes == 1
    machine.close()
