"""One Unicorn engine as N processors that take turns.

All vCPUs share one engine, hence one memory, one translation cache and one host thread: LOCK is right and self-modifying code is coherent
by construction. `run` gives one vCPU a slice; exceptions, SYSCALL and interrupts are delivered natively inside it (`stubs/`); port and
MMIO accesses and CPUID come back into Python. An exception raised in such a callback ends the slice and is raised from `run`.
"""

from __future__ import annotations

import ctypes
import enum
import sys
import threading
from collections.abc import Callable
from ctypes import c_uint8, c_uint16, c_uint32, c_uint64
from dataclasses import dataclass
from typing import Protocol

from machine.engine import abi, verify
from machine.engine.breakpoints import NOWHERE, PASS, Breakpoints
from machine.engine.cpuid import CpuidTable
from machine.engine.exceptions import ExceptionRecord
from machine.engine.instance import AddressSpace, Instance
from machine.engine.sensitive import Door, SensitiveRegisters
from machine.engine.stubs import delivery, slices
from machine.engine.timer import SliceTimer
from machine.engine.vcpu import Activity, Vcpu
from machine.errors import EngineError
from machine.memory import GuestMemory, Segment

ENDLESS = 1 << 62
VIRQ_LINE, NMI_LINE = abi.CPU_INTERRUPT_VIRQ >> 8, abi.CPU_INTERRUPT_NMI >> 8
BEFORE, BUDGET, ASIDE = 0, 1, 2            # places in `Engine._tally`: ps before the slice, instructions it may retire, those put aside
STEP_TIME = 1_000_000_000                  # ns: no instruction takes longer


class Reason(enum.Enum):
    """Why a slice ended."""

    BUDGET = "budget"
    HALT = "halt"
    STOP = "stop"
    BREAK = "break"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class RunExit:
    """Result of one slice; `retired` is 0 when instructions are not counted."""

    reason: Reason
    retired: int


class CountedTime(Protocol):
    """Time that passes by retired instructions, `picoseconds` each."""

    picoseconds: int

    def save(self) -> int:
        """Picoseconds that had passed when the slice under way began."""


