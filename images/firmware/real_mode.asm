; 16-bit code: to protected mode as fast as possible, the boot processor from the reset vector and the others from the SIPI trampoline.

.code16
reset_entry:
    cli
    cld
    POST POST_RESET
    in al, SYSTEM_CONTROL_A                 ; A20 open; bit 0 would reset the machine
    or al, CONTROL_A_A20
    and al, 0xFE
    out SYSTEM_CONTROL_A, al
    .byte 0x66                              ; 32-bit operand: all of the GDT's base
    lgdt cs:[gdt_pointer - ROM_BASE]
    mov eax, CR0_PE | CR0_ET                ; caches on (CD, NW clear)
    mov cr0, eax
    mov ebp, firmware_entry                 ; where to go on in 64-bit mode
    .byte 0x66, 0xEA                        ; JMP ptr16:32, which keystone cannot express
    .long first_protected
    .word SEL_CODE32

; Copied to TRAMPOLINE. Position independent: its one absolute address is the pseudo-descriptor that the loader leaves behind it.
trampoline_start:
    cli
    cld
    xor ax, ax
    mov ds, ax
    .byte 0x66
    lgdt [TRAMPOLINE_GDTR]
    mov eax, CR0_PE | CR0_ET
    mov cr0, eax
    mov ebp, processor_entry
    .byte 0x66, 0xEA
    .long enter_long_mode
    .word SEL_CODE32
trampoline_end:
