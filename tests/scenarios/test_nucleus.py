"""The nucleus at its gate (docs/contracts.md section 4): what it says, what it saves, what it resumes, and what it does with what cannot be."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from images import builder
from images.builder import Images
from kernel.boot_record import BootRecord, MemoryKind
from kernel.gate import BLOCK_SIZE, FRAME_IN_BLOCK, FRAME_SIZE, FXSAVE_SIZE, IDLE, SYSCALL_VECTOR, Answer, CpuArea, Gate, Reason, TrapFrame
from kernel.hardware import PAGE_SIZE, PhysicalMemory
from kernel.memory.address_space import AddressSpace, nucleus_tables
from kernel.memory.frames import FrameAllocator
from kernel.tasks.loader import load
from machine.engine.vcpu import Activity
from machine.machine import Machine
from tests.boot import Pc, files_of, pc

TIMER, WAKE, SPURIOUS = 0x20, 0xFE, 0xFF
LAPIC = 0xFEE00000
SYSTEM = '.include "system.asm"\n'


@pytest.fixture(scope="module")
def images() -> Images:
    return builder.assemble_all()


class TinyKernel:
    """The smallest kernel: remembers every call and answers as `decide` says."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.memory = PhysicalMemory(machine.hardware)
        self.calls: list[tuple[CpuArea, TrapFrame | None]] = []
        self.complaints: list[str] = []
        self.record: BootRecord | None = None
        self.decide: Callable[[CpuArea], Answer] = lambda _area: IDLE
        self.gate = Gate(self.memory, self.complaints.append)
        for reason in Reason:
            self.gate.on(reason, self._called)
        self.gate.attach(machine.hardware)

    def _called(self, area: CpuArea) -> Answer:
        if area.reason == Reason.HELLO:
            self.record = record = BootRecord.read(self.memory, area.boot_record)
            self.gate.areas = {cpu: record.cpu_areas + cpu * PAGE_SIZE for cpu in range(record.cpu_count)}
        self.calls.append((area, TrapFrame.load(self.memory, area.frame) if area.frame else None))
        return self.decide(area)

    def of(self, reason: Reason, cpu: int | None = None) -> list[tuple[CpuArea, TrapFrame | None]]:
        """Calls with this reason so far."""
        return [call for call in self.calls if call[0].reason == reason and cpu in (None, call[0].cpu)]

    @property
    def frames(self) -> FrameAllocator:
        """What is left of the memory map."""
        assert self.record is not None
        return FrameAllocator(self.record.memory_map)

    def task(self, folder: Path, text: str, argument: int = 0) -> tuple[int, AddressSpace]:
        """A ring-3 program: the address of its frame, and its memory."""
        assert self.record is not None
        (folder / "system.asm").write_text((builder.HERE / "include" / "system.asm").read_text())
        (folder / "task.asm").write_text(SYSTEM + text)
        loaded = load(builder.program(folder / "task.asm"), argument, self.memory, self.frames, self.record.cr3)
        return loaded.block + FRAME_IN_BLOCK, loaded.space


@pytest.fixture
def booted(images: Images) -> Iterator[tuple[Pc, TinyKernel]]:
    """Two CPUs, both idle."""
    with pc(images.rom, files_of(images, "one=1"), cpus=2) as machine:
        kernel = TinyKernel(machine.machine)
        machine.run(lambda: len(kernel.of(Reason.ONLINE)) == 1)
        yield machine, kernel
        assert kernel.complaints == []


Booted = tuple[Pc, TinyKernel]


# --- the first calls -------------------------------------------------------------------------------------------------------------------------------
def test_hello_comes_once_and_first_then_each_other_cpu_says_online(images: Images) -> None:
    with pc(images.rom, files_of(images), cpus=4) as machine:
        kernel = TinyKernel(machine.machine)
        machine.run(lambda: len(kernel.of(Reason.ONLINE)) == 3)
        assert [area.reason for area, _frame in kernel.calls if area.reason != Reason.INTERRUPT] == [Reason.HELLO] + [Reason.ONLINE] * 3
        assert sorted((area.cpu, area.lapic_id) for area, _frame in kernel.of(Reason.ONLINE)) == [(1, 1), (2, 2), (3, 3)]
        for area, frame in kernel.of(Reason.HELLO) + kernel.of(Reason.ONLINE):
            assert frame is None
            assert area.tsc_enter > 0
        assert "[NUCLEUS] gate at port 0xfc0" in machine.text
        assert kernel.complaints == []


