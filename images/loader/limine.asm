; Requests: 32 bytes of ID, a revision and a pointer, somewhere in the loaded nucleus at a multiple of 8, between the start and the end marker if it has them.
; This file finds them and says who answers which; the answers are responses.asm.

.const FEATURES = 13
.struct Feature
    .field id_2, 8
    .field id_3, 8
    .field answer, 8
.endstruct

; RBX, RBP: the area to search. Narrowed by the markers.
markers_find:
    mov rax, LIMINE_START_0
    mov rcx, LIMINE_START_1
    mov rdx, LIMINE_START_2
    mov rsi, LIMINE_START_3
    mov rdi, rbx
    lea r9, [rbp - 32]
.start:
    cmp rdi, r9
    ja .started
    cmp [rdi], rax
    jne .next_start
    cmp [rdi + 8], rcx
    jne .next_start
    cmp [rdi + 16], rdx
    jne .next_start
    cmp [rdi + 24], rsi
    jne .next_start
    lea rbx, [rdi + 32]                     ; the last one counts
.next_start:
    add rdi, 8
    jmp .start
.started:
    mov rax, LIMINE_END_0
    mov rcx, LIMINE_END_1
    mov rdi, rbx
.end:
    lea r9, [rdi + 16]
    cmp r9, rbp
    ja .done
    cmp [rdi], rax
    jne .next_end
    cmp [rdi + 8], rcx
    je .ended
.next_end:
    add rdi, 8
    jmp .end
.ended:
    mov rbp, rdi                            ; the first one counts
.done:
    ret

; Fills Fw.requests; checks the base revision.
requests_find:
    POST POST_REQUESTS
    push rbx
    push rbp
    push r12
    mov rbx, [r15 + Fw.image]
    mov rbp, [r15 + Fw.image_bytes]
    add rbp, rbx
    call markers_find
    xor r12d, r12d                          ; the base revision tag
.search:
    lea rax, [rbx + 24]
    cmp rax, rbp
    ja .searched
    mov rax, [rbx]
    mov rcx, LIMINE_COMMON_0
    cmp rax, rcx
    je .request
    mov rcx, LIMINE_BASE_REVISION_0
    cmp rax, rcx
    jne .next
    mov rcx, LIMINE_BASE_REVISION_1
    cmp [rbx + 8], rcx
    jne .next
    test r12, r12
    jnz .two_tags
    mov r12, rbx
    jmp .next
.request:
    lea rax, [rbx + Request.argument]
    cmp rax, rbp
    ja .next
    mov rcx, LIMINE_COMMON_1
    cmp [rbx + 8], rcx
    jne .next
    lea rdx, [rip + features]
    xor ecx, ecx
.feature:
    mov rax, [rdx + Feature.id_2]
    cmp [rbx + 16], rax
    jne .other
    mov rax, [rdx + Feature.id_3]
    cmp [rbx + 24], rax
    jne .other
    cmp qword ptr [r15 + Fw.requests + rcx * 8], 0
    jne .twice
    mov [r15 + Fw.requests + rcx * 8], rbx
    jmp .next
.other:
    add rdx, Feature.size
    inc ecx
    cmp ecx, FEATURES
    jb .feature                             ; an unknown request keeps its null response
.next:
    add rbx, 8
    jmp .search
.searched:
    test r12, r12
    jz .too_old
    mov rax, [r12 + 16]
    cmp rax, BASE_REVISION
    jb .too_old
    mov qword ptr [r12 + 8], BASE_REVISION  ; what it is loaded with,
    jne .newer
    mov qword ptr [r12 + 16], 0             ; and that this is what it asked for
.newer:
    pop r12
    pop rbp
    pop rbx
    ret
.two_tags:
    FAIL "the nucleus has two Limine base revision tags"
.twice:
    FAIL "the nucleus makes a Limine request twice"
.too_old:
    FAIL "the nucleus wants a Limine base revision below 3, which this loader does not offer"

; Asks every feature that was requested for its response.
requests_answer:
    push rbx
    push rbp
    push r12
    xor ebx, ebx
    lea r12, [rip + features]
.feature:
    mov rbp, [r15 + Fw.requests + rbx * 8]
    test rbp, rbp
    jz .next
    mov rdi, rbp
    call [r12 + Feature.answer]             ; RDI: the request. RAX: the response, physical, or 0 for none
    test rax, rax
    jz .next
    mov rcx, HHDM
    add rax, rcx
    mov [rbp + Request.response], rax
.next:
    add r12, Feature.size
    inc ebx
    cmp ebx, FEATURES
    jb .feature
    pop r12
    pop rbp
    pop rbx
    ret

; In the order of the answers: the memory map is last, when nothing is allocated any more.
.section rodata
    .balign 8
features:
    .quad BOOTLOADER_INFO_2, BOOTLOADER_INFO_3, answer_bootloader_info
    .quad FIRMWARE_TYPE_2, FIRMWARE_TYPE_3, answer_zero
    .quad PAGING_MODE_2, PAGING_MODE_3, answer_zero
    .quad HHDM_2, HHDM_3, answer_hhdm
    .quad STACK_SIZE_2, STACK_SIZE_3, answer_stack_size
    .quad ENTRY_POINT_2, ENTRY_POINT_3, answer_entry_point
    .quad EXECUTABLE_ADDRESS_2, EXECUTABLE_ADDRESS_3, answer_executable_address
    .quad EXECUTABLE_CMDLINE_2, EXECUTABLE_CMDLINE_3, answer_cmdline
    .quad EXECUTABLE_FILE_2, EXECUTABLE_FILE_3, answer_executable_file
    .quad MODULE_2, MODULE_3, answer_module
    .quad RSDP_2, RSDP_3, answer_rsdp
    .quad MP_2, MP_3, answer_mp
    .quad MEMMAP_2, MEMMAP_3, answer_memmap
.section text
