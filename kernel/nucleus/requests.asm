; What the nucleus asks of its boot loader. The loader writes the responses' addresses here before it jumps to nucleus_entry.

.macro REQUEST id_2, id_3
    .quad LIMINE_COMMON_0, LIMINE_COMMON_1, \id_2, \id_3
    .quad 0                                 ; revision
.endmacro

.section data
    .balign 8
requests_start:
    .quad LIMINE_START_0, LIMINE_START_1, LIMINE_START_2, LIMINE_START_3
base_revision:
    .quad LIMINE_BASE_REVISION_0, LIMINE_BASE_REVISION_1
base_revision_wanted:
    .quad 3                                 ; the loader makes it 0 when it complies
    REQUEST BOOTLOADER_INFO_2, BOOTLOADER_INFO_3
bootloader_info:
    .quad 0
    REQUEST EXECUTABLE_CMDLINE_2, EXECUTABLE_CMDLINE_3
executable_cmdline:
    .quad 0
    REQUEST HHDM_2, HHDM_3
hhdm_response:
    .quad 0
    REQUEST EXECUTABLE_ADDRESS_2, EXECUTABLE_ADDRESS_3
executable_address:
    .quad 0
    REQUEST MODULE_2, MODULE_3
module_response:
    .quad 0
    .quad 0, 0                              ; no modules of our own choice
    REQUEST RSDP_2, RSDP_3
rsdp_response:
    .quad 0
    REQUEST MP_2, MP_3
mp_response:
    .quad 0
    .quad 0                                 ; flags: no x2APIC
    REQUEST MEMMAP_2, MEMMAP_3
memmap_response:
    .quad 0
requests_end:
    .quad LIMINE_END_0, LIMINE_END_1
.section text
