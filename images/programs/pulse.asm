; pulse: tests one odd number for being prime at each tick of its CPU, and sleeps in between: a light load that never ends.

.include "../include/system.asm"

.section bss
    .balign 8
primes:                                     ; found so far
    .zero 8
.section text

start:
    SYSTEM SYS_GET_PID
    mov r12, rax
    WRITE "pulse: task "
    mov rdi, r12
    call write_number
    WRITE " tests a number a tick\n"
    mov ebx, 3                              ; the candidate
    mov qword ptr [rip + primes], 1         ; 2
.tick:
    SYSTEM SYS_WAIT_FOR_TICK
    mov ebp, 3
.divisor:
    mov rax, rbp
    imul rax, rbp
    cmp rax, rbx
    ja .prime
    mov rax, rbx
    xor edx, edx
    div rbp
    test rdx, rdx
    jz .composite
    add rbp, 2
    jmp .divisor
.prime:
    inc qword ptr [rip + primes]
.composite:
    add rbx, 2
    jmp .tick
