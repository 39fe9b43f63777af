; The interrupt descriptor table, one for all CPUs: 256 interrupt gates to stubs of 16 bytes.

.const STUB_BYTES = 16
.const VECTORS = 256
.const GATE_FLAGS = 0x8E00                  ; present, ring 0, interrupt gate
.const GATE_FLAGS_USER = 0xEE00             ; the same, allowed from ring 3: INT3 and INTO

.section bss
    .balign 16
idt:
    .zero VECTORS * 16
.section rodata
idt_pointer:
    .word VECTORS * 16 - 1
    .quad idt
.section text

idt_build:
    lea rax, [rip + trap_stubs]
    lea rdi, [rip + idt]
    xor ecx, ecx
.gate:
    mov [rdi], ax
    mov word ptr [rdi + 2], SEL_KERNEL_CODE
    mov word ptr [rdi + 4], GATE_FLAGS
    mov rdx, rax
    shr rdx, 16
    mov [rdi + 6], dx
    shr rdx, 16
    mov [rdi + 8], rdx
    add rax, STUB_BYTES
    add rdi, 16
    inc ecx
    cmp ecx, VECTORS
    jb .gate
    lea rdi, [rip + idt]
    mov word ptr [rdi + 3 * 16 + 4], GATE_FLAGS_USER
    mov word ptr [rdi + 4 * 16 + 4], GATE_FLAGS_USER
    mov byte ptr [rdi + VECTOR_NMI * 16 + 4], IST_NMI
    mov byte ptr [rdi + VECTOR_DOUBLE_FAULT * 16 + 4], IST_DOUBLE_FAULT
    mov byte ptr [rdi + VECTOR_MACHINE_CHECK * 16 + 4], IST_MACHINE_CHECK
    ret
