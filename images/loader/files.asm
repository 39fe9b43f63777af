; The files that the loader takes from fw_cfg (docs/contracts.md section 4).

files_load:
    POST POST_FILES
    push rbx
    lea rsi, [rip + .nucleus]
    call file_load
    jc .no_nucleus
    mov [r15 + Fw.nucleus], rax
    mov [r15 + Fw.nucleus_bytes], rdx
    PRINT "[LOADER] nucleus: "
    PRINT_DECIMAL rdx
    PRINT " bytes"
    lea rsi, [rip + .archive]
    call file_load
    jc .no_archive
    mov [r15 + Fw.archive], rax
    mov [r15 + Fw.archive_bytes], rdx
    PRINT ", archive: "
    PRINT_DECIMAL rdx
    PRINT " bytes\n"
    jmp .cmdline
.no_archive:
    PRINT ", no archive\n"
.cmdline:
    lea rsi, [rip + .cmdline_name]
    call fw_cfg_find
    jc .done
    mov ebx, eax
    push rdx
    lea edi, [rax + 1]                      ; NUL-terminated, whatever the file holds
    mov esi, PAGE_SIZE
    mov edx, MAP_BOOTLOADER_RECLAIMABLE
    call map_allocate
    mov [r15 + Fw.cmdline], rax
    mov byte ptr [rax + rbx], 0
    mov rdi, rax
    mov esi, ebx
    pop rdx
    call fw_cfg_read
.done:
    pop rbx
    ret
.no_nucleus:
    FAIL "fw_cfg has no file opt/folkering/nucleus, or it is empty"
.section rodata
.nucleus:
    .asciz "opt/folkering/nucleus"
.archive:
    .asciz "opt/folkering/archive"
.cmdline_name:
    .asciz "opt/folkering/cmdline"
.section text

; RSI: name. RAX: address of the file in memory of its own, RDX: its bytes; carry if there is none or it is empty
file_load:
    push rbx
    push r12
    push r13
    call fw_cfg_find
    jc .absent
    mov ebx, eax
    mov r12d, edx
    test eax, eax
    stc
    jz .absent
    mov edi, eax
    mov esi, PAGE_SIZE
    mov edx, MAP_EXECUTABLE_AND_MODULES
    call map_allocate
    mov r13, rax
    mov rdi, rax
    mov esi, ebx
    mov edx, r12d
    call fw_cfg_read
    mov rax, r13
    mov edx, ebx
    clc
.absent:
    pop r13
    pop r12
    pop rbx
    ret
