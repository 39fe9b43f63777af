; The 16 bytes that end at 4 GiB. After reset the processor runs in real mode with CS base 0xFFFF0000 and IP 0xFFF0 (SDM volume 3A 9.1.4), so a near
; jump reaches the whole ROM.

.code16
reset_vector:
    .byte 0xE9                              ; JMP rel16, from the byte behind it
    .word (RESET_ENTRY - RESET_VECTOR - 3) & 0xFFFF
    .byte 0x90
    .ascii "FOLKERING 1"
    .byte 0
