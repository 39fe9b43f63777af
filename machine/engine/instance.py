"""One engine of the Unicorn library, made ready to be a PC's processor: features, physical memory, hooks.

Only what is done once, or outside slices, is here; `engine.py` runs it.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from ctypes import c_uint32, c_uint64
from typing import Protocol

from machine.engine import abi, counting, exit_check, rewriting
from machine.engine.cpuid import LEAF_1_ECX, LEAF_1_EDX, LEAF_7_EBX, LEAF_8000_0001_ECX, LEAF_8000_0001_EDX
from machine.engine.stubs import delivery, lone, pages, slices, stores
from machine.errors import EngineError
from machine.memory import PAGE, PHYSICAL_LIMIT, SEGMENTS, SEGMENTS_END, GuestMemory, Segment

TRANSLATOR_LIMIT = 1 << 52                 # what a page-table entry can hold
VMCB_ADDRESS = PHYSICAL_LIMIT              # a page no guest can name: beyond the physical address width that CPUID reports
BUS_ADDRESS = VMCB_ADDRESS + PAGE          # likewise: what the segments below 1 MiB show while they do not show RAM
BUS_END = BUS_ADDRESS + SEGMENTS_END - SEGMENTS[0][0]


@functools.cache
def _protect_every_alias(lib: ctypes.CDLL) -> bool:
    """Puts `stores.protect` in the place of `tlb_protect_code`, for all engines of the process. False if the library is not laid out for it."""
    original = abi.address_of(lib, "tlb_protect_code_x86_64")
    slot = c_uint64.from_address(abi.address_of(lib, "tlb_set_dirty_x86_64") + abi.PROTECT_CODE_SLOT)
    if abs(slot.value - original) > 1 << 24:             # neither the function nor the linker's way to it, both of which lie in the library's code
        return False
    slot.value = pages.resident(stores.protect(abi.address_of(lib, "tlb_flush_x86_64"), original))
    return True


class ClosedLibrary:
    """In the place of the library for who still holds an engine that is closed: whatever it asks for ends with one clear line."""

    def __getattr__(self, name: str) -> object:
        raise EngineError("this engine is closed")


class AddressSpace(Protocol):
    """What ports and MMIO lead to; `devices.core.bus.Bus` is one."""

    def read(self, address: int, size: int) -> int: ...
    def write(self, address: int, size: int, value: int) -> None: ...


class Instance:
    """An engine in the library, with nothing mapped yet.

    Args:
        lib: the library, verified.
        failed: told of what a device raised while the guest ran; its answer is what the guest reads.

    Attributes:
        uc, cpu, env: host addresses of Unicorn's engine, its processor, and that processor's `CPUX86State`; `uc` is 0 once closed.
        page: native code that lives as long as the engine.
        keep: what the library refers to, likewise.
    """

    def __init__(self, lib: ctypes.CDLL, failed: Callable[[BaseException], int]) -> None:
        self.lib = lib
        self.page = pages.CodePage()
        self.keep: list[object] = [self.page]
        self._failed = failed
        self._quick_stores = ctypes.c_uint8(1)
        self._segments: dict[int, tuple[int, int, int]] = {}     # by base: MemoryRegion, and the RAMBlocks of RAM and of the bus
        self.lone = self._again = 0                      # addresses of native code, see lone.LONE_LISTING
        self.lone_window = (c_uint64 * 2)()              # writes from the first to below the second address are made alone
        self._count_hook: int | None = None
        exit_check.install(lib)
        self.uc = abi.open_engine(lib)
        ctypes.c_int.from_address(self.uc + abi.UC_MODE).value = abi.UC_MODE_64   # the register API is 64-bit; the guest's mode is in hflags
        ctypes.c_uint8.from_address(self.uc + abi.UC_NO_EXIT_REQUEST).value = 1
        self.cpu = c_uint64.from_address(self.uc + abi.UC_CPU).value
        self.env = c_uint64.from_address(self.cpu + abi.CPU_ENV_PTR).value
        self._io_pc = c_uint64.from_address(self.cpu + abi.CPU_MEM_IO_PC)        # 0 where no access to memory is under way
        self._features()

    def close(self) -> None:
        """Frees it. Guest memory stays."""
        if self.uc:
            self.count(None)
            if (rewritten := rewriting.table(self.lib)) is not None:
                rewritten.forget(self.cpu)
            for region, ram, _bus in self._segments.values():
                c_uint64.from_address(region + abi.REGION_RAM_BLOCK).value = ram         # each block is freed once, by its own region
            self.lib.uc_close(self.uc)
            self.uc = 0
            self.lib = ClosedLibrary()  # type: ignore[assignment]

    # --- memory --------------------------------------------------------------------------------------------------------------------
    def map(self, memory: GuestMemory, mmio: AddressSpace) -> None:
        """RAM and ROM as they are; everything between them, up to the physical address limit, leads to `mmio`."""
        cursor = 0
        for mapping in sorted([*memory.mappings, *(segment.ram for segment in memory.segments)], key=lambda mapping: mapping.base):
            if mapping.base > cursor:
                self._map_hole(cursor, mapping.base - cursor, mmio)
            rights = abi.UC_PROT_ALL if mapping.writable else abi.UC_PROT_READ | abi.UC_PROT_EXEC
            self._map_host(mapping.base, mapping.length, rights, mapping.host)
            cursor = mapping.base + mapping.length
        self._map_hole(cursor, PHYSICAL_LIMIT - cursor, mmio)
        for segment in memory.segments:
            hidden = BUS_ADDRESS + segment.bus.base - SEGMENTS[0][0]
            self._map_host(hidden, segment.bus.length, abi.UC_PROT_READ | abi.UC_PROT_EXEC, segment.bus.host)
            regions = [self.lib.find_memory_mapping_x86_64(self.uc, address) for address in (segment.ram.base, hidden)]
            ram, bus = (c_uint64.from_address(region + abi.REGION_RAM_BLOCK).value for region in regions)
            self._segments[segment.ram.base] = regions[0], ram, bus
            self.steer(segment)
        self._map_hole(BUS_END, TRANSLATOR_LIMIT - BUS_END, mmio)      # page tables can name what CPUID says is not there

    def _map_host(self, base: int, length: int, rights: int, host: int) -> None:
        self.check(self.lib.uc_mem_map_ptr(self.uc, base, length, rights, host), f"map 0x{base:x}")

    def steer(self, segment: Segment) -> None:
        """Shows the RAM of a segment or what else is there, and takes stores or not.

        The region gets another block of host memory. Translations belong to the block, so those of the one are neither found nor lost while the other is
        shown; only the block under way and those that it is chained to, which are in the same page, may go on: see lone.LONE_LISTING.
        """
        region, ram, bus = self._segments[segment.ram.base]
        c_uint64.from_address(region + abi.REGION_RAM_BLOCK).value = ram if segment.readable else bus
        stores = segment.readable and segment.writable
        c_uint32.from_address(region + abi.REGION_PERMS).value = abi.UC_PROT_ALL if stores else abi.UC_PROT_READ | abi.UC_PROT_EXEC
        self.forget_pages()

    def catch_stores(self, memory: GuestMemory) -> None:
        """Stores that the engine does not make itself, to ROM and to segments that are not plain RAM, go to `memory`."""
        write = memory.write

        def on_store(_uc: int, _kind: int, address: int, size: int, value: int, _user: int) -> bool:
            try:
                write(address, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))
            except BaseException as failure:  # noqa: BLE001 -- must not reach ctypes
                self._failed(failure)
            return False                          # nothing is stored; slices.PAUSE_LISTING lets the guest go on

        callback = abi.PROTECTED_CALLBACK(on_store)
        self.keep.append(callback)
        places = [(mapping.base, mapping.length) for mapping in memory.mappings if not mapping.writable]
        for base, length in (*places, (SEGMENTS[0][0], SEGMENTS_END - SEGMENTS[0][0])):
            self.hook(abi.UC_HOOK_MEM_WRITE_PROT, callback, begin=base, end=base + length - 1)

    def add_lone(self, pending: int, place: int, left: int) -> None:
        """The code that lets an instruction which writes to the host bridge run alone; before `map`. See lone.LONE_LISTING for the addresses."""
        leave = abi.address_of(self.lib, "cpu_loop_exit_x86_64")
        self.lone = self.page.add(lone.lone(pending, self.env, place, left, self.cpu, leave))
        self._again = self.page.add(lone.again(self.env, place, left, self.cpu, leave))
        if (rewritten := rewriting.table(self.lib)) is not None:
            assert place == left + 8, "rewriting.LISTING finds both by one address"
            rewritten.set(self.cpu, left)

    def _map_hole(self, base: int, length: int, mmio: AddressSpace) -> None:
        read, write = mmio.read, mmio.write

        def on_read(_uc: int, offset: int, size: int, _user: int) -> int:
            try:
                return read(base + offset, size)
            except BaseException as failure:  # noqa: BLE001 -- must not reach ctypes, which would print and drop it; `run` raises it
                return self._failed(failure)

        def on_write(_uc: int, offset: int, size: int, value: int, _user: int) -> None:
            try:
                write(base + offset, size, value)
            except BaseException as failure:  # noqa: BLE001
                self._failed(failure)

        callbacks = abi.MMIO_READ_CALLBACK(on_read), abi.MMIO_WRITE_CALLBACK(on_write)
        self.keep.extend(callbacks)
        store = ctypes.cast(callbacks[1], ctypes.c_void_p).value
        assert store is not None
        context = c_uint64.from_address(self.uc + abi.UC_TCG_CONTEXT).value
        look_up, restore = (abi.address_of(self.lib, f"{name}_x86_64") for name in ("tcg_tb_lookup", "cpu_restore_state"))
        store = self.page.add(lone.lone_store(ctypes.addressof(self.lone_window), base, self.cpu, context, look_up, restore, self._again, store))
        self.check(self.lib.uc_mmio_map(self.uc, base, length, callbacks[0], None, ctypes.c_void_p(store), None), f"map the hole at 0x{base:x}")
        # Unicorn gives devices no right to be executed, and stops at a jump into one. A PC reads what the bus answers: all ones, hence #UD.
        rights = c_uint32.from_address(self.lib.find_memory_mapping_x86_64(self.uc, base) + abi.REGION_PERMS)
        assert rights.value == abi.UC_PROT_READ | abi.UC_PROT_WRITE
        rights.value = abi.UC_PROT_ALL

    def answer_ports(self, ports: AddressSpace) -> None:
        """IN and OUT lead to `ports`, where the processor's ring and its I/O permission map allow it."""
        read, write, io_pc = ports.read, ports.write, self._io_pc

        def on_in(_uc: int, port: int, size: int, _user: int) -> int:
            io_pc.value = 0
            try:
                return read(port, size)
            except BaseException as failure:  # noqa: BLE001
                return self._failed(failure)

        def on_out(_uc: int, port: int, size: int, value: int, _user: int) -> None:
            io_pc.value = 0
            try:
                write(port, size, value)
            except BaseException as failure:  # noqa: BLE001
                self._failed(failure)

        byte, word, double = (abi.address_of(self.lib, f"helper_check_io{size}_x86_64") for size in "bwl")
        for access, instruction in ((abi.IN_CALLBACK(on_in), abi.UC_X86_INS_IN), (abi.OUT_CALLBACK(on_out), abi.UC_X86_INS_OUT)):
            self.keep.append(access)
            target = ctypes.cast(access, ctypes.c_void_p).value
            assert target is not None
            if instruction == abi.UC_X86_INS_OUT:
                target = self.page.add(lone.lone_port(self.lone, target))
            self.hook(abi.UC_HOOK_INSN, self.page.add(delivery.port(self.env, (byte, word, double), target)), instruction)

    def answer_cpuid(self, answer: Callable[[], None]) -> None:
        """CPUID is answered by a function that puts the answer into the registers."""
        io_pc = self._io_pc

        def on_cpuid(_uc: int, _user: int) -> int:
            io_pc.value = 0
            answer()
            return 1

        callback = abi.INSN_CALLBACK(on_cpuid)
        self.keep.append(callback)
        self.hook(abi.UC_HOOK_INSN, callback, abi.UC_X86_INS_CPUID)

    def map_vmcb(self) -> int:
        """Maps the hidden page from which the CPU takes interrupt vectors, and returns its host address."""
        page = ctypes.create_string_buffer(8192)
        host = (ctypes.addressof(page) + 4095) & ~4095
        self.keep.append(page)
        self.check(self.lib.uc_mem_map_ptr(self.uc, VMCB_ADDRESS, 4096, abi.UC_PROT_READ, host), "map the interrupt page")
        c_uint64.from_address(self.env + abi.ENV_VM_VMCB).value = VMCB_ADDRESS
        c_uint32.from_address(self.env + abi.ENV_HFLAGS2).value |= abi.HF2_GIF_MASK
        return host

    def answer_regions(self, memory: GuestMemory) -> None:
        """Answers 'which region is this address in' at once for RAM below 4 GiB, since every slow store asks; and lets stores be slow only where code is."""
        low, high = memory.mappings[0], memory.mappings[1]           # the segments between them are searched for
        lib, uc = self.lib, self.uc
        regions = [lib.find_memory_mapping_x86_64(uc, mapping.base) for mapping in (low, high)]
        pointer = c_uint64.from_address(uc + abi.UC_MEMORY_MAPPING)
        code = stores.region(high.base, high.base + high.length, regions[1], low.length, regions[0], pointer.value)
        if abi.knows_notdirty_write(lib) and _protect_every_alias(lib):
            sticky = ctypes.create_string_buffer(abi.REGION_PERMS + 8)
            ctypes.c_int32.from_buffer(sticky, abi.REGION_PRIORITY).value = -1
            c_uint32.from_buffer(sticky, abi.REGION_PERMS).value = abi.UC_PROT_ALL
            self.keep.append(sticky)
            asked = abi.address_of(lib, "tlb_set_dirty_x86_64") + abi.NOTDIRTY_ASKED
            code = stores.store(asked, ctypes.addressof(self._quick_stores), ctypes.addressof(sticky)) + code
        pointer.value = self.page.add(code)

    def watch_stores(self, watching: bool) -> None:
        """While memory hooks are to see every store, none takes the quick way."""
        self._quick_stores.value = not watching
        self.forget_pages()

    def invalidate(self, host: int, length: int) -> None:
        """Drops translations of code in host memory that a device has just written."""
        start = self.lib.qemu_ram_addr_from_host_x86_64(self.uc, host)
        self.lib.tb_invalidate_phys_range_x86_64(self.uc, start, start + length)

    # --- hooks ---------------------------------------------------------------------------------------------------------------------
    def hook(self, kind: int, callback: object, *instruction: int, begin: int = 1, end: int = 0) -> int:
        """Registers a native function's address or a ctypes callback, for all addresses or those from `begin` to `end`. Returns a handle for `unhook`."""
        handle = ctypes.c_size_t()
        target = ctypes.c_void_p(callback) if isinstance(callback, int) else callback
        extra = [ctypes.c_int(value) for value in instruction]
        self.check(self.lib.uc_hook_add(ctypes.c_void_p(self.uc), ctypes.byref(handle), ctypes.c_int(kind), target, None,
                                          c_uint64(begin), c_uint64(end), *extra), f"hook {kind}")
        return handle.value

    def unhook(self, handle: int) -> None:
        """Takes a hook away."""
        self.check(self.lib.uc_hook_del(ctypes.c_void_p(self.uc), ctypes.c_size_t(handle)), "unhook")

    def count(self, left: ctypes.c_int64 | None) -> None:
        """Counts `left` down at each instruction from now on, and leaves before the one that finds 0 there; None ends that. `translate_anew` comes next."""
        table = counting.table(self.lib)
        if self._count_hook is not None:
            self.unhook(self._count_hook)
            self._count_hook = None
        if table is None:                                # not the library that was studied: by a hook, at a fifth of the speed
            if left is not None:
                code = slices.count(ctypes.addressof(left), self.cpu, abi.address_of(self.lib, "cpu_loop_exit_x86_64"))
                self._count_hook = self.hook(abi.UC_HOOK_CODE, self.page.add(code))
        elif left is None:
            table.forget(self.uc)
        else:
            table.set(self.uc, ctypes.addressof(left))

    def translate_anew(self) -> None:
        """Hooks on code or memory have changed: what is translated does not know."""
        self.lib.tb_flush_x86_64(self.cpu)
        self.lib.tlb_flush_x86_64(self.cpu)

    def forget_pages(self) -> None:
        """What the processor remembers of page tables is void."""
        self.lib.tlb_flush_x86_64(self.cpu)

    # --- the rest ------------------------------------------------------------------------------------------------------------------
    def _features(self) -> None:
        """Lets the translator accept what CPUID announces, no less."""
        for word, value in ((abi.FEAT_1_EDX, LEAF_1_EDX), (abi.FEAT_1_ECX, LEAF_1_ECX), (abi.FEAT_7_0_EBX, LEAF_7_EBX),
                            (abi.FEAT_8000_0001_EDX, LEAF_8000_0001_EDX), (abi.FEAT_8000_0001_ECX, LEAF_8000_0001_ECX)):
            c_uint64.from_address(self.env + abi.ENV_FEATURES + 8 * word).value = value

    def check(self, error: int, what: str) -> None:
        """Raises EngineError for an error code of Unicorn's."""
        if error:
            raise EngineError(f"unicorn: {what}: {self.lib.uc_strerror(error).decode()}")
