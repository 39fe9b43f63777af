"""The processors: what the engine delivers natively, checked from inside a guest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from machine.engine import abi
from machine.engine.engine import Reason, RunExit
from machine.engine.vcpu import Activity
from machine.errors import EngineError
from tests.machine.engine.bench_guest import PROGRAM, TABLES, TSS, USER_CODE, USER_DATA, Guest, RecordingBus, assemble

SPIN = "again: inc qword ptr [0x3000]; jmp again"


@pytest.fixture(params=[True, False], ids=["counted", "free"])
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    made = Guest(counted=request.param, cpus=2)
    yield made
    made.close()


@pytest.fixture
def counted() -> Iterator[Guest]:
    made = Guest(counted=True, cpus=2)
    yield made
    made.close()


# --- exceptions ------------------------------------------------------------------------------------------------------------------------
def test_many_contributory_exceptions_in_a_row_are_each_delivered(guest: Guest) -> None:
    guest.handler(13, "inc qword ptr [0x3000]; add rsp, 8; add qword ptr [rsp], 3; iretq")
    guest.load("mov rcx, 50; mov rbx, 0x8000000000000000; fault: mov rax, [rbx]; dec rcx; jnz fault; hlt")
    assert guest.run(1_000_000).reason is Reason.HALT
    assert guest.u64(0x3000) == 50


def test_page_fault_reports_its_address_and_error_code(guest: Guest) -> None:
    guest.handler(14, "pop qword ptr [0x3008]; mov rax, cr2; mov [0x3000], rax; hlt")
    guest.load("mov rax, 0x8000001234; mov byte ptr [rax], 1; hlt")
    assert guest.run(1_000_000).reason is Reason.HALT
    assert (guest.u64(0x3000), guest.u64(0x3008)) == (0x8000001234, 2)      # SDM vol. 3A 4.7: a write, not present


def test_executing_a_no_execute_page_faults(guest: Guest) -> None:
    guest.handler(14, "pop qword ptr [0x3008]; hlt")
    guest.load("mov rax, 0x400000; jmp rax")
    guest.run(1_000_000)
    assert guest.u64(0x3008) == 0x11


def test_invalid_opcode_is_delivered_and_resumed_behind_it(guest: Guest) -> None:
    guest.handler(6, "inc qword ptr [0x3000]; add qword ptr [rsp], 2; iretq")
    guest.load("ud2; ud2; ud2; hlt")
    assert guest.run(1_000_000).reason is Reason.HALT
    assert guest.u64(0x3000) == 3


def test_divide_error_breakpoint_and_software_interrupt(guest: Guest) -> None:
    for vector in (3, 0x80):
        guest.handler(vector, f"inc qword ptr [0x{0x3000 + 8 * vector:x}]; iretq")
    guest.handler(0, "inc qword ptr [0x3000]; add qword ptr [rsp], 3; iretq")
    guest.load("int3; int 0x80; int 0x80; xor rdx, rdx; xor rcx, rcx; div rcx; hlt")
    assert guest.run(1_000_000).reason is Reason.HALT
    assert [guest.u64(0x3000 + 8 * vector) for vector in (0, 3, 0x80)] == [1, 1, 2]


def test_triple_fault_shuts_the_processor_down(guest: Guest) -> None:
    guest.load("lidt [0x3F00]; ud2")
    assert guest.run(1_000_000).reason is Reason.SHUTDOWN
    assert guest.engine.vcpus[0].activity is Activity.SHUTDOWN
    assert not guest.engine.vcpus[0].runnable


def test_jump_into_a_hole_is_an_invalid_opcode(guest: Guest) -> None:
    guest.handler(6, "mov rax, [rsp]; mov [0x3000], rax; hlt")
    guest.load("mov rax, 0xB0000000; jmp rax")
    guest.memory.write(0x9000 + 0x2000 + 0x1000 * 2 + 8 * 384, (0xB0000087).to_bytes(8, "little"))     # executable there
    assert guest.run(1_000_000).reason is Reason.HALT
    assert guest.u64(0x3000) == 0xB0000000


# --- rings -----------------------------------------------------------------------------------------------------------------------------
ENTER_USER = f"""
    mov ecx, 0xC0000080; rdmsr; or eax, 1; wrmsr
    mov ecx, 0xC0000081; xor eax, eax; mov edx, 0x00180008; wrmsr
    mov ecx, 0xC0000082; mov eax, 0x30000; xor edx, edx; wrmsr
    mov ecx, 0xC0000084; mov eax, 0x200; wrmsr
    push {USER_DATA}; push 0x2F00; push 0x202; push {USER_CODE}; push 0x40000; iretq
