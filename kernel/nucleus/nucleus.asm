; The Folkering nucleus: everything that must be machine code. It takes over from a Limine boot loader, gives each CPU its descriptors, page tables, timer and
; trap entries, and then answers every trap by asking the kernel through the gate what to resume.

.include "../../images/include/cpu.asm"
.include "../../images/include/chips.asm"
.include "../../images/include/limine.asm"
.include "layout.asm"
.include "requests.asm"

.section text
nucleus_entry:                              ; boot processor, Limine's machine state
    call responses_check                    ; a boot loader that cannot serve us: stop with a line
    call banner
    call memory_take                        ; room for page tables, CPU areas, stacks: out of the memory map
    call paging_build                       ; direct map, W^X nucleus, LAPIC
    call paging_enter
    call clocks_measure                     ; TSC and LAPIC timer, by CPUID or against the PIT
    call idt_build                          ; 256 vectors
    xor edi, edi
    call cpu_init                           ; GDT, TSS, GS, SYSCALL, FPU, LAPIC and its timer
    mov rsp, gs:[Cpu.stack_top]             ; the loader's stack is given up
    call paging_report
    call record_build                       ; what the kernel will be told
    jmp gate_hello                          ; finds the kernel or not; never returns

; Every other processor, by its MpInfo's goto_address. RDI: the MpInfo.
processor_entry:
    mov rbx, rdi
    call paging_enter
    mov rdi, [rbx + MpInfo.extra_argument]  ; its index, our doing
    call cpu_init
    mov rsp, gs:[Cpu.stack_top]
    jmp gate_online

.include "../../images/include/print.asm"
.include "start.asm"
.include "clocks.asm"
.include "memory.asm"
.include "paging.asm"
.include "cpu.asm"
.include "lapic.asm"
.include "idt.asm"
.include "traps.asm"
.include "syscall.asm"
.include "gate.asm"
.include "record.asm"
.include "panic.asm"
