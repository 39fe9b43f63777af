; The nucleus's ELF file: refused with a reason, or loaded. The image is one run of physical memory in which a virtual address keeps its distance to all others.

.const KERNEL_WINDOW = 0xFFFFFFFF80000000   ; the protocol: executables live at or above it
.const MAX_IMAGE = 64 << 20
.const MAX_SEGMENTS = 16

elf_check:
    POST POST_ELF
    push rbx
    push rbp
    push r12
    push r13
    push r14
    mov rbx, [r15 + Fw.nucleus]
    mov rbp, [r15 + Fw.nucleus_bytes]
    cmp rbp, Ehdr.size
    jb .not_elf
    cmp dword ptr [rbx + Ehdr.magic], ELF_MAGIC
    jne .not_elf
    cmp word ptr [rbx + Ehdr.class_and_data], ELF_CLASS64_LITTLE
    jne .not_x86_64
    cmp word ptr [rbx + Ehdr.machine], EM_X86_64
    jne .not_x86_64
    cmp word ptr [rbx + Ehdr.type], ET_EXEC
    jne .not_static
    cmp word ptr [rbx + Ehdr.phentsize], Phdr.size
    jne .bad_headers
    movzx ecx, word ptr [rbx + Ehdr.phnum]
    lea eax, [rcx - 1]
    cmp eax, MAX_SEGMENTS
    jae .bad_headers
    imul eax, ecx, Phdr.size
    mov rdx, [rbx + Ehdr.phoff]
    cmp rdx, rbp
    ja .bad_headers
    add rax, rdx
    cmp rax, rbp
    ja .bad_headers

    lea rdi, [rbx + rdx]                    ; program headers, ecx of them
    mov r8, KERNEL_WINDOW                   ; segments must begin at or above this
    mov r12, -1                             ; lowest address
    xor r13d, r13d                          ; end of the highest page
    xor r14d, r14d                          ; the entry lies in executable memory
.segment:
    mov eax, [rdi + Phdr.type]
    cmp eax, PT_DYNAMIC
    je .not_static
    cmp eax, PT_INTERP
    je .not_static
    cmp eax, PT_LOAD
    jne .next
    mov r9, [rdi + Phdr.memsz]
    test r9, r9
    jz .next
    cmp r9, MAX_IMAGE
    ja .too_large
    cmp [rdi + Phdr.filesz], r9
    ja .bad_headers
    mov rax, [rdi + Phdr.offset]
    cmp rax, rbp
    ja .truncated
    add rax, [rdi + Phdr.filesz]
    cmp rax, rbp
    ja .truncated
    mov eax, [rdi + Phdr.flags]
    and eax, PF_W | PF_X
    cmp eax, PF_W | PF_X
    je .writable_code
    mov rax, [rdi + Phdr.vaddr]
    test eax, PAGE_SIZE - 1
    jnz .misaligned
    cmp rax, r8
    jb .wrong_place
    cmp rax, r12
    jae .not_lowest
    mov r12, rax
.not_lowest:
    add r9, rax
    jc .wrong_place
    mov r10, [rbx + Ehdr.entry]
    cmp r10, rax
    jb .not_entry
    cmp r10, r9
    jae .not_entry
    test dword ptr [rdi + Phdr.flags], PF_X
    jz .not_entry
    inc r14d
.not_entry:
    add r9, PAGE_SIZE - 1
    jc .wrong_place                         ; the last page of the address space has no end to compare with
    and r9, -PAGE_SIZE
    mov r8, r9                              ; the next one begins behind this: in order, no shared pages
    mov r13, r9
.next:
    add rdi, Phdr.size
    dec ecx
    jnz .segment
    test r13, r13
    jz .nothing
    test r14d, r14d
    jz .bad_entry
    sub r13, r12
    cmp r13, MAX_IMAGE
    ja .too_large
    mov [r15 + Fw.image_virtual], r12
    mov [r15 + Fw.image_bytes], r13
    mov rax, [rbx + Ehdr.entry]
    mov [r15 + Fw.entry], rax
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
.not_elf:
    FAIL "opt/folkering/nucleus is not an ELF file"
.not_x86_64:
    FAIL "opt/folkering/nucleus is not a 64-bit x86-64 ELF file"
.not_static:
    FAIL "opt/folkering/nucleus is not a static executable (ET_EXEC)"
.bad_headers:
    FAIL "opt/folkering/nucleus has impossible program headers"
.truncated:
    FAIL "opt/folkering/nucleus is truncated: a segment lies beyond its end"
.too_large:
    FAIL "opt/folkering/nucleus is larger than 64 MiB in memory"
.writable_code:
    FAIL "opt/folkering/nucleus has a segment that is writable and executable"
.misaligned:
    FAIL "opt/folkering/nucleus has a segment that does not begin with a page"
.wrong_place:
    FAIL "opt/folkering/nucleus has a segment below 0xffffffff80000000 or over another one"
.nothing:
    FAIL "opt/folkering/nucleus has nothing to load"
.bad_entry:
    FAIL "opt/folkering/nucleus starts outside its executable segments"

elf_load:
    push rbx
    push rbp
    mov rdi, [r15 + Fw.image_bytes]
    mov esi, PAGE_SIZE
    mov edx, MAP_EXECUTABLE_AND_MODULES
    call map_allocate
    mov [r15 + Fw.image], rax
    mov rdi, rax
    mov rcx, [r15 + Fw.image_bytes]
    shr rcx, 3
    xor eax, eax
    rep stosq
    mov rbx, [r15 + Fw.nucleus]
    movzx ebp, word ptr [rbx + Ehdr.phnum]
    mov rdx, [rbx + Ehdr.phoff]
    add rdx, rbx
.segment:
    cmp dword ptr [rdx + Phdr.type], PT_LOAD
    jne .next
    inc qword ptr [r15 + Fw.segments]
    mov rdi, [rdx + Phdr.vaddr]
    sub rdi, [r15 + Fw.image_virtual]
    add rdi, [r15 + Fw.image]
    mov rsi, [rdx + Phdr.offset]
    add rsi, rbx
    mov rcx, [rdx + Phdr.filesz]
    rep movsb
.next:
    add rdx, Phdr.size
    dec ebp
    jnz .segment
    PRINT "[LOADER] "
    PRINT_DECIMAL [r15 + Fw.segments]
    PRINT " segments at "
    PRINT_HEX [r15 + Fw.image_virtual]
    PRINT ", physical "
    PRINT_HEX [r15 + Fw.image]
    PRINT ", entry "
    PRINT_HEX [r15 + Fw.entry]
    PRINT "\n"
    pop rbp
    pop rbx
    ret
