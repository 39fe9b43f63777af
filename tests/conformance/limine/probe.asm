; An executable that asks for everything the loader offers and prints what it got, a line a fact: `name value...`. Numbers are hexadecimal.

.include "../../../images/include/cpu.asm"
.include "../../../images/include/chips.asm"
.include "../../../images/include/limine.asm"

.macro REQUEST id_2, id_3
    .quad LIMINE_COMMON_0, LIMINE_COMMON_1, \id_2, \id_3, 0
.endmacro

.section data
    .balign 8
before_start:                               ; outside the markers: must not be answered
    REQUEST HHDM_2, HHDM_3
outside_response:
    .quad 0
    .quad LIMINE_START_0, LIMINE_START_1, LIMINE_START_2, LIMINE_START_3
base_revision:
    .quad LIMINE_BASE_REVISION_0, LIMINE_BASE_REVISION_1, 3
    REQUEST BOOTLOADER_INFO_2, BOOTLOADER_INFO_3
bootloader_info:
    .quad 0
    REQUEST FIRMWARE_TYPE_2, FIRMWARE_TYPE_3
firmware_type:
    .quad 0
    REQUEST PAGING_MODE_2, PAGING_MODE_3
paging_mode:
    .quad 0, 0
    REQUEST HHDM_2, HHDM_3
hhdm:
    .quad 0
    REQUEST STACK_SIZE_2, STACK_SIZE_3
stack_size:
    .quad 0, 65536
    REQUEST ENTRY_POINT_2, ENTRY_POINT_3
entry_point:
    .quad 0, probe_entry
    REQUEST EXECUTABLE_ADDRESS_2, EXECUTABLE_ADDRESS_3
executable_address:
    .quad 0
    REQUEST EXECUTABLE_CMDLINE_2, EXECUTABLE_CMDLINE_3
cmdline:
    .quad 0
    REQUEST EXECUTABLE_FILE_2, EXECUTABLE_FILE_3
executable_file:
    .quad 0
    REQUEST MODULE_2, MODULE_3
module:
    .quad 0, 0, 0
    REQUEST RSDP_2, RSDP_3
rsdp:
    .quad 0
    REQUEST MP_2, MP_3
mp:
    .quad 0, 0
    REQUEST MEMMAP_2, MEMMAP_3
memmap:
    .quad 0
    REQUEST 0x1122334455667788, 0x99AABBCCDDEEFF00      ; of the future
unknown:
    .quad 0
    .quad LIMINE_END_0, LIMINE_END_1

.section bss
    .balign 8
registers:                                  ; RAX RBX RCX RDX RSI RDI RBP RSP R8..R15 RFLAGS
    .zero 17 * 8
gdtr:
    .zero 16
ap_done:
    .zero 8

.section text
.macro SAVE register, number
    mov [rip + registers + \number * 8], \register
.endmacro

.macro SAVE_ALL
    SAVE rax, 0
    SAVE rbx, 1
    SAVE rcx, 2
    SAVE rdx, 3
    SAVE rsi, 4
    SAVE rdi, 5
    SAVE rbp, 6
    SAVE rsp, 7
    SAVE r8, 8
    SAVE r9, 9
    SAVE r10, 10
    SAVE r11, 11
    SAVE r12, 12
    SAVE r13, 13
    SAVE r14, 14
    SAVE r15, 15
    pushfq
    pop rax
    SAVE rax, 16
.endmacro

    jmp nucleus_entry                       ; never reached: text begins with what print.asm brings
.include "../../../images/include/print.asm"

nucleus_entry:                              ; the ELF entry, which the entry point request overrides
    PRINT "wrong_entry\n"
    jmp stop

probe_entry:
    SAVE_ALL
    call state_print
    call responses_print
    call processors_visit
    PRINT "done\n"
stop:
    cli
    hlt
    jmp stop

; RDI: MpInfo
ap_entry:
    SAVE_ALL
    PRINT "ap\n"
    call state_print
    mov qword ptr [rip + ap_done], 1
    jmp stop

.macro FACT name, value
    PRINT \name
    PRINT " "
    PRINT_HEX \value
    PRINT "\n"
.endmacro

.macro TEXT_FACT name, pointer
    PRINT \name
    PRINT " "
    mov rsi, \pointer
    call print_string
    PRINT "\n"
.endmacro

state_print:
    PRINT "registers"
    xor ebx, ebx
    lea rbp, [rip + registers]