def test_the_boot_record(booted: Booted) -> None:
    _machine, kernel = booted
    record = kernel.record
    assert record is not None
    (area, _frame), = kernel.of(Reason.HELLO)
    assert (record.cpu_count, record.cmdline, record.bootloader) == (2, "one=1", "Folkering loader")
    assert (record.tsc_hz, record.lapic_timer_hz) == (1_000_000_000, 1_000_000_000)
    assert record.kernel_virt == builder.NUCLEUS_BASE
    assert kernel.memory.read(record.rsdp, 8) == b"RSD PTR "
    assert area.address == record.cpu_areas
    assert area.cr3 == record.cr3
    assert [module.path for module in record.modules] == ["/opt/folkering/archive"]
    text = kernel.memory.read(record.kernel_phys, 64)
    assert text in builder.nucleus(), "the image is where the record says"


def test_what_the_nucleus_holds_is_not_usable_memory(booted: Booted) -> None:
    _machine, kernel = booted
    record = kernel.record
    assert record is not None
    held = [(record.kernel_phys, record.kernel_size), (record.cpu_areas, 2 * PAGE_SIZE)]
    held += [(table, PAGE_SIZE) for table in nucleus_tables(kernel.memory, record.cr3)]
    for base, size in held:
        kinds = {entry.kind for entry in record.memory_map if entry.base < base + size and base < entry.end}
        assert kinds == {MemoryKind.EXECUTABLE_AND_MODULES}, hex(base)


# --- its own address space -------------------------------------------------------------------------------------------------------------------------
def leaves(memory: PhysicalMemory, root: int) -> Iterator[tuple[int, int, int, bool, bool]]:
    """Every leaf below `root`: virtual, physical, size, writable, executable."""
    def below(table: int, shift: int, virtual: int) -> Iterator[tuple[int, int, int, bool, bool]]:
        for index, (entry,) in enumerate(struct.iter_unpack("<Q", memory.read(table, PAGE_SIZE))):
            here = virtual | index << shift
            if not entry & 1:
                continue
            if shift == 12 or entry & 0x80:
                yield here | (0xFFFF << 48 if here >> 47 & 1 else 0), entry & 0x000FFFFFFFFFF000, 1 << shift, bool(entry & 2), not entry >> 63
            else:
                yield from below(entry & 0x000FFFFFFFFFF000, shift - 9, here)
    yield from below(root, 39, 0)


def test_no_page_is_writable_and_executable_and_the_lower_half_is_empty(booted: Booted) -> None:
    _machine, kernel = booted
    record = kernel.record
    assert record is not None
    found = list(leaves(kernel.memory, record.cr3))
    assert not any(writable and executable for *_rest, writable, executable in found)
    assert min(virtual for virtual, *_rest in found) >= record.hhdm
    code = [virtual for virtual, _physical, _size, _writable, executable in found if executable]
    assert code
    assert all(builder.NUCLEUS_BASE <= virtual < builder.NUCLEUS_BASE + record.kernel_size for virtual in code)
    direct = {virtual - record.hhdm: physical for virtual, physical, *_rest in found if virtual < builder.NUCLEUS_BASE}
    assert all(offset == physical for offset, physical in direct.items())
    assert any(physical == LAPIC for _virtual, physical, *_rest in found)


def test_processor_state(booted: Booted) -> None:
    machine, _kernel = booted
    from machine.engine import abi
    for vcpu in machine.machine.engine.vcpus:
        cr0, _cr1, _cr2, _cr3, cr4 = struct.unpack("<5Q", machine.machine.engine.registers(vcpu, abi.ENV_CR, 40))
        assert cr0 & (1 << 16 | 1 << 31) == 1 << 16 | 1 << 31, "WP, PG"
        assert cr4 & 1 << 20, "SMEP: our PC's CPUID has it"
        assert not cr4 & 1 << 21, "no SMAP"


