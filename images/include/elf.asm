; ELF-64 (System V ABI, "ELF-64 Object File Format"): the parts a loader reads.

.const ELF_MAGIC = 0x464C457F
.const ELF_CLASS64_LITTLE = 0x0102          ; bytes 4 and 5: ELFCLASS64, ELFDATA2LSB
.const ET_EXEC = 2
.const EM_X86_64 = 62
.const PT_LOAD = 1
.const PT_DYNAMIC = 2
.const PT_INTERP = 3
.const PF_X = 1
.const PF_W = 2

.struct Ehdr
    .field magic, 4
    .field class_and_data, 2
    .field ident, 10
    .field type, 2
    .field machine, 2
    .field version, 4
    .field entry, 8
    .field phoff, 8
    .field shoff, 8
    .field flags, 4
    .field ehsize, 2
    .field phentsize, 2
    .field phnum, 2
    .field sections, 6
.endstruct
.struct Phdr
    .field type, 4
    .field flags, 4
    .field offset, 8
    .field vaddr, 8
    .field paddr, 8
    .field filesz, 8
    .field memsz, 8
    .field align, 8
.endstruct
