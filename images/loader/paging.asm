; The address space that the nucleus gets: all memory at HHDM, no-execute, in 2 MiB pages; the nucleus by its segments' rights in 4 KiB pages; and the ROM
; where it is, because the last instructions before the nucleus run there. The protocol lets the direct map be executable; nothing of ours needs that.

paging_build:
    POST POST_PAGING
    push rbx
    push rbp
    push r12
    push r13
    call page_table_new
    mov [r15 + Fw.pml4], rax

    mov ebx, MEMORY_MAP                     ; the direct map. Tables made on the way change the list's types, never what it covers
.entry:
    imul eax, [r15 + Fw.map_count], MapEntry.size
    add eax, MEMORY_MAP
    cmp ebx, eax
    jae .nucleus
    mov ecx, [rbx + MapEntry.type]
    mov eax, MAP_DIRECT_TYPES
    bt eax, ecx
    jnc .next
    mov r12, [rbx + MapEntry.base]
    mov r13, [rbx + MapEntry.length]
    add r13, r12
    and r12, -LARGE_PAGE
.large:
    mov rdi, HHDM
    add rdi, r12
    mov rsi, r12
    mov edx, PAGE_PRESENT | PAGE_WRITE | PAGE_LARGE
    bts rdx, PAGE_NX_BIT
    mov ecx, 21
    call map_page
    add r12, LARGE_PAGE
    cmp r12, r13
    jb .large
.next:
    add ebx, MapEntry.size
    jmp .entry

.nucleus:
    mov rbx, [r15 + Fw.nucleus]
    movzx ebp, word ptr [rbx + Ehdr.phnum]
    add rbx, [rbx + Ehdr.phoff]
.segment:
    cmp dword ptr [rbx + Phdr.type], PT_LOAD
    jne .next_segment
    mov r12, [rbx + Phdr.vaddr]
    mov r13, [rbx + Phdr.memsz]
    test r13, r13
    jz .next_segment
    add r13, r12
.page:
    mov rdi, r12
    mov rsi, r12
    sub rsi, [r15 + Fw.image_virtual]
    add rsi, [r15 + Fw.image]
    mov edx, PAGE_PRESENT
    mov eax, [rbx + Phdr.flags]
    test eax, PF_X
    jnz .executable
    bts rdx, PAGE_NX_BIT
.executable:
    test eax, PF_W
    jz .read_only
    or rdx, PAGE_WRITE
.read_only:
    mov ecx, 12
    call map_page
    add r12, PAGE_SIZE
    cmp r12, r13
    jb .page
.next_segment:
    add rbx, Phdr.size
    dec ebp
    jnz .segment

    mov edi, ROM_WINDOW
    mov esi, ROM_WINDOW
    mov edx, PAGE_PRESENT | PAGE_LARGE
    mov ecx, 21
    call map_page
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

; RDI: virtual, RSI: physical, RDX: flags of the leaf, ECX: 12 or 21, the leaf's size as a power of two. Tables on the way are made.
map_page:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    mov rbp, rdi
    mov r12, rsi
    or r12, rdx
    mov r13d, ecx
    mov r14d, 39                            ; index bits of the PML4
    mov rbx, [r15 + Fw.pml4]
.level:
    mov rax, rbp
    mov ecx, r14d
    shr rax, cl
    and eax, 511
    lea rbx, [rbx + rax * 8]                ; the entry
    cmp r14d, r13d
    je .leaf
    mov rax, [rbx]
    test al, PAGE_PRESENT
    jnz .present
    call page_table_new
    or rax, PAGE_PRESENT | PAGE_WRITE       ; the leaf alone restricts
    mov [rbx], rax
.present:
    mov rbx, PAGE_ADDRESS
    and rbx, rax
    sub r14d, 9
    jmp .level
.leaf:
    mov [rbx], r12
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

; RAX: a zeroed page
page_table_new:
    mov edi, PAGE_SIZE
    mov esi, PAGE_SIZE
    mov edx, MAP_BOOTLOADER_RECLAIMABLE
    call map_allocate
    push rax
    mov rdi, rax
    mov ecx, PAGE_SIZE / 8
    xor eax, eax
    rep stosq
    pop rax
    ret
