; yielder: works a little, then lets the others of its CPU go first, over and over.

.include "../include/system.asm"

.section bss
    .balign 8
turns:
    .zero 8
.section text

start:
    WRITE "yielder: taking turns\n"
.turn:
    mov ecx, 20000
.work:
    dec ecx
    jnz .work
    inc qword ptr [rip + turns]
    SYSTEM SYS_YIELD
    jmp .turn