# --- idle and interrupts -----------------------------------------------------------------------------------------------------------------------
def test_the_timer_ticks_at_100_hz_on_every_cpu(booted: Booted) -> None:
    machine, kernel = booted
    start = machine.machine.clock.now()
    before = [len(kernel.of(Reason.INTERRUPT, cpu)) for cpu in (0, 1)]
    machine.run(lambda: machine.machine.clock.now() >= start + 200_000_000)
    ticks = [len(kernel.of(Reason.INTERRUPT, cpu)) - count for cpu, count in zip((0, 1), before, strict=True)]
    assert all(19 <= count <= 21 for count in ticks), ticks
    for area, frame in kernel.of(Reason.INTERRUPT):
        assert area.vector == TIMER
        assert frame is not None
        assert (frame.vector, frame.cs, frame.rflags >> 9 & 1) == (TIMER, 0x08, 1), "taken from the idle loop"


def test_idle_cpus_are_halted(booted: Booted) -> None:
    machine, _kernel = booted
    machine.run(lambda: all(vcpu.activity is Activity.HALTED for vcpu in machine.machine.engine.vcpus))


@pytest.mark.parametrize("vector", [0x30, 0x77, 0xEF, WAKE])
def test_every_vector_reaches_the_kernel_and_is_acknowledged(booted: Booted, vector: int) -> None:
    machine, kernel = booted
    for round_ in (1, 2):                                     # twice: without EOI the second one would never come
        machine.machine.hardware.mmio_write(LAPIC + 0x310, 4, 1 << 24)
        machine.machine.hardware.mmio_write(LAPIC + 0x300, 4, 0x4000 | vector)
        machine.run(lambda: len([1 for area, _frame in kernel.of(Reason.INTERRUPT, 1) if area.vector == vector]) == round_)     # noqa: B023


def test_time_between_the_calls_is_measured(booted: Booted) -> None:
    machine, kernel = booted
    count = len(kernel.of(Reason.INTERRUPT, 1))
    machine.run(lambda: len(kernel.of(Reason.INTERRUPT, 1)) >= count + 3)
    areas = [area for area, _frame in kernel.calls if area.cpu == 1]
    for earlier, later in itertools.pairwise(areas):
        assert earlier.tsc_enter <= later.tsc_resume <= later.tsc_enter


# --- ring 3 ------------------------------------------------------------------------------------------------------------------------------------------
def run_task(booted: Booted, folder: Path, text: str, argument: int = 0) -> tuple[int, AddressSpace]:
    """Let CPU 1 run a task at its next tick, and again after each interrupt; other calls idle it."""
    _machine, kernel = booted
    frame, space = kernel.task(folder, text, argument)

    def decide(area: CpuArea) -> Answer:
        return Answer(frame, space.root) if area.cpu == 1 and area.reason == Reason.INTERRUPT else IDLE
    kernel.decide = decide
    return frame, space


REGISTERS = "rax rbx rcx rdx rsi rdi rbp r8 r9 r10 r11 r12 r13 r14 r15".split()


def test_a_system_call_brings_every_register(booted: Booted, tmp_path: Path) -> None:
    machine, kernel = booted
    loads = "".join(f"mov {name}, {0x1000 + number}\n" for number, name in enumerate(REGISTERS))
    address, _space = run_task(booted, tmp_path, f"start:\n{loads}syscall\nafter:\njmp after\n", 77)
    machine.run(lambda: bool(kernel.of(Reason.SYSCALL)))
    area, frame = kernel.of(Reason.SYSCALL)[0]
    assert frame is not None
    assert (area.frame, area.cpu, frame.vector, frame.error) == (address, 1, SYSCALL_VECTOR, 0)
    for number, name in enumerate(REGISTERS):
        if name not in {"rcx", "r11"}:
            assert getattr(frame, name) == 0x1000 + number, name
    assert (frame.cs, frame.ss) == (0x23, 0x1B)
    assert frame.rcx == frame.rip, "SYSCALL left the return address in RCX"
    assert frame.r11 == frame.rflags
    assert frame.rflags >> 9 & 1, "interrupts were on"


