; The memory map: from the platform's e820 table to a sorted list of struct MapEntry in Limine's types. Whoever needs memory converts a part of a usable
; entry to another type, so that the list is always right and the map that the nucleus gets is this one.

.struct E820
    .field base, 8
    .field length, 8
    .field type, 4
.endstruct
.const E820_RAM = 1
.const MAP_HOLE = 0xFF                      ; for a moment only: to be taken out of the list
.const CMOS_ABOVE_16M = 0x34                ; two bytes, in 64 KiB
.const CMOS_ABOVE_4G = 0x5B                 ; three bytes, in 64 KiB

memory_map_init:
    POST POST_MEMORY
    push rbx
    push r12
    push r13
    lea rsi, [rip + .e820_name]
    call fw_cfg_find
    jc .cmos
    test eax, eax
    jz .cmos
    cmp eax, SCRATCH_SIZE
    ja .cmos
    mov r12d, eax
    mov edi, SCRATCH
    mov esi, eax
    call fw_cfg_read
    add r12, SCRATCH
    mov r13d, 1                             ; first what is RAM, then what is not: where they overlap it is not
.pass:
    mov ebx, SCRATCH
.entry:
    lea rax, [rbx + E820.size]
    cmp rax, r12
    ja .passed
    mov edx, [rbx + E820.type]
    cmp edx, E820_RAM
    sete al
    cmp al, r13b
    jne .next
    lea rcx, [rip + .types]
    cmp edx, 5
    jbe .known
    xor edx, edx                            ; an unknown type is not to be used
.known:
    movzx edx, byte ptr [rcx + rdx]
    mov rdi, [rbx + E820.base]
    mov rsi, [rbx + E820.length]
    call map_add
.next:
    add rbx, E820.size
    jmp .entry
.passed:
    dec r13d
    jz .pass
    jmp .collected
.cmos:
    call memory_from_cmos
.collected:
    call map_merge
    mov edi, LOWER_MEMORY_END               ; EBDA, VGA, option ROMs: never RAM to use, whatever the table says
    mov esi, ONE_MIB
    mov edx, MAP_RESERVED
    call map_convert
    xor edi, edi                            ; the real-mode vector table and BIOS data
    mov esi, PAGE_SIZE
    mov edx, MAP_RESERVED
    call map_convert
    call map_trim
    mov edi, PAGE_SIZE                      ; ours, layout.asm
    mov esi, LOW_END
    mov edx, MAP_BOOTLOADER_RECLAIMABLE
    call map_convert

    xor ebx, ebx                            ; usable bytes
    mov edi, MEMORY_MAP
    mov ecx, [r15 + Fw.map_count]
    test ecx, ecx
    jz .summed
.sum:
    cmp qword ptr [rdi + MapEntry.type], MAP_USABLE
    jne .not_usable
    add rbx, [rdi + MapEntry.length]
.not_usable:
    add rdi, MapEntry.size
    dec ecx
    jnz .sum
.summed:
    shr rbx, 20
    PRINT "[POST 12] memory: "
    PRINT_DECIMAL rbx
    PRINT " MiB usable, "
    PRINT_DECIMAL [r15 + Fw.map_count]
    PRINT " ranges\n"
    pop r13
    pop r12
    pop rbx
    ret
.section rodata
.e820_name:
    .asciz "etc/e820"
.types:                                     ; by e820 type (ACPI 6.5 table 15.1); 0 stands for all others
    .byte MAP_RESERVED, MAP_USABLE, MAP_RESERVED, MAP_ACPI_RECLAIMABLE, MAP_ACPI_NVS, MAP_BAD
.section text

