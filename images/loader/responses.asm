; Responses, one routine a feature. RDI: the request; RAX: the response, physical, or 0 where there is none. They live on the heap, and pointers in them are
; direct-map addresses.

; Adds the direct map's base, so that a response's pointer works in the nucleus. The register must not be 0.
.macro TO_DIRECT register
    push rcx
    mov rcx, HHDM
    add \register, rcx
    pop rcx
.endmacro

answer_bootloader_info:
    lea rsi, [rip + loader_name]
    call string_copy
    push rax
    lea rsi, [rip + loader_version]
    call string_copy
    push rax
    mov edi, 24
    call heap_allocate
    pop qword ptr [rax + 16]
    pop qword ptr [rax + 8]
    ret

; Firmware type 0 is x86 BIOS; paging mode 0 is four levels.
answer_zero:
    mov edi, 16
    jmp heap_allocate

answer_hhdm:
    mov edi, 16
    call heap_allocate
    mov rcx, HHDM
    mov [rax + 8], rcx
    ret

; Every stack has STACK_BYTES; a wish for more is not granted.
answer_stack_size:
    xor eax, eax
    cmp qword ptr [rdi + Request.argument], STACK_BYTES
    ja .more
    mov edi, 8
    call heap_allocate
.more:
    ret

answer_entry_point:
    mov rax, [rdi + Request.argument]
    mov [r15 + Fw.entry], rax
    mov edi, 8
    jmp heap_allocate

answer_executable_address:
    mov edi, 24
    call heap_allocate
    mov rcx, [r15 + Fw.image]
    mov [rax + 8], rcx
    mov rcx, [r15 + Fw.image_virtual]
    mov [rax + 16], rcx
    ret

answer_cmdline:
    call cmdline_direct
    push rax
    mov edi, 16
    call heap_allocate
    pop qword ptr [rax + 8]
    ret

answer_executable_file:
    mov edi, 16
    call heap_allocate
    push rax
    mov rdi, [r15 + Fw.nucleus]
    mov rsi, [r15 + Fw.nucleus_bytes]
    lea rdx, [rip + .path]
    call file_describe
    pop rcx
    mov [rcx + 8], rax
    xchg rax, rcx
    ret
.section rodata
.path:
    .asciz "/opt/folkering/nucleus"
.section text

; Module 0 is the archive; without one there is no response.
answer_module:
    xor eax, eax
    cmp qword ptr [r15 + Fw.archive], 0
    je .none
    mov rdi, [r15 + Fw.archive]
    mov rsi, [r15 + Fw.archive_bytes]
    lea rdx, [rip + .path]
    call file_describe
    push rax
    mov edi, 8
    call heap_allocate
    pop qword ptr [rax]
    TO_DIRECT rax
    push rax
    mov edi, ModuleResponse.size
    call heap_allocate
    mov qword ptr [rax + ModuleResponse.count], 1
    pop qword ptr [rax + ModuleResponse.modules]
.none:
    ret
.section rodata
.path:
    .asciz "/opt/folkering/archive"
.section text

; Base revision 3: a physical address.
answer_rsdp:
    xor eax, eax
    cmp qword ptr [r15 + Fw.rsdp], 0
    je .none
    mov edi, 16
    call heap_allocate
    mov rcx, [r15 + Fw.rsdp]
    mov [rax + 8], rcx
.none:
    ret

answer_mp:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    call processors_start
    mov r12d, [r15 + Fw.cpus_present]
    imul edi, r12d, MpInfo.size
    call heap_allocate
    push rax
    mov rbx, rax                            ; the infos,
    lea edi, [r12 * 8]
    call heap_allocate
    push rax
    mov rbp, rax                            ; pointers to them,
    mov edi, r12d
    shl rdi, 16
    mov esi, PAGE_SIZE
    mov edx, MAP_BOOTLOADER_RECLAIMABLE
    call map_allocate
    mov r14, rax                            ; and STACK_BYTES each
    xor r13d, r13d
.processor:
    mov edi, [LAPIC_IDS + r13 * 4]
    mov [rbx + MpInfo.lapic_id], edi
    call processor_uid
    mov [rbx + MpInfo.processor_id], eax
    add r14, STACK_BYTES
    mov rax, r14
    TO_DIRECT rax
    mov [rbx + MpInfo.reserved], rax
    mov rax, rbx
    TO_DIRECT rax
    mov [rbp + r13 * 8], rax
    add rbx, MpInfo.size
    inc r13d
    cmp r13d, r12d
    jb .processor
    mov edi, MpResponse.size
    call heap_allocate
    mov rbp, rax
    mov [rbp + MpResponse.count], r12
    pop rax
    TO_DIRECT rax
    mov [rbp + MpResponse.cpus], rax
    READ_LAPIC_ID
    mov [rbp + MpResponse.bsp_lapic_id], ebx
    pop qword ptr [r15 + Fw.infos]                    ; from now on the others find theirs
    mov rax, rbp
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

answer_memmap:
    push rbx
    mov ebx, [r15 + Fw.map_count]
    imul edi, ebx, MapEntry.size + 8        ; entries, then pointers to them
    call heap_allocate
    mov rdx, rax
    mov rdi, rax
    mov esi, MEMORY_MAP
    imul ecx, ebx, MapEntry.size / 8
    rep movsq
    mov r8, rdi
    mov ecx, ebx
    TO_DIRECT rdx
.pointer:
    mov [rdi], rdx
    add rdx, MapEntry.size
    add rdi, 8
    dec ecx
    jnz .pointer
    mov edi, MemmapResponse.size
    call heap_allocate
    mov [rax + MemmapResponse.count], rbx
    TO_DIRECT r8
    mov [rax + MemmapResponse.entries], r8
    pop rbx
    ret

; RDI: physical, RSI: bytes, RDX: path in the ROM. RAX: direct-map address of a struct File
file_describe:
    push rbx
    push rdi
    push rsi
    mov rsi, rdx
    call string_copy
    push rax
    mov edi, File.size
    call heap_allocate
    mov rbx, rax
    pop qword ptr [rbx + File.path]
    pop qword ptr [rbx + File.bytes]
    pop rax
    TO_DIRECT rax
    mov [rbx + File.address], rax
    call cmdline_direct
    mov [rbx + File.string], rax
    mov rax, rbx
    TO_DIRECT rax
    pop rbx
    ret

; RAX: direct-map address of the command line, empty where there is none
cmdline_direct:
    mov rax, [r15 + Fw.cmdline]
    test rax, rax
    jz .empty
    TO_DIRECT rax
    ret
.empty:
    lea rsi, [rip + empty_string]

; RSI: text in the ROM, which the nucleus cannot see. RAX: direct-map address of a copy
string_copy:
    xor edi, edi
.length:
    inc edi
    cmp byte ptr [rsi + rdi - 1], 0
    jne .length
    mov ecx, edi
    push rcx
    call heap_allocate
    pop rcx
    mov rdi, rax
    rep movsb
    TO_DIRECT rax
    ret
