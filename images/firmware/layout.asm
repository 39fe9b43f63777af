; Where firmware and loader keep their things: RAM below 640 KiB. All of it but the trampoline is mapped no-execute, for on a translating CPU a store to a
; page that may hold code costs ten times one that may not. The loader reports it all as bootloader-reclaimable.

.const LOW_PML4 = 0x1000                    ; identity map of the first 4 GiB: PML4, PDPT,
.const LOW_PDPT = 0x2000
.const LOW_PD = 0x3000                      ; four page directories of 2 MiB pages,
.const LOW_PT = 0x7000                      ; and 4 KiB pages for the first 2 MiB
.const LOW_TABLES = 7
.const TRAMPOLINE = 0x8000                  ; SIPI vector 8: where application processors start
.const TRAMPOLINE_GDTR = TRAMPOLINE + 0xF00
.const VARIABLES = 0x9000                   ; struct Fw
.const FIRMWARE_IDT = 0xA000
.const STACK_TOP = 0xF000                   ; 16 KiB, downwards to 0xB000
.const DIRECTORY = 0x10000                  ; fw_cfg's, 64 bytes a file
.const MAX_FILES = 512
.const MEMORY_MAP = 0x18000                 ; MapEntry each
.const MAX_MAP = 512
.const LAPIC_IDS = 0x1C000                  ; u32 each, of the processors that reported
.const MAX_CPUS = 255                       ; xAPIC IDs are a byte, and 0xFF is everybody
.const ACPI_FILES = 0x1D000                 ; struct AcpiFile each
.const MAX_ACPI_FILES = 32
.const SCRATCH = 0x20000                    ; a file that is read, used and forgotten
.const SCRATCH_SIZE = 0x10000
.const LOW_END = 0x30000
.const LOWER_MEMORY_END = 0x9F000           ; what is above belongs to the EBDA, VGA and ROMs
.const ONE_MIB = 0x100000
.const FOUR_GIB = 1 << 32
.const ROM_WINDOW = 0xFFE00000              ; the 2 MiB page that holds the ROM

; R15 points here in all 64-bit firmware and loader code.
.struct Fw
    .field dma_control, 4                   ; fw_cfg's DMA access structure, big endian, 16 bytes
    .field dma_length, 4
    .field dma_address, 8
    .field has_dma, 8
    .field file_count, 8
    .field map_count, 8
    .field cpu_count, 8                     ; what fw_cfg says
    .field rsdp, 8                          ; physical, 0 = none
    .field acpi_count, 8
    .field fseg_next, 8                     ; next free byte of the F segment, 0 = not writable
    .field nucleus, 8                       ; files in memory: address and bytes
    .field nucleus_bytes, 8
    .field archive, 8
    .field archive_bytes, 8
    .field cmdline, 8
    .field image, 8                         ; the loaded nucleus: physical, virtual, bytes
    .field image_virtual, 8
    .field image_bytes, 8
    .field segments, 8
    .field entry, 8
    .field pml4, 8                          ; of the address space the nucleus gets
    .field heap_next, 8                     ; for responses
    .field heap_end, 8
    .field stack_top, 8                     ; boot processor's at entry, physical
    .field requests, 8 * 16                 ; physical addresses of the nucleus's requests, by index of limine_features
    .field cpus_claimed, 4                  ; application processors: have taken a slot in LAPIC_IDS,
    .field cpus_ready, 4                    ; have written it
    .field cpus_present, 8                  ; all in all
    .field infos, 8                         ; struct MpInfo each; not 0 = application processors may look for theirs
    .field gdtr, 16
    .field idtr, 16
.endstruct
