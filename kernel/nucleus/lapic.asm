; The CPU's local APIC: on, and its timer interrupting at TIMER_HZ.

; RDI: the CPU's page
lapic_init:
    mov rsi, LAPIC
    mov eax, [rsi + LAPIC_ID]
    shr eax, 24
    mov [rdi + Cpu.lapic_id], eax
    mov dword ptr [rsi + LAPIC_LVT_LINT0], LVT_MASKED
    mov dword ptr [rsi + LAPIC_LVT_LINT1], LVT_MASKED
    mov dword ptr [rsi + LAPIC_LVT_ERROR], LVT_MASKED
    mov dword ptr [rsi + LAPIC_SVR], SVR_ENABLE_VECTOR_FF
    mov dword ptr [rsi + LAPIC_TIMER_DIVIDE], DIVIDE_BY_16
    mov dword ptr [rsi + LAPIC_LVT_TIMER], LVT_PERIODIC | VECTOR_TIMER
    mov rax, [rip + lapic_timer_hz]
    xor edx, edx
    mov ecx, 16 * TIMER_HZ
    div rcx
    test eax, eax
    jnz .count
    inc eax                                 ; 0 would stop it
.count:
    mov [rsi + LAPIC_TIMER_INITIAL], eax
    ret
