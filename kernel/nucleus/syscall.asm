; SYSCALL from ring 3: RCX holds the return address, R11 the flags, and there is no stack yet. Builds the frame that an interrupt would have built, with
; vector 0x100, where TSS.RSP0 points.

syscall_entry:
    swapgs
    mov gs:[Cpu.user_rsp], rsp
    mov rsp, gs:[TSS_RSP0]
    push SEL_USER_DATA
    push qword ptr gs:[Cpu.user_rsp]
    push r11
    push SEL_USER_CODE
    push rcx
    push 0
    push VECTOR_SYSCALL
    PUSH_REGISTERS
    mov rbx, rsp
    rdtsc
    shl rdx, 32
    or rax, rdx
    mov gs:[Cpu.tsc_enter], rax
    mov r12d, VECTOR_SYSCALL
    mov r13d, REASON_SYSCALL
    jmp trap_to_kernel
