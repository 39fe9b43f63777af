"""A machine made of a bytearray and a few scripted ports, and a nucleus that plays by the contract: deterministic, and as wrong as a test wants it.

`Machine` satisfies `kernel.hardware.Hardware`. `Nucleus` lays out what the loader and the nucleus leave in memory, calls the gate and carries out the
answers: which frame each CPU resumes is in `running`.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from kernel.gate import CpuArea, Reason, TrapFrame
from kernel.hardware import PhysicalMemory
from kernel.interrupts import TIMER_VECTOR
from kernel.kernel import Kernel

MIB, PAGE = 1 << 20, 4096
NS = 1_000_000_000
TSC_HZ = 1_000_000_000
PM_TIMER_HZ = 3_579_545
TICK = 10_000_000
HHDM = 0xFFFF_8000_0000_0000
KERNEL_VIRT = 0xFFFF_FFFF_8000_0000

# where things are in the fake's memory
RSDP_AT, TABLES_AT = 0xE0000, 0xE1000
RECORD_AT, RESPONSES_AT, CMDLINE_AT, AREAS_AT, NUCLEUS_ROOT_AT, IDLE_FRAMES_AT = 0x200000, 0x201000, 0x203000, 0x204000, 0x210000, 0x213000
KERNEL_AT, KERNEL_SIZE, ARCHIVE_AT = 0x300000, 0x10000, 0x400000
PM1A_CONTROL, PM_TIMER, SMI_COMMAND, RESET_PORT = 0x604, 0x608, 0xB2, 0xCF9
LOCAL_APIC_AT, IO_APIC_AT = 0xFEE00000, 0xFEC00000
SLP_TYP_S5 = 5


class NoRam(Exception):
    """What this machine raises for memory that is not there: a class that the kernel cannot know."""


class FakeUart:
    """A 16550A that sends one FIFO load a `shift()`; `stuck` and `dead` are its illnesses."""

    def __init__(self, interrupt: Callable[[], None]) -> None:
        self._interrupt = interrupt
        self.sent = bytearray()
        self.fifo: deque[int] = deque()
        self.received: deque[int] = deque()
        self.registers = {1: 0, 3: 0, 4: 0, 7: 0}
        self.divisor = [0, 0]
        self.errors = self.polls = 0
        self.thre_pending = False
        self.lose_interrupts = self.stuck = self.dead = False
        self._line = False

    def read(self, register: int) -> int:
        if self.dead:
            return 0xFF
        match register:
            case 0 if self.registers[3] & 0x80:
                return self.divisor[0]
            case 0:
                value = self.received.popleft() if self.received else 0
                self._update()
                return value
            case 2:
                return self._identify()
            case 5:
                self.polls = self.polls + 1 if self.fifo else 0
                if self.polls > 20:                     # whoever polls waits, too
                    self.shift()
                status = (0 if self.fifo else 0x60) | bool(self.received) | self.errors
                self.errors = 0
                self._update()
                return status
            case 6:
                return 0xB0
            case _:
                return self.registers.get(register, 0)

    def write(self, register: int, value: int) -> None:
        if self.dead:
            return
        if register in (0, 1) and self.registers[3] & 0x80:
            self.divisor[register] = value
        elif register == 0:
            assert len(self.fifo) < 16, "the transmitter's FIFO overflowed"
            self.fifo.append(value)
            self.thre_pending = False
        elif register == 1:
            self.registers[1] = value
            self.thre_pending = bool(value & 2) and not self.fifo
        elif register in self.registers:
            self.registers[register] = value
        self._update()

    def receive(self, data: bytes) -> None:
        """Bytes arrive; what finds a full FIFO is an overrun."""
        for byte in data:
            if len(self.received) < 16:
                self.received.append(byte)
            else:
                self.errors |= 2
        self._update()

    def shift(self) -> None:
        """The line has had time to take everything."""
        if self.fifo:
            self.sent += bytes(self.fifo)
            self.fifo.clear()
            self.thre_pending = bool(self.registers[1] & 2)
            self._update()

    def _identify(self) -> int:
        if self.stuck:
            return 0xC0
        enabled = self.registers[1]
        if enabled & 4 and self.errors:
            return 0xC6
        if enabled & 1 and self.received:
            return 0xC4
        if enabled & 2 and self.thre_pending:
            self.thre_pending = False
            self._update()
            return 0xC2
        return 0xC1

    def _update(self) -> None:
        enabled = self.registers[1]
        pending = bool(enabled & 4 and self.errors or enabled & 1 and self.received or enabled & 2 and self.thre_pending or self.stuck)
        level = pending and bool(self.registers[4] & 8)
        if level and not self._line and not self.lose_interrupts:
            self._interrupt()
        self._line = level


@dataclass
class FakeIoApic:
    """24 pins; the redirection entries are what tests look at."""

    index: int = 0
    entries: list[int] = field(default_factory=lambda: [1 << 16] * 24)

    def read(self) -> int:
        if self.index == 1:
            return 23 << 16 | 0x20
        entry, high = divmod(self.index - 0x10, 2)
        return self.entries[entry] >> 32 * high & 0xFFFFFFFF

    def write(self, value: int) -> None:
        entry, high = divmod(self.index - 0x10, 2)
        keep = 0xFFFFFFFF << (0 if high else 32)
        self.entries[entry] = self.entries[entry] & keep | value << 32 * high


class Machine:
    """RAM from 0, ports and two APICs. Nothing happens by itself: time is `now`, set by the test."""

    def __init__(self, memory: int = 16 * MIB) -> None:
        self.ram = bytearray(memory)
        self.now = 0
        self.pending: deque[int] = deque()              # vectors on their way to the boot CPU
        self.ipis: list[tuple[int, int]] = []           # (APIC ID, vector)
        self.woken = 0
        self.uart = FakeUart(self._com1_interrupt)
        self.io_apic = FakeIoApic()
        self.lapic_registers: dict[int, int] = {}
        self.cmos = {0: 0x56, 2: 0x34, 4: 0x12, 7: 0x24, 8: 0x11, 9: 0x26, 0x0A: 0x26, 0x0B: 0x02, 0x32: 0x20}
        self.cmos_index = 0
        self.pic_writes: list[tuple[int, int]] = []
        self.pm1_control = 0x0001
        self.powered_off = self.was_reset = False
        self.pci: dict[tuple[int, int, int], dict[int, int]] = {
            (0, 0, 0): {0: 0x29C0_8086, 8: 0x0600_0000, 0xC: 0}, (0, 31, 0): {0: 0x2918_8086, 8: 0x0601_0000, 0xC: 0x80_0000},
            (0, 31, 3): {0: 0x2930_8086, 8: 0x0C05_0000, 0xC: 0}}
        self.pci_address = 0
        self.port_overrides: dict[int, Callable[[], int]] = {}
        self.enter: Callable[[int], None] = lambda value: None
        self.identify = 0xFFFFFFFF
        self.memory = PhysicalMemory(self)

    # Hardware
    def port_read(self, port: int, size: int) -> int:
        if port in self.port_overrides:
            return self.port_overrides[port]()
        if 0x3F8 <= port < 0x400:
            return self.uart.read(port - 0x3F8)
        if port == 0x71:
            return self.cmos.get(self.cmos_index, 0)
        if port == PM_TIMER:
            return self.now * PM_TIMER_HZ // NS & 0xFFFFFF
        if port == PM1A_CONTROL:
            return self.pm1_control
        if port == 0xCFC:
            key = (self.pci_address >> 16 & 0xFF, self.pci_address >> 11 & 31, self.pci_address >> 8 & 7)
            return self.pci.get(key, {}).get(self.pci_address & 0xFC, 0xFFFFFFFF if key not in self.pci else 0)
        return (1 << 8 * size) - 1

    def port_write(self, port: int, size: int, value: int) -> None:
        assert 0 <= value < 1 << 8 * size, f"{value:#x} is not {size} bytes"
        if 0x3F8 <= port < 0x400:
            self.uart.write(port - 0x3F8, value)
        elif port == 0x70:
            self.cmos_index = value
        elif port in (0x20, 0x21, 0xA0, 0xA1):
            self.pic_writes.append((port, value))
        elif port == 0xCF8:
            self.pci_address = value
        elif port == PM1A_CONTROL:
            self.pm1_control = value & ~(1 << 13)
            self.powered_off |= value & 1 << 13 != 0 and value >> 10 & 7 == SLP_TYP_S5
        elif port == SMI_COMMAND:
            self.pm1_control |= 1
        elif port == RESET_PORT:
            self.was_reset |= value == 6

    def mmio_read(self, address: int, size: int) -> int:
        if address == IO_APIC_AT + 0x10:
            return self.io_apic.read()
        return self.lapic_registers.get(address - LOCAL_APIC_AT, 0xFFFFFFFF)

    def mmio_write(self, address: int, size: int, value: int) -> None:
        if address == IO_APIC_AT:
            self.io_apic.index = value
        elif address == IO_APIC_AT + 0x10:
            self.io_apic.write(value)
        else:
            self.lapic_registers[address - LOCAL_APIC_AT] = value
            if address == LOCAL_APIC_AT + 0x300:
                self.ipis.append((self.lapic_registers.get(0x310, 0) >> 24, value & 0xFF))

    def memory_read(self, address: int, length: int) -> bytes:
        if address + length > len(self.ram):
            raise NoRam(hex(address))
        return bytes(self.ram[address:address + length])

    def memory_write(self, address: int, data: bytes) -> None:
        if address + len(data) > len(self.ram):
            raise NoRam(hex(address))
        self.ram[address:address + len(data)] = data

    def attach_gate(self, port: int, enter: Callable[[int], None], identify: int) -> None:
        assert port == 0xFC0
        self.enter, self.identify = enter, identify

    def wake(self) -> None:
        self.woken += 1

    def _com1_interrupt(self) -> None:
        entry = self.io_apic.entries[4]
        if not entry & 1 << 16:
            self.pending.append(entry & 0xFF)


@dataclass
class Layout:
    """What the loader and the nucleus left in memory; tests change it before HELLO."""

    cpus: int = 4
    cmdline: str = ""
    archive: bytes = b""
    memory_map: tuple[tuple[int, int, int], ...] = ()
    rsdp: int = RSDP_AT
    tsc_hz: int = TSC_HZ


class Nucleus:
    """Plays the guest's side of docs/contracts.md section 4."""

    def __init__(self, machine: Machine, layout: Layout) -> None:
        self.machine, self.layout = machine, layout
        self.running = dict.fromkeys(range(layout.cpus), 0)
        self.cr3 = dict.fromkeys(range(layout.cpus), NUCLEUS_ROOT_AT)
        self.resumed_at = dict.fromkeys(range(layout.cpus), 0)
        self.record = [HHDM, HHDM + RESPONSES_AT, HHDM + RESPONSES_AT + 0x800 if layout.archive else 0, layout.rsdp, KERNEL_AT, KERNEL_VIRT, KERNEL_SIZE,
                       layout.tsc_hz, 62_500_000, NUCLEUS_ROOT_AT, layout.cpus, AREAS_AT, HHDM + CMDLINE_AT if layout.cmdline else 0, 0]
        self.write_tables()
        self.write_memory()
        self.write_record()

    # what is in memory
    def write_record(self) -> None:
        self.machine.memory_write(RECORD_AT, struct.pack("<8s15Q", b"FOLKBOOT", 1, *self.record))

    def write_memory(self) -> None:
        write, layout = self.machine.memory_write, self.layout
        size = len(self.machine.ram)
        archive_end = -(-(ARCHIVE_AT + len(layout.archive)) // PAGE) * PAGE
        entries = layout.memory_map or (
            (0, 0x9F000, 0), (0xE0000, 0x20000, 2), (MIB, MIB, 5), (2 * MIB, MIB, 0), (KERNEL_AT, KERNEL_SIZE, 6), (KERNEL_AT + KERNEL_SIZE, 0xF0000, 1),
            (ARCHIVE_AT, archive_end - ARCHIVE_AT, 6), (archive_end, size - archive_end, 0))
        base = RESPONSES_AT
        write(base, struct.pack("<3Q", 0, len(entries), HHDM + base + 0x20))
        for index, entry in enumerate(entries):
            at = base + 0x400 + 24 * index
            write(base + 0x20 + 8 * index, struct.pack("<Q", HHDM + at))
            write(at, struct.pack("<3Q", *entry))
        modules = base + 0x800
        write(modules, struct.pack("<4Q", 0, 1, HHDM + modules + 0x18, HHDM + modules + 0x20))
        write(modules + 0x20, struct.pack("<4Q", 0, HHDM + ARCHIVE_AT, len(layout.archive), HHDM + modules + 0x40))
        write(modules + 0x40, b"archive\0")
        write(ARCHIVE_AT, layout.archive)
        write(CMDLINE_AT, layout.cmdline.encode() + b"\0")
        write(NUCLEUS_ROOT_AT + 256 * 8, struct.pack("<Q", NUCLEUS_ROOT_AT + PAGE | 3))
        write(NUCLEUS_ROOT_AT + PAGE, struct.pack("<Q", 0x83))

    def write_tables(self) -> None:
        for address, data in acpi_tables(self.layout.cpus).items():
            self.machine.memory_write(address, data)

    # what it does
    def call(self, cpu: int, reason: int, vector: int = 0, error: int = 0, cr2: int = 0, frame: int | None = None) -> int:
        """One OUT to the gate; returns the frame to resume, 0 = idle."""
        area = AREAS_AT + cpu * PAGE
        if frame is None:
            frame = 0 if reason <= Reason.ONLINE else self.running[cpu] or IDLE_FRAMES_AT + cpu * 256
        self.machine.memory_write(area, CpuArea.LAYOUT.pack(
            b"FOLKGATE", cpu, cpu, reason, vector, error, cr2, self.tsc, frame, 0xBAD, 0xBAD, self.resumed_at[cpu], RECORD_AT, self.cr3[cpu]))
        self.machine.enter(area)
        self.running[cpu], root = struct.unpack("<QQ", self.machine.memory_read(area + CpuArea.RESUME_OFFSET, 16))
        self.cr3[cpu] = root & ~0xFFF or NUCLEUS_ROOT_AT
        self.resumed_at[cpu] = self.tsc
        return self.running[cpu]

    @property
    def tsc(self) -> int:
        return self.machine.now * self.layout.tsc_hz // NS + 1000

    def hello(self) -> int:
        return self.call(0, Reason.HELLO)

    def online(self, cpu: int) -> int:
        return self.call(cpu, Reason.ONLINE)

    def boot(self) -> None:
        """HELLO and all CPUs online."""
        self.hello()
        for cpu in range(1, self.layout.cpus):
            self.online(cpu)

    def interrupt(self, cpu: int, vector: int) -> int:
        return self.call(cpu, Reason.INTERRUPT, vector)

    def tick(self, advance: int = TICK) -> None:
        """Time passes, devices work, and every CPU's timer ticks."""
        self.machine.now += advance
        self.settle()
        for cpu in range(self.layout.cpus):
            self.interrupt(cpu, TIMER_VECTOR)

    def settle(self) -> None:
        """Deliver what devices have to say, until they are quiet."""
        for _ in range(10_000):
            self.machine.uart.shift()
            if not self.machine.pending:
                return
            self.interrupt(0, self.machine.pending.popleft())
        raise AssertionError("the devices do not become quiet")

    def syscall(self, cpu: int, number: int, *arguments: int) -> int:
        """The task on `cpu` makes a call. Returns what is in its RAX afterwards, wherever it then is."""
        address = self.running[cpu]
        assert address, f"cpu {cpu} idles"
        frame = self.frame(cpu)
        frame.rax, frame.vector = number, 0x100
        for name, value in zip(("rdi", "rsi", "rdx"), arguments, strict=False):
            setattr(frame, name, value)
        frame.store(self.machine.memory, address)
        self.call(cpu, Reason.SYSCALL)
        return TrapFrame.load(self.machine.memory, address).rax

    def frame(self, cpu: int) -> TrapFrame:
        return TrapFrame.load(self.machine.memory, self.running[cpu])


@dataclass
class Bench:
    """A machine, its nucleus and the kernel on it."""

    machine: Machine
    nucleus: Nucleus
    kernel: Kernel
    terminal_size: tuple[int, int] | None = None        # columns, rows of a terminal that answers; None = nobody answers
    answered: int = 0                                   # how much of what was sent it has looked at

    def run(self, ticks: int = 1) -> None:
        """Let time pass, services work, and the terminal answer what it is asked."""
        for _ in range(ticks):
            self.nucleus.tick()
            self.kernel.service()
            self.nucleus.settle()
            self._answer()

    def _answer(self) -> None:
        asked, self.answered = self.machine.uart.sent[self.answered:], len(self.machine.uart.sent)
        if self.terminal_size is not None:
            columns, rows = self.terminal_size
            for position in re.findall(rb"(\x1b\[999;999H)?\x1b\[6n", asked):
                self.type(f"\x1b[{rows};{columns}R" if position else "\x1b[1;1R")

    def type(self, text: str | bytes) -> None:
        """Somebody types; as fast as the FIFO takes it."""
        data = text.encode() if isinstance(text, str) else text
        for start in range(0, len(data), 16):
            self.machine.uart.receive(data[start:start + 16])
            self.nucleus.settle()
            self.kernel.service()

    @property
    def screen(self) -> str:
        """Everything that was sent to the terminal."""
        return self.machine.uart.sent.decode()

    def messages(self) -> list[str]:
        return [str(record) for record in self.kernel.log.records]


def bench(layout: Layout | None = None, memory: int = 16 * MIB) -> Bench:
    """A machine that has not been booted."""
    machine = Machine(memory)
    nucleus = Nucleus(machine, layout or Layout(archive=program_archive()))
    return Bench(machine, nucleus, Kernel(machine))


def elf(segments: tuple[tuple[int, bytes, int, int], ...], entry: int, **changes: int) -> bytes:
    """A static executable of (virtual, data, memory size, flags); `changes` replace fields of its header."""
    fields = {"cls": 2, "encoding": 1, "type": 2, "machine": 62, "phoff": 64, "phentsize": 56, "phnum": len(segments), **changes}
    header = struct.pack("<4sBBBB8xHHIQQQIHHHHHH", b"\x7fELF", fields["cls"], fields["encoding"], 1, 0, fields["type"], fields["machine"], 1, entry,
                         fields["phoff"], 0, 0, 64, fields["phentsize"], fields["phnum"], 0, 0, 0)
    offset = 64 + 56 * len(segments)
    headers, contents = b"", b""
    for virtual, data, size, flags in segments:
        headers += struct.pack("<IIQQQQQQ", 1, flags, offset + len(contents), virtual, virtual, len(data), size, PAGE)
        contents += data
    return header + headers + contents


PROGRAM = elf(((0x400000, b"\xEB\xFE", 2, 5), (0x401000, b"data", 8192, 6)), 0x400000)


def folk_pack(files: dict[str, tuple[int, bytes]]) -> bytes:
    """An archive of name -> (type, contents)."""
    directory, blobs = b"", b""
    start = -(-(64 + 64 * len(files)) // PAGE) * PAGE
    for number, (name, (kind, data)) in enumerate(files.items()):
        directory += struct.pack("<HH32sQQ8s4x", number, kind, name.encode(), start + len(blobs), len(data), hashlib.sha256(data).digest()[:8])
        blobs += data + bytes(-len(data) % PAGE)
    header = struct.pack("<4sII52x", b"FOLK", 1, len(files))
    return (header + directory).ljust(start, b"\0") + blobs


def program_archive() -> bytes:
    return folk_pack({"pulse": (0, PROGRAM), "spinner": (0, PROGRAM), "notes": (1, b"text")})


def table(signature: bytes, body: bytes) -> bytes:
    """An ACPI table with a right checksum."""
    return checksummed(struct.pack("<4sIBB6s8sI4sI", signature, 36 + len(body), 4, 0, b"FAKE  ", b"FAKE    ", 1, b"FAKE", 1) + body, 9)


def checksummed(data: bytes, at: int) -> bytes:
    """`data` with the byte at `at` making the sum zero."""
    mutable = bytearray(data)
    mutable[at] = 0
    mutable[at] = -sum(mutable) & 0xFF
    return bytes(mutable)


def acpi_tables(cpus: int) -> dict[int, bytes]:
    """RSDP, XSDT, FADT, MADT, DSDT by address."""
    xsdt, fadt, madt, dsdt = TABLES_AT, TABLES_AT + 0x200, TABLES_AT + 0x400, TABLES_AT + 0x800
    first = checksummed(struct.pack("<8sB6sBI", b"RSD PTR ", 0, b"FAKE  ", 2, 0), 8)
    fields = bytearray(244 - 36)
    for offset, layout, value in ((40, "I", dsdt), (46, "H", 9), (48, "I", SMI_COMMAND), (52, "B", 2), (64, "I", PM1A_CONTROL), (76, "I", PM_TIMER),
                                  (108, "B", 0x32), (112, "I", 1 << 10), (128, "B", 6), (140, "Q", dsdt)):
        struct.pack_into(f"<{layout}", fields, offset - 36, value)
    struct.pack_into("<BBBBQ", fields, 116 - 36, 1, 8, 0, 1, RESET_PORT)
    processors = b"".join(struct.pack("<BBBBI", 0, 8, cpu, cpu, 1) for cpu in range(cpus))
    wiring = struct.pack("<BBBBII", 1, 12, 0, 0, IO_APIC_AT, 0) + struct.pack("<BBBBIH", 2, 10, 0, 0, 2, 0) + struct.pack("<BBBBIH", 2, 10, 0, 9, 9, 0xD)
    sleep = b"\x08_S5_\x12\x06\x04" + bytes((0x0A, SLP_TYP_S5, 0, 0, 0))
    return {
        RSDP_AT: checksummed(first + struct.pack("<IQB3x", 36, xsdt, 0), 32),
        xsdt: table(b"XSDT", struct.pack("<QQ", fadt, madt)),
        fadt: table(b"FACP", bytes(fields)),
        madt: table(b"APIC", struct.pack("<II", LOCAL_APIC_AT, 1) + processors + wiring),
        dsdt: table(b"DSDT", sleep),
    }
