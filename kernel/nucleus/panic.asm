; What cannot go on: registers on COM1, then this CPU stops. NMIs are reported and survive.

; Stack: the frame from `vector` on, on an IST stack. It may have come at any instruction, so GS is what its base says: ours is in the upper half.
nmi_entry:
    PUSH_REGISTERS
    cld
    call kernel_gs
    push rcx                                ; 1 if SWAPGS was needed
    inc qword ptr gs:[Cpu.nmis]
    lea rbx, [rsp + 8]
    PRINT "[NUCLEUS] NMI on CPU "
    mov eax, gs:[Cpu.index]
    PRINT_DECIMAL rax
    PRINT " at "
    PRINT_HEX [rbx + Frame.rip]
    PRINT "\n"
    pop rcx
    test ecx, ecx
    jz .same
    swapgs
.same:
    POP_REGISTERS
    add rsp, 16
    iretq

; Double fault, machine check: nothing behind them can be trusted.
fatal_entry:
    PUSH_REGISTERS
    cld
    call kernel_gs
    mov rbx, rsp

; RBX: frame
fatal:
    PRINT "[NUCLEUS] CPU "
    mov eax, gs:[Cpu.index]
    PRINT_DECIMAL rax
    PRINT " stopped by exception "
    PRINT_DECIMAL [rbx + Frame.vector]
    PRINT ", error "
    PRINT_HEX [rbx + Frame.error]
    PRINT ", cr2 "
    mov rax, cr2
    PRINT_HEX rax
    PRINT ", cr3 "
    mov rax, cr3
    PRINT_HEX rax
    lea rsi, [rip + .names]
    xor ecx, ecx
.register:
    test ecx, 3
    jnz .same_line
    PRINT "\n[NUCLEUS]  "
.same_line:
    PRINT " "
    call print_string
    PRINT " "
    PRINT_HEX [rbx + rcx * 8]
.skip:
    lodsb                                   ; on to the next name
    test al, al
    jnz .skip
    inc ecx
    cmp ecx, 22
    jb .register
    PRINT "\n"
    jmp stop
.section rodata
.names:
    .asciz "r15"
    .asciz "r14"
    .asciz "r13"
    .asciz "r12"
    .asciz "r11"
    .asciz "r10"
    .asciz "r9"
    .asciz "r8"
    .asciz "rbp"
    .asciz "rdi"
    .asciz "rsi"
    .asciz "rdx"
    .asciz "rcx"
    .asciz "rbx"
    .asciz "rax"
    .asciz "vector"
    .asciz "error"
    .asciz "rip"
    .asciz "cs"
    .asciz "rflags"
    .asciz "rsp"
    .asciz "ss"
.section text

; ECX: 1 if GS was the ring-3 one and has been swapped
kernel_gs:
    mov ecx, MSR_GS_BASE
    rdmsr
    xor ecx, ecx
    test edx, edx
    js .ours
    swapgs
    inc ecx
.ours:
    ret
