; The gate: one OUT, and the kernel has answered when it is done. And the two calls that are not traps: HELLO and ONLINE.

.const ONLINE_POLLS = 100000000

.section bss
    .balign 8
has_gate:
    .zero 8
online:                                     ; CPUs that are up
    .zero 8
boot_record:
    .zero Record.size
.section text

; The caller has filled the CPU area. A stop that the kernel asks for while it answers takes effect at the next block: hence the jump.
gate_call:
    mov rax, gs:[Cpu.physical]
    mov dx, GATE_PORT
    out dx, eax
    jmp .answered
.answered:
    rdtsc
    shl rdx, 32
    or rax, rdx
    mov gs:[Cpu.tsc_resume], rax
    ret

; RDI: reason. A call without a frame.
gate_call_without_frame:
    mov gs:[Cpu.reason], edi
    mov qword ptr gs:[Cpu.in_gate], 1
    mov qword ptr gs:[Cpu.vector], 0
    mov qword ptr gs:[Cpu.frame], 0
    rdtsc
    shl rdx, 32
    or rax, rdx
    mov gs:[Cpu.tsc_enter], rax
    mov rax, cr3
    mov gs:[Cpu.cr3], rax
    jmp gate_call

; The boot processor, when all is set up.
gate_hello:
    lock inc qword ptr [rip + online]
    mov dx, GATE_PORT
    in eax, dx
    cmp eax, GATE_IDENTIFY
    jne .no_gate
    PRINT "[NUCLEUS] gate at port 0xfc0: handing over to the kernel\n"
    mov byte ptr [rip + has_gate], 1
    lea rdi, [rip + boot_record]
    call direct_of
    sub rax, [rip + hhdm]
    mov gs:[Cpu.boot_record], rax
    mov edi, REASON_HELLO
    call gate_call_without_frame
    call processors_release                 ; they say ONLINE, which the kernel only understands after HELLO
    jmp resume
.no_gate:
    call processors_release
    mov ecx, ONLINE_POLLS
.wait:
    mov rax, [rip + online]
    cmp rax, [rip + cpu_count]
    jae .all
    pause
    dec ecx
    jnz .wait
.all:
    PRINT "[NUCLEUS] CPUs online: "
    PRINT_DECIMAL [rip + online]
    PRINT " of "
    PRINT_DECIMAL [rip + cpu_count]
    PRINT "\n[NUCLEUS] no gate: nothing answers at port 0xFC0, idling\n"
    jmp idle

; Every other processor.
gate_online:
    lock inc qword ptr [rip + online]
    cmp byte ptr [rip + has_gate], 0
    je idle
    mov edi, REASON_ONLINE
    call gate_call_without_frame
    jmp resume

; Sends every other processor to processor_entry. The boot processor is CPU 0, whatever its LAPIC ID; the others follow in the loader's order.
processors_release:
    push rbx
    mov rbx, [rip + mp_response]
    mov rcx, [rbx + MpResponse.count]
    mov rbx, [rbx + MpResponse.cpus]
    lea rax, [rip + processor_entry]
    mov r8d, 1                              ; the next index
.processor:
    mov rdx, [rbx]
    mov esi, [rdx + MpInfo.lapic_id]
    cmp esi, [rip + bsp_lapic_id]
    je .next
    mov [rdx + MpInfo.extra_argument], r8
    inc r8d
    mov [rdx + MpInfo.goto_address], rax
.next:
    add rbx, 8
    dec rcx
    jnz .processor
    pop rbx
    ret
