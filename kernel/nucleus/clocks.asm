; The rates of the time-stamp counter and of the LAPIC timer: from CPUID where it tells them, measured against PIT channel 2 where not.

.const HYPERVISOR_LEAVES = 0x40000000
.const HYPERVISOR_CLOCKS = 0x40000010       ; EAX: TSC kHz, EBX: LAPIC bus kHz (the convention of VMware, which others follow)
.const CPUID_TSC = 0x15                     ; SDM volume 2A: EBX/EAX is the ratio of TSC to crystal, ECX the crystal's Hz; the LAPIC timer counts the crystal
.const CALIBRATION_HZ = 100                 ; 10 ms
.const CALIBRATION_COUNT = PIT_HZ / CALIBRATION_HZ
.const ATTEMPTS = 3
.const CALIBRATION_POLLS = 10000000

.section bss
    .balign 8
tsc_hz:
    .zero 8
lapic_timer_hz:                             ; before its divider
    .zero 8
.section text

clocks_measure:
    push rbx
    mov eax, 1
    cpuid
    bt ecx, CPUID_1_ECX_HYPERVISOR
    jnc .crystal
    mov eax, HYPERVISOR_LEAVES
    cpuid
    cmp eax, HYPERVISOR_CLOCKS
    jb .crystal
    mov eax, HYPERVISOR_CLOCKS
    cpuid
    test eax, eax
    jz .crystal
    test ebx, ebx
    jz .crystal
    imul rax, rax, 1000
    imul rbx, rbx, 1000
    jmp .told
.crystal:
    xor eax, eax
    cpuid
    cmp eax, CPUID_TSC
    jb .measure
    mov eax, CPUID_TSC
    xor ecx, ecx
    cpuid
    test eax, eax
    jz .measure
    test ebx, ebx
    jz .measure
    test ecx, ecx
    jz .measure
    mov r8d, eax
    mov eax, ecx
    mul rbx
    div r8
    mov ebx, ecx
.told:
    mov [rip + tsc_hz], rax
    mov [rip + lapic_timer_hz], rbx
    lea rsi, [rip + .by_cpuid]
    jmp .print
.measure:
    call clocks_calibrate
    mov [rip + tsc_hz], rax
    mov [rip + lapic_timer_hz], rbx
    lea rsi, [rip + .by_pit]
.print:
    PRINT "[NUCLEUS] TSC "
    mov rax, [rip + tsc_hz]
    call .mhz
    PRINT ", LAPIC timer "
    mov rax, [rip + lapic_timer_hz]
    call .mhz
    call print_string
    pop rbx
    ret
.mhz:
    xor edx, edx
    mov ecx, 1000000
    div rcx
    PRINT_DECIMAL rax
    PRINT " MHz"
    ret
.section rodata
.by_cpuid:
    .asciz " (CPUID)\n"
.by_pit:
    .asciz " (PIT)\n"
.section text

; Against 10 ms of PIT channel 2 in mode 0: its output, bit 5 of port 0x61, rises at the end of the count (8254 data sheet, "Mode 0"). The LAPIC timer runs
; beside it, one-shot and masked. Both are read outside the gate's time, so whatever interferes makes them count more: the shortest of some attempts is right.
; RAX: TSC Hz, RBX: LAPIC timer Hz
clocks_calibrate:
    mov rdi, LAPIC
    mov dword ptr [rdi + LAPIC_SVR], SVR_ENABLE_VECTOR_FF
    mov dword ptr [rdi + LAPIC_LVT_TIMER], LVT_MASKED
    mov dword ptr [rdi + LAPIC_TIMER_DIVIDE], DIVIDE_BY_16
    mov r9, -1                              ; shortest TSC difference,
    xor ebx, ebx                            ; and the LAPIC's with it
    mov r10d, ATTEMPTS
.attempt:
    in al, SYSTEM_CONTROL_B
    and al, 0xFF - CONTROL_B_SPEAKER - CONTROL_B_GATE_2
    out SYSTEM_CONTROL_B, al
    mov al, PIT_CHANNEL_2_ONE_SHOT
    out PIT_COMMAND, al
    mov al, CALIBRATION_COUNT & 0xFF
    out PIT_CHANNEL_2, al
    mov al, CALIBRATION_COUNT >> 8
    out PIT_CHANNEL_2, al
    in al, SYSTEM_CONTROL_B
    or al, CONTROL_B_GATE_2
    mov ecx, eax
    mov dword ptr [rdi + LAPIC_TIMER_INITIAL], 0xFFFFFFFF
    rdtsc
    shl rdx, 32
    lea r8, [rax + rdx]
    mov eax, ecx
    out SYSTEM_CONTROL_B, al                ; the count begins with the gate
    mov ecx, CALIBRATION_POLLS              ; a channel that never ends must not end the boot
.wait:
    in al, SYSTEM_CONTROL_B
    test al, CONTROL_B_OUT_2
    jnz .done
    dec ecx
    jnz .wait
.done:
    rdtsc
    mov ecx, [rdi + LAPIC_TIMER_CURRENT]
    shl rdx, 32
    add rax, rdx
    sub rax, r8
    cmp rax, r9
    jae .longer
    mov r9, rax
    mov ebx, ecx
    not ebx                                 ; 0xFFFFFFFF less what is left
.longer:
    dec r10d
    jnz .attempt
    mov dword ptr [rdi + LAPIC_TIMER_INITIAL], 0
    imul rax, r9, CALIBRATION_HZ
    imul rbx, rbx, CALIBRATION_HZ * 16
    ret
