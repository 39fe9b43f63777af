; The nucleus's address space, shared by all CPUs: the direct map no-execute, the nucleus W^X, the LAPIC uncached, nothing in the lower half. Address spaces of
; tasks copy its upper half.

.section bss
    .balign 8
root:                                       ; physical
    .zero 8
smep:
    .zero 8
.section text

paging_build:
    push rbx
    push r12
    push r13
    push r14
    mov edi, 1
    call memory_pages
    mov [rip + root], rax

    lea rbx, [rip + own_entries]            ; the direct map, 2 MiB pages
    mov r14, [rip + own_count]
.range:
    mov ecx, [rbx + MapEntry.type]
    mov eax, MAP_DIRECT_TYPES
    bt eax, ecx
    jnc .next
    mov r12, [rbx + MapEntry.base]
    mov r13, [rbx + MapEntry.length]
    add r13, r12
    and r12, -LARGE_PAGE
.large:
    cmp r12, r13
    jae .next
    mov rdi, r12
    add rdi, [rip + hhdm]
    mov rsi, r12
    mov edx, PAGE_PRESENT | PAGE_WRITE | PAGE_LARGE
    bts rdx, PAGE_NX_BIT
    mov ecx, 21
    call map_page
    add r12, LARGE_PAGE
    jmp .large
.next:
    add rbx, MapEntry.size
    dec r14
    jnz .range

    lea r12, [rip + text_start]             ; the nucleus by section
    lea r13, [rip + text_end]
    mov ebx, PAGE_PRESENT
    call map_section
    lea r12, [rip + rodata_start]
    lea r13, [rip + rodata_end]
    bts rbx, PAGE_NX_BIT
    call map_section
    lea r12, [rip + data_start]
    lea r13, [rip + bss_end]
    or rbx, PAGE_WRITE
    call map_section

    mov rdi, LAPIC
    mov esi, LAPIC_BASE
    mov edx, PAGE_PRESENT | PAGE_WRITE | PAGE_PCD | PAGE_PWT
    bts rdx, PAGE_NX_BIT
    mov ecx, 12
    call map_page
    pop r14
    pop r13
    pop r12
    pop rbx
    ret

; [R12, R13): a section; RBX: flags
map_section:
    cmp r12, r13
    jae .done
    mov rdi, r12
    mov rsi, r12
    lea rax, [rip + nucleus_entry]
    sub rsi, rax
    add rsi, [rip + kernel_physical]
    mov rdx, rbx
    mov ecx, 12
    call map_page
    add r12, PAGE_SIZE
    jmp map_section
.done:
    ret

; RDI: virtual, RSI: physical, RDX: flags of the leaf, ECX: 12 or 21, the leaf's size as a power of two
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
    mov r14d, 39
    mov rbx, [rip + root]
.level:
    add rbx, [rip + hhdm]
    mov rax, rbp
    mov ecx, r14d
    shr rax, cl
    and eax, 511
    lea rbx, [rbx + rax * 8]
    cmp r14d, r13d
    je .leaf
    mov rax, [rbx]
    test al, PAGE_PRESENT
    jnz .present
    mov edi, 1
    call memory_pages
    or rax, PAGE_PRESENT | PAGE_WRITE
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

; Every CPU. The code goes on at the same address, and stacks stay where they are in the direct map.
paging_enter:
    push rbx
    mov rax, [rip + root]
    mov cr3, rax
    mov rax, CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG
    mov cr0, rax
    xor eax, eax
    cpuid
    xor ebx, ebx
    cmp eax, 7
    jb .no_leaf
    mov eax, 7
    xor ecx, ecx
    cpuid
.no_leaf:
    mov rax, cr4
    or rax, CR4_OSFXSR | CR4_OSXMMEXCPT
    bt ebx, CPUID_7_EBX_SMEP
    jnc .no_smep
    or rax, CR4_SMEP
    mov qword ptr [rip + smep], 1
.no_smep:
    mov cr4, rax
    pop rbx
    ret

; The line that says what protects what. The boot processor's, once.
paging_report:
    PRINT "[NUCLEUS] W^X, NX"
    cmp qword ptr [rip + smep], 0
    je .no_smep
    PRINT ", SMEP"
.no_smep:
    PRINT ", page tables at "
    PRINT_HEX [rip + root]
    PRINT ", timers at 100 Hz\n"
    ret
