; The nucleus's own memory: page tables, one area a CPU, one stack a CPU. It is cut from a usable range of the loader's memory map, and the kernel gets a copy
; of the map in which that range is the nucleus's.

.const OWN_MAP_MAX = 600
.const FIXED_TABLES = 16                    ; PML4, PDPTs, the nucleus's and the LAPIC's own; the direct map's directories come on top, one a GiB
.const FOUR_GIB = 1 << 32

.section bss
    .balign 16
own_map:                                    ; Limine's response, pointers and entries, one behind the other
    .zero 24
own_pointers:
    .zero OWN_MAP_MAX * 8
own_entries:
    .zero OWN_MAP_MAX * 24
own_count:
    .zero 8
memory_next:                                ; physical, what is left of ours
    .zero 8
memory_end:
    .zero 8
cpu_areas:                                  ; physical
    .zero 8
cpu_stacks:
    .zero 8
memory_top:                                 ; end of the highest range that the direct map shows
    .zero 8
.section text

memory_take:
    push rbx
    push r12
    mov rbx, [rip + memmap_response]
    mov r12, [rbx + MemmapResponse.count]
    lea rsi, [rip + .too_long]
    cmp r12, OWN_MAP_MAX - 2
    ja stop_with
    mov rbx, [rbx + MemmapResponse.entries]
    lea rdi, [rip + own_entries]
    xor ecx, ecx
    xor r8d, r8d                            ; the top
.copy:
    mov rdx, [rbx + rcx * 8]
    mov rax, [rdx + MapEntry.base]
    mov [rdi + MapEntry.base], rax
    mov r9, [rdx + MapEntry.length]
    mov [rdi + MapEntry.length], r9
    add r9, rax
    mov rax, [rdx + MapEntry.type]
    mov [rdi + MapEntry.type], rax
    mov edx, MAP_DIRECT_TYPES
    bt edx, eax
    jnc .not_direct
    cmp r9, r8
    cmova r8, r9
.not_direct:
    add rdi, MapEntry.size
    inc ecx
    cmp rcx, r12
    jb .copy
    mov [rip + own_count], r12
    mov [rip + memory_top], r8

    lea rax, [r8 + GIB - 1]                 ; how much: a directory a GiB,
    shr rax, 30
    add rax, FIXED_TABLES
    imul rcx, [rip + cpu_count], 1 + CPU_STACK / PAGE_SIZE
    add rax, rcx                            ; and area and stack a CPU
    shl rax, 12
    call memory_cut
    mov [rip + memory_next], rax
    mov [rip + memory_end], rcx
    mov rdi, rax
    sub rcx, rax
    shr rcx, 3
    add rdi, [rip + hhdm]
    xor eax, eax
    rep stosq

    mov rdi, [rip + cpu_count]
    push rdi
    call memory_pages
    mov [rip + cpu_areas], rax
    pop rdi
    imul rdi, rdi, CPU_STACK / PAGE_SIZE
    call memory_pages
    mov [rip + cpu_stacks], rax
    call own_map_finish
    pop r12
    pop rbx
    ret
.section rodata
.too_long:
    .asciz "the memory map has too many ranges"
.section text

; RAX: bytes, whole pages. RAX, RCX: the range [RAX, RCX) at the end of the highest usable range below 4 GiB that is large enough, now marked as ours.
memory_cut:
    mov r8, rax
    mov rcx, [rip + own_count]
    imul rdx, rcx, MapEntry.size
    lea rdi, [rip + own_entries]
    lea rdx, [rdi + rdx]                    ; behind the last entry
    mov r9, FOUR_GIB
    mov rdi, rdx
.search:
    sub rdi, MapEntry.size
    dec rcx
    lea rsi, [rip + .none]
    js stop_with
    cmp qword ptr [rdi + MapEntry.type], MAP_USABLE
    jne .search
    mov rax, [rdi + MapEntry.length]
    cmp rax, r8
    jbe .search
    add rax, [rdi + MapEntry.base]
    cmp rax, r9
    ja .search
    sub [rdi + MapEntry.length], r8
    mov rsi, rdx                            ; room for one more behind it
.shift:
    sub rsi, MapEntry.size
    cmp rsi, rdi
    je .shifted
    mov rcx, [rsi]
    mov [rsi + MapEntry.size], rcx
    mov rcx, [rsi + 8]
    mov [rsi + MapEntry.size + 8], rcx
    mov rcx, [rsi + 16]
    mov [rsi + MapEntry.size + 16], rcx
    jmp .shift
.shifted:
    mov rcx, rax
    sub rax, r8
    mov [rdi + MapEntry.size + MapEntry.base], rax
    mov [rdi + MapEntry.size + MapEntry.length], r8
    mov qword ptr [rdi + MapEntry.size + MapEntry.type], MAP_EXECUTABLE_AND_MODULES
    inc qword ptr [rip + own_count]
    ret
.section rodata
.none:
    .asciz "no memory below 4 GiB is left for page tables and stacks"
.section text

; RDI: how many. RAX: physical address of that many zeroed pages
memory_pages:
    shl rdi, 12
    mov rax, [rip + memory_next]
    add rdi, rax
    lea rsi, [rip + .none]
    cmp rdi, [rip + memory_end]
    ja stop_with
    mov [rip + memory_next], rdi
    ret
.section rodata
.none:
    .asciz "the nucleus's own memory is too small"
.section text

; The copy as a Limine response. Its pointers are direct-map addresses, like the loader's own.
own_map_finish:
    lea rdi, [rip + own_entries]
    call direct_of
    lea rdi, [rip + own_pointers]
    mov rcx, [rip + own_count]
    mov [rip + own_map + MemmapResponse.count], rcx
.pointer:
    mov [rdi], rax
    add rax, MapEntry.size
    add rdi, 8
    dec rcx
    jnz .pointer
    lea rdi, [rip + own_pointers]
    call direct_of
    mov [rip + own_map + MemmapResponse.entries], rax
    ret

; RDI: an address in the nucleus's image. RAX: its direct-map address
direct_of:
    mov rax, rdi
    lea rcx, [rip + nucleus_entry]
    sub rax, rcx
    add rax, [rip + kernel_physical]
    add rax, [rip + hhdm]
    ret