def test_the_result_and_every_register_come_back(booted: Booted, tmp_path: Path) -> None:
    machine, kernel = booted
    loads = "".join(f"mov {name}, {0x2000 + number}\n" for number, name in enumerate(REGISTERS))
    checks = "".join(f"cmp {name}, {0x2000 + number}\njne wrong\n" for number, name in enumerate(REGISTERS) if name not in {"rax", "rcx", "r11"})
    end = "cmp rax, 0x55\njne wrong\nmov eax, 1\nsyscall\nwrong:\nmov eax, 2\nsyscall\njmp wrong\n"
    frame, space = run_task(booted, tmp_path, f"start:\n{loads}syscall\n{checks}{end}")

    def decide(area: CpuArea) -> Answer:
        if area.cpu == 1 and area.reason == Reason.SYSCALL:
            kernel.memory.write_u64(frame + TrapFrame.RAX_OFFSET, 0x55)
        return Answer(frame, space.root) if area.cpu == 1 else IDLE
    kernel.decide = decide
    machine.run(lambda: len(kernel.of(Reason.SYSCALL)) >= 2)
    second = kernel.of(Reason.SYSCALL)[1][1]
    assert second is not None
    assert second.rax == 1


def test_floating_point_state_is_each_tasks_own(booted: Booted, tmp_path: Path) -> None:
    """Two tasks on one CPU take turns at every tick and each watches its SSE registers and MXCSR."""
    machine, kernel = booted
    text = """
start:
    movq xmm0, rdi
    movq xmm15, rdi
    push rdi
    mov eax, 0x1F80
    test edi, 1
    jz .nearest
    or eax, 0x6000
.nearest:
    mov [rsp], eax
    ldmxcsr [rsp]
    mov ebx, eax
.watch:
    movq rax, xmm0
    cmp rax, rdi
    jne .wrong
    movq rax, xmm15
    cmp rax, rdi
    jne .wrong
    stmxcsr [rsp]
    cmp [rsp], ebx
    je .watch
.wrong:
    mov eax, 99
    syscall
    jmp .watch
"""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    frames = FrameAllocator(kernel.record.memory_map) if kernel.record else None
    assert frames is not None
    assert kernel.record is not None
    tasks = []
    for number, folder in enumerate(folders, 3):
        (folder / "task.asm").write_text(text)
        loaded = load(builder.program(folder / "task.asm"), number, kernel.memory, frames, kernel.record.cr3)
        tasks.append(Answer(loaded.block + FRAME_IN_BLOCK, loaded.space.root))
    turns = 0

    def decide(area: CpuArea) -> Answer:
        nonlocal turns
        if area.cpu != 1:
            return IDLE
        turns += 1
        return tasks[turns % 2]
    kernel.decide = decide
    machine.run(lambda: turns >= 20)
    assert kernel.of(Reason.SYSCALL) == []
    assert kernel.of(Reason.EXCEPTION) == []
    resumed = {area.frame for area, _frame in kernel.of(Reason.INTERRUPT, 1)[-6:]}
    assert resumed == {task.frame for task in tasks}


def test_the_frame_lies_where_python_put_it_and_the_fpu_image_behind_it(booted: Booted, tmp_path: Path) -> None:
    machine, kernel = booted
    address, _space = run_task(booted, tmp_path, "start:\nmov rax, 0x1122334455667788\nmovq xmm3, rax\nspin:\njmp spin\n")
    machine.run(lambda: any(area.frame == address for area, _frame in kernel.of(Reason.INTERRUPT, 1)))
    image = kernel.memory.read(address + FRAME_SIZE, FXSAVE_SIZE)
    assert struct.unpack_from("<Q", image, 160 + 3 * 16)[0] == 0x1122334455667788
    below = kernel.memory.read(address - FRAME_IN_BLOCK, FRAME_IN_BLOCK - 64)
    assert below == bytes(len(below)), "the nucleus hardly uses the task's block for its own stack"
    behind = kernel.memory.read(address - FRAME_IN_BLOCK + BLOCK_SIZE, PAGE_SIZE - BLOCK_SIZE)
    assert behind == bytes(len(behind))


