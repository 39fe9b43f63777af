; Limine boot protocol: magic numbers and the structures both sides share. Source: the protocol's PROTOCOL.md, base revision 3.

.const LIMINE_BASE_REVISION_0 = 0xF9562B2D5C95A6C8
.const LIMINE_BASE_REVISION_1 = 0x6A7B384944536BDC
.const LIMINE_START_0 = 0xF6B8F4B39DE7D1AE
.const LIMINE_START_1 = 0xFAB91A6940FCB9CF
.const LIMINE_START_2 = 0x785C6ED015D3E316
.const LIMINE_START_3 = 0x181E920A7852B9D9
.const LIMINE_END_0 = 0xADC0E0531BB10D03
.const LIMINE_END_1 = 0x9572709F31764C62
.const LIMINE_COMMON_0 = 0xC7B1DD30DF4C8B88
.const LIMINE_COMMON_1 = 0x0A82E883A194F07B

; the other half of each request's ID
.const BOOTLOADER_INFO_2 = 0xF55038D8E2A1202F
.const BOOTLOADER_INFO_3 = 0x279426FCF5F59740
.const EXECUTABLE_CMDLINE_2 = 0x4B161536E598651E
.const EXECUTABLE_CMDLINE_3 = 0xB390AD4A2F1F303A
.const FIRMWARE_TYPE_2 = 0x8C2F75D90BEF28A8
.const FIRMWARE_TYPE_3 = 0x7045A4688EAC00C3
.const STACK_SIZE_2 = 0x224EF0460A8E8926
.const STACK_SIZE_3 = 0xE1CB0FC25F46EA3D
.const HHDM_2 = 0x48DCF1CB8AD2B852
.const HHDM_3 = 0x63984E959A98244B
.const PAGING_MODE_2 = 0x95C1A0EDAB0944CB
.const PAGING_MODE_3 = 0xA4E5CB3842F7488A
.const MP_2 = 0x95A67B819A1B857E
.const MP_3 = 0xA0B61B723B6A73E0
.const MEMMAP_2 = 0x67CF3D9D378A806F
.const MEMMAP_3 = 0xE304ACDFC50C3C62
.const ENTRY_POINT_2 = 0x13D86C035A1CD3E1
.const ENTRY_POINT_3 = 0x2B0CAA89D8F3026A
.const EXECUTABLE_FILE_2 = 0xAD97E90E83F1ED67
.const EXECUTABLE_FILE_3 = 0x31EB5D1C5FF23B69
.const MODULE_2 = 0x3E7E279702BE32AF
.const MODULE_3 = 0xCA1C4F3BD1280CEE
.const RSDP_2 = 0xC5E77B6B397E7B43
.const RSDP_3 = 0x27637845ACCDCF3C
.const EXECUTABLE_ADDRESS_2 = 0x71BA76863CC55F63
.const EXECUTABLE_ADDRESS_3 = 0xB2644A48C516A487

.struct Request
    .field id, 32
    .field revision, 8
    .field response, 8
    .field argument, 8              ; where a request has one: stack size, entry point, MP flags
.endstruct

.struct MapEntry
    .field base, 8
    .field length, 8
    .field type, 8
.endstruct
.const MAP_USABLE = 0
.const MAP_RESERVED = 1
.const MAP_ACPI_RECLAIMABLE = 2
.const MAP_ACPI_NVS = 3
.const MAP_BAD = 4
.const MAP_BOOTLOADER_RECLAIMABLE = 5
.const MAP_EXECUTABLE_AND_MODULES = 6
.const MAP_FRAMEBUFFER = 7
; the types that the direct map covers in base revision 3, one bit each
.const MAP_DIRECT_TYPES = 1 << MAP_USABLE | 1 << MAP_BOOTLOADER_RECLAIMABLE | 1 << MAP_EXECUTABLE_AND_MODULES | 1 << MAP_FRAMEBUFFER

.struct MemmapResponse
    .field revision, 8
    .field count, 8
    .field entries, 8
.endstruct

.struct MpResponse
    .field revision, 8
    .field flags, 4
    .field bsp_lapic_id, 4
    .field count, 8
    .field cpus, 8
.endstruct
.struct MpInfo
    .field processor_id, 4
    .field lapic_id, 4
    .field reserved, 8              ; our loader's: top of this CPU's stack
    .field goto_address, 8
    .field extra_argument, 8
.endstruct

.struct ModuleResponse
    .field revision, 8
    .field count, 8
    .field modules, 8
.endstruct
.struct File
    .field revision, 8
    .field address, 8
    .field bytes, 8
    .field path, 8
    .field string, 8
    .field media_type, 4
    .field unused, 4
    .field tftp_ip, 4
    .field tftp_port, 4
    .field partition_index, 4
    .field mbr_disk_id, 4
    .field uuids, 48
.endstruct

; selectors of the GDT that the protocol describes, null descriptor first
.const SEL_CODE16 = 0x08
.const SEL_DATA16 = 0x10
.const SEL_CODE32 = 0x18
.const SEL_DATA32 = 0x20
.const SEL_CODE64 = 0x28
.const SEL_DATA64 = 0x30
