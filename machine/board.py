"""The board: a Q35-like PC. The one place that names every device, and says where it is and how it is wired.

Interrupts: each ISA line goes to the 8259A pair and to the IOAPIC (IRQ 0 to pin 2, as the MADT says); the pair's INTR goes to LINT0 of every local
APIC; the local APICs offer vectors to their processors. Every processor sees its own local APIC at the same address.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Protocol

from devices.apic_bus import MSI_WINDOW, MSI_WINDOW_SIZE, ApicBus, DeliveryMode, Message
from devices.core.bus import Bus, BusOverlap
from devices.core.clock import VirtualClock
from devices.core.cpu import CpuPort
from devices.core.dma import DmaFault
from devices.core.irq import IrqLine
from devices.core.log import AccessLog
from devices.core.registers import Chip
from devices.core.reset import ResetKind
from devices.debug_ports import DebugConsole, DebugExit, PostCodes
from devices.fw_cfg import FwCfg
from devices.ioapic import IoApic
from devices.lapic import Lapic
from devices.pci.config_space import PciBus
from devices.pci.ecam import Ecam
from devices.pci.host_bridge import ConfigAddress, ConfigData, HostBridge
from devices.pci.lpc import LpcBridge
from devices.pic8259 import Pic8259Pair
from devices.pit8254 import Pit8254
from devices.pm import ACPI_DISABLE, ACPI_ENABLE, AcpiPm
from devices.port61 import Port61
from devices.reset_control import ResetControl, SystemControlPortA
from devices.rtc import Rtc
from devices.uart16550 import SerialPeer, Uart16550
from machine.acpi import dsdt, fadt, madt, rsdp
from machine.acpi.placement import loader_files
from machine.acpi.table import Table
from machine.engine.cpuid import LAPIC_BUS_HZ
from machine.memory import E820_RAM, HIGH_RAM_BASE, KIB, LOW_RAM_LIMIT, MIB, GuestMemory

LAPIC_BASE, LAPIC_SIZE = 0xFEE00000, 0x1000
IOAPIC_BASE, IOAPIC_SIZE = 0xFEC00000, 0x1000
PM_BASE, PM_SIZE = 0x600, 0x80
APM_BASE = 0xB2
SCI, FIRST_PCI_GSI, ISA_IRQS = 9, 16, 16
PCI_WINDOW = (0xC0000000, 0xFEBFFFFF)
TIMER_IRQ, SERIAL_IRQ, CLOCK_IRQ, TIMER_PIN = 0, 4, 8, 2


class Processors(Protocol):
    """What the board needs of the engine."""

    current: int

    @property
    def vcpus(self) -> list[Any]: ...


class BoardDma:
    """A device's way to memory while there is no IOMMU: addresses are the guest's physical ones, and 0xFEExxxxx is the interrupt window."""

    def __init__(self, memory: GuestMemory, apics: ApicBus) -> None:
        self._memory, self._apics = memory, apics

    def read(self, iova: int, length: int) -> bytes:
        """Bytes of RAM. Raises DmaFault."""
        if not self._memory.is_ram(iova, length):
            raise DmaFault(iova, f"{length} bytes there are not RAM")
        return self._memory.read(iova, length)

    def write(self, iova: int, data: bytes) -> None:
        """Bytes to RAM, or a message-signalled interrupt. Raises DmaFault."""
        if MSI_WINDOW <= iova < MSI_WINDOW + MSI_WINDOW_SIZE and len(data) == 4:
            self._apics.deliver_msi(iova, int.from_bytes(data, "little"))
        elif self._memory.is_ram(iova, len(data)):
            self._memory.write(iova, data)
        else:
            raise DmaFault(iova, f"{len(data)} bytes there are not RAM")


class LocalApics:
    """The local APICs behind one address: each processor reaches its own."""

    def __init__(self, processors: Processors, lapics: list[Lapic]) -> None:
        self._processors = processors
        self._blocks = [lapic.blocks["registers"] for lapic in lapics]

    def read(self, offset: int, size: int) -> int:
        """Of the processor that runs."""
        return self._blocks[self._processors.current].read(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        """Of the processor that runs."""
        self._blocks[self._processors.current].write(offset, size, value)

    def peek(self, offset: int, size: int) -> int:
        """Of the processor that runs or ran last."""
        return self._blocks[self._processors.current].peek(offset, size)


class _Cable(SerialPeer):
    """The other end of COM1: whatever the board's owner connects."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def transmit(self, data: bytes) -> None:
        self._board.serial_out(data)


