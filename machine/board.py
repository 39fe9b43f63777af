"""The board: a Q35-like PC. The one place that names every chip, and says how it is wired; where each is says address_map.py.

Interrupts: each ISA line goes to the 8259A pair and to the IOAPIC (IRQ 0 to pin 2, as the MADT says); the pair's INTR goes to LINT0 of every local
APIC; the local APICs offer vectors to their processors. Every processor sees its own local APIC at the same address. Pins 16-23 of the IOAPIC
are PIRQA#-PIRQH#, the last four of them the HPET's too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from devices.apic_bus import ApicBus, DeliveryMode, Message
from devices.core.bus import Bus, BusDevice
from devices.core.clock import VirtualClock
from devices.core.cpu import CpuPort
from devices.core.irq import IrqLine, WiredOr
from devices.core.log import AccessLog
from devices.core.registers import Chip
from devices.core.reset import ResetKind
from devices.debug_ports import DebugConsole, DebugExit, PostCodes
from devices.fw_cfg import FwCfg
from devices.hpet import Hpet
from devices.i8042 import I8042
from devices.ioapic import PINS, IoApic
from devices.lapic import Lapic
from devices.pci.config_space import PciBus
from devices.pci.ecam import Ecam
from devices.pci.host_bridge import ConfigAddress, ConfigData, HostBridge
from devices.pci.lpc import LpcBridge
from devices.pic8259 import Pic8259Pair
from devices.pit8254 import Pit8254
from devices.pm import AcpiPm
from devices.port61 import Port61
from devices.reset_control import ResetControl, SystemControlPortA
from devices.rtc import Rtc
from devices.uart16550 import Uart16550
from devices.vga_text import VgaText
from machine import address_map as at
from machine import description
from machine.engine.cpuid import LAPIC_BUS_HZ
from machine.memory import GuestMemory
from machine.screen import Screen
from machine.wiring import BoardDma, Cable, LocalApics, Multiplexer, Processors, Window

LCR, EIGHT_BITS = 3, 0x03                # of the serial port: no parity, one stop bit
PCIEXBAR, PCIEXBAR_ENABLE = 0x60, 1      # of the host bridge


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
        on_input: told of what comes from outside, (inlet, bytes); `inlets` is where the same can be handed in again.
        chips: every chip, to reset, save and describe.
        dma: what a device without an IOMMU in front of it reaches memory by.
    """

    def __init__(self, memory: GuestMemory, ports: Bus, mmio: Bus, clock: VirtualClock, processors: Processors, log: AccessLog,
                 files: dict[str, bytes], wall_start: int) -> None:
        self.memory = memory
        self.serial_out: Callable[[bytes], None] = lambda data: None
        self.debug_out: Callable[[bytes], None] = lambda data: None
        self.on_power_off: Callable[[], None] = lambda: None
        self.on_reset: Callable[[ResetKind], None] = lambda kind: None
        self.on_debug_exit: Callable[[int], None] = lambda value: None
        self.on_input: Callable[[str, bytes], None] = lambda inlet, data: None
        self.cpus = len(processors.vcpus)

        # interrupt controllers
        self.apic_bus = ApicBus()
        self.dma = BoardDma(memory, self.apic_bus)
        self.pic = Pic8259Pair(log)
        cpu_ports: list[CpuPort] = list(processors.vcpus)
        self.lapics = [Lapic(index, cpu, self.apic_bus, clock, log, LAPIC_BUS_HZ, self.pic) for index, cpu in enumerate(cpu_ports)]
        self.ioapic = IoApic(self.apic_bus, log, apic_id=self.cpus)
        self.nmi = IrqLine(name="NMI")
        for lapic in self.lapics:
            self.pic.intr.connect(lapic.lint0)
            self.nmi.connect(lapic.lint1)
        self.isa = [self._isa_line(number) for number in range(at.ISA_IRQS)]
        self._shared_pins = {pin: WiredOr(self.ioapic.pins[pin]) for pin in range(at.FIRST_PCI_GSI, PINS)}

        # timers; in legacy replacement the HPET takes IRQ 0 and IRQ 8 from the other two
        timer_irq, clock_irq = Multiplexer(self.isa[at.TIMER_IRQ]), Multiplexer(self.isa[at.CLOCK_IRQ])
        self.pit = Pit8254(clock, timer_irq.usual, log)
        self.rtc = Rtc(clock, clock_irq.usual, log, wall_start, description.cmos(memory, self.cpus))

        def legacy_replacement(active: bool) -> None:
            timer_irq.select(active)
            clock_irq.select(active)

        hpet_pins = [self._shared_pins[pin].input("HPET") if pin in self._shared_pins else IrqLine() for pin in range(PINS)]
        self.hpet = Hpet(clock, hpet_pins, (timer_irq.instead, clock_irq.instead), self.dma, log, legacy_replacement)

        # behind the LPC bridge
        self.port61 = Port61(clock, self.pit, log, self._system_error)
        self.i8042 = I8042(clock, self.isa[at.KEYBOARD_IRQ], self.isa[at.MOUSE_IRQ], log, self._ask_reset)
        self.serial = Uart16550(clock, self.isa[at.SERIAL_IRQ], log, Cable(lambda data: self.serial_out(data)), name="com1")
        self.serial.heard = lambda data: self.on_input(self.serial.name, data)
        self.inlets = {self.serial.name: self.serial.receive}
        self.pm = AcpiPm(clock, self.isa[at.SCI], log, lambda: self.on_power_off())
        clock_irq.usual.connect(self.pm.rtc_alarm)
        self.reset_control = ResetControl(log, self._ask_reset)
        self.port92 = SystemControlPortA(log, self._ask_reset)
        self.post = PostCodes(log)
        self.debug_console = DebugConsole(log, lambda data: self.debug_out(data))
        self.debug_exit = DebugExit(log, lambda value: self.on_debug_exit(value))
        self.vga = VgaText(clock, log)

        # PCI
        self.pci = PciBus(log)
        self.host_bridge = HostBridge(log, Window(mmio, Ecam(self.pci), "pci-ecam", log, floor=memory.low_size).move)
        acpi = Window(ports, self.pm.blocks["registers"], "pm.registers", log)
        self.lpc = LpcBridge(log, self._isa_from_pci, lambda base: acpi.move(None if base is None else (base, at.PM_SIZE)), at.PM_BASE)
        self.pci.plug(0, 0, self.host_bridge)
        self.pci.plug(31, 0, self.lpc)
        for number, line in enumerate(self.lpc.pirq):
            line.connect(self._shared_pins[at.FIRST_PCI_GSI + number].input(line.name).set)
        self.config_address = ConfigAddress(log)

        self.fw_cfg = FwCfg(log, self.dma, memory.size, self.cpus, {**description.firmware_files(memory, self.cpus), **files})

        self.chips: list[Chip[Any]] = [
            *self.pic.chips, *self.lapics, self.ioapic, self.pit, self.rtc, self.hpet, self.port61, self.i8042, self.serial, self.pm, self.reset_control,
            self.port92, self.post, self.debug_console, self.debug_exit, self.vga, self.host_bridge, self.lpc, self.config_address, self.fw_cfg]
        others: dict[str, BusDevice] = {"lapics": LocalApics(processors, self.lapics), "vga-memory": self.vga.memory,
                                        "pci-config-data": ConfigData(self.config_address, self.pci)}
        self._map(ports, at.PORTS, others)
        self._map(mmio, at.MEMORY, others)
        acpi.move((at.PM_BASE, at.PM_SIZE))

    def _map(self, bus: Bus, places: tuple[at.Place, ...], others: dict[str, BusDevice]) -> None:
        """Everything to its address."""
        devices = others | {f"{chip.name}.{block}": device for chip in self.chips for block, device in chip.blocks.items()}
        for place in places:
            (bus.map_exact if place.exact else bus.map)(place.base, place.length, devices[place.device], place.device)

    def screen(self) -> Screen:
        """What the monitor shows now."""
        return Screen(self.vga)

    # --- wires -------------------------------------------------------------------------------------------------------------------------
    def _isa_line(self, number: int) -> IrqLine:
        line = IrqLine(self.pic.lines[number].set, f"IRQ{number}")
        pin = at.TIMER_PIN if number == at.TIMER_IRQ else number
        if number != at.TIMER_PIN:                       # input 2 of the master belongs to the slave
            line.connect(self.ioapic.pins[pin].set)
        return line

    def _isa_from_pci(self, number: int, level: bool) -> None:
        """A PIRQ that is routed to an ISA interrupt reaches the 8259A pair alone; the IOAPIC has pins of its own for it."""
        self.pic.lines[number].set(level)

    def _system_error(self) -> None:
        """SERR# and IOCHK# make NMI, which is wired to LINT1 of every local APIC."""
        self.nmi.pulse()

    def _ask_reset(self, kind: ResetKind) -> None:
        self.on_reset(kind)

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
        self.serial.blocks["registers"].write(LCR, 1, EIGHT_BITS)
        self.host_bridge.config.write(PCIEXBAR, 4, at.ECAM[0] | PCIEXBAR_ENABLE)
