; COM1 at 115200 8N1, no interrupts, FIFOs on.

uart_init:
    POST POST_UART
    mov dx, COM1 + UART_IER
    xor eax, eax
    out dx, al
    mov dx, COM1 + UART_LCR
    mov al, LCR_DLAB
    out dx, al
    mov dx, COM1
    mov al, DIVISOR_115200
    out dx, al
    inc edx
    xor eax, eax
    out dx, al
    mov dx, COM1 + UART_LCR
    mov al, LCR_8N1
    out dx, al
    mov dx, COM1 + UART_FCR
    mov al, FCR_ENABLE_AND_CLEAR
    out dx, al
    mov dx, COM1 + UART_MCR
    mov al, MCR_DTR_RTS
    out dx, al
    PRINT "[POST 10] Folkering firmware: x86-64 long mode, COM1 115200 8N1\n"
    ret
