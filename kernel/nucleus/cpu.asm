; What each CPU sets up for itself.

; RDI: index. The CPU's page and stack are zeroed memory.
cpu_init:
    push rbx
    mov rbx, rdi
    shl rdi, 12
    add rdi, [rip + cpu_areas]
    mov rax, rdi
    add rdi, [rip + hhdm]                   ; from here on RDI is the CPU's page
    mov [rdi + Cpu.physical], rax
    mov rax, AREA_MAGIC
    mov [rdi + Cpu.magic], rax
    mov [rdi + Cpu.index], ebx
    lea rax, [rbx + 1]
    imul rax, rax, CPU_STACK
    add rax, [rip + cpu_stacks]
    add rax, [rip + hhdm]
    mov [rdi + Cpu.stack_top], rax
    mov rax, [rip + root]
    mov [rdi + Cpu.cr3], rax
    call descriptors_load
    call msrs_write
    fninit
    sub rsp, 8
    mov dword ptr [rsp], 0x1F80             ; all SIMD exceptions masked
    ldmxcsr [rsp]
    add rsp, 8
    call lapic_init
    pop rbx
    ret

; RDI: the CPU's page. GDT, TSS, segment registers, IDT, GS base. Keeps RDI.
descriptors_load:
    mov rax, rdi
    add rax, PAGE_SIZE - 2 * IST_BYTES
    mov [rdi + TSS_IST], rax                ; IST1 ends 2 KiB below the page's end,
    add rax, IST_BYTES
    mov [rdi + TSS_IST + 8], rax            ; IST2 1 KiB below,
    add rax, IST_BYTES
    mov [rdi + TSS_IST + 16], rax           ; IST3 at the end
    mov rax, [rdi + Cpu.stack_top]
    mov [rdi + TSS_RSP0], rax
    mov word ptr [rdi + TSS_IOMAP], TSS_BYTES   ; no I/O permission map

    lea rsi, [rip + gdt_template]
    lea rdx, [rdi + Cpu.gdt]
    mov ecx, 5
.copy:
    mov rax, [rsi]
    mov [rdx], rax
    add rsi, 8
    add rdx, 8
    dec ecx
    jnz .copy
    lea rax, [rdi + Cpu.tss]                ; a 16-byte system descriptor (SDM volume 3A figure 7-4)
    mov word ptr [rdx], TSS_BYTES - 1
    mov [rdx + 2], ax
    shr rax, 16
    mov [rdx + 4], al
    mov word ptr [rdx + 5], 0x0089          ; present, available 64-bit TSS
    mov [rdx + 7], ah
    shr rax, 16
    mov [rdx + 8], rax
    mov word ptr [rdi + Cpu.gdtr], 55
    lea rax, [rdi + Cpu.gdt]
    mov [rdi + Cpu.gdtr + 2], rax
    lgdt [rdi + Cpu.gdtr]
    mov eax, SEL_KERNEL_DATA
    mov ds, ax
    mov es, ax
    mov ss, ax
    xor eax, eax
    mov fs, ax
    mov gs, ax
    push SEL_KERNEL_CODE
    lea rax, [rip + .reloaded]
    push rax
    retfq
.reloaded:
    mov eax, SEL_TSS
    ltr ax
    lidt [rip + idt_pointer]
    mov ecx, MSR_GS_BASE
    mov eax, edi
    mov rdx, rdi
    shr rdx, 32
    wrmsr
    mov ecx, MSR_KERNEL_GS_BASE             ; what ring 3 sees
    xor eax, eax
    xor edx, edx
    wrmsr
    ret
.section rodata
    .balign 8
gdt_template:
    .quad 0
    .quad 0x00209B0000000000                ; 0x08 kernel code, 64-bit
    .quad 0x0000930000000000                ; 0x10 kernel data
    .quad 0x0000F30000000000                ; 0x18 user data
    .quad 0x0020FB0000000000                ; 0x20 user code, 64-bit
.section text

; SYSCALL: enters at syscall_entry with CS 0x08, SS 0x10, interrupts off.
msrs_write:
    mov ecx, MSR_EFER
    rdmsr
    or eax, EFER_SCE | EFER_NXE
    wrmsr
    mov ecx, MSR_STAR                       ; SYSRET's selectors would be 0x18 and 0x20; tasks are resumed by IRETQ
    xor eax, eax
    mov edx, 0x00130008
    wrmsr
    mov ecx, MSR_LSTAR
    lea rax, [rip + syscall_entry]
    mov rdx, rax
    shr rdx, 32
    wrmsr
    mov ecx, MSR_FMASK
    mov eax, SYSCALL_FLAGS
    xor edx, edx
    wrmsr
    ret