@pytest.mark.parametrize(("text", "vector", "error", "cr2"), [
    ("xor eax, eax\nmov [rax], eax\n", 14, 6, 0),
    ("mov rax, 0xFFFFFFFF80000000\nmov rax, [rax]\n", 14, 5, 0xFFFFFFFF80000000),
    ("mov rax, 0xFFFFFFFFFEE00020\nmov eax, [rax]\n", 14, 5, 0xFFFFFFFFFEE00020),
    ("mov rax, 0xFFFF800000001000\nmov [rax], eax\n", 14, 7, 0xFFFF800000001000),
    ("lea rax, [rip + text_start]\nmov [rax], eax\n", 14, 7, builder.PROGRAM_BASE),
    ("push 0xC3\nmov rax, rsp\njmp rax\n", 14, 0x15, None),
    ("xor ecx, ecx\ndiv ecx\n", 0, 0, None), ("ud2\n", 6, 0, None), ("hlt\n", 13, 0, None), ("cli\n", 13, 0, None), ("int3\n", 3, 0, None),
    ("int 0x20\n", 13, None, None), ("int 0x80\n", 13, None, None), ("mov rax, cr0\n", 13, 0, None),   # of INT the translator gets the error code wrong
    ("mov ecx, 0xC0000101\nwrmsr\n", 13, 0, None), ("mov rax, 0x8000000000000000\nmov rax, [rax]\n", 13, 0, None),
    ("mov eax, 0x10\nmov ds, ax\n", 13, 0x10, None), ("in al, 0x60\n", 13, 0, None), ("mov dx, 0xFC0\nmov eax, 0x1000\nout dx, eax\n", 13, 0, None),
])
def test_a_tasks_exception_is_told_with_all_that_belongs_to_it(booted: Booted, tmp_path: Path, text: str, vector: int, error: int | None,
                                                                   cr2: int | None) -> None:
    machine, kernel = booted
    run_task(booted, tmp_path, f"start:\n{text}after:\njmp after\n")
    machine.run(lambda: bool(kernel.of(Reason.EXCEPTION)))
    area, frame = kernel.of(Reason.EXCEPTION)[0]
    assert frame is not None
    assert area.vector == frame.vector == vector
    assert area.error == frame.error
    assert error in (None, area.error)
    assert frame.in_user_mode
    assert cr2 is None or area.cr2 == cr2
    ticks = len(kernel.of(Reason.INTERRUPT, 0))
    kernel.decide = lambda _area: IDLE
    machine.run(lambda: len(kernel.of(Reason.INTERRUPT, 0)) > ticks + 1)                    # and life goes on
    assert "stopped" not in machine.text


def test_page_tables_are_loaded_as_told(booted: Booted, tmp_path: Path) -> None:
    """The task's root while it runs, the nucleus's own while it idles; a withdrawn page is not remembered when bit 0 asks for it."""
    machine, kernel = booted
    frame, space = kernel.task(tmp_path, "start:\nmov rax, [rip + value]\njmp start\n.section data\nvalue:\n.quad 5\n")
    answers = [Answer(frame, space.root)]

    def decide(area: CpuArea) -> Answer:
        return answers[0] if area.cpu == 1 and area.reason == Reason.INTERRUPT else IDLE
    kernel.decide = decide
    machine.run(lambda: any(area.cr3 == space.root for area, _frame in kernel.of(Reason.INTERRUPT, 1)))
    data = next(page for page in range(builder.PROGRAM_BASE, builder.PROGRAM_BASE + 0x4000, PAGE_SIZE)
                if (found := space.translate(page)) is not None and found[1].name == "WRITE")
    space.unmap(data, PAGE_SIZE)
    answers[0] = Answer(frame, space.root | 1)
    machine.run(lambda: bool(kernel.of(Reason.EXCEPTION)))
    area, _frame = kernel.of(Reason.EXCEPTION)[0]
    assert (area.vector, area.cr2, area.error) == (14, data, 4)
    answers[0] = IDLE
    count = len(kernel.calls)
    machine.run(lambda: any(later.cpu == 1 and later.cr3 == (kernel.record.cr3 if kernel.record else 0) for later, _f in kernel.calls[count:]))


# --- what cannot be -------------------------------------------------------------------------------------------------------------------------------
def test_an_nmi_is_reported_and_survived(booted: Booted) -> None:
    machine, kernel = booted
    machine.machine.engine.vcpus[1].nmi()
    machine.run("[NUCLEUS] NMI on CPU 1 at 0xffffffff8")
    ticks = len(kernel.of(Reason.INTERRUPT, 1))
    machine.run(lambda: len(kernel.of(Reason.INTERRUPT, 1)) > ticks + 1)


