; QEMU's firmware configuration device (QEMU docs/specs/fw_cfg): a directory of named files, read by DMA where the device has it and byte by byte where not.

.const FW_CFG_SELECT = 0x510
.const FW_CFG_DATA = 0x511
.const FW_CFG_DMA_LOW = 0x518
.const FW_CFG_SIGNATURE = 0x00
.const FW_CFG_FEATURES = 0x01
.const FW_CFG_FILE_DIR = 0x19
.const FEATURE_DMA = 1 << 1
.const DMA_ERROR = 0x01
.const DMA_READ = 0x02
.const DMA_SELECT = 0x08
.const DMA_POLLS = 100000000
.const QEMU_MAGIC = 0x554D4551              ; "QEMU"

.struct CfgFile                             ; big endian
    .field bytes, 4
    .field select, 2
    .field reserved, 2
    .field name, 56
.endstruct

fw_cfg_init:
    POST POST_FW_CFG
    push rbx
    sub rsp, 16
    mov rdi, rsp                            ; without knowing of DMA yet, so by port
    mov esi, 4
    mov edx, FW_CFG_SIGNATURE
    call fw_cfg_read
    cmp dword ptr [rsp], QEMU_MAGIC
    jne .absent
    mov rdi, rsp
    mov esi, 4
    mov edx, FW_CFG_FEATURES
    call fw_cfg_read
    mov eax, [rsp]
    and eax, FEATURE_DMA
    mov [r15 + Fw.has_dma], rax

    mov rdi, rsp
    mov esi, 4
    mov edx, FW_CFG_FILE_DIR
    call fw_cfg_read
    mov ebx, [rsp]
    bswap ebx
    cmp ebx, MAX_FILES
    ja .too_many
    mov [r15 + Fw.file_count], rbx
    mov edi, DIRECTORY
    mov esi, ebx
    shl esi, 6                              ; CfgFile.size
    mov edx, -1
    call fw_cfg_read
    PRINT "[POST 11] fw_cfg: "
    PRINT_DECIMAL rbx
    cmp qword ptr [r15 + Fw.has_dma], 0
    je .by_port
    PRINT " files, DMA\n"
    jmp .done
.by_port:
    PRINT " files, by port\n"
.done:
    add rsp, 16
    pop rbx
    ret
.absent:
    FAIL "this machine has no fw_cfg device: there is nothing to boot from"
.too_many:
    FAIL "fw_cfg lists more files than this firmware has room for"

; RDI: to, below 4 GiB; ESI: bytes; EDX: item to select, or -1 to read on
fw_cfg_read:
    test esi, esi
    jz .nothing
    cmp qword ptr [r15 + Fw.has_dma], 0
    je .by_port
    mov eax, DMA_READ
    test edx, edx
    js .control
    mov eax, edx
    shl eax, 16
    or eax, DMA_READ | DMA_SELECT
.control:
    bswap eax
    mov [r15 + Fw.dma_control], eax
    bswap esi
    mov [r15 + Fw.dma_length], esi
    bswap rdi
    mov [r15 + Fw.dma_address], rdi
    lea rax, [r15 + Fw.dma_control]
    bswap eax
    mov dx, FW_CFG_DMA_LOW                  ; the upper half is 0 after every transfer
    out dx, eax                             ; starts it
    mov ecx, DMA_POLLS
.wait:
    mov eax, [r15 + Fw.dma_control]
    bswap eax
    test eax, eax
    jz .nothing
    test eax, DMA_ERROR
    jnz .failed
    pause
    dec ecx
    jnz .wait
.failed:
    FAIL "fw_cfg: a DMA transfer failed"
.by_port:
    mov ecx, esi
    test edx, edx
    js .selected
    mov eax, edx
    mov dx, FW_CFG_SELECT
    out dx, ax
.selected:
    mov dx, FW_CFG_DATA
    rep insb
.nothing:
    ret

; RSI: a name. EAX: its bytes, EDX: its item; carry if there is no such file
fw_cfg_find:
    push rbx
    push rsi
    push rdi
    mov ebx, DIRECTORY
    mov ecx, [r15 + Fw.file_count]
    mov r8, rsi
.file:
    test ecx, ecx
    jz .absent
    mov rsi, r8
    lea rdi, [rbx + CfgFile.name]
.compare:
    mov al, [rsi]
    cmp al, [rdi]
    jne .next
    inc rsi
    inc rdi
    test al, al
    jnz .compare
    mov eax, [rbx + CfgFile.bytes]
    bswap eax
    movzx edx, word ptr [rbx + CfgFile.select]
    xchg dl, dh
    clc
    jmp .done
.next:
    add rbx, CfgFile.size
    dec ecx
    jmp .file
.absent:
    stc
.done:
    pop rdi
    pop rsi
    pop rbx
    ret
