; The last instructions before the nucleus: the machine state that the protocol promises. Every processor passes here.

handover:
    POST POST_HANDOVER
    mov edi, GDT_BYTES                      ; the GDT, where the nucleus's address space shows it
    call heap_allocate
    mov rdi, rax
    lea rsi, [rip + gdt]
    mov ecx, GDT_BYTES
    rep movsb
    TO_DIRECT rax
    mov word ptr [r15 + Fw.gdtr], GDT_BYTES - 1
    mov [r15 + Fw.gdtr + 2], rax
    PRINT "[LOADER] entering the nucleus by the Limine boot protocol, base revision 3\n"
    mov rax, [r15 + Fw.entry]
    mov rdx, [r15 + Fw.stack_top]
    TO_DIRECT rdx
    xor edi, edi

; RAX: where to, RDX: top of the stack, RDI: argument; addresses of the new address space. R15 = VARIABLES.
enter_nucleus:
    mov rbp, rax
    mov rsi, rdx
    mov eax, 1
    cpuid
    bt edx, CPUID_1_EDX_PAT
    jnc .no_pat
    mov ecx, MSR_PAT
    mov eax, PAT_LOW
    mov edx, PAT_HIGH
    wrmsr
.no_pat:
    lgdt [r15 + Fw.gdtr]
    mov rax, [r15 + Fw.pml4]
    mov cr3, rax                            ; the ROM is in both address spaces, nothing else below the upper half is
    mov eax, SEL_DATA64
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov fs, ax
    mov gs, ax
    mov rsp, rsi
    push 0                                  ; the return address of nobody
    push rbp
    xor eax, eax
    xor ebx, ebx
    xor ecx, ecx
    xor edx, edx
    xor esi, esi
    xor ebp, ebp
    xor r8d, r8d
    xor r9d, r9d
    xor r10d, r10d
    xor r11d, r11d
    xor r12d, r12d
    xor r13d, r13d
    xor r14d, r14d
    xor r15d, r15d
    push 2
    popfq                                   ; interrupts off, direction up
    ret                                     ; to the nucleus