class Engine:
    """The processors.

    Args:
        memory: guest-physical RAM and ROM; every hole up to the physical address limit leads to `mmio`.
        ports: port I/O space, offsets 0..0xFFFF.
        mmio: memory-mapped devices, by guest-physical address.
        cpus: number of vCPUs, 1..255.
        counted: True runs slices of exactly counted instructions (deterministic), False runs free against a timer.
        time: what RDTSC reads where it must be virtual, in ns; None leaves the host's counter.
        tsc_hz: the rate that CPUID announces.
    """

    def __init__(self, memory: GuestMemory, ports: AddressSpace, mmio: AddressSpace, cpus: int, counted: bool,
                 time: CountedTime | None, tsc_hz: Callable[[], int]) -> None:
        self._lib = lib = abi.load()
        verify.wheel(lib)
        self.counted = counted
        self.current = 0
        self.running = False
        self.slices = 0
        self.retired = 0                     # in the last slice, also in one that ended with an exception
        self._failure: BaseException | None = None
        self._stop: Callable[[], None]
        self._stopping = False
        self._kicked: int | None = None
        self.instance = instance = Instance(lib, self._failed)
        self._cpu, self._env = instance.cpu, instance.env
        self._patience, self._last_error = ctypes.c_int64(), c_uint32()
        self.stepping = False
        self.exceptions = ExceptionRecord(cpus)
        self.on_interrupt: Callable[[int, int], None] | None = None      # told of each external interrupt that was taken: (vCPU, vector)
        self._words = (c_uint64 * 3)(0, NOWHERE, NOWHERE)
        self._left = ctypes.c_int64.from_buffer(self._words)
        self.place = (c_uint64 * 2).from_buffer(self._words, 8)          # see slices.BREAK_LISTING
        self._tally = (ctypes.c_int64 * 3)()             # see slices.COUNTED_TSC_LISTING and EXEC_AND_TELL_LISTING
        self._time = time
        self._error = ctypes.c_int32.from_address(instance.uc + abi.UC_INVALID_ERROR)
        self._halted = c_uint32.from_address(self._cpu + abi.CPU_HALTED)
        self._requests = c_uint32.from_address(self._cpu + abi.CPU_INTERRUPT_REQUEST)
        # The byte of it that holds the interrupt lines. The slice timer's signal sets CPU_INTERRUPT_HALT in another one, between any two instructions of
        # ours: a read, a change and a write of the whole word would lose that, and the slice never end.
        self._lines = c_uint8.from_address(self._cpu + abi.CPU_INTERRUPT_REQUEST + 1)
        self._attention = c_uint16.from_address(c_uint64.from_address(self._cpu + abi.CPU_ICOUNT_DECR_PTR).value + 2)
        self._old_exception = ctypes.c_int32.from_address(self._env + abi.ENV_OLD_EXCEPTION)
        self._eip = c_uint64.from_address(self._env + abi.ENV_EIP)
        self._access = c_uint64.from_address(self._cpu + abi.CPU_MEM_IO_PC)
        self._pending_write = c_uint64()                 # see lone.LONE_LISTING
        instance.add_lone(ctypes.addressof(self._pending_write), ctypes.addressof(self.place), ctypes.addressof(self._left))
        instance.map(memory, mmio)
        instance.catch_stores(memory)
        self._vector = c_uint32.from_address(instance.map_vmcb() + abi.VMCB_INT_VECTOR)
        self._hooks(memory, ports, CpuidTable(cpus, tsc_hz))
        image = ctypes.string_at(self._env, abi.ENV_END_RESET)
        self._loaded: int | None = None      # index of the vCPU whose registers are in the engine
        self.a20_mask = 0xFFFFFFFF
        self.vcpus = [Vcpu(self, index, image) for index in range(cpus)]
        self._timer = None if counted else SliceTimer(self._stop_address)
        self._start = lib.uc_emu_start
        self.breakpoints = Breakpoints(self)
        self._door: Door | None = None
        self._memory = memory
        memory.invalidate = instance.invalidate
        memory.steered = self._steered

    # --- running -------------------------------------------------------------------------------------------------------------------
    def run(self, cpu: int, budget: int, patience: int = ENDLESS) -> RunExit:
        """Gives vCPU `cpu` a slice of `budget` instructions (counted) or nanoseconds (free-running), or of `patience` PAUSEs if that is less.

        Raises:
            EngineError: the engine itself failed, with vCPU and RIP.
            BaseException: whatever a device raised.
        """
        vcpu = self.vcpus[cpu]
        self._load(vcpu)
        self.current = cpu
        if vcpu.nmi_pending and not self.stepping:
            vcpu.nmi_pending = False
            self._lines.value |= NMI_LINE
        self._stopping = False
        self.place[PASS] = self.breakpoints.pass_now(cpu)
        self._pending_write.value = NOWHERE
        self._patience.value = patience
        self._requests.value &= ~abi.CPU_INTERRUPT_HALT
        self.slices += 1
        timer = self._timer
        tally = self._tally
        if self._time is not None:
            tally[BEFORE] = self._time.save()
        if timer is None:
            self._left.value = tally[BUDGET] = max(budget, 0)     # with 0 nothing but an interrupt happens
            error = self._execute(None, 0)
            self._left.value = max(self._left.value, 0)      # the instruction that found nothing left has not begun
            self.retired = self.retired_in_slice()
            self._left.value = tally[ASIDE] = tally[BUDGET] = 0
        else:
            self._left.value = tally[BUDGET] = 1 if self.stepping else ENDLESS    # looked at while instructions are counted for a debugger
            error = self._execute(timer, budget)
            self.retired = 0
        result = self._ended(vcpu, error)
        if self._failure is not None:
            self.breakpoints.missed()
            failure, self._failure = self._failure, None
            raise failure
        return result

    def _execute(self, timer: SliceTimer | None, nanoseconds: int) -> int:
        """The slice itself, ended by the timer if there is one; Unicorn's error code.

        What Python's signal handlers raise, such as KeyboardInterrupt, comes at the beginning of a callback, before it can be caught there, and ctypes would
        print and drop it; or at the end. Either way the slice is over as always. Signals are handled in the main thread alone.
        """
        unraisable, in_main = sys.unraisablehook, threading.current_thread() is threading.main_thread()

        def lost(args: sys.UnraisableHookArgs) -> None:
            if args.exc_value is not None and "ctypes callback" in (args.err_msg or ""):
                self._failed(args.exc_value)
            else:
                unraisable(args)

        self.running = True
        try:
            if in_main:
                sys.unraisablehook = lost
            if timer is not None:
                timer.arm(nanoseconds)
            return int(self._start(self.instance.uc, self._eip.value, 0, 0, 0))
        except BaseException as failure:  # noqa: BLE001
            self._failure = self._failure or failure
            return self._error.value
        finally:
            self.running = False
            if timer is not None:
                timer.disarm()
            if in_main:
                sys.unraisablehook = unraisable

    def _ended(self, vcpu: Vcpu, error: int) -> RunExit:
        """What a slice has come to."""
        cpu, retired = vcpu.index, self.retired
        if self._loaded != cpu:               # the guest sent itself an INIT
            return RunExit(Reason.STOP, retired)
        if not self.stepping:
            vcpu.settle()
        if self._old_exception.value == abi.DOUBLE_FAULT:
            vcpu.activity = Activity.SHUTDOWN
            return RunExit(Reason.SHUTDOWN, retired)
        if error and self._failure is None:
            name = abi.UC_ERR_NAMES.get(error, f"error {error}")
            raise EngineError(f"vCPU {cpu} at RIP 0x{self._eip.value:x}: {name}")
        if self._halted.value:
            vcpu.activity = Activity.HALTED
            return RunExit(Reason.HALT, retired)
        vcpu.activity = Activity.ACTIVE
        if self._failure is None and self.breakpoints.has_hit(cpu):
            return RunExit(Reason.BREAK, retired)
        return RunExit(Reason.STOP if self._stopping else Reason.BUDGET, retired)

    def step(self, cpu: int) -> RunExit:
        """One instruction of vCPU `cpu`, and no interrupt: what is on offer stays so. With the host's clock, `breakpoints.instrument` comes first."""
        vcpu = self.vcpus[cpu]
        if vcpu.activity is not Activity.ACTIVE and not vcpu.runnable:
            return RunExit(Reason.HALT, 0)
        self._load(vcpu)
        vcpu.settle()
        vcpu.nmi_pending = vcpu.nmi_pending or bool(self._lines.value & NMI_LINE)       # one that waits for the end of another's handler
        self._lines.value &= ~(VIRQ_LINE | NMI_LINE)
        self.breakpoints.reported(cpu, vcpu.cs_base + vcpu.rip)       # a step begins with the instruction, breakpoint or not
        self.stepping = True
        try:
            return self.run(cpu, 1 if self._timer is None else STEP_TIME)
        finally:
            self.stepping = False
            if vcpu.index == self._loaded and vcpu.offered is not None:
                self._vector.value = vcpu.offered
                self._lines.value |= VIRQ_LINE

    def stop_after_this(self) -> None:
        """From a memory hook or a device: the instruction under way is the slice's last. Instructions are counted."""
        self.keep_to(0)

    def keep_to(self, instructions: int) -> None:
        """No more than so many further instructions in the slice under way. They are counted."""
        left = self._left.value
        if instructions < left:
            self._tally[BUDGET] -= left - instructions
            self._left.value = instructions

    def finish(self) -> None:
        """From a device: end the slice under way, at the next block start; where instructions are counted, exactly behind this one.

        Where blocks of translated code begin and end is nothing that a run may depend on: a debugger's stops change it.
        """
        if self.counted:
            self._stopping = True
            self.stop_after_this()
        else:
            self.interrupt()

    def count(self, counting: bool) -> None:
        """Whether instructions are counted. `Instance.translate_anew` comes next, once anything is translated."""
        self.instance.count(self._left if counting else None)

    def sync_rip(self) -> None:
        """From a device: brings RIP up to the instruction that reaches for it. At ports it is anyway; in memory the engine has not looked."""
        if self.running and self._access.value:
            self._lib.cpu_restore_state_x86_64(self._cpu, self._access.value, False)

    def resume(self, cpu: int) -> None:
        """A halted vCPU was found runnable: it goes on behind its HLT."""
        self.vcpus[cpu].activity = Activity.ACTIVE

    def interrupt(self) -> None:
        """Ends the slice at the next block start; from any thread, or from a callback."""
        self._stopping = True
        self._stop()

    def shorten(self, nanoseconds: int) -> None:
        """Lets the slice under way end within `nanoseconds`. Free-running; see `keep_to`."""
        assert self._timer is not None
        self._timer.arm(nanoseconds)

    def retired_in_slice(self) -> int:
        """Instructions begun in the slice under way; 0 between slices and when they are not counted."""
        return self._tally[BUDGET] - self._left.value - self._tally[ASIDE]

    @property
    def kicked(self) -> bool:
        """Whether another vCPU should run next."""
        return self._kicked is not None

    @property
    def patience(self) -> int:
        """PAUSEs that were left when the last slice ended; not above 0 if that is what ended it."""
        counted = self._last_error.value != abi.UC_ERR_WRITE_PROT        # the slice's own end, unless a caught store ended the block with it
        return self._patience.value + counted

    def take_kick(self) -> int | None:
        """The vCPU that another one has just woken or interrupted: it should run next."""
        kicked, self._kicked = self._kicked, None
        return kicked

    def answer(self, registers: SensitiveRegisters) -> None:
        """Lets `registers` answer the MSRs that the library does not know, and CR8."""
        self._door = Door(self._lib, self._env, registers, self._failed)

    def renew(self) -> None:
        """For another machine with the same memory: what is translated stays, and nobody is told of anything."""
        self._failure = self._kicked = self.on_interrupt = None
        self.current = self.slices = self.retired = 0
        self._stopping = False
        self.exceptions.clear()
        self.breakpoints = Breakpoints(self)

    def close(self) -> None:
        """Frees the engine. Guest memory stays, and so do the processors' registers, to be looked at."""
        if self.instance.uc:
            self.park()
            if self._timer is not None:
                self._timer.close()
            self._memory.invalidate = self._memory.steered = None
            self.instance.close()
            self._lib, self._stop = self.instance.lib, lambda: None

    # --- what a Vcpu asks ----------------------------------------------------------------------------------------------------------
    def offer(self, vcpu: Vcpu, vector: int | None) -> None:
        """Puts a vector before the CPU, or takes it away."""
        if vcpu.index == self._loaded:
            if vector is None:
                self._lines.value &= ~VIRQ_LINE
            elif not self.stepping:
                self._vector.value = vector
                self._lines.value |= VIRQ_LINE
                self._look_up()
        if vector is not None and vcpu.index != self.current:
            self.kick(vcpu)

    def has_taken(self, vcpu: Vcpu) -> bool:
        """Whether the vector on offer has been consumed. A vCPU whose registers are put away consumes nothing."""
        return vcpu.index == self._loaded and not self.stepping and not self._requests.value & abi.CPU_INTERRUPT_VIRQ

    def kick(self, vcpu: Vcpu) -> None:
        """Another vCPU wants `vcpu` to run: end the slice under way in its favour."""
        if self.running and vcpu.index != self.current:
            self._kicked = vcpu.index
            self.finish()
        elif self.running:
            self._look_up()
            if vcpu.nmi_pending and not self.stepping:
                vcpu.nmi_pending = False
                self._lines.value |= NMI_LINE

    def _look_up(self) -> None:
        """There is something new for the vCPU that runs: it leaves its block, and where instructions are counted does so exactly behind this one."""
        self._attention.value = 0xFFFF
        if self.counted and self.running and not self.stepping:
            self.stop_after_this()

    def release(self, vcpu: Vcpu) -> None:
        """The registers of `vcpu` in the engine, if they are there, are void: its saved context is about to be replaced."""
        if vcpu.index == self._loaded:
            self._loaded = None
            self._requests.value = 0
            if self.running:
                self.finish()

    def park(self) -> None:
        """Puts the registers of the vCPU that ran last away, so that every vCPU's context is whole."""
        if self._loaded is not None:
            vcpu = self.vcpus[self._loaded]
            vcpu.settle()
            vcpu.nmi_pending = vcpu.nmi_pending or bool(self._requests.value & abi.CPU_INTERRUPT_NMI)
            ctypes.memmove(vcpu.context, self._env, abi.ENV_END_RESET)
            self._requests.value = 0
            self._loaded = None

    def start_over(self, changed: list[tuple[int, int]] | None) -> None:
        """Memory and contexts have been replaced from outside: nothing that was loaded or cached is valid any more, nor what was translated from there.

        Args:
            changed: (host address, bytes) of memory that may have changed, in whole pages; None for all.
        """
        self._loaded = None
        self._kicked = None
        self.instance.forget_pages()
        self._requests.value = 0
        if changed is None:
            self.instance.translate_anew()
            return
        for host, length in changed:
            self.instance.invalidate(host, length)

    def registers(self, vcpu: Vcpu, offset: int, length: int) -> bytes:
        """Bytes of the vCPU's `CPUX86State`."""
        if vcpu.index == self._loaded:
            return ctypes.string_at(self._env + offset, length)
        return vcpu.context.raw[offset : offset + length]

    def write_registers(self, vcpu: Vcpu, offset: int, data: bytes) -> None:
        """Writes bytes of the vCPU's `CPUX86State`."""
        target = self._env if getattr(self, "_loaded", None) == vcpu.index else ctypes.addressof(vcpu.context)
        ctypes.memmove(target + offset, data, len(data))

    def public_register(self, vcpu: Vcpu, number: int, size: int) -> int:
        """Unicorn's own register interface, which reads the engine's: another vCPU's stand there for as long as that takes.

        Nothing else is touched. What the engine remembers of page tables decides when it sets Accessed bits in them, so forgetting it would change a run.
        """
        buffer = ctypes.create_string_buffer(64)
        present = None if vcpu.index == self._loaded else ctypes.string_at(self._env, abi.ENV_END_RESET) if self.instance.uc else b""
        try:
            if present:
                ctypes.memmove(self._env, vcpu.context, abi.ENV_END_RESET)
            self.instance.check(self._lib.uc_reg_read(ctypes.c_void_p(self.instance.uc), ctypes.c_int(number), buffer), f"register {number}")
        finally:
            if present:
                ctypes.memmove(self._env, present, abi.ENV_END_RESET)
        return int.from_bytes(buffer.raw[:size], "little")

    def set_public_register(self, vcpu: Vcpu, number: int, value: int, size: int) -> None:
        """Unicorn's own register interface, writing."""
        self._load(vcpu)
        buffer = ctypes.create_string_buffer(value.to_bytes(size, "little"), 64)
        self.instance.check(self._lib.uc_reg_write(ctypes.c_void_p(self.instance.uc), ctypes.c_int(number), buffer), f"register {number}")

    def lone_writes(self, place: tuple[int, int] | None) -> None:
        """Writes to (base, length) in memory change what memory shows: instructions that make them end their block. So do all to port 0xCFC."""
        base, length = place or (0, 0)
        self.instance.lone_window[:] = [base, base + length]

    def update_mode(self, vcpu: Vcpu) -> None:
        """Derives `hflags` from control registers and segments that were written from outside."""
        self._load(vcpu)
        self._lib.x86_update_hflags_x86_64(self._env)

    def write_control(self, vcpu: Vcpu, number: int, value: int) -> None:
        """CR0, CR3 or CR4, by the library's own functions: LMA follows PG, and no old translation of an address is left."""
        self._load(vcpu)
        update = {0: self._lib.cpu_x86_update_cr0_x86_64, 3: self._lib.cpu_x86_update_cr3_x86_64, 4: self._lib.cpu_x86_update_cr4_x86_64}[number]
        update(self._env, value)
        self._lib.x86_update_hflags_x86_64(self._env)
        self.instance.forget_pages()

    def pass_a20(self, passed: bool) -> None:
        """A20M#: while it is asserted (`passed` is False) address line 20 of every processor is low."""
        self.a20_mask = 0xFFFFFFFF if passed else abi.A20_MASKED
        for vcpu in self.vcpus:
            vcpu.set_field(abi.ENV_A20_MASK, self.a20_mask, 4)
        self.instance.forget_pages()
        if self.running:
            self._attention.value = 0xFFFF

    def _steered(self, segment: Segment) -> None:
        """The host bridge has switched a segment, perhaps in the middle of a block: the next one is looked up anew."""
        self.instance.steer(segment)
        if self.running:
            self._attention.value = 0xFFFF

    # --- setting up ----------------------------------------------------------------------------------------------------------------
    def _load(self, vcpu: Vcpu) -> None:
        """Brings the vCPU's registers into the engine, putting those of the one before away."""
        if self._loaded == vcpu.index:
            return
        if not self.instance.uc:
            raise EngineError("this engine is closed")
        self.park()
        ctypes.memmove(self._env, vcpu.context, abi.ENV_END_RESET)
        self._loaded = vcpu.index
        self.exceptions.select(vcpu.index)
        offered = vcpu.offered
        if offered is None:
            self._requests.value = 0
        else:
            self._vector.value = offered
            self._requests.value = abi.CPU_INTERRUPT_VIRQ
        self.instance.forget_pages()

    def _hooks(self, memory: GuestMemory, ports: AddressSpace, cpuid: CpuidTable) -> None:
        lib, env, instance = self._lib, self._env, self.instance
        page, hook = instance.page, instance.hook

        def function(name: str) -> int:
            return abi.address_of(lib, name)

        deliver, record = function("x86_cpu_do_interrupt_x86_64"), self.exceptions.cell
        hook(abi.UC_HOOK_INTR, page.add(delivery.exception(self._cpu, deliver, record)))
        hook(abi.UC_HOOK_INSN_INVALID, page.add(delivery.invalid_opcode(self._cpu, deliver, record)))
        entry = delivery.syscall(env, function("helper_read_eflags_x86_64"), function("helper_write_eflags_x86_64"),
                              function("x86_update_hflags_x86_64"), function("raise_exception_x86_64"))
        hook(abi.UC_HOOK_INSN, page.add(entry), abi.UC_X86_INS_SYSCALL)
        attention = c_uint64.from_address(self._cpu + abi.CPU_ICOUNT_DECR_PTR).value + 2
        self._stop_address = page.add(slices.stop(self._cpu, attention))
        execute = c_uint64.from_address(c_uint64.from_address(self._cpu + abi.CPU_CLASS).value + abi.CLASS_EXEC_INTERRUPT)
        stop_request = instance.uc + abi.UC_STOP_REQUEST
        execute.value = page.add(slices.exec_and_tell(execute.value, stop_request, ctypes.addressof(self._left), ctypes.addressof(self._tally) + 8 * ASIDE)
                                 if self.counted else slices.exec_interrupt(execute.value, stop_request))
        leave = c_uint64.from_address(c_uint64.from_address(self._cpu + abi.CPU_CLASS).value + abi.CLASS_EXEC_EXIT)
        leave.value = page.add(slices.pause(instance.uc + abi.UC_INVALID_ERROR, ctypes.addressof(self._last_error), ctypes.addressof(self._patience), attention,
                                           leave.value))
        self._stop = ctypes.CFUNCTYPE(None)(self._stop_address)
        self.break_address = page.add(slices.break_at(ctypes.addressof(self.place), ctypes.addressof(self._left), self._cpu, function("cpu_loop_exit_x86_64")))
        if self.counted:
            self.count(True)
        instance.answer_regions(memory)
        instance.answer_ports(ports)
        regs = [c_uint64.from_address(env + abi.ENV_REGS + 8 * index) for index in range(4)]

        def on_cpuid() -> None:
            rax, rcx, rdx, rbx = regs
            rax.value, rbx.value, rcx.value, rdx.value = cpuid.leaf(self.current, rax.value & 0xFFFFFFFF, rcx.value & 0xFFFFFFFF)

        instance.answer_cpuid(on_cpuid)
        if self._time is not None:
            for instruction, make in ((abi.UC_X86_INS_RDTSC, slices.counted_tsc), (abi.UC_X86_INS_RDTSCP, slices.counted_tscp)):
                counter = page.add(make(ctypes.addressof(self._tally), ctypes.addressof(self._left), env, self._time.picoseconds))
                hook(abi.UC_HOOK_INSN, counter, instruction)

    def _failed(self, failure: BaseException) -> int:
        if self._failure is None:
            self._failure = failure
        self.interrupt()
        return 0xFFFFFFFF
