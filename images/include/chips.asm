; Ports and registers of the PC's chips that boot code touches.

; 16550A at COM1 (TI PC16550D data sheet, table II)
.const COM1 = 0x3F8
.const UART_DATA = 0
.const UART_IER = 1
.const UART_FCR = 2
.const UART_LCR = 3
.const UART_MCR = 4
.const UART_LSR = 5
.const LCR_DLAB = 0x80
.const LCR_8N1 = 0x03
.const FCR_ENABLE_AND_CLEAR = 0x07
.const MCR_DTR_RTS = 0x03
.const LSR_THRE = 0x20
.const DIVISOR_115200 = 1

; 8259A pair, masks (8259A data sheet, OCW1)
.const PIC_MASTER_MASK = 0x21
.const PIC_SLAVE_MASK = 0xA1

; 8254 channel 2 and its gate, ports 0x42, 0x43, 0x61
.const PIT_CHANNEL_2 = 0x42
.const PIT_COMMAND = 0x43
.const PIT_CHANNEL_2_ONE_SHOT = 0xB0     ; channel 2, both bytes, mode 0
.const PIT_HZ = 1193182
.const SYSTEM_CONTROL_B = 0x61
.const CONTROL_B_GATE_2 = 0x01
.const CONTROL_B_SPEAKER = 0x02
.const CONTROL_B_OUT_2 = 0x20
.const SYSTEM_CONTROL_A = 0x92
.const CONTROL_A_A20 = 0x02

.const CMOS_INDEX = 0x70
.const CMOS_DATA = 0x71

.const PCI_ADDRESS = 0xCF8               ; PCI Local Bus 3.0, 3.2.2.3.2, mechanism 1
.const PCI_DATA = 0xCFC

; Local APIC, SDM volume 3A table 10-1 (offsets), 10.6.1 (ICR), 10.5.4 (timer)
.const LAPIC_BASE = 0xFEE00000
.const LAPIC_ID = 0x20
.const LAPIC_EOI = 0xB0
.const LAPIC_SVR = 0xF0
.const LAPIC_ICR_LOW = 0x300
.const LAPIC_LVT_TIMER = 0x320
.const LAPIC_LVT_LINT0 = 0x350
.const LAPIC_LVT_LINT1 = 0x360
.const LAPIC_LVT_ERROR = 0x370
.const LAPIC_TIMER_INITIAL = 0x380
.const LAPIC_TIMER_CURRENT = 0x390
.const LAPIC_TIMER_DIVIDE = 0x3E0
.const SVR_ENABLE_VECTOR_FF = 0x1FF
.const ICR_PENDING = 1 << 12
.const ICR_INIT_ALL_OTHERS = 0x000C4500
.const ICR_STARTUP_ALL_OTHERS = 0x000C4600
.const LVT_MASKED = 1 << 16
.const LVT_PERIODIC = 1 << 17
.const DIVIDE_BY_16 = 0x3

; IOAPIC, 82093AA data sheet 3.2
.const IOAPIC_BASE = 0xFEC00000
.const IOAPIC_SELECT = 0x00
.const IOAPIC_WINDOW = 0x10
.const IOAPIC_VERSION = 0x01
.const IOAPIC_TABLE = 0x10
