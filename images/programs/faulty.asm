; faulty: does what a program must not do, so that one can see what becomes of it. RDI: 0 store to address 0, 1 store to its code, 2 a privileged
; instruction, 3 execute its stack, 4 divide by zero, anything else exit with that code.

.include "../include/system.asm"

start:
    mov rbx, rdi
    WRITE "faulty: here I go\n"
    cmp rbx, 1
    jb .null
    je .code
    cmp rbx, 3
    jb .privileged
    je .stack
    cmp rbx, 5
    jb .divide
    mov rdi, rbx
    SYSTEM SYS_EXIT
.null:
    xor eax, eax
    mov [rax], eax
.code:
    lea rax, [rip + start]
    mov [rax], eax
.privileged:
    cli
.stack:
    push 0xC3
    jmp rsp
.divide:
    xor ecx, ecx
    div ecx
    ud2
