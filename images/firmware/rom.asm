; The ROM: firmware, then loader. 64 KiB that end at 4 GiB; it is executed where it lies and never copied, so nothing depends on the alias below 1 MiB
; that boards offer. The reset vector itself is reset_vector.asm.

.include "../include/cpu.asm"
.include "../include/chips.asm"
.include "../include/limine.asm"
.include "../include/elf.asm"
.include "layout.asm"
.include "post.asm"

.section text
.include "real_mode.asm"                    ; 16 bit: from the reset vector, and where application processors start
.include "long_mode.asm"                    ; 32 bit: identity map, long mode
.code64
.include "../include/print.asm"
.include "firmware.asm"                     ; 64 bit: the list of what is done
.include "exceptions.asm"
.include "uart.asm"
.include "fw_cfg.asm"
.include "memory_map.asm"
.include "f_segment.asm"
.include "acpi.asm"
.include "../loader/loader.asm"             ; the loader's list
.include "../loader/files.asm"
.include "../loader/elf.asm"
.include "../loader/paging.asm"
.include "../loader/processors.asm"
.include "../loader/limine.asm"
.include "../loader/responses.asm"
.include "../loader/handover.asm"