; Without an e820 table: the sizes that the platform left in CMOS.
memory_from_cmos:
    xor edi, edi
    mov esi, LOWER_MEMORY_END
    mov edx, MAP_USABLE
    call map_insert
    mov al, CMOS_ABOVE_16M + 1
    call cmos_read
    mov ah, al
    mov al, CMOS_ABOVE_16M
    call cmos_read
    movzx esi, ax
    shl rsi, 16
    add rsi, 15 << 20                       ; the value starts at 16 MiB, this range at 1 MiB
    mov edi, ONE_MIB
    mov edx, MAP_USABLE
    call map_insert
    mov al, CMOS_ABOVE_4G + 2
    call cmos_read
    movzx esi, al
    mov al, CMOS_ABOVE_4G + 1
    call cmos_read
    shl esi, 8
    mov sil, al
    mov al, CMOS_ABOVE_4G
    call cmos_read
    shl esi, 8
    mov sil, al
    shl rsi, 16
    jz .low_only
    mov rdi, FOUR_GIB
    mov edx, MAP_USABLE
    call map_insert
.low_only:
    ret

; AL: index; AL: value
cmos_read:
    out CMOS_INDEX, al
    in al, CMOS_DATA
    ret

; RDI: base, RSI: length, EDX: type. A range of the platform's; what was usable in it no longer is, unless the range is. One that cannot be is ignored.
map_add:
    push rbx
    push rbp
    push r12
    mov rbx, rdi
    mov rbp, rsi
    mov r12d, edx
    add rsi, rdi
    jc .impossible
    mov rax, rsi
    shr rax, 52                             ; no processor has more address bits
    jnz .impossible
    mov edx, MAP_HOLE
    call map_convert
    call map_close
    mov rdi, rbx
    mov rsi, rbp
    mov edx, r12d
    call map_insert
.impossible:
    pop r12
    pop rbp
    pop rbx
    ret

; Takes holes out of the list.
map_close:
    mov esi, MEMORY_MAP
    mov edi, MEMORY_MAP
    mov ecx, [r15 + Fw.map_count]
    xor edx, edx
.entry:
    sub ecx, 1
    jb .done
    mov rax, [rsi + MapEntry.type]
    cmp rax, MAP_HOLE
    je .next
    mov [rdi + MapEntry.type], rax
    mov rax, [rsi + MapEntry.base]
    mov [rdi + MapEntry.base], rax
    mov rax, [rsi + MapEntry.length]
    mov [rdi + MapEntry.length], rax
    add edi, MapEntry.size
    inc edx
.next:
    add esi, MapEntry.size
    jmp .entry
.done:
    mov [r15 + Fw.map_count], rdx
    ret

; RDI: base, RSI: length, EDX: type. Into its place by base; empty ranges are dropped.
map_insert:
    test rsi, rsi
    jz .done
    mov ecx, [r15 + Fw.map_count]
    cmp ecx, MAX_MAP
    jae .full
    imul eax, ecx, MapEntry.size
    add eax, MEMORY_MAP                     ; behind the last entry; from there down, move what lies above us
.shift:
    cmp eax, MEMORY_MAP
    je .place
    cmp [rax - MapEntry.size + MapEntry.base], rdi
    jbe .place
    mov r8, [rax - MapEntry.size]
    mov [rax], r8
    mov r8, [rax - MapEntry.size + 8]
    mov [rax + 8], r8
    mov r8, [rax - MapEntry.size + 16]
    mov [rax + 16], r8
    sub eax, MapEntry.size
    jmp .shift
.place:
    mov [rax + MapEntry.base], rdi
    mov [rax + MapEntry.length], rsi
    mov edx, edx
    mov [rax + MapEntry.type], rdx
    inc qword ptr [r15 + Fw.map_count]
.done:
    ret
.full:
    FAIL "the memory map has too many ranges"

; RDI: base, RSI: end, EDX: type. What is usable in between becomes `type`; what is around it stays usable.
map_convert:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    mov r12, rdi
    mov r13, rsi
    mov r14d, edx
    mov ebx, MEMORY_MAP
.entry:
    imul eax, [r15 + Fw.map_count], MapEntry.size
    add eax, MEMORY_MAP
    cmp ebx, eax
    jae .merge
    cmp qword ptr [rbx + MapEntry.type], MAP_USABLE
    jne .next
    mov rdi, [rbx + MapEntry.base]          ; the entry is [rdi, rbp)
    mov rbp, [rbx + MapEntry.length]
    add rbp, rdi
    mov rax, r12                            ; the overlap is [rax, rcx)
    cmp rax, rdi
    cmovb rax, rdi
    mov rcx, r13
    cmp rcx, rbp
    cmova rcx, rbp
    cmp rax, rcx
    jae .next
    mov [rbx + MapEntry.base], rax
    mov rdx, rcx
    sub rdx, rax
    mov [rbx + MapEntry.length], rdx
    mov [rbx + MapEntry.type], r14
    push rcx
    mov rsi, rax
    sub rsi, rdi                            ; what is left below it
    jz .nothing_below
    add ebx, MapEntry.size                  ; the insertion moves our entry up
    mov edx, MAP_USABLE
    call map_insert
