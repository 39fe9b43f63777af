; ACPI tables as the platform offers them: fw_cfg's etc/table-loader is a script of 128-byte commands that says which files to load where, which pointers to
; fill in and which checksums to fix (QEMU hw/acpi/bios-linker-loader.c has its definition).

.struct LoaderCommand
    .field command, 4
    .field file, 56
    .field rest, 68
.endstruct
.const COMMAND_ALLOCATE = 1
.const COMMAND_ADD_POINTER = 2
.const COMMAND_ADD_CHECKSUM = 3
.const ALLOCATE_ALIGN = 60                  ; u32
.const ALLOCATE_ZONE = 64                   ; u8: 1 anywhere, 2 F segment
.const ZONE_FSEG = 2
.const POINTER_SOURCE = 60                  ; name
.const POINTER_OFFSET = 116                 ; u32
.const POINTER_SIZE = 120                   ; u8
.const CHECKSUM_RESULT = 60                 ; u32 each
.const CHECKSUM_START = 64
.const CHECKSUM_LENGTH = 68

.struct AcpiFile                            ; a file that has been loaded
    .field address, 8
    .field bytes, 8
    .field name, 56
.endstruct
.const F_SEGMENT_END = 0x100000
.const RSDP_SIGNATURE = 0x2052545020445352  ; "RSD PTR "

acpi_install:
    POST POST_ACPI
    push rbx
    push r12
    lea rsi, [rip + .loader_name]
    call fw_cfg_find
    jc .none
    test eax, eax
    jz .none
    cmp eax, SCRATCH_SIZE
    ja .bad
    mov r12d, eax
    mov edi, SCRATCH
    mov esi, eax
    call fw_cfg_read
    call f_segment_open
    mov ebx, SCRATCH
    add r12, rbx
.command:
    lea rax, [rbx + LoaderCommand.size]
    cmp rax, r12
    ja .end
    mov eax, [rbx + LoaderCommand.command]
    cmp eax, COMMAND_ALLOCATE
    je .allocate
    cmp eax, COMMAND_ADD_POINTER
    je .pointer
    cmp eax, COMMAND_ADD_CHECKSUM
    je .checksum
    jmp .next                               ; padding, or a command that asks nothing of the guest's memory
.allocate:
    call acpi_allocate
    jmp .next
.pointer:
    call acpi_add_pointer
    jmp .next
.checksum:
    call acpi_add_checksum
.next:
    add rbx, LoaderCommand.size
    jmp .command
.end:
    lea rsi, [rip + .rsdp_name]
    call acpi_file
    jc .bad
    mov rax, [rdi + AcpiFile.address]
    mov rcx, RSDP_SIGNATURE
    cmp [rax], rcx
    jne .bad
    mov [r15 + Fw.rsdp], rax
    PRINT "[POST 14] ACPI: RSDP at "
    PRINT_HEX rax
    PRINT ", "
    PRINT_DECIMAL [r15 + Fw.acpi_count]
    PRINT " files\n"
    jmp .done
.none:
    PRINT "[POST 14] ACPI: the platform has no etc/table-loader\n"
.done:
    pop r12
    pop rbx
    ret
.bad:
    FAIL "ACPI: etc/table-loader does not lead to a root pointer"
.section rodata
.loader_name:
    .asciz "etc/table-loader"
.rsdp_name:
    .asciz "etc/acpi/rsdp"
.section text

; RBX: the command. Loads a file and remembers where.
acpi_allocate:
    push r12
    push r13
    push r14
    mov rax, [r15 + Fw.acpi_count]
    cmp eax, MAX_ACPI_FILES
    jae .full
    imul r14d, eax, AcpiFile.size
    add r14d, ACPI_FILES
    lea rsi, [rbx + LoaderCommand.file]
    call fw_cfg_find
    jc .missing
    mov r12d, eax
    mov r13d, edx
    cmp byte ptr [rbx + ALLOCATE_ZONE], ZONE_FSEG
    jne .anywhere
    mov rdi, [r15 + Fw.fseg_next]
    test rdi, rdi
    jz .anywhere                            ; the F segment is read-only here; the loader passes the RSDP's address on, so that does not matter
    mov eax, [rbx + ALLOCATE_ALIGN]
    dec rdi
    add rdi, rax
    neg rax
    and rdi, rax
    lea rax, [rdi + r12]
    cmp rax, F_SEGMENT_END
    ja .anywhere
    mov [r15 + Fw.fseg_next], rax
    jmp .load
