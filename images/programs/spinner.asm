; spinner: never gives its CPU up. It runs a random sequence in a general register and the same one in an SSE register, and compares the two: a context switch
; that lost a register would be found here.

.include "../include/system.asm"

.const ROUNDS = 4096                        ; between comparisons

.section bss
    .balign 8
compared:
    .zero 8
.section text

start:
    WRITE "spinner: computing\n"
    SYSTEM SYS_GET_PID
    mov rbx, 0x9E3779B97F4A7C15             ; never 0
    xor rbx, rax
    movq xmm0, rbx
.again:
    mov ecx, ROUNDS
.round:
    mov rax, rbx                            ; xorshift64 (G. Marsaglia, 2003)
    shl rax, 13
    xor rbx, rax
    mov rax, rbx
    shr rax, 7
    xor rbx, rax
    mov rax, rbx
    shl rax, 17
    xor rbx, rax
    movq xmm1, xmm0
    psllq xmm1, 13
    pxor xmm0, xmm1
    movq xmm1, xmm0
    psrlq xmm1, 7
    pxor xmm0, xmm1
    movq xmm1, xmm0
    psllq xmm1, 17
    pxor xmm0, xmm1
    dec ecx
    jnz .round
    movq rax, xmm0
    cmp rax, rbx
    jne .lost
    inc qword ptr [rip + compared]
    jmp .again
.lost:
    WRITE "spinner: a register was lost\n"
    mov edi, 1
    SYSTEM SYS_EXIT
