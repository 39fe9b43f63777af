; The processor's own constants. Source: Intel SDM volume 3A (control registers 2.5, paging 4.5, MSRs volume 4), AMD APM volume 2.

.const CR0_PE = 1 << 0
.const CR0_MP = 1 << 1              ; WAIT/FWAIT obey TS
.const CR0_ET = 1 << 4
.const CR0_NE = 1 << 5              ; x87 errors are #MF, not IRQ 13
.const CR0_WP = 1 << 16             ; ring 0 obeys read-only pages
.const CR0_PG = 1 << 31
.const CR4_PAE = 1 << 5
.const CR4_OSFXSR = 1 << 9
.const CR4_OSXMMEXCPT = 1 << 10
.const CR4_SMEP = 1 << 20           ; ring 0 does not execute user pages

.const MSR_PAT = 0x277
.const MSR_EFER = 0xC0000080
.const MSR_STAR = 0xC0000081
.const MSR_LSTAR = 0xC0000082
.const MSR_FMASK = 0xC0000084
.const MSR_GS_BASE = 0xC0000101
.const MSR_KERNEL_GS_BASE = 0xC0000102
.const EFER_SCE = 1 << 0
.const EFER_LME = 1 << 8
.const EFER_NXE = 1 << 11

; Page-table entries, SDM 4.5.4. The 32-bit code sets NX in an entry's upper half.
.const PAGE_PRESENT = 1 << 0
.const PAGE_WRITE = 1 << 1
.const PAGE_PWT = 1 << 3
.const PAGE_PCD = 1 << 4
.const PAGE_LARGE = 1 << 7
.const PAGE_NX_HIGH = 1 << 31
.const PAGE_NX_BIT = 63
.const PAGE_ADDRESS = 0x000FFFFFFFFFF000
.const PAGE_SIZE = 4096
.const LARGE_PAGE = 2 << 20
.const GIB = 1 << 30

; The Limine protocol asks for this PAT (SDM 11.12): WB WT UC- UC WP WC UC- UC, entry 0 in the lowest byte.
.const PAT_LOW = 0x00070406
.const PAT_HIGH = 0x00070105

.const CPUID_1_EDX_PAT = 16
.const CPUID_1_ECX_HYPERVISOR = 31
.const CPUID_7_EBX_SMEP = 7
.const CPUID_EXT_EDX_NX = 20
.const CPUID_EXT_EDX_LM = 29
