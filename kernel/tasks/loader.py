"""Static ELF64 programs: from bytes to an address space with segments and a stack.

Source: System V ABI, "ELF-64 Object File Format", and its AMD64 supplement. Refused by name: dynamic or relocatable files, other machines,
segments that overlap in a page, reach outside the user half, or are writable and executable at once.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise

from kernel.errors import KernelError, MappingError, ProgramError
from kernel.gate import FRAME_IN_BLOCK, FRAME_SIZE, RFLAGS_IF, RFLAGS_RESERVED, USER_CODE, USER_DATA, TrapFrame, initial_fxsave
from kernel.hardware import PAGE_SIZE, PhysicalMemory
from kernel.memory.address_space import USER_END, Access, AddressSpace
from kernel.memory.frames import FrameAllocator

ELF_MAGIC = b"\x7fELF"
ELFCLASS64, ELFDATA2LSB = 2, 1
ET_EXEC, EM_X86_64 = 2, 62
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
PF_X, PF_W = 1, 2
EHDR = struct.Struct("<4sBB10xHHIQQQIHHHHHH")
PHDR = struct.Struct("<IIQQQQQQ")
MAX_SEGMENTS = 64
MAX_IMAGE = 64 << 20

STACK_TOP = USER_END - 16 * PAGE_SIZE       # away from the last page, where a SYSCALL's return address would not be canonical
STACK_SIZE = 4 * PAGE_SIZE                  # what lies below stays unmapped and catches overflows


@dataclass(frozen=True, slots=True)
class Segment:
    """A PT_LOAD segment: `memory_size` bytes at `virtual`, the first of them `data`, the rest zero."""

    virtual: int
    data: bytes
    memory_size: int
    access: Access

    @property
    def first_page(self) -> int:
        """The page that holds its first byte."""
        return self.virtual & -PAGE_SIZE

    @property
    def end_page(self) -> int:
        """The page after its last byte."""
        return -(-(self.virtual + self.memory_size) // PAGE_SIZE) * PAGE_SIZE


@dataclass(frozen=True, slots=True)
class Program:
    """A checked executable."""

    entry: int
    segments: tuple[Segment, ...]

    @classmethod
    def parse(cls, image: bytes) -> Program:
        """Check and take apart an ELF file. Raises: ProgramError."""
        if len(image) < EHDR.size:
            raise ProgramError(f"{len(image)} bytes are too few for an ELF file")
        magic, elf_class, encoding, kind, machine, _version, entry, offset, _sections, _flags, _size, entry_size, count, *_rest = \
            EHDR.unpack_from(image)
        require(magic == ELF_MAGIC, "not an ELF file")
        require((elf_class, encoding, machine) == (ELFCLASS64, ELFDATA2LSB, EM_X86_64), "not a 64-bit x86-64 program")
        require(kind == ET_EXEC, "not a static executable (ET_EXEC)")
        require(entry_size == PHDR.size and 0 < count <= MAX_SEGMENTS, f"{count} program headers of {entry_size} bytes are not possible")
        require(offset + count * PHDR.size <= len(image), "its program headers lie beyond its end")
        segments: list[Segment] = []
        total = 0
        for index in range(count):
            kind, flags, start, virtual, _physical, file_size, memory_size, _align = PHDR.unpack_from(image, offset + index * PHDR.size)
            require(kind not in (PT_DYNAMIC, PT_INTERP), "it is dynamically linked")
            if kind != PT_LOAD or memory_size == 0:
                continue
            require(start + file_size <= len(image) and file_size <= memory_size, f"segment {index} lies beyond the file's end")
            total += memory_size
            require(total <= MAX_IMAGE, f"it is larger than {MAX_IMAGE >> 20} MiB")
            require(PAGE_SIZE <= virtual <= STACK_TOP - STACK_SIZE - PAGE_SIZE - memory_size, f"segment {index} is not in user memory")
            require(flags & (PF_W | PF_X) != PF_W | PF_X, f"segment {index} is writable and executable")
            access = Access.WRITE if flags & PF_W else Access.EXECUTE if flags & PF_X else Access.READ
            segments.append(Segment(virtual, image[start:start + file_size], memory_size, access))
        segments.sort(key=lambda segment: segment.virtual)
        for low, high in pairwise(segments):
            require(low.end_page <= high.first_page, f"segments at {low.virtual:#x} and {high.virtual:#x} share a page")
        require(any(part.access is Access.EXECUTE and part.virtual <= entry < part.virtual + part.memory_size for part in segments),
                f"its entry {entry:#x} is not in executable memory")
        return cls(entry, tuple(segments))

    def load(self, space: AddressSpace) -> None:
        """Map segments and a stack. Raises: MappingError, OutOfMemory."""
        for segment in self.segments:
            space.allocate(segment.first_page, segment.end_page - segment.first_page, segment.access)
            space.write_owned(segment.virtual, segment.data)
        space.allocate(STACK_TOP - STACK_SIZE, STACK_SIZE, Access.WRITE)


@dataclass(frozen=True, slots=True)
class LoadedProgram:
    """A program ready to run: its address space and the frame that holds its registers."""

    space: AddressSpace
    block: int


def load(image: bytes, argument: int, memory: PhysicalMemory, frames: FrameAllocator, nucleus_root: int) -> LoadedProgram:
    """Load a program; `argument` arrives in RDI. All that was taken is given back on failure.

    Raises:
        ProgramError, OutOfMemory: it cannot be loaded.
    """
    program = Program.parse(image)
    block = frames.allocate()
    space: AddressSpace | None = None
    try:
        space = AddressSpace(memory, frames, nucleus_root)
        program.load(space)
        prepare_block(program.entry, argument, memory, block)
    except KernelError as error:
        frames.free(block)
        if space is not None:
            space.destroy()
        if isinstance(error, MappingError):
            raise ProgramError(str(error)) from error
        raise
    return LoadedProgram(space, block)


def prepare_block(entry: int, argument: int, memory: PhysicalMemory, block: int) -> None:
    """The registers with which a task begins. Raises: BadMemory."""
    memory.write(block, bytes(PAGE_SIZE))
    frame = TrapFrame(rip=entry, cs=USER_CODE, rflags=RFLAGS_RESERVED | RFLAGS_IF, rsp=STACK_TOP, ss=USER_DATA, rdi=argument)
    frame.store(memory, block + FRAME_IN_BLOCK)
    memory.write(block + FRAME_IN_BLOCK + FRAME_SIZE, initial_fxsave())


def require(condition: bool, message: str) -> None:
    """Raise ProgramError with `message` unless `condition` holds."""
    if not condition:
        raise ProgramError(message)