.anywhere:
    mov edi, r12d
    mov esi, [rbx + ALLOCATE_ALIGN]
    mov eax, PAGE_SIZE
    cmp esi, eax
    cmovb esi, eax
    mov edx, MAP_ACPI_RECLAIMABLE
    call map_allocate
    mov rdi, rax
.load:
    mov [r14 + AcpiFile.address], rdi
    mov [r14 + AcpiFile.bytes], r12
    mov esi, r12d
    mov edx, r13d
    call fw_cfg_read
    lea rsi, [rbx + LoaderCommand.file]
    lea rdi, [r14 + AcpiFile.name]
    mov ecx, 56
    rep movsb
    inc qword ptr [r15 + Fw.acpi_count]
    pop r14
    pop r13
    pop r12
    ret
.missing:
    FAIL "ACPI: etc/table-loader names a file that fw_cfg does not have"
.full:
    FAIL "ACPI: etc/table-loader loads too many files"

; RSI: name. RDI: struct AcpiFile; carry if it has not been loaded
acpi_file:
    mov r8, rsi
    mov edi, ACPI_FILES
    mov ecx, [r15 + Fw.acpi_count]
.file:
    sub ecx, 1
    jb .absent
    xor edx, edx
.compare:
    mov al, [r8 + rdx]
    cmp al, [rdi + AcpiFile.name + rdx]
    jne .next
    inc edx
    test al, al
    jnz .compare
    clc
    ret
.next:
    add edi, AcpiFile.size
    jmp .file
.absent:
    stc
    ret

; RBX: the command. A field of one file is an offset into another; make it an address.
acpi_add_pointer:
    push r12
    lea rsi, [rbx + POINTER_SOURCE]
    call acpi_file
    jc .bad
    mov r12, [rdi + AcpiFile.address]
    lea rsi, [rbx + LoaderCommand.file]
    call acpi_file
    jc .bad
    mov eax, [rbx + POINTER_OFFSET]
    movzx ecx, byte ptr [rbx + POINTER_SIZE]
    lea rdx, [rax + rcx]
    cmp rdx, [rdi + AcpiFile.bytes]
    ja .bad
    add rax, [rdi + AcpiFile.address]
    cmp ecx, 8
    je .quad
    cmp ecx, 4
    je .long
    cmp ecx, 2
    je .word
    cmp ecx, 1
    jne .bad
    add [rax], r12b
    jmp .done
.word:
    add [rax], r12w
    jmp .done
.long:
    add [rax], r12d
    jmp .done
.quad:
    add [rax], r12
.done:
    pop r12
    ret
.bad:
    FAIL "ACPI: etc/table-loader has a bad pointer command"

; RBX: the command. Makes the bytes of a range add up to 0.
acpi_add_checksum:
    lea rsi, [rbx + LoaderCommand.file]
    call acpi_file
    jc .bad
    mov esi, [rbx + CHECKSUM_START]
    mov ecx, [rbx + CHECKSUM_LENGTH]
    lea rdx, [rsi + rcx]
    cmp rdx, [rdi + AcpiFile.bytes]
    ja .bad
    mov edx, [rbx + CHECKSUM_RESULT]
    cmp rdx, [rdi + AcpiFile.bytes]
    jae .bad
    mov rdi, [rdi + AcpiFile.address]
    add rsi, rdi
    xor eax, eax
.sum:
    sub ecx, 1
    jb .summed
    add al, [rsi]
    inc rsi
    jmp .sum
.summed:
    sub [rdi + rdx], al
    ret
.bad:
    FAIL "ACPI: etc/table-loader has a bad checksum command"

; ESI: a table's signature. RAX: the table, or 0. Walks the XSDT, or the RSDT of an ACPI 1.0 platform (ACPI 6.5, 5.2.5-5.2.8).
acpi_table:
    mov rax, [r15 + Fw.rsdp]
    test rax, rax
    jz .absent
    mov r8d, 8                              ; bytes an entry
    mov rdi, [rax + 24]                     ; XSDT
    cmp byte ptr [rax + 15], 2
    jae .root
    mov r8d, 4
    mov edi, [rax + 16]                     ; RSDT
.root:
    mov r9d, [rdi + 4]                      ; its length
    add r9, rdi
    add rdi, 36
.entry:
    lea rax, [rdi + r8]
    cmp rax, r9
    ja .absent
    mov eax, [rdi]
    cmp r8d, 4
    je .look
    mov rax, [rdi]
.look:
    cmp [rax], esi
    je .found
    add rdi, r8
    jmp .entry
.absent:
    xor eax, eax
.found:
    ret
