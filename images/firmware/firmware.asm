; What the firmware does, in order. Conventions of all 64-bit code in the ROM: R15 = VARIABLES; arguments in RDI, RSI, RDX, RCX, result in RAX;
; RBX, RBP, R12-R15 are kept.

firmware_entry:
    mov esp, STACK_TOP
    mov edi, VARIABLES
    mov ecx, Fw.size
    xor eax, eax
    rep stosb
    mov r15d, VARIABLES
    POST POST_LONG
    call exceptions_init                    ; say what went wrong instead of rebooting
    call uart_init                          ; COM1, 115200 8N1
    call fw_cfg_init                        ; the platform's parameters: is it there, has it DMA, which files
    call memory_map_init                    ; RAM by etc/e820 or CMOS
    call processors_count                   ; what the platform promises
    call acpi_install                       ; RSDP and tables by etc/table-loader
    jmp loader_main

; Stops for good. RSI: what is wrong, a line of text; printed behind `prefix: `.
fail:
    POST POST_FAILED
    PRINT "[LOADER] error: "
    call print_string
    PRINT "; halted\n"
halt_forever:
    cli
    hlt
    jmp halt_forever

.macro FAIL text
    lea rsi, [rip + .fail_\@]
    jmp fail
    .section rodata
.fail_\@:
    .asciz \text
    .section text
.endmacro

.const FW_CFG_NB_CPUS = 0x05
processors_count:
    POST POST_PROCESSORS
    lea rdi, [r15 + Fw.cpu_count]
    mov esi, 2
    mov edx, FW_CFG_NB_CPUS
    call fw_cfg_read
    mov rax, [r15 + Fw.cpu_count]
    test rax, rax
    jnz .known
    mov qword ptr [r15 + Fw.cpu_count], 1
.known:
    PRINT "[POST 13] processors: "
    PRINT_DECIMAL [r15 + Fw.cpu_count]
    PRINT "\n"
    ret