"""


def test_syscall_changes_rings_and_sysret_goes_back(guest: Guest) -> None:
    guest.memory.write(0x30000, assemble("mov [0x3000], rcx; mov [0x3008], r11; pushfq; pop qword ptr [0x3010]; mov ax, cs; mov [0x3018], ax; "
                                         "mov ax, ss; mov [0x3020], ax; mov [0x3028], rdi; test rdi, rdi; jz leave; hlt; leave: rex64 sysret", 0x30000))
    guest.memory.write(0x40000, assemble("xor edi, edi; syscall; mov edi, 1; syscall", 0x40000))
    guest.handler(6, "hlt")
    guest.load(ENTER_USER)
    assert guest.run(1_000_000).reason is Reason.HALT
    assert guest.u64(0x3000) == 0x40000 + len(assemble("xor edi, edi; syscall; mov edi, 1; syscall"))
    assert guest.u64(0x3008) & 0x200, "R11 holds the flags with IF"
    assert not guest.u64(0x3010) & 0x200, "FMASK cleared IF"
    assert (guest.u64(0x3018), guest.u64(0x3020), guest.u64(0x3028)) == (0x08, 0x10, 1)


def test_syscall_without_sce_is_an_invalid_opcode(guest: Guest) -> None:
    guest.handler(6, "inc qword ptr [0x3000]; hlt")
    guest.load("mov ecx, 0xC0000080; rdmsr; and eax, 0xFFFFFFFE; wrmsr; syscall; hlt")
    assert guest.run(1_000_000).reason is Reason.HALT
    assert guest.u64(0x3000) == 1


def test_privileged_instruction_in_ring_3_faults_onto_the_ring_0_stack(guest: Guest) -> None:
    guest.handler(13, "mov [0x3000], rsp; hlt")
    guest.memory.write(0x40000, assemble("hlt", 0x40000))
    guest.load(ENTER_USER)
    assert guest.run(1_000_000).reason is Reason.HALT
    assert guest.u64(0x3000) == 0x4000 - 48                     # TSS.RSP0 less SS, RSP, RFLAGS, CS, RIP, error code


# --- interrupts ------------------------------------------------------------------------------------------------------------------------
def test_an_offered_interrupt_waits_for_sti(guest: Guest) -> None:
    vcpu = guest.engine.vcpus[0]
    guest.handler(0x41, "mov rax, [0x3000]; mov [0x3008], rax; hlt")
    guest.load("inc qword ptr [0x3000]; inc qword ptr [0x3000]; sti; nop; inc qword ptr [0x3000]; hlt")
    vcpu.post(0x41)
    assert vcpu.taken() is None
    assert guest.run(1_000_000).reason is Reason.HALT
    assert guest.u64(0x3008) == 2                               # the instruction after STI ran, the one behind it did not
    assert (vcpu.taken(), vcpu.taken(), vcpu.delivered) == (0x41, None, 1)


def test_halt_wakes_by_interrupt_only_with_if_set(guest: Guest) -> None:
    vcpu = guest.engine.vcpus[0]
    guest.handler(0x41, "inc qword ptr [0x3000]; iretq")
    guest.load("cli; hlt; inc qword ptr [0x3008]; hlt")
    assert guest.run(1_000_000).reason is Reason.HALT
    vcpu.post(0x41)
    assert not vcpu.runnable
    guest.load("sti; hlt; inc qword ptr [0x3008]; hlt")
    vcpu.withdraw()
    assert guest.run(1_000_000).reason is Reason.HALT
    assert not vcpu.runnable
    vcpu.post(0x41)
    assert vcpu.runnable
    assert guest.run(1_000_000).reason is Reason.HALT
    assert (guest.u64(0x3000), guest.u64(0x3008)) == (1, 1)


def test_nmi_ignores_if_and_wakes_a_halt(guest: Guest) -> None:
    guest.handler(2, "inc qword ptr [0x3000]; iretq")
    guest.load("cli; hlt; inc qword ptr [0x3008]; hlt")
    guest.run(1_000_000)
    guest.engine.vcpus[0].nmi()
    assert guest.engine.vcpus[0].runnable
    assert guest.run(1_000_000).reason is Reason.HALT
    assert (guest.u64(0x3000), guest.u64(0x3008)) == (1, 1)


def test_an_interrupt_raised_by_a_port_access_is_taken_soon(guest: Guest) -> None:
    """A device that interrupts from within an access is served at the next block, not at the end of the slice; where they are counted, behind the access."""
    guest.handler(0x41, "mov rax, [0x3000]; mov [0x3008], rax; cli; hlt")
    guest.load("sti; out 0x80, al; jmp next; next: " + SPIN)
    write = guest.ports.write

    def interrupting(port: int, size: int, value: int) -> None:
        write(port, size, value)
        guest.engine.vcpus[0].post(0x41)
    guest.ports.write = interrupting  # type: ignore[method-assign]
    guest.engine.close()
    guest.engine = type(guest.engine)(guest.memory, guest.ports, guest.mmio, 1, guest.engine.counted, None, lambda: 1)
    guest.load("sti; out 0x80, al; jmp next; next: " + SPIN)
    if guest.engine.counted:
        assert guest.engine.run(0, 10_000_000) == RunExit(Reason.BUDGET, 5), "the slice ends behind the OUT"
    assert guest.run(10_000_000, slices=2 if guest.engine.counted else 1).reason is Reason.HALT and guest.engine.vcpus[0].taken() == 0x41
    assert guest.u64(0x3008) <= (0 if guest.engine.counted else 2)


# --- several processors ----------------------------------------------------------------------------------------------------------------
def test_registers_stay_apart(guest: Guest) -> None:
    guest.load("mov rbx, 1; mov rdi, 0x3000; lock inc qword ptr [rdi]; hlt", cpu=0)
    guest.load("mov rbx, 2; mov rdi, 0x3000; lock inc qword ptr [rdi]; hlt", cpu=1, address=0x18000)
    guest.engine.vcpus[1].activity = Activity.ACTIVE
    assert guest.run(cpu=0, budget=1_000_000).reason is guest.run(cpu=1, budget=1_000_000).reason is Reason.HALT
    assert [vcpu.regs[3] for vcpu in guest.engine.vcpus] == [1, 2]
    assert guest.u64(0x3000) == 2


def test_locked_increments_of_two_processors_add_up(counted: Guest) -> None:
    loop = "mov rcx, 5000; again: lock inc qword ptr [0x3000]; dec rcx; jnz again; hlt"
    counted.load(loop, cpu=0)
    counted.load(loop, cpu=1, address=0x18000)
    counted.engine.vcpus[1].activity = Activity.ACTIVE
    while any(vcpu.activity is Activity.ACTIVE for vcpu in counted.engine.vcpus):
        for cpu, vcpu in enumerate(counted.engine.vcpus):
            if vcpu.activity is Activity.ACTIVE:
                counted.engine.run(cpu, 97)
    assert counted.u64(0x3000) == 10_000


def test_a_processor_that_only_pauses_gives_its_turn_away(guest: Guest) -> None:
    guest.load("again: inc qword ptr [0x3000]; pause; jmp again")
    result = guest.engine.run(0, 10_000_000, patience=64)
    assert result.reason is Reason.BUDGET
    assert 60 <= guest.u64(0x3000) <= 66
    before = guest.u64(0x3000)
    guest.engine.run(0, 10_000_000, patience=64)
    assert 60 <= guest.u64(0x3000) - before <= 66, "and goes on behind the PAUSE"


def test_init_and_sipi_start_a_processor_in_real_mode(guest: Guest) -> None:
    second = guest.engine.vcpus[1]
    assert second.activity is Activity.WAIT_FOR_SIPI and not second.runnable
    guest.memory.write(0x2000, assemble("mov ax, cs; mov ds, ax; mov word ptr [0x10], ax; hlt", 0, 16))
    second.init()
    second.startup(0x02)
    assert second.activity is Activity.ACTIVE
    assert guest.run(cpu=1, budget=1_000_000).reason is Reason.HALT
    assert guest.memory.read(0x2010, 2) == b"\x00\x02"
    second.startup(0x03)
    assert second.activity is Activity.HALTED, "a SIPI to a running processor is ignored"


def test_init_resets_a_running_processor(guest: Guest) -> None:
    guest.load("mov rbx, 77; hlt", cpu=1)
    guest.engine.vcpus[1].activity = Activity.ACTIVE
    guest.run(cpu=1, budget=1_000_000)
    guest.engine.vcpus[1].init()
    assert guest.engine.vcpus[1].regs[3] == 0
    assert guest.engine.vcpus[1].activity is Activity.WAIT_FOR_SIPI


# --- slices ----------------------------------------------------------------------------------------------------------------------------
def test_counted_slices_count_exactly(counted: Guest) -> None:
    counted.load(SPIN)
    counts = [counted.engine.run(0, 1000).retired for _ in range(10)]
    assert counts == [1000] * 10
    assert 0 <= 2 * counted.u64(0x3000) - (sum(counts) - 3) <= 1           # after the prologue, two instructions a turn


class Still:
    """Time that stands at 7 ns."""

    picoseconds = 0

    def save(self) -> int:
        return 7000



def test_a_stop_in_the_middle_of_a_block_loses_no_access(guest: Guest) -> None:
    """`uc_emu_stop` sets a flag that makes Unicorn skip the instruction hooks behind it in the same block: an OUT was lost, an IN read 0."""
    write = guest.ports.write
    guest.ports.answers = {0x60: 0x5A}

    def stopping(port: int, size: int, value: int) -> None:
        write(port, size, value)
        guest.engine.interrupt()
    guest.ports.write = stopping  # type: ignore[method-assign]
    guest.engine.close()
    guest.engine = type(guest.engine)(guest.memory, guest.ports, guest.mmio, 1, guest.engine.counted, Still(), lambda: 1)
    guest.load("mov al, 1; out 0x80, al; mov al, 2; out 0x80, al; in al, 0x60; mov [0x3000], al; rdtsc; mov [0x3008], rax; xor eax, eax; cpuid; "
               "mov [0x3010], ebx; jmp next; next: hlt")
    while guest.run(1_000_000, slices=1).reason is not Reason.HALT:
        pass
    assert [access[2] for access in guest.ports.writes] == [1, 2]
    assert (guest.u64(0x3000), guest.u64(0x3008), guest.memory.read(0x3010, 4)) == (0x5A, 7, b"Folk")


@pytest.mark.parametrize("budget", [1, 2, 3, 5, 8, 13])
def test_slices_of_every_length_leave_rip_where_it_is(counted: Guest, budget: int) -> None:
    """Blocks that are chained to each other do not write RIP; the end of a slice must."""
    counted.load("xor eax, eax; mov ecx, 500; again: inc eax; test ecx, 1; jz even; add eax, 2; even: dec ecx; jnz again; mov [0x3000], eax; hlt")
    while counted.engine.run(0, budget).reason is not Reason.HALT:
        pass
    assert counted.u64(0x3000) == 500 + 2 * 250


def test_a_free_slice_ends_by_itself() -> None:
    guest = Guest(counted=False)
    guest.load(SPIN)
    while not guest.u64(0x3000):                    # on a busy host a slice may be over before its first instruction
        assert guest.engine.run(0, 200_000).reason is Reason.BUDGET
    guest.close()


def test_the_end_of_a_slice_is_not_lost_while_a_device_offers_and_withdraws_interrupts() -> None:
    """The timer's signal comes in the middle of what a device asks of the processor: both are words of one request."""
    guest = Guest(counted=False, cpus=1)
    accesses = 0

    def busy(_offset: int, _size: int, _value: int) -> None:
        nonlocal accesses
        accesses += 1
        assert accesses < 1000, "this slice does not end"
        for _ in range(100):
            guest.engine.vcpus[0].post(0x40)
            guest.engine.vcpus[0].withdraw()

    guest.ports.write = busy  # type: ignore[method-assign]
    guest.engine.close()
    guest.engine = type(guest.engine)(guest.memory, guest.ports, guest.mmio, 1, False, None, lambda: 1)
    guest.load("cli; again: out 0x80, al; mov ecx, 100; delay: dec ecx; jnz delay; jmp again")
    try:
        for _ in range(100):
            accesses = 0
            assert guest.run(50_000).reason is Reason.BUDGET
    finally:
        guest.close()


