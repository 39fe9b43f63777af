; 32-bit code: the identity map of the first 4 GiB, then long mode (SDM volume 3A 9.8.5).

.code32
; The boot processor only.
first_protected:
    mov ax, SEL_DATA32
    mov ds, ax
    mov es, ax
    mov ss, ax
    POST POST_PROTECTED
    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    jb no_long_mode
    mov eax, 0x80000001
    cpuid
    bt edx, CPUID_EXT_EDX_LM
    jnc no_long_mode
    bt edx, CPUID_EXT_EDX_NX
    jnc no_long_mode

    mov edi, LOW_PML4
    mov ecx, LOW_TABLES * PAGE_SIZE / 4
    xor eax, eax
    rep stosd
    mov dword ptr [LOW_PML4], LOW_PDPT + PAGE_PRESENT + PAGE_WRITE
    mov eax, LOW_PD + PAGE_PRESENT + PAGE_WRITE
    mov edi, LOW_PDPT
    mov ecx, 4
.directory:
    mov [edi], eax
    add eax, PAGE_SIZE
    add edi, 8
    dec ecx
    jnz .directory

    mov eax, PAGE_PRESENT | PAGE_WRITE | PAGE_LARGE
    mov edi, LOW_PD
    mov ecx, 2048
.large:
    mov [edi], eax
    mov dword ptr [edi + 4], PAGE_NX_HIGH
    add eax, LARGE_PAGE
    add edi, 8
    dec ecx
    jnz .large
    mov dword ptr [edi - 8], ROM_WINDOW + PAGE_PRESENT + PAGE_LARGE     ; the last page, the ROM's: executable and read-only
    mov dword ptr [edi - 4], 0

    mov dword ptr [LOW_PD], LOW_PT + PAGE_PRESENT + PAGE_WRITE          ; the first 2 MiB in 4 KiB pages: only the trampoline may be executed
    mov dword ptr [LOW_PD + 4], 0
    mov eax, PAGE_PRESENT | PAGE_WRITE
    mov edi, LOW_PT
    mov ecx, 512
.small:
    mov [edi], eax
    mov dword ptr [edi + 4], PAGE_NX_HIGH
    add eax, PAGE_SIZE
    add edi, 8
    dec ecx
    jnz .small
    mov dword ptr [LOW_PT + TRAMPOLINE / PAGE_SIZE * 8 + 4], 0

; Every processor. EBP: where to go on in 64-bit mode.
enter_long_mode:
    mov ax, SEL_DATA32
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov eax, CR4_PAE
    mov cr4, eax
    mov eax, LOW_PML4
    mov cr3, eax
    mov ecx, MSR_EFER
    rdmsr
    or eax, EFER_LME | EFER_NXE
    wrmsr
    mov eax, CR0_PG | CR0_WP | CR0_NE | CR0_MP | CR0_ET | CR0_PE
    mov cr0, eax
    .byte 0xEA                              ; JMP ptr16:32
    .long .long
    .word SEL_CODE64
.code64
.long:
    mov ax, SEL_DATA64
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov fs, ax
    mov gs, ax
    mov ebp, ebp                            ; the upper half of RBP is undefined after the switch
    jmp rbp
.code32

; Nothing of ours runs without long mode and NX; say so without a stack, then stop.
no_long_mode:
    POST POST_NO_LONG_MODE
    mov esi, .text
    mov dx, COM1
.next:
    mov al, [esi]
    inc esi
    test al, al
    jz .stop
    out dx, al
    jmp .next
.stop:
    cli
    hlt
    jmp .stop
.section rodata
.text:
    .asciz "[POST e0] this processor has no long mode with NX; halted\r\n"

; The GDT of the Limine protocol. Accessed bits are set, because the processor cannot set them in a ROM.
    .balign 16
gdt:
    .quad 0
    .quad 0x00009B000000FFFF                ; 16-bit code
    .quad 0x000093000000FFFF                ; 16-bit data
    .quad 0x00CF9B000000FFFF                ; 32-bit code
    .quad 0x00CF93000000FFFF                ; 32-bit data
    .quad 0x00209B0000000000                ; 64-bit code
    .quad 0x0000930000000000                ; 64-bit data
.const GDT_BYTES = 56
gdt_pointer:
    .word GDT_BYTES - 1
    .long gdt
.section text
