; Exceptions in firmware and loader: print what and where, then stop. A triple fault would only reboot.

.const EXCEPTIONS = 32
.const EXCEPTION_STUB = 8                   ; bytes a stub
.const HAS_ERROR_CODE = 0x60227D00          ; one bit a vector: 8, 10-14, 17, 21, 29, 30 (SDM volume 3A table 6-1, AMD's #VC and #SX)

exceptions_init:
    lea rax, [rip + exception_stubs]
    mov edi, FIRMWARE_IDT
    mov ecx, EXCEPTIONS
.gate:
    mov word ptr [rdi], ax
    mov word ptr [rdi + 2], SEL_CODE64
    mov word ptr [rdi + 4], 0x8E00          ; present, ring 0, interrupt gate, no IST
    mov rdx, rax
    shr rdx, 16
    mov word ptr [rdi + 6], dx
    mov qword ptr [rdi + 8], 0              ; the ROM is below 4 GiB
    add rax, EXCEPTION_STUB
    add rdi, 16
    dec ecx
    jnz .gate
    mov word ptr [r15 + Fw.idtr], EXCEPTIONS * 16 - 1
    mov qword ptr [r15 + Fw.idtr + 2], FIRMWARE_IDT
    lidt [r15 + Fw.idtr]
    ret

    .balign 8
exception_stubs:
.repeat EXCEPTIONS, vector
    .balign 8
    push \vector
    jmp exception
.endrepeat

exception:
    POST POST_EXCEPTION
    pop rbx                                 ; vector
    xor ebp, ebp
    mov eax, HAS_ERROR_CODE
    bt eax, ebx
    jnc .no_code
    pop rbp
.no_code:
    pop r12                                 ; RIP
    PRINT "[FIRMWARE] exception "
    PRINT_DECIMAL rbx
    PRINT " at "
    PRINT_HEX r12
    PRINT ", error "
    PRINT_HEX rbp
    PRINT ", cr2 "
    mov rax, cr2
    PRINT_HEX rax
    PRINT "; halted\n"
    jmp halt_forever
