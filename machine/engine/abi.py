"""All that this project knows of Unicorn's insides, in one place.

Unicorn 2.1.4 is a QEMU 5 TCG core behind a small C API. Its public API can neither deliver exceptions through the IDT nor inject
interrupts, but the wheel exports QEMU's own functions, and its structures lie at fixed offsets. This module names those functions and
offsets; `verify.py` proves them on the wheel that is really installed before a machine is built. Nothing else may know an offset.

`uc_emu_stop` and `count=` must not be used: both set a flag in the middle of a block, and while it is set Unicorn skips instruction hooks
(an OUT is lost, an IN reads 0, RDTSC is the host's) and does not bring RIP up to date.

Layout (LP64, Unicorn 2.1.4): `uc_struct` -> `CPUState` (the `cpu` pointer) -> `CPUX86State` (the `env` pointer).
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import sys
from ctypes import c_char_p, c_int, c_int32, c_size_t, c_uint, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from machine.errors import EngineError

SUPPORTED_VERSION = (2, 1, 4)

# --- the public C API (unicorn.h) -----------------------------------------------------------------------------------------------
UC_ARCH_X86 = 4
UC_MODE_16 = 1 << 1
UC_MODE_64 = 1 << 3
UC_PROT_READ, UC_PROT_WRITE, UC_PROT_EXEC, UC_PROT_ALL = 1, 2, 4, 7
UC_HOOK_INTR = 1 << 0
UC_HOOK_INSN = 1 << 1
UC_HOOK_CODE = 1 << 2
UC_HOOK_MEM_WRITE_PROT = 1 << 8
UC_HOOK_MEM_READ, UC_HOOK_MEM_WRITE = 1 << 10, 1 << 11
UC_MEM_READ, UC_MEM_WRITE = 16, 17
UC_HOOK_INSN_INVALID = 1 << 14
UC_X86_REG_EFLAGS, UC_X86_REG_FPCW, UC_X86_REG_MXCSR = 25, 246, 249
UC_X86_REG_FPSW, UC_X86_REG_FPTAG, UC_X86_REG_FIP, UC_X86_REG_FCS, UC_X86_REG_FDP, UC_X86_REG_FDS, UC_X86_REG_FOP = 31, 247, 254, 255, 256, 257, 258
UC_X86_REG_ST0, UC_X86_REG_XMM0 = 114, 122        # eight, sixteen
UC_X86_INS_IN, UC_X86_INS_OUT = 218, 500
UC_X86_INS_SYSCALL, UC_X86_INS_CPUID = 699, 113
UC_X86_INS_RDTSC, UC_X86_INS_RDTSCP = 608, 609
UC_CTL_USE_EXITS_ON = (1 << 30) | (1 << 26) | 4  # uc_ctl_exits_enable: `until` loses its meaning, so no address is special
UC_CTL_CPU_MODEL_SET = (1 << 30) | (1 << 26) | 7
UC_CPU_X86_HASWELL = 19

UC_ERR_OK = 0
UC_ERR_READ_UNMAPPED, UC_ERR_WRITE_UNMAPPED, UC_ERR_FETCH_UNMAPPED = 6, 7, 8
UC_ERR_WRITE_PROT = 12
UC_ERR_NAMES = {6: "read of unmapped memory", 7: "write to unmapped memory", 8: "fetch from unmapped memory", 10: "invalid instruction",
                12: "write to read-only memory", 13: "read of protected memory", 14: "fetch from protected memory", 21: "unhandled exception"}

# --- struct uc_struct -----------------------------------------------------------------------------------------------------------
UC_MODE = 4                  # int: the mode given to uc_open; `emu_start` uses it to decide which register `begin` is written to
UC_MEMORY_MAPPING = 288      # function pointer: (uc, physical address) -> MemoryRegion *, asked by every slow store
UC_L1_MAP = 736              # -> the map from RAM page numbers to PageDesc, whose first word is the first translation in that page
UC_L1_SIZE, UC_L1_SHIFT, UC_L2_LEVELS = 752, 756, 760   # i32 each
UC_CPU = 440                 # CPUState *
UC_INVALID_ERROR = 1424      # i32: UC_ERR_*, what made the main loop be left; while it is not 0, `emu_start` returns with it
UC_STOP_REQUEST = 1389       # u8: makes `emu_start` return once the main loop has been left
UC_NO_EXIT_REQUEST = 2034    # u8: 1 = do not poll for stop requests in the middle of instructions

# --- CPUState -------------------------------------------------------------------------------------------------------------------
CPU_EXIT_REQUEST = 21        # u8: leave the main loop before the next block
CPU_CFLAGS_NEXT_TB = 24      # u32: how the next block is to be translated, -1 as usual; the low bits are the most instructions it may have
CPU_INTERRUPT_REQUEST = 28   # u32
CPU_ENV_PTR = 296
CPU_ICOUNT_DECR_PTR = 304    # -> u32; 0xFFFF in its upper half makes the next block return to the main loop, which looks for interrupts
CPU_MEM_IO_PC = 33144        # host address in translated code of the device access under way, 0 if a helper makes it
CPU_HALTED = 33176           # u32
CPU_EXCEPTION_INDEX = 33184  # i32
EXCP_HLT = 0x10001           # an exception index that makes `emu_start` return
CPU_CLASS = 33200            # -> CPUClass
X86CPU_ENV = 35408
CLASS_EXEC_EXIT = 136        # function pointer of CPUClass: (CPUState *), called each time the main loop is left, as it is by every PAUSE
CLASS_EXEC_INTERRUPT = 144   # function pointer of CPUClass: (CPUState *, u32 interrupt_request) -> bool, asked between blocks while a request is set

CPU_INTERRUPT_HALT = 0x20    # means nothing to this build; here it asks for the end of a slice, see slices.EXEC_INTERRUPT_LISTING
CPU_INTERRUPT_VIRQ = 0x100   # a maskable interrupt whose vector comes from the virtual machine control block
CPU_INTERRUPT_NMI = 0x200

# --- CPUX86State ----------------------------------------------------------------------------------------------------------------
ENV_REGS = 0                 # 16 x u64: RAX RCX RDX RBX RSP RBP RSI RDI R8..R15
ENV_EIP = 128
ENV_EFLAGS = 136
ENV_HFLAGS = 176
ENV_HFLAGS2 = 180
ENV_SEGS = 184               # 6 x 24 bytes, order ES CS SS DS FS GS: u32 selector, u64 base @8, u32 limit @16, u32 flags @20
ENV_SEG_SIZE = 24
SEGMENT_BASE, SEGMENT_LIMIT, SEGMENT_FLAGS = 8, 16, 20
ENV_LDT, ENV_TR, ENV_GDT, ENV_IDT = 328, 352, 376, 400
ENV_CR = 424                 # 5 x u64
ENV_EFER = 592
ENV_STAR, ENV_LSTAR, ENV_CSTAR, ENV_FMASK, ENV_KERNEL_GS_BASE = 4824, 4840, 4848, 4856, 4864
ENV_TSC_AUX = 4896           # u64: what RDTSCP puts into ECX
ENV_ERROR_CODE = 5384        # i32: of the exception being delivered; behind it an i32, 1 for a software interrupt
ENV_BREAKPOINTS, ENV_BREAKPOINTS_SIZE = 5464, 32   # host pointers of the guest's debug registers, void in another engine
ENV_TSC_OFFSET = 5512        # i64: added to the host's counter by RDTSC
ENV_OLD_EXCEPTION = 5496     # i32: the contributory exception being delivered, 8 inside #DF
ENV_VM_VMCB = 5504           # u64: guest-physical address of the VMCB
ENV_END_RESET = 5568         # the vCPU's own registers end here; what follows is shared configuration
ENV_FEATURES = 5632          # u64 words: CPUID feature words, what the translator accepts

# --- MemoryRegion -------------------------------------------------------------------------------------------------------------
REGION_RAM_BLOCK = 8         # -> RAMBlock: the host memory behind it, by which translations know their code
RAM_BLOCK_HOST = 8           # host address of a RAMBlock's first byte
REGION_PRIORITY = 92         # i32; below uc_struct.snapshot_level (0): a store leaves the TLB entry as it is
REGION_PERMS = 136           # u32: UC_PROT_*

# `notdirty_write`, a local function behind tlb_set_dirty: what a store does that must look for translations. It asks UC_MEMORY_MAPPING with the TLB entry
# in RBP, the virtual address in R12 and what makes it a RAM address in R13. Told from this wheel's bytes; elsewhere the quick way is not taken.
NOTDIRTY_BEGIN, NOTDIRTY_LENGTH, NOTDIRTY_ASKED = 0x200, 0x170, 0x242
NOTDIRTY_SHA256 = "c510de0d61d1ed89271eabd2c504b09f256f2a2c4908d05b6fe3be1c5df38160"
PROTECT_CODE_SLOT = 0x10AF228   # from tlb_set_dirty: where the library looks up `tlb_protect_code`, called when a page gets its first translation

# The check at the start of each block (exit_check.py): the call of `tcg_gen_callN` in `translator_loop`; opcodes and a condition of QEMU 5.0's tcg/tcg-opc.h
# and tcg/tcg.h; where a TCGContext holds its uc_struct and the variable of the processor's state; `icount_decr`, from that state.
EXIT_CHECK_CALL = 0x2A2
INDEX_OP_SET_LABEL, INDEX_OP_LD_I32, INDEX_OP_ST16_I32, INDEX_OP_ST_I32, INDEX_OP_LD_I64, INDEX_OP_ST_I64, INDEX_OP_INSN_START = 1, 13, 15, 16, 73, 77, 129
TCG_COND_GE = 3
TCG_CPU_ENV, TCG_UC = 0x98F0, 0x9970
ENV_ICOUNT_DECR = -16
INSN_START, INSN_START_LENGTH, INSN_START_JUMP = -0x22060, 0x30, -0x22035      # from gen_intermediate_code: `i386_tr_insn_start`, and its jump to `tcg_gen_op2`
INSN_START_SHA256 = "5419041ee74e7aa34e3c21bf7ef8516bd0b6ed317f462aaefe2f3df10747c015"
EXIT_CHECK_FUNCTIONS = (("translator_loop_x86_64", 0x2D0), ("helper_check_exit_request_x86_64", 0x80), ("tcg_gen_brcondi_i32_x86_64", 0x80),
                        ("tcg_gen_lookup_and_goto_ptr_x86_64", 0x70))
EXIT_CHECK_SHA256 = "01a94acf82eb11e875a6cca5066b177b3cf3d48fb7ea240263fc8ad187e02557"

# The helpers of RDMSR, WRMSR and MOV CR8 (sensitive.py): function, bytes that are looked at, and where it goes on after it has asked for intercepts.
SENSITIVE_HELPERS = {"in_rdmsr": ("helper_rdmsr", 0xC0, 0x15), "in_wrmsr": ("helper_wrmsr", 0x60, 0x18),
                     "in_read_cr": ("helper_read_crN", 0x49, 0x1A), "in_write_cr": ("helper_write_crN", 0x60, 0x1C)}
SENSITIVE_SHA256 = "acbca933207ad31c646523c1c262a321c6539837965a14a3731c9bde418c50ed"
# Where a store is undone because it would change the block that it is in (rewriting.py): bytes before `tb_invalidate_phys_page_range`, and the call there.
REWRITING, REWRITING_LENGTH, REWRITING_CALL = -0x1E0, 0x1D3, -0x12
REWRITING_SHA256 = "3a3a70cc95e071266a996b6c5cd2c1b822a82163c5c673c31654321e3bb85b36"
UC_TCG_CONTEXT = 768         # TCGContext *
TB_ICOUNT = 0x16             # u16 of a TranslationBlock: instructions in it
CALL_LENGTH = 5              # CALL rel32

ENV_A20_MASK = 496           # i32: physical addresses are ANDed with it, extended with its sign
A20_MASKED = 0xFFEFFFFF      # what it is while address line 20 is held low

TLB_ENTRY_WRITE = 8          # u64: the page's virtual address and flags
TLB_NOTDIRTY = 0x400         # stores look for translations

VMCB_INT_VECTOR = 100        # vmcb.control.int_vector

R_ES, R_CS, R_SS, R_DS, R_FS, R_GS = range(6)
HF_CPL_MASK = 3
HF_CS32_MASK, HF_LMA_MASK, HF_CS64_MASK = 1 << 4, 1 << 14, 1 << 15
HF2_GIF_MASK, HF2_NMI_MASK = 1 << 0, 1 << 2       # the second: in the handler of an NMI, where the next one waits
DOUBLE_FAULT = 8

# CPUX86State.features[], FeatureWord order of QEMU 5
FEAT_1_EDX, FEAT_1_ECX, FEAT_7_0_EBX, FEAT_7_0_ECX = 0, 1, 2, 3
FEAT_8000_0001_EDX, FEAT_8000_0001_ECX = 6, 7

INTERNAL_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "x86_cpu_do_interrupt_x86_64": (None, [c_void_p]),
    "helper_check_iob_x86_64": (None, [c_void_p, c_uint32]),
    "helper_check_iow_x86_64": (None, [c_void_p, c_uint32]),
    "helper_check_iol_x86_64": (None, [c_void_p, c_uint32]),
    "cpu_loop_exit_x86_64": (None, [c_void_p]),
    "cpu_restore_state_x86_64": (c_int, [c_void_p, c_uint64, c_int]),
    "x86_cpu_exec_exit_x86_64": (None, [c_void_p]),
    "x86_cpu_exec_interrupt_x86_64": (c_int, [c_void_p, c_int]),
    "helper_read_eflags_x86_64": (c_uint64, [c_void_p]),
    "helper_write_eflags_x86_64": (None, [c_void_p, c_uint64, c_uint32]),
    "raise_exception_x86_64": (None, [c_void_p, c_int]),
    "x86_update_hflags_x86_64": (None, [c_void_p]),
    "cpu_x86_update_cr0_x86_64": (None, [c_void_p, c_uint32]),
    "cpu_x86_update_cr3_x86_64": (None, [c_void_p, c_uint64]),
    "cpu_x86_update_cr4_x86_64": (None, [c_void_p, c_uint32]),
    "tcg_tb_lookup_x86_64": (c_void_p, [c_void_p, c_uint64]),
    "tlb_flush_x86_64": (None, [c_void_p]),
    "tlb_set_dirty_x86_64": (None, [c_void_p, c_uint64]),
    "tlb_protect_code_x86_64": (None, [c_void_p, c_uint64]),
    "tb_flush_x86_64": (None, [c_void_p]),
    "tb_invalidate_phys_range_x86_64": (None, [c_void_p, c_uint64, c_uint64]),
    "find_memory_mapping_x86_64": (c_void_p, [c_void_p, c_uint64]),
    "qemu_ram_addr_from_host_x86_64": (c_uint64, [c_void_p, c_void_p]),
}

IN_CALLBACK = ctypes.CFUNCTYPE(c_uint32, c_void_p, c_uint32, c_int, c_void_p)
OUT_CALLBACK = ctypes.CFUNCTYPE(None, c_void_p, c_uint32, c_int, c_uint32, c_void_p)
CODE_CALLBACK = ctypes.CFUNCTYPE(None, c_void_p, c_uint64, c_uint32, c_void_p)
PROTECTED_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_bool, c_void_p, c_int, c_uint64, c_int, c_uint64, c_void_p)
MEMORY_CALLBACK = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_uint64, c_int, ctypes.c_int64, c_void_p)
INSN_CALLBACK = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p)
MMIO_READ_CALLBACK = ctypes.CFUNCTYPE(c_uint64, c_void_p, c_uint64, c_uint, c_void_p)
MMIO_WRITE_CALLBACK = ctypes.CFUNCTYPE(None, c_void_p, c_uint64, c_uint, c_uint64, c_void_p)


def library_path() -> Path:
    """Path of the wheel's shared library. `import unicorn` itself would cost 0.1 s for constants that are not needed here."""
    spec = importlib.util.find_spec("unicorn")
    if spec is None or not spec.submodule_search_locations:
        raise EngineError("the package 'unicorn' is not installed; run 'python folkering.py doctor'")
    name = {"darwin": "libunicorn.2.dylib", "win32": "unicorn.dll"}.get(sys.platform, "libunicorn.so.2")
    path = Path(spec.submodule_search_locations[0]) / "lib" / name
    if not path.exists():
        raise EngineError(f"the installed unicorn has no {name}; reinstall unicorn=={'.'.join(map(str, SUPPORTED_VERSION))}")
    return path


@functools.cache
def load() -> ctypes.CDLL:
    """The library with prototypes set.

    Raises:
        EngineError: not installed, another version, or an internal function is not exported.
    """
    lib = ctypes.CDLL(str(library_path()))
    major, minor = c_uint(), c_uint()
    combined = lib.uc_version(ctypes.byref(major), ctypes.byref(minor))
    found = (major.value, minor.value, combined >> 8 & 0xFF)
    if found != SUPPORTED_VERSION:
        wanted = ".".join(map(str, SUPPORTED_VERSION))
        raise EngineError(f"unicorn {'.'.join(map(str, found))} is installed; this engine needs exactly {wanted}")
    lib.uc_open.argtypes = [c_int, c_int, c_void_p]
    lib.uc_close.argtypes = [c_void_p]
    lib.uc_strerror.restype, lib.uc_strerror.argtypes = c_char_p, [c_int]
    lib.uc_emu_start.argtypes = [c_void_p, c_uint64, c_uint64, c_uint64, c_size_t]
    lib.uc_emu_stop.argtypes = [c_void_p]
    lib.uc_mem_map_ptr.argtypes = [c_void_p, c_uint64, c_size_t, c_uint32, c_void_p]
    lib.uc_mmio_map.argtypes = [c_void_p, c_uint64, c_size_t, c_void_p, c_void_p, c_void_p, c_void_p]
    # uc_hook_add and uc_ctl are variadic: they stay without argument types, and callers wrap what they pass
    for name, (restype, argtypes) in INTERNAL_FUNCTIONS.items():
        try:
            function = getattr(lib, name)
        except AttributeError:
            raise EngineError(f"this build of unicorn does not export {name}; install the wheel from the package index") from None
        function.restype, function.argtypes = restype, argtypes
    return lib