def test_retired_counts_through_interrupts_and_repeated_strings(counted: Guest) -> None:
    counted.handler(0x80, "iretq")
    counted.load("int 0x80; mov edi, 0x3000; mov ecx, 64; xor eax, eax; rep stosb; hlt")
    result = counted.run(1_000_000)
    assert result.reason is Reason.HALT
    first = result.retired
    counted.load("int 0x80; mov edi, 0x3000; mov ecx, 64; xor eax, eax; rep stosb; hlt")
    assert counted.run(1_000_000).retired == first


def test_an_exception_of_a_device_ends_the_run_and_reaches_the_caller(guest: Guest) -> None:
    guest.ports.answers = None  # type: ignore[assignment]      # any read now raises AttributeError
    guest.load("in al, 0x60; jmp next; next: " + SPIN)
    with pytest.raises(AttributeError):
        guest.run(1_000_000_000, slices=1)


@pytest.mark.parametrize("counted", [True, False])
def test_rip_is_exact_in_a_device(counted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def read(_bus: RecordingBus, _address: int, _size: int) -> int:
        guest.engine.sync_rip()
        seen.append(guest.engine.vcpus[0].rip)
        return 0

    monkeypatch.setattr(RecordingBus, "read", read)
    guest = Guest(counted=counted)
    accesses = ["mov eax, [0x10000000]", "in al, 0x61", "mov eax, [0x10000008]", "mov eax, [0x10000010]", "in al, 0x60", "mov eax, [0x10000020]"]
    text = "nop; {}; inc ebx; {}; nop; nop; {}; mov [0x3000], rbx; {}; jmp next; next: {}; inc ebx; {}; hlt".format(*accesses)
    guest.load(text)
    while guest.engine.run(0, 1_000_000).reason is not Reason.HALT:
        pass
    code, expected, at = guest.memory.read(PROGRAM, 256), [], 0             # behind what `load` puts in front
    for access in accesses:
        at = code.index(assemble(access), at)
        expected.append(PROGRAM + at)
    assert seen == expected
    guest.close()


# --- memory ----------------------------------------------------------------------------------------------------------------------------
def test_a_host_write_replaces_translated_code(guest: Guest) -> None:
    guest.load("call 0x50000; call 0x50000; hlt")
    guest.memory.write(0x50000, assemble("inc qword ptr [0x3000]; out 0x80, al; ret", 0x50000))
    guest.run(1_000_000)
    guest.memory.write(0x50000, assemble("inc qword ptr [0x3008]; out 0x80, al; ret", 0x50000))
    guest.load("call 0x50000; call 0x50000; hlt")
    guest.run(1_000_000)
    assert (guest.u64(0x3000), guest.u64(0x3008)) == (2, 2)


def test_a_guest_may_modify_its_own_code(guest: Guest) -> None:
    guest.load("lea rbx, [rip + patch]; mov byte ptr [rbx + 1], 9; jmp patch; patch: mov al, 1; mov [0x3000], al; hlt")
    guest.run(1_000_000)
    assert guest.memory.read(0x3000, 1) == b"\x09"


ALIAS = 0x80000000                          # virtual: physical 0..2 MiB once more, executable or not


def map_alias(guest: Guest, no_execute: bool) -> None:
    guest.memory.write(TABLES + 0x2000 + 0x1000 * (ALIAS >> 30), (0x87 | no_execute << 63).to_bytes(8, "little"))


@pytest.mark.parametrize("no_execute", [True, False])
@pytest.mark.parametrize("warm", [True, False])
def test_a_store_through_an_alias_replaces_translated_code(guest: Guest, no_execute: bool, warm: bool) -> None:
    """The page is written through another virtual address, which is fast already when the code is first translated (warm), or becomes so later."""
    map_alias(guest, no_execute)
    code = 0x50800
    guest.memory.write(code, assemble("mov al, 1; ret", code))
    guest.memory.write(code + 0x100, assemble("mov al, 1; ret", code + 0x100))
    store = f"mov rbx, {ALIAS + 0x50000}; mov byte ptr [rbx], 7; mov byte ptr [rbx + 8], 7;"
    guest.load((store if warm else "") + f"mov rdi, 0x3000; mov esi, {code}; call rsi; stosb; mov esi, {code + 0x100}; call rsi; stosb;" + store
               + f"mov rbx, {ALIAS + code}; mov byte ptr [rbx + 1], 2; mov byte ptr [rbx + 0x101], 3;"
               f"mov esi, {code}; call rsi; stosb; mov esi, {code + 0x100}; call rsi; stosb; hlt")
    assert guest.run(1_000_000).reason is Reason.HALT
    assert guest.memory.read(0x3000, 4) == bytes((1, 1, 2, 3))


def test_variables_and_code_share_a_page(guest: Guest) -> None:
    """As in firmware: each round stores to a variable, then patches the code beside it, then runs the code."""
    code = 0x50800
    guest.memory.write(code, assemble("mov al, 0; ret", code))
    guest.load(f"mov rdi, 0x3000; mov rbx, {code}; mov ecx, 100; again: mov [rbx + 0x200], rcx; mov byte ptr [rbx + 1], cl; call rbx; "
               "movzx eax, al; add [rdi], rax; dec ecx; jnz again; hlt")
    assert guest.run(1_000_000).reason is Reason.HALT
    assert guest.u64(0x3000) == sum(range(101))


def test_a_page_that_lost_its_code_takes_new_code(guest: Guest) -> None:
    """Code, overwritten by data, overwritten by other code: nothing of the old may run."""
    code = 0x50000
    guest.load(f"mov edi, {code}; mov al, 0x90; mov ecx, 64; rep stosb; mov byte ptr [rdi], 0xc3; mov esi, {code}; call rsi; "
               f"mov edi, {code}; xor eax, eax; mov ecx, 512; rep stosq; mov edi, {code}; mov dword ptr [rdi], 0xc309b0; call rdi; mov [0x3000], al; hlt")
    assert guest.run(1_000_000).reason is Reason.HALT
    assert guest.memory.read(0x3000, 1) == b"\x09"


def test_stores_to_rom_are_dropped_and_counted() -> None:
    guest = Guest(roms=((0xFFFF0000, b"\x5a" * 0x10000),))
    guest.load("mov rax, 0xFFFF1000; mov rbx, [rax]; mov qword ptr [rax], 0; mov rcx, [rax]; mov [0x3000], rcx; hlt")
    assert guest.run(1_000_000).reason is Reason.HALT
    assert guest.u64(0x3000) == 0x5A5A5A5A5A5A5A5A
    assert guest.memory.rom_writes == 1
    guest.close()


def test_mmio_of_every_size_reaches_the_bus(guest: Guest) -> None:
    guest.load("mov rax, 0xFED00000; mov bl, [rax]; mov bx, [rax+2]; mov ebx, [rax+4]; mov rbx, [rax+8]; mov [rax], bl; mov [rax+2], bx; "
               "mov [rax+4], ebx; mov [rax+8], rbx; hlt")
    assert guest.run(1_000_000).reason is Reason.HALT
    base = 0xFED00000
    assert guest.mmio.reads == [(base, 1), (base + 2, 2), (base + 4, 4), (base + 8, 4), (base + 12, 4)]
    assert [access[:2] for access in guest.mmio.writes] == guest.mmio.reads


def test_physical_addresses_beyond_the_map_read_ones(guest: Guest) -> None:
    guest.memory.write(0x9000 + 0x2000 + 8 * 5, ((1 << 45) | 0x87 | 1 << 63).to_bytes(8, "little"))
    guest.handler(14, "mov qword ptr [0x3000], 14; hlt")
    guest.load("mov eax, 0xA00000; mov rbx, [rax]; mov [0x3000], rbx; hlt")
    assert guest.run(1_000_000).reason is Reason.HALT
    assert guest.u64(0x3000) in ((1 << 64) - 1, 14)             # all ones, or a reserved-bit fault


# --- identification and time -------------------------------------------------------------------------------------------------------------
def test_cpuid_is_ours_and_differs_by_processor(guest: Guest) -> None:
    text = "xor eax, eax; cpuid; mov [0x3000], ebx; mov [0x3004], edx; mov [0x3008], ecx; mov eax, 1; cpuid; shr ebx, 24; mov [0x3010], rbx; hlt"
    for cpu in (0, 1):
        guest.load(text, cpu=cpu)
        guest.engine.vcpus[cpu].activity = Activity.ACTIVE
        guest.run(cpu=cpu, budget=1_000_000)
        assert guest.memory.read(0x3000, 12) == b"FolkeringVPC"
        assert guest.u64(0x3010) == cpu


class Passed:
    """Time before a slice; an instruction lasts 2.5 ns."""

    picoseconds = 2500

    def save(self) -> int:
        return 0x1_2345_6789_000 + 400


def test_rdtsc_counts_instructions_where_time_does() -> None:
    guest = Guest(counted=True, time=Passed())
    read = "shl rdx, 32; or rax, rdx; mov [{}], rax;"
    tsc_aux = "mov ecx, 0xC0000103; mov eax, 7; xor edx, edx; wrmsr;"
    guest.load(tsc_aux + "rdtsc;" + read.format(0x3000) + "rdtscp;" + read.format(0x3008) + "mov [0x3010], rcx; mov ecx, 10; again: loop again; rdtsc;"
               + read.format(0x3018) + "hlt")
    guest.engine.run(0, 1000)
    times = [guest.u64(0x3000), guest.u64(0x3008), guest.u64(0x3018)]
    assert guest.u64(0x3010) == 7
    before = [3 + 4 + 1, 3 + 4 + 5, 3 + 4 + 5 + 16]              # instructions begun, the prologue's three included
    assert times == [(Passed().save() + 2500 * count) // 1000 for count in before]
    guest.engine.vcpus[0].set_tsc_offset(-0x1_0000_0000)
    guest.load("rdtsc;" + read.format(0x3000) + "hlt")
    guest.engine.run(0, 1000)
    assert guest.u64(0x3000) == (Passed().save() + 2500 * 4) // 1000 - 0x1_0000_0000
    guest.close()


def test_arithmetic_survives_slices(counted: Guest) -> None:
    """Lazy flags cross a slice's end: the same sum whatever the slices are."""
    text = "mov rcx, 1000; xor rax, rax; again: add rax, rcx; adc rax, 0; dec rcx; jnz again; mov [0x3000], rax; hlt"
    sums = set()
    for budget in (1, 7, 1000, 100_000):
        counted.load(text)
        while counted.engine.run(0, budget).reason is Reason.BUDGET:
            pass
        sums.add(counted.u64(0x3000))
    assert len(sums) == 1


def test_the_engine_names_another_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    from machine.engine import abi
    monkeypatch.setattr(abi, "SUPPORTED_VERSION", (9, 9, 9))
    abi.load.cache_clear()
    with pytest.raises(EngineError, match="needs exactly 9.9.9"):
        abi.load()
    abi.load.cache_clear()


def test_verification_names_the_check_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from machine.engine import abi, verify
    monkeypatch.setattr(abi, "ENV_OLD_EXCEPTION", abi.ENV_OLD_EXCEPTION - 8)
    with pytest.raises(EngineError, match="old_exception"):
        verify.wheel.__wrapped__(abi.load())




# --- who may reach a port ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("access", ["in al, 0x60", "mov dx, 0x3F8; in eax, dx", "out 0x60, ax", "mov dx, 0x3F8; out dx, eax",
                                    "mov edi, 0x3200; mov dx, 0x60; insb", "mov esi, 0x3200; mov dx, 0x60; outsb"])
def test_ring_3_does_not_reach_a_port(guest: Guest, access: str) -> None:
    """SDM vol. 1, 19.5.1: CPL above IOPL, and a TSS without an I/O permission map."""
    guest.memory.write(TSS + 102, (0x68).to_bytes(2, "little"))
    guest.handler(13, "pop qword ptr [0x3008]; pop qword ptr [0x3000]; hlt")
    guest.memory.write(0x40000, assemble(access, 0x40000))
    guest.load(ENTER_USER)
    assert guest.run(1_000_000).reason is Reason.HALT
    last = access.rsplit(";", maxsplit=1)[-1]
    assert guest.u64(0x3000) == 0x40000 + len(assemble(access)) - len(assemble(last)), "RIP is the instruction's"
    assert guest.u64(0x3008) == 0
    assert guest.ports.reads == guest.ports.writes == []


def test_the_permission_map_and_iopl_let_ring_3_reach_ports(guest: Guest) -> None:
    guest.memory.write(TSS + 102, (0x40).to_bytes(2, "little"))         # the map: in the TSS's own reserved bytes, ports 0..7 at +0x40
    guest.memory.write(TSS + 0x40, b"\xdf\xff")                         # port 5 is allowed
    guest.handler(13, "hlt")
    guest.memory.write(0x40000, assemble("out 5, al; out 6, al", 0x40000))
    guest.load(ENTER_USER)
    assert guest.run(1_000_000).reason is Reason.HALT
    assert [port for port, _size, _value in guest.ports.writes] == [5]
    guest.load(ENTER_USER.replace("push 0x202", "push 0x3202"))        # IOPL 3
    guest.memory.write(0x40000, assemble("out 6, al; hlt", 0x40000))
    assert guest.run(1_000_000).reason is Reason.HALT
    assert [port for port, _size, _value in guest.ports.writes] == [5, 6]


