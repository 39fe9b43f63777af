; Power-on self-test codes on port 0x80, as a POST card shows them: the last one tells how far the boot came.

.const POST_PORT = 0x80
.const POST_RESET = 0x01                    ; real mode, reset vector
.const POST_PROTECTED = 0x02
.const POST_LONG = 0x03
.const POST_UART = 0x10
.const POST_FW_CFG = 0x11
.const POST_MEMORY = 0x12
.const POST_PROCESSORS = 0x13
.const POST_ACPI = 0x14
.const POST_LOADER = 0x20
.const POST_FILES = 0x21
.const POST_ELF = 0x22
.const POST_PAGING = 0x23
.const POST_REQUESTS = 0x24
.const POST_APS = 0x25
.const POST_HANDOVER = 0x2F
.const POST_NO_LONG_MODE = 0xE0             ; from here on: the machine has stopped
.const POST_EXCEPTION = 0xE1
.const POST_FAILED = 0xEE

.macro POST code
    mov al, \code
    out POST_PORT, al
.endmacro