def address_of(lib: ctypes.CDLL, name: str) -> int:
    """Address of an exported function."""
    value = ctypes.cast(getattr(lib, name), c_void_p).value
    assert value is not None
    return value


def knows_notdirty_write(lib: ctypes.CDLL) -> bool:
    """Whether this library's `notdirty_write` is the one that the NOTDIRTY constants describe."""
    start = address_of(lib, "tlb_set_dirty_x86_64") + NOTDIRTY_BEGIN
    return hashlib.sha256(ctypes.string_at(start, NOTDIRTY_LENGTH)).hexdigest() == NOTDIRTY_SHA256


def knows_exit_check(lib: ctypes.CDLL) -> bool:
    """Whether the functions that `exit_check.py` relies on are those of the wheel that was studied, and so is the way to them."""
    found = hashlib.sha256()
    for name, length in EXIT_CHECK_FUNCTIONS:
        found.update(ctypes.string_at(address_of(lib, name), length))
    return found.hexdigest() == EXIT_CHECK_SHA256


def knows_sensitive_helpers(lib: ctypes.CDLL) -> bool:
    """Whether the helpers of RDMSR, WRMSR and MOV CR8 are those that were studied."""
    found = hashlib.sha256()
    for function, length, _ in SENSITIVE_HELPERS.values():
        found.update(ctypes.string_at(address_of(lib, f"{function}_x86_64"), length))
    return found.hexdigest() == SENSITIVE_SHA256


