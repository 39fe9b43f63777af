; The other processors: INIT-SIPI-SIPI to all of them at once (SDM volume 3A 8.4.4). Each brings itself to long mode, reports its LAPIC ID and waits in the
; ROM, without a stack, until its MpInfo tells it where to go.

.const AP_POLLS = 20000                     ; each some microseconds: a processor that has not come by then does not come
.const SIPI_REPEAT = 100                    ; polls after which the second SIPI is due: the 200 us of the SDM
.const MADT_SIGNATURE = 0x43495041          ; "APIC"
.const MADT_ENTRIES = 44
.const MADT_LOCAL_APIC = 0                  ; ACPI 6.5 table 5.21

.const TRAMPOLINE_BYTES = 64                ; at least its length; what is copied beyond it is never executed

; EBX: this processor's LAPIC ID. Clobbers EAX, ECX, EDX.
.macro READ_LAPIC_ID
    mov eax, 1
    cpuid
    shr ebx, 24
.endmacro

; 64-bit code of every application processor, at the end of the way that begins at the trampoline. R15 = VARIABLES, no stack.
processor_entry:
    mov r15d, VARIABLES
    READ_LAPIC_ID
    mov eax, 1
    lock xadd [r15 + Fw.cpus_claimed], eax
    cmp eax, MAX_CPUS - 1
    jae halt_forever
    mov [LAPIC_IDS + 4 + rax * 4], ebx      ; slot 0 is the boot processor's
    lock inc dword ptr [r15 + Fw.cpus_ready]
.wait_for_infos:
    pause
    mov rsi, [r15 + Fw.infos]
    test rsi, rsi
    jz .wait_for_infos
    mov ecx, [r15 + Fw.cpus_present]
.search:
    cmp [rsi + MpInfo.lapic_id], ebx
    je .park
    add rsi, MpInfo.size
    dec ecx
    jnz .search
    jmp halt_forever                        ; came too late to be listed
.park:
    pause
    mov rax, [rsi + MpInfo.goto_address]
    test rax, rax
    jz .park
    mov rdx, [rsi + MpInfo.reserved]        ; top of the stack
    mov rdi, HHDM
    add rdi, rsi
    jmp enter_nucleus

; Requires the MP request. Fills LAPIC_IDS with the IDs of all processors, in order; sets cpus_present.
processors_start:
    POST POST_APS
    push rbx
    push r12
    mov edi, TRAMPOLINE
    lea rsi, [rip + trampoline_start]
    mov ecx, TRAMPOLINE_BYTES
    rep movsb
    mov rax, [rip + gdt_pointer]
    mov edi, TRAMPOLINE_GDTR
    mov [rdi], rax

    READ_LAPIC_ID
    mov edi, LAPIC_IDS
    mov [rdi], ebx
    mov edi, LAPIC_BASE
    mov dword ptr [rdi + LAPIC_SVR], SVR_ENABLE_VECTOR_FF
    mov r12d, [r15 + Fw.cpu_count]
    dec r12d                                ; how many should come
    jz .come
    mov dword ptr [rdi + LAPIC_ICR_LOW], ICR_INIT_ALL_OTHERS
    call icr_wait                           ; the 10 ms after INIT were for the 82489DX; integrated APICs need none
    mov dword ptr [rdi + LAPIC_ICR_LOW], ICR_STARTUP_ALL_OTHERS | TRAMPOLINE >> 12
    call icr_wait
    mov ebx, AP_POLLS
.poll:
    cmp [r15 + Fw.cpus_ready], r12d
    jae .come
    cmp ebx, AP_POLLS - SIPI_REPEAT
    jne .no_repeat
    mov dword ptr [rdi + LAPIC_ICR_LOW], ICR_STARTUP_ALL_OTHERS | TRAMPOLINE >> 12
    call icr_wait
.no_repeat:
    mov ecx, 64
.pause:
    pause
    dec ecx
    jnz .pause
    in al, SYSTEM_CONTROL_B                 ; on a real bus about a microsecond
    dec ebx
    jnz .poll
.come:
    mov eax, [r15 + Fw.cpus_ready]
    inc eax
    mov [r15 + Fw.cpus_present], rax
    PRINT "[LOADER] processors started: "
    PRINT_DECIMAL rax
    PRINT " of "
    PRINT_DECIMAL [r15 + Fw.cpu_count]
    PRINT "\n"
    call lapic_ids_sort
    pop r12
    pop rbx
    ret

icr_wait:
    mov ecx, 100000
.wait:
    test dword ptr [rdi + LAPIC_ICR_LOW], ICR_PENDING
    jz .done
    pause
    dec ecx
    jnz .wait
.done:
    ret

; By insertion: processors report in no particular order, but a machine should number them alike at each boot.
lapic_ids_sort:
    mov ecx, 1
.next:
    cmp ecx, [r15 + Fw.cpus_present]
    jae .done
    mov eax, [LAPIC_IDS + rcx * 4]
    mov edx, ecx
.sink:
    test edx, edx
    jz .place
    mov esi, [LAPIC_IDS - 4 + rdx * 4]
    cmp esi, eax
    jbe .place
    mov [LAPIC_IDS + rdx * 4], esi
    dec edx
    jmp .sink
.place:
    mov [LAPIC_IDS + rdx * 4], eax
    inc ecx
    jmp .next
.done:
    ret

; EDI: a LAPIC ID. EAX: its ACPI processor UID by the MADT, or the ID itself where there is no MADT
processor_uid:
    push rdi
    mov esi, MADT_SIGNATURE
    call acpi_table
    pop rcx
    test rax, rax
    jz .by_id
    mov edx, [rax + 4]
    add rdx, rax                            ; its end
    add rax, MADT_ENTRIES
.entry:
    lea r8, [rax + 8]
    cmp r8, rdx
    ja .by_id
    cmp byte ptr [rax], MADT_LOCAL_APIC
    jne .next
    movzx r8d, byte ptr [rax + 3]
    cmp r8d, ecx
    jne .next
    movzx eax, byte ptr [rax + 2]
    ret
.next:
    movzx r8d, byte ptr [rax + 1]
    test r8d, r8d
    jz .by_id
    add rax, r8
    jmp .entry
.by_id:
    mov eax, ecx
    ret
