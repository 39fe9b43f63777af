; The boot record: what the kernel is told at HELLO.

record_build:
    lea rdi, [rip + boot_record]
    mov rax, RECORD_MAGIC
    mov [rdi + Record.magic], rax
    mov qword ptr [rdi + Record.version], RECORD_VERSION
    mov rax, [rip + hhdm]
    mov [rdi + Record.hhdm], rax
    mov rax, [rip + module_response]
    mov [rdi + Record.modules], rax
    mov rax, [rip + rsdp_response]
    test rax, rax
    jz .no_rsdp
    mov rax, [rax + 8]                      ; physical in base revision 3
.no_rsdp:
    mov [rdi + Record.rsdp], rax
    mov rax, [rip + kernel_physical]
    mov [rdi + Record.kernel_phys], rax
    lea rcx, [rip + nucleus_entry]
    mov [rdi + Record.kernel_virt], rcx
    lea rax, [rip + bss_end]
    sub rax, rcx
    mov [rdi + Record.kernel_size], rax
    mov rax, [rip + tsc_hz]
    mov [rdi + Record.tsc_hz], rax
    mov rax, [rip + lapic_timer_hz]
    mov [rdi + Record.lapic_timer_hz], rax
    mov rax, [rip + root]
    mov [rdi + Record.cr3], rax
    mov rax, [rip + cpu_count]
    mov [rdi + Record.cpu_count], rax
    mov rax, [rip + cpu_areas]
    mov [rdi + Record.cpu_areas], rax
    mov rax, [rip + executable_cmdline]
    test rax, rax
    jz .no_cmdline
    mov rax, [rax + 8]
.no_cmdline:
    mov [rdi + Record.cmdline], rax
    mov rax, [rip + bootloader_info]
    test rax, rax
    jz .no_name
    mov rax, [rax + 8]
.no_name:
    mov [rdi + Record.bootloader], rax
    mov r8, rdi
    lea rdi, [rip + own_map]
    call direct_of
    mov [r8 + Record.memmap], rax
    ret
