; What a ring-3 program knows of the system (docs/contracts.md section 4): RAX the call, RDI.. its arguments, RAX the result. SYSCALL clobbers RCX and R11.

.const SYS_EXIT = 6
.const SYS_YIELD = 7
.const SYS_WRITE_CHAR = 9
.const SYS_GET_PID = 10
.const SYS_UPTIME = 12
.const SYS_WAIT_FOR_TICK = 0x99

.macro SYSTEM number
    mov eax, \number
    syscall
.endmacro

.section text

; RSI: NUL-terminated text. The kernel shows lines whole.
write_text:
    movzx edi, byte ptr [rsi]
    test edi, edi
    jz .end
    SYSTEM SYS_WRITE_CHAR
    inc rsi
    jmp write_text
.end:
    ret

; RDI: a number, in decimal
write_number:
    mov rax, rdi
    mov r8d, 10
    xor r9d, r9d
.divide:
    xor edx, edx
    div r8
    push rdx
    inc r9d
    test rax, rax
    jnz .divide
.digit:
    pop rdi
    add edi, '0'
    SYSTEM SYS_WRITE_CHAR
    dec r9d
    jnz .digit
    ret

.macro WRITE text
    lea rsi, [rip + .write_\@]
    call write_text
    .section rodata
.write_\@:
    .asciz \text
    .section text
.endmacro
