"""MSRs that the library does not know, and CR8, reach whoever answers for them; everything else stays the engine's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from machine.engine.engine import Reason
from tests.machine.engine.bench_guest import Guest, assemble

GP = 13
# A handler that counts at 0x3100, keeps the error code at 0x3108 and RIP at 0x3110, and goes on behind the two bytes of RDMSR and WRMSR.
HANDLER = ("push rax; inc qword ptr [0x3100]; mov rax, [rsp + 8]; mov [0x3108], rax; mov rax, [rsp + 16]; mov [0x3110], rax; pop rax; add rsp, 8;"
           "add qword ptr [rsp], 2; iretq")


class Registers:
    def __init__(self) -> None:
        self.msrs = {0x1B: 0xFEE00900, 0xD90: 0x1122334455667788}
        self.tpr = 0
        self.asked: list[tuple[str, int, int]] = []

    def read_msr(self, number: int) -> int | None:
        self.asked.append(("read", number, 0))
        return self.msrs.get(number)

    def write_msr(self, number: int, value: int) -> bool:
        self.asked.append(("write", number, value))
        known = number in self.msrs
        if known:
            self.msrs[number] = value
        return known

    def read_cr8(self) -> int:
        return self.tpr

    def write_cr8(self, value: int) -> None:
        self.tpr = value


@pytest.fixture(params=[True, False], ids=["counted", "free"])
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    guest = Guest(counted=request.param)
    guest.handler(GP, HANDLER)
    yield guest
    guest.close()


def run(guest: Guest, text: str, registers: Registers) -> None:
    guest.engine.answer(registers)
    guest.load(text + "; hlt")
    while (reason := guest.engine.run(0, 1_000_000).reason) is not Reason.HALT:
        assert reason is Reason.BUDGET


def test_a_read_gives_both_halves(guest: Guest) -> None:
    run(guest, "mov rax, -1; mov rdx, -1; mov ecx, 0xd90; rdmsr; mov [0x3000], rax; mov [0x3008], rdx; mov [0x3010], rcx", Registers())
    assert [guest.u64(0x3000 + 8 * at) for at in range(3)] == [0x55667788, 0x11223344, 0xD90] and not guest.u64(0x3100)


def test_a_write_brings_both_halves(guest: Guest) -> None:
    registers = Registers()
    run(guest, "mov ebx, 0x77; mov ebp, 0x88; mov rax, -2; mov edx, 0x1234; mov ecx, 0x1b; wrmsr; mov [0x3000], rbx; mov [0x3008], rbp", registers)
    assert registers.msrs[0x1B] == 0x1234_FFFFFFFE
    assert (guest.u64(0x3000), guest.u64(0x3008)) == (0x77, 0x88), "the helper's frame is left as the processor's"


@pytest.mark.parametrize("access", ["rdmsr", "wrmsr"])
def test_an_unknown_one_is_a_general_protection_fault(guest: Guest, access: str) -> None:
    registers = Registers()
    run(guest, f"mov ecx, 0x12345; xor eax, eax; cdq; here: {access}; inc qword ptr [0x3000]", registers)
    assert (guest.u64(0x3100), guest.u64(0x3108), guest.u64(0x3000)) == (1, 0, 1)
    assert guest.memory.read(guest.u64(0x3110), 2) == {"rdmsr": b"\x0f\x32", "wrmsr": b"\x0f\x30"}[access], "RIP is the instruction's"
    assert [number for _, number, _ in registers.asked] == [0x12345]


def test_many_faults_in_a_row_leave_the_stack_as_it_was(guest: Guest) -> None:
    registers = Registers()
    run(guest, "mov dword ptr [0x3020], 50; mov rbx, rsp; mov ecx, 0x7ff; again: rdmsr; wrmsr; dec dword ptr [0x3020]; jnz again;"
        "sub rbx, rsp; mov [0x3000], rbx", registers)
    assert guest.u64(0x3000) == 0 and len(registers.asked) == 100


def test_the_processors_own_never_ask(guest: Guest) -> None:
    registers = Registers()
    names = (0xC0000080, 0xC0000081, 0xC0000082, 0xC0000100, 0xC0000102, 0xC0000103, 0x277, 0x2FF, 0xFE, 0x174, 0x200)
    run(guest, "; ".join(f"mov ecx, {number:#x}; rdmsr" for number in names)
        + "; mov ecx, 0xc0000082; mov eax, 0x1000; mov edx, 0xffff8000; wrmsr; xor eax, eax; rdmsr; mov [0x3000], eax; mov [0x3004], edx", registers)
    assert not registers.asked and not guest.u64(0x3100) and guest.u64(0x3000) == 0xFFFF8000_00001000


def test_the_edges_of_what_the_processor_knows(guest: Guest) -> None:
    registers = Registers()
    edges = (0x0, 0x3FF, 0x400, 0x800, 0x7FFFFFFF, 0x80000000, 0xBFFFFFFF, 0xC0000000, 0xC00003FF, 0xC0000400, 0xC0010117, 0xFFFFFFFF)
    run(guest, "; ".join(f"mov ecx, {number:#x}; rdmsr" for number in edges), registers)
    assert [number for _, number, _ in registers.asked] == list(edges) and guest.u64(0x3100) == len(edges)


def test_cr8_is_read_and_written(guest: Guest) -> None:
    registers = Registers()
    registers.tpr = 5
    run(guest, "mov rbx, 0x77; mov rbp, 0x88; mov r12, 0x99; mov rax, cr8; mov [0x3000], rax; mov eax, 11; mov cr8, rax; mov rax, cr8; mov [0x3008], rax;"
        "mov [0x3010], rbx; mov [0x3018], rbp; mov [0x3020], r12; mov rax, cr3; mov cr3, rax; mov rax, cr0; mov cr0, rax", registers)
    assert [guest.u64(0x3000 + 8 * at) for at in range(5)] == [5, 11, 0x77, 0x88, 0x99] and registers.tpr == 11


def test_what_an_answer_raises_is_raised_from_run(guest: Guest) -> None:
    class Broken(Registers):
        def read_msr(self, number: int) -> int | None:
            raise ZeroDivisionError(number)

    with pytest.raises(ZeroDivisionError):
        run(guest, "mov ecx, 0x1b; rdmsr", Broken())


def test_two_engines_have_each_their_own(guest: Guest) -> None:
    other = Guest()
    first, second = Registers(), Registers()
    second.msrs[0xD90] = 7
    run(other, "mov ecx, 0xd90; rdmsr; mov [0x3000], eax", second)
    run(guest, "mov ecx, 0xd90; rdmsr; mov [0x3000], eax", first)
    assert (other.u64(0x3000) & 0xFFFFFFFF, guest.u64(0x3000) & 0xFFFFFFFF) == (7, 0x55667788)
    other.close()


def test_an_engine_of_somebody_else_stays_as_the_library_has_it() -> None:
    """Unicorn used beside a machine, in the same process: MSRs that it does not know read 0."""
    unicorn = pytest.importorskip("unicorn")
    ours = Guest()
    ours.engine.answer(Registers())
    engine = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    engine.mem_map(0x1000, 0x1000)
    code = assemble("mov ecx, 0x1b; mov eax, 5; mov edx, 6; rdmsr; mov ecx, 0xc0000082; mov ebx, 7; wrmsr; rdmsr; inc ebx", 0x1000)
    engine.mem_write(0x1000, code)
    engine.emu_start(0x1000, 0x1000 + len(code))
    names = unicorn.x86_const
    assert [engine.reg_read(register) for register in (names.UC_X86_REG_EAX, names.UC_X86_REG_EDX, names.UC_X86_REG_EBX)] == [0, 0, 8]
    ours.close()
