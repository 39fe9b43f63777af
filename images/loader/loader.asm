; What the loader does, in order. It finds everything in fw_cfg and hands over by the Limine boot protocol, base revision 3.

.const BASE_REVISION = 3
.const HHDM = 0xFFFF800000000000            ; where all memory is mapped in the address space that the nucleus gets
.const STACK_BYTES = 64 << 10               ; what the protocol promises
.const HEAP_BYTES = 64 << 10                ; for responses

loader_main:
    POST POST_LOADER
    call files_load                         ; nucleus, archive, command line
    call elf_check                          ; is it a nucleus at all
    call elf_load                           ; segments to where they will run
    call heap_init
    call stack_allocate
    call paging_build                       ; direct map, nucleus by its segments' rights
    call requests_find                      ; what the nucleus wants to know
    call interrupts_mask                    ; 8259A and IOAPIC
    call requests_answer                    ; starts the other processors if it asks for them; the memory map last
    jmp handover

.section rodata
loader_name:
    .asciz "Folkering loader"
loader_version:
    .asciz "0.1"
empty_string:
    .byte 0
.section text

; The response heap: one run of bootloader-reclaimable memory, zeroed.
heap_init:
    mov edi, HEAP_BYTES
    mov esi, PAGE_SIZE
    mov edx, MAP_BOOTLOADER_RECLAIMABLE
    call map_allocate
    mov [r15 + Fw.heap_next], rax
    mov rdi, rax
    add rax, HEAP_BYTES
    mov [r15 + Fw.heap_end], rax
    mov ecx, HEAP_BYTES / 8
    xor eax, eax
    rep stosq
    ret

; RDI: bytes. RAX: zeroed memory, aligned to 8, physical
heap_allocate:
    mov rax, [r15 + Fw.heap_next]
    add rdi, 7
    and rdi, -8
    add rdi, rax
    cmp rdi, [r15 + Fw.heap_end]
    ja .full
    mov [r15 + Fw.heap_next], rdi
    ret
.full:
    FAIL "the responses do not fit"

stack_allocate:
    mov edi, STACK_BYTES
    mov esi, PAGE_SIZE
    mov edx, MAP_BOOTLOADER_RECLAIMABLE
    call map_allocate
    add rax, STACK_BYTES
    mov [r15 + Fw.stack_top], rax
    ret

; The protocol wants all lines of the 8259A pair and all fixed and lowest-priority entries of the IOAPIC masked.
interrupts_mask:
    mov al, 0xFF
    out PIC_MASTER_MASK, al
    out PIC_SLAVE_MASK, al
    mov edi, IOAPIC_BASE
    mov dword ptr [rdi + IOAPIC_SELECT], IOAPIC_VERSION
    mov ecx, [rdi + IOAPIC_WINDOW]
    cmp ecx, -1
    je .done                                ; there is none
    shr ecx, 16
    and ecx, 0xFF                           ; the last entry's number
    mov edx, IOAPIC_TABLE
.entry:
    mov [rdi + IOAPIC_SELECT], edx
    mov eax, [rdi + IOAPIC_WINDOW]
    test eax, 0x600                         ; delivery modes 000 and 001 only
    jnz .next
    bts eax, 16
    jc .next
    mov [rdi + IOAPIC_WINDOW], eax
.next:
    add edx, 2
    dec ecx
    jns .entry
.done:
    ret
