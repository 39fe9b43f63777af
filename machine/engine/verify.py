"""Proves on the installed wheel what `abi.py` says of it, before the first machine is built (about 6 ms, once a process).

Structure first (each pointer leads where it should, a number written through the public API appears at its offset), then behaviour: a
dozen real-mode instructions take a software interrupt, an external one, an invalid opcode and a HLT. A check that fails names itself.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
from ctypes import c_int, c_int32, c_uint32, c_uint64

from machine.engine import abi
from machine.engine.exceptions import ExceptionRecord
from machine.engine.stubs import delivery, pages, slices
from machine.errors import EngineError

# 0x1000: mov ax, 0x1234; int 0x21; ud2; sti; nop; hlt      handlers (one of 8 bytes each): inc word [counter]; (skip ud2); iret
_PROGRAM = bytes.fromhex("b83412" "cd21" "0f0b" "fb" "90" "f4")
_HANDLERS = {0x21: (0x1100, "ff062012cf"), 0x06: (0x1110, "ff0622125589e58346020231c05dcf"), 0x33: (0x1130, "ff062412cf")}
_COUNTERS = 0x1220
_PROBE_VECTOR = 0x33


def _fail(check: str) -> EngineError:
    return EngineError(f"this build of unicorn is laid out differently ({check}; {abi.library_path().name}): install the 2.1.4 wheel from the package index")


@functools.cache
def wheel(lib: ctypes.CDLL) -> None:
    """Verifies the wheel once.

    Raises:
        EngineError: naming the first check that does not hold.
    """
    uc = abi.open_engine(lib)
    try:
        cpu = _structure(lib, uc)
        _behaviour(lib, uc, cpu)
    finally:
        lib.uc_close(uc)


def _structure(lib: ctypes.CDLL, uc: int) -> int:
    if c_int.from_address(uc + abi.UC_MODE).value != abi.UC_MODE_16:
        raise _fail("uc_struct.mode")
    cpu = c_uint64.from_address(uc + abi.UC_CPU).value
    if not cpu or c_uint64.from_address(cpu + abi.CPU_ENV_PTR).value != cpu + abi.X86CPU_ENV:
        raise _fail("uc_struct.cpu, CPUState.env_ptr")
    env = cpu + abi.X86CPU_ENV
    decrementer = c_uint64.from_address(cpu + abi.CPU_ICOUNT_DECR_PTR).value
    if not cpu < decrementer < env:
        raise _fail("CPUState.icount_decr_ptr")
    if c_uint64.from_address(uc + abi.UC_MEMORY_MAPPING).value != abi.address_of(lib, "find_memory_mapping_x86_64"):
        raise _fail("uc_struct.memory_mapping")
    if c_uint64.from_address(env + abi.ENV_FEATURES).value & 1 != 1:
        raise _fail("CPUX86State.features")
    if c_uint32.from_address(cpu + abi.CPU_CFLAGS_NEXT_TB).value != 0xFFFFFFFF:
        raise _fail("CPUState.cflags_next_tb")
    lib.uc_emu_stop(uc)
    if c_uint32.from_address(decrementer).value >> 16 != 0xFFFF or ctypes.c_uint8.from_address(cpu + abi.CPU_EXIT_REQUEST).value != 1:
        raise _fail("CPUState.exit_request")
    if ctypes.c_uint8.from_address(uc + abi.UC_STOP_REQUEST).value != 1:
        raise _fail("uc_struct.stop_request")
    execute = c_uint64.from_address(c_uint64.from_address(cpu + abi.CPU_CLASS).value + abi.CLASS_EXEC_INTERRUPT).value
    if execute != abi.address_of(lib, "x86_cpu_exec_interrupt_x86_64"):
        raise _fail("CPUClass.cpu_exec_interrupt")
    leave = c_uint64.from_address(c_uint64.from_address(cpu + abi.CPU_CLASS).value + abi.CLASS_EXEC_EXIT).value
    if leave != abi.address_of(lib, "x86_cpu_exec_exit_x86_64"):
        raise _fail("CPUClass.cpu_exec_exit")
    return cpu


def _behaviour(lib: ctypes.CDLL, uc: int, cpu: int) -> None:
    env = cpu + abi.X86CPU_ENV
    ram = mmap.mmap(-1, 0x4000)
    anchor = ctypes.c_char.from_buffer(ram)
    base = ctypes.addressof(anchor)
    ram[0x1000 : 0x1000 + len(_PROGRAM)] = _PROGRAM
    for vector, (address, handler) in _HANDLERS.items():
        ram[address : address + len(handler) // 2] = bytes.fromhex(handler)
        ram[vector * 4 : vector * 4 + 4] = address.to_bytes(4, "little")
    ram[0x3000 + abi.VMCB_INT_VECTOR] = _PROBE_VECTOR
    lib.uc_mem_map_ptr(uc, 0, 0x3000, abi.UC_PROT_ALL, base)
    lib.uc_mem_map_ptr(uc, 0x10000, 0x1000, abi.UC_PROT_READ, base + 0x3000)
    for address, rights in ((0, abi.UC_PROT_ALL), (0x10000, abi.UC_PROT_READ)):
        if c_uint32.from_address(lib.find_memory_mapping_x86_64(uc, address) + abi.REGION_PERMS).value != rights:
            raise _fail("MemoryRegion.perms")
    block = c_uint64.from_address(lib.find_memory_mapping_x86_64(uc, 0) + abi.REGION_RAM_BLOCK).value
    if not block or c_uint64.from_address(block + abi.RAM_BLOCK_HOST).value != base:
        raise _fail("MemoryRegion.ram_block")
    deliver = abi.address_of(lib, "x86_cpu_do_interrupt_x86_64")
    page = pages.CodePage()
    handle = ctypes.c_size_t()
    record = ExceptionRecord(1)
    for kind, code in ((abi.UC_HOOK_INTR, delivery.exception(cpu, deliver, record.cell)),
                       (abi.UC_HOOK_INSN_INVALID, delivery.invalid_opcode(cpu, deliver, record.cell))):
        lib.uc_hook_add(ctypes.c_void_p(uc), ctypes.byref(handle), c_int(kind), ctypes.c_void_p(page.add(code)), None, c_uint64(1), c_uint64(0))
    left = ctypes.c_int64(1000)
    attention = c_uint64.from_address(cpu + abi.CPU_ICOUNT_DECR_PTR).value + 2
    request = page.add(slices.stop(cpu, attention))
    execute = c_uint64.from_address(c_uint64.from_address(cpu + abi.CPU_CLASS).value + abi.CLASS_EXEC_INTERRUPT)
    execute.value = page.add(slices.exec_interrupt(execute.value, uc + abi.UC_STOP_REQUEST))
    counter = page.add(slices.count(ctypes.addressof(left), cpu, abi.address_of(lib, "cpu_loop_exit_x86_64")))
    lib.uc_hook_add(ctypes.c_void_p(uc), ctypes.byref(handle), c_int(abi.UC_HOOK_CODE), ctypes.c_void_p(counter), None, c_uint64(1), c_uint64(0))
    ctypes.c_uint8.from_address(uc + abi.UC_NO_EXIT_REQUEST).value = 1
    c_int.from_address(uc + abi.UC_MODE).value = abi.UC_MODE_64
    c_uint64.from_address(env + abi.ENV_VM_VMCB).value = 0x10000
    c_uint64.from_address(env + abi.ENV_REGS + 8 * 4).value = 0x2F00
    c_uint32.from_address(env + abi.ENV_IDT + abi.SEGMENT_LIMIT).value = 0x3FF
    requests = c_uint32.from_address(cpu + abi.CPU_INTERRUPT_REQUEST)
    requests.value = abi.CPU_INTERRUPT_VIRQ
    error = lib.uc_emu_start(uc, 0x1000, 0, 0, 0)
    retired = 1000 - left.value
    counters = [int.from_bytes(ram[_COUNTERS + at : _COUNTERS + at + 2], "little") for at in (0, 2, 4)]
    checks = {
        "emu_start": error == 0,
        "CPUX86State.regs": c_uint64.from_address(env + abi.ENV_REGS).value == 0,
        "exception delivery": counters[0] == 1,
        "#UD delivery": counters[1] == 1,
        "interrupt delivery": counters[2] == 1 and not requests.value & abi.CPU_INTERRUPT_VIRQ,
        "CPUState.halted": c_uint32.from_address(cpu + abi.CPU_HALTED).value == 1,
        "CPUX86State.eip": c_uint64.from_address(env + abi.ENV_EIP).value == 0x1000 + len(_PROGRAM),
        "CPUX86State.old_exception": c_int32.from_address(env + abi.ENV_OLD_EXCEPTION).value == -1,
        "instructions counted": retired == 17,
        "exceptions recorded": [(one.vector, one.rip, one.error, one.software, one.bits) for one in record.last(0)]
        == [(0x21, 0x1005, 0, True, 16), (6, 0x1005, 0, False, 16)],
    }
    for name, holds in checks.items():
        if not holds:
            raise _fail(name)
    left.value = 1
    lib.uc_emu_start(uc, 0x1000, 0, 0, 0)
    if left.value or c_uint64.from_address(env + abi.ENV_EIP).value != 0x1003 or c_uint32.from_address(cpu + abi.CPU_HALTED).value:
        raise _fail("counted slices")
    left.value = 1000
    _device_store(lib, uc, cpu, base)
    left.value = 1000
    c_int32.from_address(uc + abi.UC_INVALID_ERROR).value = abi.UC_ERR_WRITE_PROT          # `emu_start` begins without an error
    ctypes.CFUNCTYPE(None)(request)()           # a request is carried out at the next block start, here before the first instruction
    lib.uc_emu_start(uc, 0x1000, 0, 0, 0)
    if c_int32.from_address(uc + abi.UC_INVALID_ERROR).value:
        raise _fail("uc_struct.invalid_error")
    if left.value != 1000 or requests.value or c_uint64.from_address(env + abi.ENV_EIP).value != 0x1000:
        raise _fail("the end of a slice")


def _device_store(lib: ctypes.CDLL, uc: int, cpu: int, base: int) -> None:
    """From a device's callback, the instruction that stores can be told."""
    seen: list[tuple[int, int]] = []
    rip = c_uint64.from_address(cpu + abi.X86CPU_ENV + abi.ENV_EIP)

    def on_write(_uc: int, _offset: int, _size: int, _value: int, _user: int) -> None:
        restored = lib.cpu_restore_state_x86_64(cpu, c_uint64.from_address(cpu + abi.CPU_MEM_IO_PC).value, 0)
        seen.append((restored & 1, rip.value))

    callback = abi.MMIO_WRITE_CALLBACK(on_write)
    lib.uc_mmio_map(uc, 0x20000, 0x1000, None, None, callback, None)
    program = bytes.fromhex("b80020" "8ed8" "90" "a20000" "f4")          # mov ax, 0x2000; mov ds, ax; nop; mov [0], al; hlt
    ctypes.memmove(base + 0x1300, program, len(program))
    c_uint32.from_address(cpu + abi.CPU_INTERRUPT_REQUEST).value = 0
    lib.uc_emu_start(uc, 0x1300, 0, 0, 0)
    if seen != [(1, 0x1306)]:
        raise _fail("CPUState.mem_io_pc")