.nothing_below:
    pop rdi
    mov rsi, rbp
    sub rsi, rdi                            ; and above it
    mov edx, MAP_USABLE
    call map_insert
.next:
    add ebx, MapEntry.size
    jmp .entry
.merge:
    call map_merge
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

; Joins neighbours of the same type.
map_merge:
    mov esi, MEMORY_MAP + MapEntry.size     ; reads at rsi, writes behind rdi
    mov edi, MEMORY_MAP
    mov ecx, [r15 + Fw.map_count]
    mov edx, 1
    cmp ecx, edx
    jb .none
.entry:
    dec ecx
    jle .done
    mov rax, [rdi + MapEntry.base]
    add rax, [rdi + MapEntry.length]
    cmp rax, [rsi + MapEntry.base]
    jne .apart
    mov rax, [rdi + MapEntry.type]
    cmp rax, [rsi + MapEntry.type]
    jne .apart
    mov rax, [rsi + MapEntry.length]
    add [rdi + MapEntry.length], rax
    jmp .next
.apart:
    add edi, MapEntry.size
    inc edx
    mov rax, [rsi]
    mov [rdi], rax
    mov rax, [rsi + 8]
    mov [rdi + 8], rax
    mov rax, [rsi + 16]
    mov [rdi + 16], rax
.next:
    add esi, MapEntry.size
    jmp .entry
.done:
    mov [r15 + Fw.map_count], rdx
.none:
    ret

; Usable ranges to whole pages.
map_trim:
    mov edi, MEMORY_MAP
    mov ecx, [r15 + Fw.map_count]
    test ecx, ecx
    jz .none
.entry:
    cmp qword ptr [rdi + MapEntry.type], MAP_USABLE
    jne .next
    mov rax, [rdi + MapEntry.base]
    mov rdx, rax
    add rdx, [rdi + MapEntry.length]
    and rdx, -PAGE_SIZE
    add rax, PAGE_SIZE - 1
    and rax, -PAGE_SIZE
    sub rdx, rax
    ja .some
    mov qword ptr [rdi + MapEntry.type], MAP_HOLE   ; less than a page
.some:
    mov [rdi + MapEntry.base], rax
    mov [rdi + MapEntry.length], rdx
.next:
    add edi, MapEntry.size
    dec ecx
    jnz .entry
.none:
    jmp map_close

; RDI: bytes, RSI: alignment (a power of two, at least a page), EDX: type. RAX: the highest such place below 4 GiB. Stops the boot when there is none.
map_allocate:
    add rdi, PAGE_SIZE - 1
    and rdi, -PAGE_SIZE
    jz .none
    neg rsi                                 ; as a mask
    imul ecx, [r15 + Fw.map_count], MapEntry.size
    add ecx, MEMORY_MAP
    mov r9, FOUR_GIB
.entry:
    sub ecx, MapEntry.size
    cmp ecx, MEMORY_MAP
    jb .none
    cmp qword ptr [rcx + MapEntry.type], MAP_USABLE
    jne .entry
    mov r8, [rcx + MapEntry.base]
    mov rax, [rcx + MapEntry.length]
    add rax, r8
    cmp rax, r9
    cmova rax, r9
    sub rax, rdi
    jb .entry
    and rax, rsi
    cmp rax, r8
    jb .entry
    cmp rax, ONE_MIB                        ; lower memory is for those who cannot do without
    jb .entry
    push rax
    lea rsi, [rax + rdi]
    mov rdi, rax
    call map_convert
    pop rax
    ret
.none:
    FAIL "not enough memory below 4 GiB"
