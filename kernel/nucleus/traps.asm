; From a trap to the kernel and back. A trap frame is 22 quadwords (layout.asm); the processor pushes its last five or six, the stub the vector, trap_common
; the registers. A task's frame lies where the kernel put it, because TSS.RSP0 points behind it.

.const HAS_ERROR_CODE = 0x60227D00          ; one bit a vector: 8, 10-14, 17, 21, 29, 30

.section text
    .balign 16
trap_stubs:
.repeat 256, vector
    .balign 16
    .if \vector < 32
        .if (HAS_ERROR_CODE >> \vector) & 1
        .else
    push 0
        .endif
    .else
    push 0
    .endif
    push \vector
    .if \vector == VECTOR_NMI
    jmp nmi_entry
    .else
        .if \vector == VECTOR_DOUBLE_FAULT
    jmp fatal_entry
        .else
            .if \vector == VECTOR_MACHINE_CHECK
    jmp fatal_entry
            .else
    jmp trap_common
            .endif
        .endif
    .endif
.endrepeat

.macro PUSH_REGISTERS
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
.endmacro

.macro POP_REGISTERS
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
.endmacro

; Stack: the frame from `vector` on.
trap_common:
    test byte ptr [rsp + Frame.cs - Frame.vector], 3
    jz .from_ring_0
    swapgs
    PUSH_REGISTERS
    jmp .saved
.from_ring_0:
    PUSH_REGISTERS
    lea rax, [rip + resume_ring_3]
    cmp [rsp + Frame.rip], rax
    jne .saved
    swapgs                                  ; IRETQ refused a frame: GS was ring 3's already
.saved:
    cld
    mov rbx, rsp                            ; the frame
    rdtsc
    shl rdx, 32
    or rax, rdx
    mov gs:[Cpu.tsc_enter], rax
    mov r12d, [rbx + Frame.vector]
    cmp r12d, FIRST_INTERRUPT
    jae .interrupt
    cmp qword ptr gs:[Cpu.in_gate], 0
    jne fatal                               ; an exception of the trap code itself
    mov rax, cr2
    mov gs:[Cpu.cr2], rax
    mov r13d, REASON_EXCEPTION
    jmp trap_to_kernel
.interrupt:
    mov r13d, REASON_INTERRUPT

; RBX: frame, R12D: vector, R13D: reason. Asks the kernel, then resumes what it answers.
trap_to_kernel:
    mov qword ptr gs:[Cpu.in_gate], 1
    test byte ptr [rbx + Frame.cs], 3
    jz .no_fpu
    fxsave64 [rbx + Frame.size]
    mov rsp, gs:[Cpu.stack_top]             ; the task's block has little room below its frame
.no_fpu:
    cmp byte ptr [rip + has_gate], 0
    je trap_without_kernel
    mov gs:[Cpu.reason], r13d
    mov gs:[Cpu.vector], r12d
    mov rax, [rbx + Frame.error]
    mov gs:[Cpu.error], rax
    mov rax, rbx
    sub rax, [rip + hhdm]
    mov gs:[Cpu.frame], rax
    mov rax, cr3
    mov gs:[Cpu.cr3], rax
    call gate_call
    cmp r13d, REASON_INTERRUPT
    jne resume
    cmp r12d, VECTOR_SPURIOUS
    je resume
    mov rdi, LAPIC
    mov dword ptr [rdi + LAPIC_EOI], 0

; Does what the kernel's answer says. The stack is the CPU's own.
resume:
    mov rbx, gs:[Cpu.resume]
    mov rax, gs:[Cpu.resume_cr3]
    mov rcx, rax
    and rax, -PAGE_SIZE
    jnz .own_space
    mov rax, [rip + root]
.own_space:
    test cl, 1                              ; the kernel changed mappings that this CPU may have cached
    jnz .load
    mov rdx, cr3
    cmp rdx, rax
    je .loaded
.load:
    mov cr3, rax
.loaded:
    test rbx, rbx
    jz idle
    add rbx, [rip + hhdm]
    test byte ptr [rbx + Frame.cs], 3
    jz resume_ring_0
    lea rax, [rbx + Frame.size]
    mov gs:[TSS_RSP0], rax
    fxrstor64 [rbx + Frame.size]
    mov qword ptr gs:[Cpu.in_gate], 0
    mov rsp, rbx
    POP_REGISTERS
    add rsp, 16                             ; vector, error
    swapgs
resume_ring_3:
    iretq
resume_ring_0:
    mov qword ptr gs:[Cpu.in_gate], 0
    mov rsp, rbx
    POP_REGISTERS
    add rsp, 16
    iretq

; Nothing to run: wait for an interrupt on the CPU's own, empty stack.
idle:
    mov rsp, gs:[Cpu.stack_top]
    mov qword ptr gs:[Cpu.in_gate], 0
.wait:
    sti
    hlt
    jmp .wait

; Nobody behind the gate: interrupts are acknowledged and forgotten, an exception has nobody to answer it.
trap_without_kernel:
    cmp r13d, REASON_INTERRUPT
    jne fatal
    cmp r12d, VECTOR_SPURIOUS
    je idle
    mov rdi, LAPIC
    mov dword ptr [rdi + LAPIC_EOI], 0
    jmp idle
