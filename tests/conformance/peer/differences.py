"""Where our answers are not QEMU's, and why: each difference by name, as the scripts and sequences use it.

A script states our own answer beside the name, so both sides are still tested; a mask with a name leaves out only the bits that differ; and what a
sequence of random accesses avoids is commented there with the name. Nothing else may differ. `python -m tests.conformance.peer` shows what does.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(enum.Enum):
    """Whose it is."""

    QEMU = "QEMU departs from the specification, or is another part"
    OPEN = "the specification leaves it open"
    OURS = "we depart, and say so"


@dataclass(frozen=True, slots=True)
class Difference:
    """One of them: name, whose, what QEMU does, and what stands against that."""

    name: str
    kind: Kind
    qemu: str
    ours: str


QEMU, OPEN, OURS = Kind.QEMU, Kind.OPEN, Kind.OURS
DIFFERENCES = {difference.name: difference for difference in (
    Difference(
        "moment", OPEN,
        "counts and times are those of its moment",
        "of ours, some instructions earlier or later: the low bits are not compared",
    ),
    Difference(
        "unsized-access", OPEN,
        "reads of other sizes than a register's give 0, writes are lost, addresses between registers are the register's",
        "bytes are read, and written where the chip has byte lanes; between registers is none. The SDM (10.4.1), the 82093AA and HPET 1.0a ask for whole "
        "registers",
    ),
    # 8259A
    Difference(
        "poll-of-nothing", OPEN,
        "a poll without a request reads 00",
        "07: bit 7 is 0; of the level below it the data sheet ('Poll command') says nothing then, and an acknowledge without a request gives level 7",
    ),
    Difference(
        "special-mask-eoi", QEMU,
        "a non-specific EOI in special mask mode ends the highest level in service, masked or not",
        "a level that is masked is not cleared by it (8259A data sheet, 'End of interrupt')",
    ),
    Difference(
        "pic-cascade-poll", QEMU,
        "input 2 of the master latches an edge of the slave's INT",
        "it follows the slave's INT; both end the same for who polls master, then slave",
    ),
    Difference(
        "pic-special-nested", QEMU,
        "in special fully nested mode a slave in service keeps no level of the master out",
        "it keeps out the lower ones; the slave's own input alone is not locked (8259A data sheet, 'Special fully nested mode')",
    ),
    Difference(
        "pic-elcr-live", OPEN,
        "a request stays while ELCR makes its input an edge",
        "it is forgotten; nobody says what becomes of it",
    ),
    Difference(
        "wide-ports", QEMU,
        "a word at two byte-wide ports goes to the first of them twice",
        "a byte to each (PC/AT: the bus converts); ELCR2 cannot make IRQ 13 a level (ICH9 13.4.11)",
    ),
    # 8254, port 61
    Difference(
        "pit-power-on", OPEN,
        "channel 2 runs in mode 3 from power-on",
        "OUT is low; mode, count and OUT are undefined before programming (8254 data sheet, 'Programming')",
    ),
    Difference(
        "pit-control-read", QEMU,
        "port 43 reads 00",
        "FF: nothing drives the bus (8254 data sheet, read/write logic: 3-state)",
    ),
    Difference(
        "pit-gate", QEMU,
        "GATE low stops no count",
        "modes 0 and 4 stop (8254 data sheet, 'Mode definitions')",
    ),
    Difference(
        "pit-status", QEMU,
        "no null count; OUT is that of the last count after a control word, and inverted in modes 1, 2, 4 and 5",
        "as the 8254 data sheet has it: 'Read-back command', 'Mode definitions'",
    ),
    Difference(
        "pit-bcd", QEMU,
        "decimal counters count in binary",
        "in decades (8254 data sheet, 'Counter', control word bit 0)",
    ),
    Difference(
        "refresh-toggle", QEMU,
        "bit 4 of port 61 toggles with each read",
        "with each refresh, every 15 us (ICH9 13.7.1)",
    ),
    Difference(
        "port61-nmi-masks", QEMU,
        "bits 2 and 3 of port 61 are not kept",
        "they are, and mask SERR# and IOCHK# (ICH9 13.7.1)",
    ),
    # 16550A
    Difference(
        "uart-out2", QEMU,
        "MCR is 08 after a reset",
        "00 (PC16550D, table I)",
    ),
    Difference(
        "uart-loopback-delta", QEMU,
        "in loopback MSR bits 3-0 stay 0",
        "they show changes, and interrupt: only the sources are others (PC16550D 8.8)",
    ),
    Difference(
        "uart-transmitter-reset", OPEN,
        "resetting a transmitter FIFO that is empty raises its interrupt",
        "it does not: nothing became empty (PC16550D 8.4, 8.6)",
    ),
    # clock
    Difference(
        "rtc-weekday", QEMU,
        "the day of the week is computed from the date",
        "it is a counter of its own, and what software has set (MC146818A, 'Time, calendar, and alarm locations')",
    ),
    Difference(
        "rtc-pf", QEMU,
        "register C's PF is set only while PIE is 1",
        "always, 'regardless of PIE' (MC146818A, register C)",
    ),
    Difference(
        "rtc-alarm-pm", QEMU,
        "in binary 12-hour mode bit 7 counts as 128 of the hour when an alarm is compared",
        "it is PM, of the time and of the alarm each (MC146818A, table 2)",
    ),
    Difference(
        "rtc-century-37", QEMU,
        "address 37 is the century too, as IBM's PS/2 had it",
        "memory; ACPI says 32",
    ),
    # local APIC
    Difference(
        "apic-eoi-suppression", QEMU,
        "version 14 without bit 24; bits 12 and 9 of SVR cannot be set",
        "EOI broadcasts can be suppressed, focus checking switched (SDM 10.4.8, 10.9)",
    ),
    Difference(
        "apic-software-disabled", QEMU,
        "local vectors can be unmasked while the APIC is disabled, and stay unmasked",
        "the masks are set and cannot be cleared (SDM 10.4.7.2)",
    ),
    Difference(
        "apic-reserved-bits", QEMU,
        "reserved and read-only bits of ICR and local vectors are kept",
        "they read 0 (SDM figures 10-8, 10-12)",
    ),
    Difference(
        "apic-arbitration", QEMU,
        "APR reads 0",
        "as the P6 computed it (SDM 10.6.2.4)",
    ),
    Difference(
        "apic-cluster-broadcast", QEMU,
        "no broadcast in the cluster model",
        "all ones is for everybody, cluster 15 for every cluster (SDM 10.6.2.2)",
    ),
    Difference(
        "apic-esr-latch", QEMU,
        "ESR shows an error at once",
        "when it is written (SDM 10.5.3)",
    ),
    Difference(
        "apic-illegal-vectors", QEMU,
        "vectors below 16 are sent and taken, as processor exceptions",
        "ESR says so and nothing is sent (SDM 10.5.2, 10.5.3); it cannot be tried here",
    ),
    Difference(
        "apic-lint0", QEMU,
        "LINT0 unmasked passes the 8259A's vector whatever its delivery mode, and has no remote IRR",
        "fixed mode requests its own vector (SDM 10.5.1)",
    ),
    Difference(
        "apic-divider-change", QEMU,
        "a new divider counts for all the time since the count began",
        "from now on: the count is a register that goes on (SDM 10.5.4)",
    ),
    Difference(
        "apic-mode-change", OPEN,
        "periodic that becomes one-shot after its first period has stopped",
        "it goes on to its end and interrupts once more",
    ),
    # I/O APIC
    Difference(
        "ioapic-id", OURS,
        "the ID is 0 after a reset",
        "it is behind the processors' ids, as the MADT says and a firmware would set it",
    ),
    Difference(
        "ioapic-reserved-bits", QEMU,
        "bits 55-17 of an entry are kept",
        "they read 0 (82093AA 3.2.4)",
    ),
    Difference(
        "ioapic-level-to-edge", QEMU,
        "a level that becomes an edge while its line is up is an edge",
        "an edge is a change of the line (82093AA 3.2.4)",
    ),
    Difference(
        "ioapic-edge-to-level", QEMU,
        "a line that was up while its masked entry was an edge requests nothing as a level",
        "a level requests while the line is up",
    ),
    # HPET
    Difference(
        "hpet-clock", QEMU,
        "100 MHz",
        "14.31818 MHz (ICH9 chapter 20)",
    ),
    Difference(
        "hpet-routes", QEMU,
        "pins 2, 8 and 16-23, and any number is kept",
        "pins 20-23 (ICH9 20.1.5; its pin 11 of comparator 2 is left out); others are not kept (HPET 1.0a, 2.3.8)",
    ),
    Difference(
        "hpet-mode32", OPEN,
        "the upper half of a comparator in 32-bit mode is kept",
        "it reads 0 and stays 0",
    ),
    Difference(
        "hpet-status-disabled", QEMU,
        "a level comparator that may not interrupt sets no status bit",
        "it does (HPET 1.0a, 2.3.8, Tn_INT_ENB_CNF: status bits are generated all the same)",
    ),
    Difference(
        "hpet-level-to-edge", OPEN,
        "the status bit stays when a comparator becomes an edge",
        "it goes; the specification has it ignored then",
    ),
    # ACPI
    Difference(
        "pm-timer-at-start", QEMU,
        "TMROF_STS is 1 at power-on",
        "0 (ICH9 13.8.3.1); the timer has not overflown",
    ),
    Difference(
        "pm-reserved-bits", QEMU,
        "reserved bits of PM1_EN and PM1_CNT are kept, GBL_RLS reads back",
        "they read 0 (ICH9 13.8.3.2, 13.8.3.3)",
    ),
    Difference(
        "pm-smi-en", OURS,
        "SMI_EN is 0",
        "APMC_EN is 1: there is no SMM, and firmware takes it for set up",
    ),
    Difference(
        "pm-timer-width", OURS,
        "the timer has 24 bits, as the chip",
        "32, and the FADT says so",
    ),
    Difference(
        "pm-widths", QEMU,
        "a byte at 603 and a double word at 600 are lost",
        "each reaches its bytes (ICH9 13.8.3: bytes, words and double words)",
    ),
    # 8042, keyboard, mouse
    Difference(
        "fw-cfg-selector-read", QEMU,
        "a byte read at 510 is the next byte of data",
        "the selector is write-only, data is at 511 (fw_cfg specification)",
    ),
    Difference(
        "i8042-status", QEMU,
        "status bit 2 is set by a self test alone, bit 3 always",
        "bit 2 is the command byte's, bit 3 tells command from data (PS/2 reference, \"Status register\")",
    ),
    Difference(
        "i8042-reset", OURS,
        "the command byte is 03 after a reset",
        "45, as a firmware's self test leaves it, for kernels that are booted without one",
    ),
    Difference(
        "i8042-self-test", QEMU,
        "a self test leaves the command byte as it is",
        "it sets the system flag in it, as in the status register (PS/2 reference, 'Self-test')",
    ),
    Difference(
        "i8042-ram", QEMU,
        "commands 21-3F and 61-7F do nothing",
        "they read and write the controller's RAM (PS/2 reference)",
    ),
    Difference(
        "i8042-input-port", OPEN,
        "80",
        "A0: the jumper for a colour display, too",
    ),
    Difference(
        "i8042-output-port", QEMU,
        "bit 4 reads as it was written",
        "it is the interrupt, and follows the output buffer (PS/2 reference, 'Output port')",
    ),
    Difference(
        "i8042-test-port", QEMU,
        "command E0 does nothing",
        "it reads the clock lines (PS/2 reference, 'Read test inputs')",
    ),
    Difference(
        "keyboard-resend", QEMU,
        "FE is an unknown command",
        "the last byte comes again (PS/2 reference, 'Resend')",
    ),
    Difference(
        "keyboard-parameter", QEMU,
        "any byte is the parameter of ED, and 00 a command",
        "a command in its place is a command, 00 is none (PS/2 reference, 'Set/reset mode indicators')",
    ),
    Difference(
        "keyboard-key-types", QEMU,
        "F7-F9 are unknown",
        "set 3's key types are taken (PS/2 reference, \"Set all keys\")",
    ),
    Difference(
        "mouse-power-on", QEMU,
        "resolution and rate are 0 until a command sets defaults",
        "2 and 100 (PS/2 reference, 'Reset')",
    ),
    Difference(
        "mouse-mistakes", QEMU,
        "wrong parameters are taken, unknown commands not answered, FE neither",
        "FE, and the last byte again (PS/2 reference, 'Mouse', 'Error handling')",
    ),
    # PCI
    Difference(
        "pci-config-address", QEMU,
        "all of CONFIG_ADDRESS is kept",
        "bits 30-24, 1 and 0 read 0 (PCI 3.0, 3.2.2.3.2)",
    ),
    Difference(
        "pci-config-lanes", QEMU,
        "a word at CFA is the lower half of CONFIG_ADDRESS",
        "the upper",
    ),
    Difference(
        "pci-unaligned", QEMU,
        "a word at CFD is lost",
        "it is two bytes of one double word, and reaches them by byte enables (PCI 3.0, 3.2.2.3.2)",
    ),
    Difference(
        "pci-status", QEMU,
        "STATUS is 0",
        "0090 and 0210: capabilities, DEVSEL timing (316966 5.1.4, ICH9 13.1.4)",
    ),
    Difference(
        "pci-revision", QEMU,
        "host bridge revision 0",
        "2, stepping A2",
    ),
    Difference(
        "pci-subsystem", QEMU,
        "1AF4:1100, its own",
        "0000:0000 until a firmware writes them",
    ),
    Difference(
        "pci-capabilities", QEMU,
        "no list",
        "CAPID0, feature vector (316966 5.1.37, ICH9 13.1.32)",
    ),
    Difference(
        "pci-parity", QEMU,
        "COMMAND bit 6 is not kept",
        "parity error response can be set (PCI 3.0, 6.2.2)",
    ),
    Difference(
        "mch-extended-tseg", QEMU,
        "a register of its own at 50",
        "nothing",
    ),
    Difference(
        "mch-defaults", QEMU,
        "PCIEXBAR begins at B0000000, other registers at 0",
        "DEVEN, REMAPBASE, TOM and TOLUD as 316966 5.1 has them; PCIEXBAR at 0, where its E0000000 would be as well disabled",
    ),
    Difference(
        "mch-reserved-bits", QEMU,
        "reserved bits of PCIEXBAR are kept",
        "they read 0 (316966 5.1.16)",
    ),
    Difference(
        "mch-pam0", QEMU,
        "bits 1 and 0 of PAM0 are kept",
        "they are reserved and read 0 (316966 5.1.22): the segment from F0000 alone is its",
    ),
    Difference(
        "ich9-acpi-base", OURS,
        "the ACPI block is nowhere after a reset",
        "at 600 and enabled, for kernels that are booted without a firmware",
    ),
    Difference(
        "ich9-reserved-bits", QEMU,
        "reserved bits of PMBASE, ACPI_CNTL and RCBA are kept",
        "they read 0 (ICH9 13.1.10, 13.1.11, 13.1.35)",
    ),
    Difference(
        "ich9-defaults", QEMU,
        "GPIOBASE, SIRQ_CNTL and the firmware hub's registers are 0; LPC_EN enables what is plugged in",
        "as ICH9 13.1 has them",
    ),
    # VGA
    Difference(
        "vga-attribute-read", QEMU,
        "port 3C0 reads 0 while it awaits data",
        "the index (PS/2 reference, 'Attribute address register')",
    ),
    Difference(
        "vga-pel-mask", QEMU,
        "port 3C6 is not kept",
        "it is (PS/2 reference, 'PEL mask register')",
    ),
    Difference(
        "vga-palette-bits", QEMU,
        "palette components read back in eight bits",
        "in six (PS/2 reference, 'Video digital-to-analog converter')",
    ),
    # ports
    Difference(
        "post-code", QEMU,
        "port 80 reads FF",
        "what was written, as the DMA page register there does (PC/AT)",
    ),
    Difference(
        "master-abort", QEMU,
        "memory where nothing is reads 0",
        "all ones (PCI 3.0, 3.3.3.1)",
    ),
)}