.next:
    PRINT " "
    PRINT_HEX [rbp + rbx * 8]
    inc ebx
    cmp ebx, 17
    jb .next
    PRINT "\n"
    mov rax, [rip + registers + 7 * 8]
    FACT "return", [rax]
    xor eax, eax
    mov ax, cs
    FACT "cs", rax
    mov ax, ds
    FACT "ds", rax
    mov ax, es
    FACT "es", rax
    mov ax, ss
    FACT "ss", rax
    mov ax, fs
    FACT "fs", rax
    mov ax, gs
    FACT "gs", rax
    mov rax, cr0
    FACT "cr0", rax
    mov rax, cr3
    FACT "cr3", rax
    mov rax, cr4
    FACT "cr4", rax
    mov ecx, MSR_EFER
    rdmsr
    FACT "efer", rax
    mov ecx, MSR_PAT
    rdmsr
    shl rdx, 32
    or rax, rdx
    FACT "pat", rax
    sgdt [rip + gdtr]
    FACT "gdt", [rip + gdtr + 2]
    movzx eax, word ptr [rip + gdtr]
    FACT "gdt_limit", rax
    mov rbp, [rip + gdtr + 2]
    xor ebx, ebx
    PRINT "descriptors"
.descriptor:
    PRINT " "
    PRINT_HEX [rbp + rbx * 8]
    inc ebx
    cmp ebx, 7
    jb .descriptor
    PRINT "\n"
    ret

responses_print:
    FACT "revision_used", [rip + base_revision + 8]
    FACT "revision_wanted", [rip + base_revision + 16]
    FACT "outside", [rip + outside_response]
    FACT "unknown", [rip + unknown]
    mov rbx, [rip + bootloader_info]
    TEXT_FACT "name", [rbx + 8]
    TEXT_FACT "version", [rbx + 16]
    mov rbx, [rip + firmware_type]
    FACT "firmware_type", [rbx + 8]
    mov rbx, [rip + paging_mode]
    FACT "paging_mode", [rbx + 8]
    mov rbx, [rip + hhdm]
    FACT "hhdm", [rbx + 8]
    FACT "stack_size", [rip + stack_size]
    FACT "entry_point", [rip + entry_point]
    mov rbx, [rip + executable_address]
    FACT "physical_base", [rbx + 8]
    FACT "virtual_base", [rbx + 16]
    mov rbx, [rip + cmdline]
    TEXT_FACT "cmdline", [rbx + 8]
    mov rbx, [rip + executable_file]
    mov rbx, [rbx + 8]
    PRINT "executable_file "
    call file_print
    mov rbx, [rip + module]
    test rbx, rbx
    jz .no_module
    FACT "modules", [rbx + ModuleResponse.count]
    mov rbx, [rbx + ModuleResponse.modules]
    mov rbx, [rbx]
    PRINT "module "
    call file_print
.no_module:
    mov rbx, [rip + rsdp]
    test rbx, rbx
    jz .no_rsdp
    FACT "rsdp", [rbx + 8]
.no_rsdp:
    mov rbx, [rip + memmap]
    mov rbp, [rbx + MemmapResponse.count]
    mov rbx, [rbx + MemmapResponse.entries]
.range:
    mov r12, [rbx]
    PRINT "range "
    PRINT_HEX [r12 + MapEntry.base]
    PRINT " "
    PRINT_HEX [r12 + MapEntry.length]
    PRINT " "
    PRINT_HEX [r12 + MapEntry.type]
    PRINT "\n"
    add rbx, 8
    dec rbp
    jnz .range
    ret

; RBX: struct File
file_print:
    PRINT_HEX [rbx + File.address]
    PRINT " "
    PRINT_HEX [rbx + File.bytes]
    PRINT " "
    mov rsi, [rbx + File.path]
    call print_string
    PRINT "\n"
    ret

; Each other processor in turn prints its own state.
processors_visit:
    mov rbx, [rip + mp]
    mov eax, [rbx + MpResponse.bsp_lapic_id]
    FACT "bsp", rax
    mov r12, rax
    mov rbp, [rbx + MpResponse.count]
    mov rbx, [rbx + MpResponse.cpus]
.processor:
    mov r13, [rbx]
    PRINT "cpu "
    mov eax, [r13 + MpInfo.processor_id]
    PRINT_HEX rax
    PRINT " "
    mov eax, [r13 + MpInfo.lapic_id]
    PRINT_HEX rax
    PRINT " "
    PRINT_HEX r13
    PRINT "\n"
    cmp rax, r12
    je .next
    mov qword ptr [rip + ap_done], 0
    lea rax, [rip + ap_entry]
    mov [r13 + MpInfo.goto_address], rax
.wait:
    pause
    cmp qword ptr [rip + ap_done], 0
    je .wait
.next:
    add rbx, 8
    dec rbp
    jnz .processor
    ret
