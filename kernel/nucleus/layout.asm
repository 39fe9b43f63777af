; The nucleus's own structures. What both sides of the gate know is docs/contracts.md section 4.

.const GATE_PORT = 0x0FC0
.const GATE_IDENTIFY = 0x4B4C4F46           ; "FOLK"
.const REASON_HELLO = 1
.const REASON_ONLINE = 2
.const REASON_INTERRUPT = 3
.const REASON_EXCEPTION = 4
.const REASON_SYSCALL = 5
.const AREA_MAGIC = 0x455441474B4C4F46      ; "FOLKGATE"
.const RECORD_MAGIC = 0x544F4F424B4C4F46    ; "FOLKBOOT"
.const RECORD_VERSION = 1

.const SEL_KERNEL_CODE = 0x08
.const SEL_KERNEL_DATA = 0x10
.const SEL_USER_DATA = 0x1B
.const SEL_USER_CODE = 0x23
.const SEL_TSS = 0x28

.const VECTOR_NMI = 2
.const VECTOR_DOUBLE_FAULT = 8
.const VECTOR_MACHINE_CHECK = 18
.const FIRST_INTERRUPT = 32
.const VECTOR_TIMER = 0x20
.const VECTOR_SPURIOUS = 0xFF
.const VECTOR_SYSCALL = 0x100
.const TIMER_HZ = 100

; SYSCALL clears these (FMASK): TF, IF, DF, NT, AC, and RF
.const SYSCALL_FLAGS = 1 << 8 | 1 << 9 | 1 << 10 | 1 << 14 | 1 << 16 | 1 << 18

; One page a CPU, reached through GS in ring 0. Up to `cr3` it is the gate's CPU area; the rest is the nucleus's.
.struct Cpu
    .field magic, 8
    .field index, 4
    .field lapic_id, 4
    .field reason, 4
    .field vector, 4
    .field error, 8
    .field cr2, 8
    .field tsc_enter, 8
    .field frame, 8
    .field resume, 8
    .field resume_cr3, 8
    .field tsc_resume, 8
    .field boot_record, 8
    .field cr3, 8
    .field reserved, 0xA0
    .field physical, 8                      ; of this page
    .field stack_top, 8                     ; of the CPU's own stack
    .field user_rsp, 8                      ; SYSCALL's first breath: there is no free register
    .field in_gate, 8                       ; 1 between entering a trap and leaving it: an exception then is ours
    .field nmis, 8
    .field gdtr, 16
    .field tss, 104                         ; SDM volume 3A 7.7: RSP0 at +4, IST1 at +36
    .field gdt, 56
.endstruct
.const TSS_RSP0 = Cpu.tss + 4
.const TSS_IST = Cpu.tss + 36
.const TSS_IOMAP = Cpu.tss + 102
.const TSS_BYTES = 104
.const IST_DOUBLE_FAULT = 1                 ; each on 1 KiB of the CPU's page
.const IST_NMI = 2
.const IST_MACHINE_CHECK = 3
.const IST_BYTES = 1024
.const CPU_STACK = 16 << 10

.struct Frame                               ; 22 quadwords
    .field r15, 8
    .field r14, 8
    .field r13, 8
    .field r12, 8
    .field r11, 8
    .field r10, 8
    .field r9, 8
    .field r8, 8
    .field rbp, 8
    .field rdi, 8
    .field rsi, 8
    .field rdx, 8
    .field rcx, 8
    .field rbx, 8
    .field rax, 8
    .field vector, 8
    .field error, 8
    .field rip, 8
    .field cs, 8
    .field rflags, 8
    .field rsp, 8
    .field ss, 8
.endstruct

.struct Record                              ; the boot record
    .field magic, 8
    .field version, 8
    .field hhdm, 8
    .field memmap, 8
    .field modules, 8
    .field rsdp, 8
    .field kernel_phys, 8
    .field kernel_virt, 8
    .field kernel_size, 8
    .field tsc_hz, 8
    .field lapic_timer_hz, 8
    .field cr3, 8
    .field cpu_count, 8
    .field cpu_areas, 8
    .field cmdline, 8
    .field bootloader, 8
.endstruct

; The LAPIC's registers, uncached, in the nucleus's own address space
.const LAPIC = 0xFFFFFFFFFEE00000