class Board:
    """All chips, wired.

    Args:
        memory: the guest's.
        ports, mmio: the buses to map devices on.
        clock: virtual time.
        processors: the engine.
        log: told of a guest's mistakes.
        files: what fw_cfg offers beside the board's own files.
        wall_start: calendar time at power-on, ns since 1970.

    Attributes:
        serial_out, debug_out: get what the guest writes to COM1 and to the debug consoles.
        on_power_off, on_reset, on_debug_exit: what the guest asks of the power supply.
        chips: every chip, to reset, save and describe.
    """

    def __init__(self, memory: GuestMemory, ports: Bus, mmio: Bus, clock: VirtualClock, processors: Processors, log: AccessLog,
                 files: dict[str, bytes], wall_start: int) -> None:
        self.memory = memory
        self.serial_out: Callable[[bytes], None] = lambda data: None
        self.debug_out: Callable[[bytes], None] = lambda data: None
        self.on_power_off: Callable[[], None] = lambda: None
        self.on_reset: Callable[[ResetKind], None] = lambda kind: None
        self.on_debug_exit: Callable[[int], None] = lambda value: None
        self.cpus = len(processors.vcpus)

        # interrupt controllers
        self.apic_bus = ApicBus()
        self.pic = Pic8259Pair(log)
        cpu_ports: list[CpuPort] = list(processors.vcpus)
        self.lapics = [Lapic(index, cpu, self.apic_bus, clock, log, LAPIC_BUS_HZ, self.pic) for index, cpu in enumerate(cpu_ports)]
        self.ioapic = IoApic(self.apic_bus, log, apic_id=self.cpus)
        self.nmi = IrqLine(name="NMI")
        for lapic in self.lapics:
            self.pic.intr.connect(lapic.lint0)
            self.nmi.connect(lapic.lint1)
        self.isa = [self._isa_line(number) for number in range(ISA_IRQS)]

        # legacy devices
        self.pit = Pit8254(clock, self.isa[TIMER_IRQ], log)
        self.port61 = Port61(clock, self.pit, log, self._system_error)
        self.rtc = Rtc(clock, self.isa[CLOCK_IRQ], log, wall_start, self._cmos())
        self.serial = Uart16550(clock, self.isa[SERIAL_IRQ], log, _Cable(self), name="com1")
        self.pm = AcpiPm(clock, self.isa[SCI], log, lambda: self.on_power_off())
        self.isa[CLOCK_IRQ].connect(self.pm.rtc_alarm)
        self.reset_control = ResetControl(log, lambda kind: self.on_reset(kind))
        self.port92 = SystemControlPortA(log, lambda kind: self.on_reset(kind))
        self.post = PostCodes(log)
        self.debug_console = DebugConsole(log, lambda data: self.debug_out(data))
        self.debug_exit = DebugExit(log, lambda value: self.on_debug_exit(value))

        # PCI
        self.pci = PciBus(log)
        self.host_bridge = HostBridge(log, self._place_ecam)
        self._ports, self._mmio, self._pm_at, self._ecam_at = ports, mmio, 0, 0
        self.lpc = LpcBridge(log, self._isa_from_pci, self._place_pm, PM_BASE)
        self.pci.plug(0, 0, self.host_bridge)
        self.pci.plug(31, 0, self.lpc)
        for number, line in enumerate(self.lpc.pirq):
            line.connect(self.ioapic.pins[FIRST_PCI_GSI + number].set)
        self.config_address = ConfigAddress(log)

        # what firmware is told
        self.dma = BoardDma(memory, self.apic_bus)
        self.fw_cfg = FwCfg(log, self.dma, memory.size, self.cpus, {**loader_files(self.acpi_tables()), "etc/e820": self._e820(), **files})

        self.chips: list[Chip[Any]] = [
            *self.pic.chips, *self.lapics, self.ioapic, self.pit, self.port61, self.rtc, self.serial, self.pm, self.reset_control, self.port92, self.post,
            self.debug_console, self.debug_exit, self.host_bridge, self.lpc, self.config_address, self.fw_cfg]
        self._map(ports, mmio, processors)

    def _map(self, ports: Bus, mmio: Bus, processors: Processors) -> None:
        """Everything to its address."""
        def port(base: int, length: int, chip: Chip[Any], block: str, name: str = "") -> None:
            ports.map(base, length, chip.blocks[block], name or chip.name)

        master, slave = self.pic.chips
        port(0x20, 2, master, "ports")
        port(0xA0, 2, slave, "ports")
        port(0x4D0, 1, master, "elcr", "pic-master elcr")
        port(0x4D1, 1, slave, "elcr", "pic-slave elcr")
        port(0x40, 4, self.pit, "registers")
        port(0x61, 1, self.port61, "registers")
        port(0x70, 2, self.rtc, "ports")
        port(0x80, 1, self.post, "port")
        port(0x92, 1, self.port92, "port")
        port(0xE9, 1, self.debug_console, "port")
        port(0x402, 1, self.debug_console, "port")
        port(0xF4, 4, self.debug_exit, "port")
        port(0x3F8, 8, self.serial, "registers")
        port(APM_BASE, 2, self.pm, "smi", "apm")
        self._place_pm(PM_BASE)
        ports.map(0x511, 1, self.fw_cfg.blocks["data"], "fw_cfg data")
        ports.map_exact(0x510, 2, self.fw_cfg.blocks["selector"], "fw_cfg selector")
        ports.map(0x514, 8, self.fw_cfg.blocks["dma"], "fw_cfg dma")
        ports.map(0xCF8, 4, self.config_address.blocks["port"], "pci config address")
        ports.map_exact(0xCF9, 1, self.reset_control.blocks["port"], "reset control")
        ports.map(0xCFC, 4, ConfigData(self.config_address, self.pci), "pci config data")
        mmio.map(IOAPIC_BASE, IOAPIC_SIZE, self.ioapic.blocks["window"], "ioapic")
        mmio.map(LAPIC_BASE, LAPIC_SIZE, LocalApics(processors, self.lapics), "lapic")

    # --- wires -------------------------------------------------------------------------------------------------------------------------
    def _isa_line(self, number: int) -> IrqLine:
        line = IrqLine(self.pic.lines[number].set, f"IRQ{number}")
        pin = TIMER_PIN if number == TIMER_IRQ else number
        if number != TIMER_PIN:                          # input 2 of the master belongs to the slave
            line.connect(self.ioapic.pins[pin].set)
        return line

    def _isa_from_pci(self, number: int, level: bool) -> None:
        """A PIRQ that is routed to an ISA interrupt reaches the 8259A pair alone; the IOAPIC has pins of its own for it."""
        self.pic.lines[number].set(level)

    def _system_error(self) -> None:
        """SERR# and IOCHK# make NMI, which is wired to LINT1 of every local APIC."""
        self.nmi.pulse()

    def _place_pm(self, base: int | None) -> None:
        """The LPC bridge moves the ACPI block."""
        if self._pm_at:
            self._ports.unmap(self._pm_at)
        self._pm_at = 0
        if base is not None:
            self._ports.map(base, PM_SIZE, self.pm.blocks["registers"], "acpi pm")
            self._pm_at = base

    def _place_ecam(self, window: tuple[int, int] | None) -> None:
        """The host bridge moves configuration space in memory. Where RAM or another device is, it stays out."""
        if self._ecam_at:
            self._mmio.unmap(self._ecam_at)
        self._ecam_at = 0
        if window is not None and window[0] >= self.memory.low_size:
            try:
                self._mmio.map(*window, Ecam(self.pci), "pci configuration")
                self._ecam_at = window[0]
            except (BusOverlap, ValueError):
                self.host_bridge.log.note(self.host_bridge.name, "PCIEXBAR", "configuration space put where it cannot be", base=window[0])

    # --- resets ------------------------------------------------------------------------------------------------------------------------
    def reset(self) -> None:
        """PLTRST#: every chip as after power-on; the clock's calendar and CMOS keep what they have."""
        for chip in self.chips:
            chip.reset()

    def init_processors(self) -> None:
        """INIT# to every processor and its local APIC."""
        for lapic in self.lapics:
            lapic.accept(Message(0, DeliveryMode.INIT, 0))

    def as_firmware_leaves_it(self) -> None:
        """For a kernel that is booted without a firmware: what kernels expect one to have done."""
        self.lapics[0].virtual_wire()
        self.serial.blocks["registers"].write(3, 1, 0x03)       # LCR: eight bits, no parity, one stop bit

    # --- what software is told -----------------------------------------------------------------------------------------------------------
    def acpi_tables(self) -> list[Table]:
        """The board's ACPI tables."""
        return [
            rsdp.rsdp(), rsdp.xsdt(("FACP", "APIC")),
            fadt.fadt(PM_BASE, SCI, APM_BASE, ACPI_ENABLE, ACPI_DISABLE, has_8042=False, has_vga=False), fadt.facs(),
            dsdt.dsdt((dsdt.SERIAL, dsdt.CLOCK), PCI_WINDOW), madt.madt(self.cpus, LAPIC_BASE, IOAPIC_BASE, self.cpus, SCI)]

    def _e820(self) -> bytes:
        """`etc/e820`: RAM as QEMU lists it, without what firmware carves out below 1 MiB."""
        ranges = [(0, self.memory.low_size)]
        if self.memory.size > self.memory.low_size:
            ranges.append((HIGH_RAM_BASE, self.memory.size - self.memory.low_size))
        return b"".join(struct.pack("<QQI", base, length, E820_RAM) for base, length in ranges)

    def _cmos(self) -> dict[int, int]:
        """Sizes of memory where a PC's firmware leaves them: 640 KiB, KiB above 1 MiB, 64 KiB above 16 MiB and above 4 GiB; processors - 1 at 0x5F."""
        low = min(self.memory.low_size, LOW_RAM_LIMIT)
        extended = min((low - MIB) // KIB, 0xFFFF)
        above_16 = max(low - 16 * MIB, 0) // (64 * KIB)
        above_4g = max(self.memory.size - self.memory.low_size, 0) // (64 * KIB)
        words = {0x15: 640, 0x17: extended, 0x30: extended, 0x34: min(above_16, 0xFFFF), 0x5B: above_4g & 0xFFFF}
        values = {at: value & 0xFF for at, value in words.items()} | {at + 1: value >> 8 & 0xFF for at, value in words.items()}
        return values | {0x5D: above_4g >> 16 & 0xFF, 0x5F: self.cpus - 1}
