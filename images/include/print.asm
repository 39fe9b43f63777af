; Text on COM1, for 64-bit code of firmware and nucleus alike. Needs chips.asm. Every routine keeps all registers.

.const UART_POLLS = 20000           ; at 115200 baud a byte takes 87 us; a UART that is slower than this is not there

; PRINT "text" -- only from section text
.macro PRINT text
    push rsi
    lea rsi, [rip + .print_\@]
    call print_string
    pop rsi
    .section rodata
.print_\@:
    .asciz \text
    .section text
.endmacro

.macro PRINT_DECIMAL value
    push rdi
    mov rdi, \value
    call print_decimal
    pop rdi
.endmacro

.macro PRINT_HEX value
    push rdi
    mov rdi, \value
    call print_hex
    pop rdi
.endmacro

; AL: the byte. The wait for room has an end, so that a broken UART costs time and not the boot.
print_char:
    push rax
    push rcx
    push rdx
    mov ah, al
    mov ecx, UART_POLLS
    mov dx, COM1 + UART_LSR
.wait:
    in al, dx
    test al, LSR_THRE
    jnz .ready
    dec ecx
    jnz .wait
.ready:
    mov al, ah
    mov dx, COM1 + UART_DATA
    out dx, al
    pop rdx
    pop rcx
    pop rax
    ret

; RSI: NUL-terminated text; a newline goes out as CR LF
print_string:
    push rax
    push rsi
.next:
    mov al, byte ptr [rsi]
    inc rsi
    test al, al
    jz .end
    cmp al, 10
    jne .plain
    mov al, 13
    call print_char
    mov al, 10
.plain:
    call print_char
    jmp .next
.end:
    pop rsi
    pop rax
    ret

; RDI: the number, as 0x and at least one digit
print_hex:
    push rax
    push rcx
    push rdx
    mov al, '0'
    call print_char
    mov al, 'x'
    call print_char
    mov ecx, 64
    xor edx, edx                    ; becomes 1 with the first digit that counts
.next:
    sub ecx, 4
    mov rax, rdi
    shr rax, cl
    and eax, 15
    or edx, eax
    jnz .digit
    test ecx, ecx
    jnz .next
.digit:
    mov edx, 1
    add al, '0'
    cmp al, '9'
    jbe .out
    add al, 'a' - '0' - 10
.out:
    call print_char
    test ecx, ecx
    jnz .next
    pop rdx
    pop rcx
    pop rax
    ret

; RDI: the number
print_decimal:
    push rax
    push rbx
    push rcx
    push rdx
    mov rax, rdi
    mov ebx, 10
    xor ecx, ecx
.divide:
    xor edx, edx
    div rbx
    push rdx
    inc ecx
    test rax, rax
    jnz .divide
.out:
    pop rax
    add al, '0'
    call print_char
    dec ecx
    jnz .out
    pop rdx
    pop rcx
    pop rbx
    pop rax
    ret
