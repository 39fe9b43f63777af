; Is there everything the nucleus needs? And the first line of its own.

.section bss
    .balign 8
hhdm:                                       ; virtual address of physical 0
    .zero 8
kernel_physical:
    .zero 8
cpu_count:
    .zero 8
bsp_lapic_id:
    .zero 8
.section text

responses_check:
    lea rsi, [rip + .revision]
    cmp qword ptr [rip + base_revision_wanted], 0
    jne stop_with
    lea rsi, [rip + .direct_map]
    mov rax, [rip + hhdm_response]
    test rax, rax
    jz stop_with
    mov rax, [rax + 8]
    mov [rip + hhdm], rax
    lea rsi, [rip + .address]
    mov rax, [rip + executable_address]
    test rax, rax
    jz stop_with
    mov rcx, [rax + 8]
    mov [rip + kernel_physical], rcx
    lea rcx, [rip + nucleus_entry]
    and rcx, -PAGE_SIZE
    cmp [rax + 16], rcx                     ; text is the first section
    jne stop_with
    lea rsi, [rip + .map]
    cmp qword ptr [rip + memmap_response], 0
    je stop_with
    lea rsi, [rip + .processors]
    mov rax, [rip + mp_response]
    test rax, rax
    jz stop_with
    mov rcx, [rax + MpResponse.count]
    mov [rip + cpu_count], rcx
    mov ecx, [rax + MpResponse.bsp_lapic_id]
    mov [rip + bsp_lapic_id], rcx
    ret
.section rodata
.revision:
    .asciz "the boot loader does not offer Limine base revision 3"
.direct_map:
    .asciz "the boot loader gave no direct map"
.address:
    .asciz "the boot loader did not say where the nucleus is, or moved it"
.map:
    .asciz "the boot loader gave no memory map"
.processors:
    .asciz "the boot loader did not start the processors"
.section text

; RSI: why
stop_with:
    PRINT "[NUCLEUS] error: "
    call print_string
    PRINT "; halted\n"
stop:
    cli
    hlt
    jmp stop

banner:
    PRINT "[NUCLEUS] Folkering at "
    lea rax, [rip + nucleus_entry]
    PRINT_HEX rax
    PRINT ", physical "
    PRINT_HEX [rip + kernel_physical]
    mov rax, [rip + bootloader_info]
    test rax, rax
    jz .anonymous
    PRINT ", by "
    mov rsi, [rax + 8]
    call print_string
    PRINT " "
    mov rsi, [rax + 16]
    call print_string
.anonymous:
    PRINT "\n"
    ret