def test_an_nmi_in_ring_3_keeps_the_tasks_registers(booted: Booted, tmp_path: Path) -> None:
    machine, kernel = booted
    address, _space = run_task(booted, tmp_path, "start:\nmov rbx, 0x1234\nagain:\ncmp rbx, 0x1234\nje again\nsyscall\njmp again\n")
    machine.run(lambda: any(area.frame == address for area, _frame in kernel.of(Reason.INTERRUPT, 1)))
    machine.machine.engine.vcpus[1].nmi()
    machine.run("[NUCLEUS] NMI on CPU 1 at 0x400")
    ticks = len(kernel.of(Reason.INTERRUPT, 1))
    machine.run(lambda: len(kernel.of(Reason.INTERRUPT, 1)) > ticks + 2)
    assert kernel.of(Reason.SYSCALL) == []


def test_a_kernel_that_answers_nonsense_stops_the_cpu_with_its_registers(booted: Booted) -> None:
    """The frame it names is in no memory: the nucleus faults inside a trap."""
    machine, kernel = booted
    kernel.decide = lambda area: Answer(1 << 45, 0) if area.cpu == 1 else IDLE
    machine.run("ss 0x")
    assert "[NUCLEUS] CPU 1 stopped by exception 14, error 0x0, cr2 0xffffa0" in machine.text
    assert " rip 0xffffffff8" in machine.text
    kernel.decide = lambda _area: IDLE
    ticks = [len(kernel.of(Reason.INTERRUPT, cpu)) for cpu in (0, 1)]
    machine.run(lambda: len(kernel.of(Reason.INTERRUPT, 0)) > ticks[0] + 2)
    assert len(kernel.of(Reason.INTERRUPT, 1)) <= ticks[1] + 1, "the others go on, this one does not"


def test_a_frame_that_iretq_refuses_is_told_as_an_exception_of_ring_0(booted: Booted, tmp_path: Path) -> None:
    machine, kernel = booted
    frame, space = kernel.task(tmp_path, "start:\njmp start\n")
    kernel.memory.write_u64(frame + 21 * 8, 0x13)             # SS: kernel data with RPL 3
    kernel.decide = lambda area: Answer(frame, space.root) if area.cpu == 1 and area.reason == Reason.INTERRUPT else IDLE
    machine.run(lambda: bool(kernel.of(Reason.EXCEPTION)))
    area, told = kernel.of(Reason.EXCEPTION)[0]
    assert told is not None
    assert (area.cpu, area.vector, area.error, told.cs) == (1, 13, 0x10, 0x08)
    kernel.decide = lambda _area: IDLE
    ticks = len(kernel.of(Reason.INTERRUPT, 1))
    machine.run(lambda: len(kernel.of(Reason.INTERRUPT, 1)) > ticks + 1)


def test_a_double_fault_stops_the_cpu_on_a_stack_of_its_own(booted: Booted, tmp_path: Path) -> None:
    """The task's frame has no room for a trap: TSS.RSP0 would point into nothing."""
    machine, kernel = booted
    frame, space = kernel.task(tmp_path, "start:\njmp start\n")
    record = kernel.record
    assert record is not None
    kernel.decide = lambda area: Answer(frame, space.root) if area.cpu == 1 else IDLE
    machine.run(lambda: any(area.frame == frame for area, _frame in kernel.of(Reason.INTERRUPT, 1)))
    tss = next(offset for offset in range(0x100, 0x400, 8)
               if kernel.memory.read_u64(record.cpu_areas + PAGE_SIZE + offset + 4) == record.hhdm + frame + FRAME_SIZE)
    kernel.memory.write_u64(record.cpu_areas + PAGE_SIZE + tss + 4, 0xFFFF_9000_0000_0000)
    machine.run("ss 0x1b")
    assert "[NUCLEUS] CPU 1 stopped by exception 8, error 0x0" in machine.text


def test_a_refused_call_leaves_the_cpu_idle_and_alive(images: Images) -> None:
    """A kernel that does not understand HELLO: the gate writes no answer, so the CPU area's zeros say idle."""
    with pc(images.rom, files_of(images)) as machine:
        memory = PhysicalMemory(machine.machine.hardware)
        complaints: list[str] = []
        gate = Gate(memory, complaints.append)
        gate.attach(machine.machine.hardware)
        machine.run(lambda: len(complaints) >= 3)
        assert "nothing handles HELLO" in complaints[0]
        assert machine.machine.engine.vcpus[0].activity is Activity.HALTED