# --- an NMI while another one is handled ---------------------------------------------------------------------------------------------------
def test_a_step_does_not_lose_an_nmi_that_waits(counted: Guest) -> None:
    counted.handler(2, "inc qword ptr [0x3000]; nop; nop; nop; nop; iretq")
    counted.load(SPIN.replace("3000", "3008"))
    vcpu = counted.engine.vcpus[0]
    counted.engine.run(0, 10)
    vcpu.nmi()
    counted.engine.run(0, 2)
    counted.engine.run(0, 2)
    vcpu.nmi()
    counted.engine.run(0, 1)                  # it waits for the IRET of the first
    assert counted.u64(0x3000) == 1
    counted.engine.step(0)
    for _ in range(3):
        counted.engine.run(0, 100)
    assert counted.u64(0x3000) == 2


def test_a_halt_in_the_handler_of_an_nmi_outlasts_the_next_nmi(counted: Guest) -> None:
    counted.handler(2, "inc qword ptr [0x3000]; hlt; inc qword ptr [0x3008]; iretq")
    counted.load("again: jmp again")
    vcpu = counted.engine.vcpus[0]
    counted.engine.run(0, 10)
    vcpu.nmi()
    assert counted.run(100).reason is Reason.HALT
    vcpu.nmi()
    assert not vcpu.runnable                  # SDM vol. 3A 6.7.1: blocked until IRET
    assert (counted.u64(0x3000), counted.u64(0x3008)) == (1, 0)