def knows_insn_start(lib: ctypes.CDLL) -> bool:
    """Whether what marks the beginning of an instruction is the function that was studied."""
    start = address_of(lib, "gen_intermediate_code_x86_64") + INSN_START
    return hashlib.sha256(ctypes.string_at(start, INSN_START_LENGTH)).hexdigest() == INSN_START_SHA256


def knows_rewriting(lib: ctypes.CDLL) -> bool:
    """Whether what undoes a store into its own block is the function that was studied."""
    start = address_of(lib, "tb_invalidate_phys_page_range_x86_64") + REWRITING
    return hashlib.sha256(ctypes.string_at(start, REWRITING_LENGTH)).hexdigest() == REWRITING_SHA256


def linkage_slot(site: int) -> int:
    """Address of the word through which the library's call at `site` goes: CALL rel32 to its linkage table, and there JMP [RIP + rel32]."""
    entry = site + CALL_LENGTH + c_int32.from_address(site + 1).value
    return entry + 6 + c_int32.from_address(entry + 2).value


def open_engine(lib: ctypes.CDLL) -> int:
    """A new engine in the real-mode reset state, with the widest translator feature set. Returns the `uc_engine *`."""
    handle = c_void_p()
    error = lib.uc_open(UC_ARCH_X86, UC_MODE_16, ctypes.byref(handle))
    if error or handle.value is None:
        raise EngineError(f"unicorn cannot open an x86 engine: {lib.uc_strerror(error).decode()}")
    lib.uc_ctl(handle, c_int(UC_CTL_CPU_MODEL_SET), c_int(UC_CPU_X86_HASWELL))
    value = c_uint64()
    error = lib.uc_ctl(handle, c_int(UC_CTL_USE_EXITS_ON), c_int(1)) or lib.uc_reg_read(handle, c_int(UC_X86_REG_EFLAGS), ctypes.byref(value))
    for register, reset in ((UC_X86_REG_FPCW, 0x0040), (UC_X86_REG_MXCSR, 0x1F80)):   # SDM vol. 3A table 10-1; Unicorn leaves both 0
        error = error or lib.uc_reg_write(handle, c_int(register), ctypes.byref(c_uint64(reset)))
    if error:  # the register read is what makes the engine initialize itself
        raise EngineError(f"unicorn cannot be initialized: {lib.uc_strerror(error).decode()}")
    return handle.value