def test_looking_at_another_processor_leaves_the_course_of_this_one(counted: Guest) -> None:
    """Accessed bits are set when the engine looks into the page tables anew: as often as without the look."""
    entry = TABLES + 0x2000 + 8 * 3
    text = (f"mov rbx, 0x{entry:x}; mov rax, [0x600000]; and qword ptr [rbx], -33; mov ecx, 100; wait: loop wait; mov rax, [0x600000]; mov rcx, [rbx];"
            "mov [0x3000], rcx; hlt")
    seen = []
    for looking in (False, True):
        counted.load(text)
        counted.engine.run(0, 60)
        if looking:
            assert counted.engine.vcpus[1].public_register(abi.UC_X86_REG_EFLAGS, 8) == 2
            assert counted.engine.vcpus[1].public_register(abi.UC_X86_REG_MXCSR, 4) == 0x1F80
        assert counted.engine.run(0, 10_000).reason is Reason.HALT
        seen.append(counted.u64(0x3000) & 0xFF)
        counted.engine.park()
    assert seen[0] == seen[1]


def test_the_shortest_slices_come_to_an_end_of_the_program() -> None:
    """However close the next deadline is: the timer does not strike before the first instruction each time."""
    guest = Guest(counted=False)
    guest.load("mov rcx, 30; again: inc qword ptr [0x3000]; dec rcx; jnz again; hlt")
    assert guest.run(1, slices=3000).reason is Reason.HALT
    assert guest.u64(0x3000) == 30
    guest.close()
