"""The board: a Q35-like PC. The one place that names every chip, and says how it is wired; where each is says address_map.py.

Interrupts: each ISA line goes to the 8259A pair and to the IOAPIC (IRQ 0 to pin 2, as the MADT says); the pair's INTR goes to LINT0 of every local
APIC; the local APICs offer vectors to their processors. Every processor sees its own local APIC at the same address. Pins 16-23 of the IOAPIC
are PIRQA#-PIRQH#, the last four of them the HPET's too. Cards have the slots from 00:01.0 on; INTx# of slot s is PIRQ (s + x) mod 8, as the DSDT says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from devices.pci import config_space as pci
from devices.pci.card import Card, Slot
from devices.pci.config_space import Bar, PciBus, PciFunction
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
from machine.errors import MachineError
from machine.memory import GuestMemory
from machine.screen import Screen
from machine.wiring import BoardDma, Cable, FunctionDma, LocalApics, Multiplexer, Processors, Windows

LCR, EIGHT_BITS = 3, 0x03                # of the serial port: no parity, one stop bit
PCIEXBAR, PCIEXBAR_ENABLE = 0x60, 1      # of the host bridge
LPC_SLOT = 31
PIRQ_ROUTES = {0x60: 0, 0x68: 4}         # of the LPC bridge: where the routes of PIRQA#-PIRQD# and PIRQE#-PIRQH# are
PAM0, ALL_RAM, F_READ_ONLY = 0x90, 0x33, 0x10
FUNCTION_SIZE = 0x1000                   # of configuration space, in memory


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
        cards: what is in the slots, from 00:01.0 on.

    Attributes:
        serial_out, debug_out: get what the guest writes to COM1 and to the debug consoles.
        on_power_off, on_reset, on_debug_exit: what the guest asks of the power supply.
        on_input: told of what comes from outside, (inlet, bytes); `inlets` is where the same can be handed in again.
        chips: every chip, to reset, save and describe.
        dma: what a device without an IOMMU in front of it reaches memory by.
        cards: the functions in the slots, by name; the second of a kind is "edu-2".

    Raises:
        MachineError: there are too many cards, or one has the name of another chip.
    """

    def __init__(self, memory: GuestMemory, ports: Bus, mmio: Bus, clock: VirtualClock, processors: Processors, log: AccessLog,
                 files: dict[str, bytes], wall_start: int, cards: Sequence[Card] = ()) -> None:
        self.memory = memory
        self._log = log
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
        self.i8042.keyboard.heard = lambda data: self.on_input("keyboard", data)
        self.i8042.mouse.heard = lambda data: self.on_input("mouse", data)
        self.inlets: dict[str, Callable[[bytes], None]] = {
            self.serial.name: self.serial.receive, "keyboard": self.i8042.keyboard.enter, "mouse": self.i8042.mouse.enter}
        self.pm = AcpiPm(clock, self.isa[at.SCI], log, lambda: self.on_power_off())
        clock_irq.usual.connect(self.pm.rtc_alarm)
        self.reset_control = ResetControl(log, self._ask_reset)
        self.port92 = SystemControlPortA(log, self._ask_reset)
        a20 = WiredOr(IrqLine(processors.pass_a20, "A20M#"))
        for gate in (self.i8042.a20, self.port92.a20):       # either lets address line 20 through
            gate.connect(a20.input(gate.name).set)
        self.post = PostCodes(log)
        self.debug_console = DebugConsole(log, lambda data: self.debug_out(data))
        self.debug_exit = DebugExit(log, lambda value: self.on_debug_exit(value))
        self.vga = VgaText(clock, log)

        # PCI
        self._port_windows, self._memory_windows = Windows(ports, log), Windows(mmio, log, memory)
        self.pci = PciBus(log)
        ecam = self._memory_windows.window(Ecam(self.pci), "pci-ecam")

        def move_ecam(place: tuple[int, int] | None) -> None:
            ecam.move(place)
            processors.lone_writes(None if place is None else (place[0], FUNCTION_SIZE))       # the host bridge is the first function

        self.host_bridge = HostBridge(log, move_ecam, memory.steer)
        acpi = self._port_windows.window(self.pm.blocks["registers"], "pm.registers")
        self.lpc = LpcBridge(log, self._isa_from_pci, lambda base: acpi.move(None if base is None else (base, at.PM_SIZE)), at.PM_BASE)
        self.pci.plug(0, 0, self.host_bridge)
        self.pci.plug(LPC_SLOT, 0, self.lpc)
        for number, line in enumerate(self.lpc.pirq):
            line.connect(self._shared_pins[at.FIRST_PCI_GSI + number].input(line.name).set)
        self.config_address = ConfigAddress(log)
        self._pirq = [WiredOr(line) for line in self.lpc.pirq]
        self.cards: dict[str, PciFunction[Any]] = {}
        for slot, card in enumerate(cards, 1):
            alike = sum(other.name == card.name for other in cards[:slot])
            self._plug(slot, card, card.name if alike == 1 else f"{card.name}-{alike}", clock)

        self.fw_cfg = FwCfg(log, self.dma, memory.size, self.cpus, {**description.firmware_files(memory, self.cpus), **files})

        self.chips: list[Chip[Any]] = [
            *self.pic.chips, *self.lapics, self.ioapic, self.pit, self.rtc, self.hpet, self.port61, self.i8042, self.serial, self.pm, self.reset_control,
            self.port92, self.post, self.debug_console, self.debug_exit, self.vga, self.host_bridge, self.lpc, self.config_address, self.fw_cfg,
            *(chip for function in self.cards.values() for chip in (function, *function.parts))]
        names = [chip.name for chip in self.chips]
        if len(self.cards) < len(cards) or len(set(names)) < len(names):
            raise MachineError(f"two chips of the board would have one name; the cards are {', '.join(card.name for card in cards)}")
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

    def _plug(self, slot: int, card: Card, name: str, clock: VirtualClock) -> None:
        """A card to its slot: its function with a DMA port, windows for its base addresses, and its interrupt pin."""
        if slot >= LPC_SLOT:
            raise MachineError(f"there is no slot for {card.name!r}: a board has {LPC_SLOT - 1}")
        dma = FunctionDma(self.dma, slot << 3, name, self._log)
        function = card.make(Slot(self._log, clock, dma, name))
        dma.function = self.cards[name] = function
        buses = {True: self._port_windows, False: self._memory_windows}
        windows = {bar: buses[bar.io].window(function.region(bar), f"{name} BAR{bar.index}") for bar in function.BASES}

        def place(bar: Bar, base: int | None) -> None:
            windows[bar].move(None if base is None else (base, bar.size))

        function.place = place
        if function.pin:
            function.intx.connect(self._pirq[self._pirq_of(slot, function)].input(function.intx.name).set)
        self.pci.plug(slot, 0, function)

    @staticmethod
    def _pirq_of(slot: int, function: PciFunction[Any]) -> int:
        """Which of PIRQA#..PIRQH# an interrupt pin is wired to: the DSDT says the same (machine/acpi/dsdt.py)."""
        return (slot + function.pin - 1) % len(at.PIRQ_IRQS)

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
        self.withdraw()
        for chip in self.chips:
            chip.reset()

    def init_processors(self) -> None:
        """INIT# to every processor and its local APIC."""
        for lapic in self.lapics:
            lapic.accept(Message(0, DeliveryMode.INIT, 0))

    def withdraw(self) -> None:
        """No card answers at any base address until its registers say so anew: so that none is in the way while all of them change."""
        for function in self.cards.values():
            function.withdraw()

    def open_segments(self) -> None:
        """0xC0000-0xFFFFF is RAM, for whoever puts something there."""
        for register in range(PAM0, PAM0 + 7):
            self.host_bridge.config.write(register, 1, ALL_RAM)

    def lock_segments(self) -> None:
        """The F segment cannot be written any more, as a firmware that has put its tables there does."""
        self.host_bridge.config.write(PAM0, 1, F_READ_ONLY)

    def as_firmware_leaves_it(self) -> None:
        """For a kernel that is booted without a firmware: what kernels expect one to have done."""
        self.lapics[0].virtual_wire()
        self.serial.blocks["registers"].write(LCR, 1, EIGHT_BITS)
        self.host_bridge.config.write(PCIEXBAR, 4, at.ECAM[0] | PCIEXBAR_ENABLE)
        self._assign_cards()

    def _assign_cards(self) -> None:
        """Base addresses and interrupts, as a firmware gives them to what it finds: the largest first, so that each is aligned without gaps.

        One that does not fit below 4 GiB is left alone. PIRQs are routed as SeaBIOS does it, the 8259A's inputs for them being levels.
        """
        if not self.cards:
            return
        for register, first in PIRQ_ROUTES.items():
            for number in range(4):
                self.lpc.config.write(register + number, 1, at.PIRQ_IRQS[first + number])
        for irq in set(at.PIRQ_IRQS):
            elcr = self.pic.chips[irq >> 3].blocks["elcr"]
            elcr.write(0, 1, elcr.peek(0, 1) | 1 << (irq & 7))
        free = {False: at.PCI_WINDOW[0], True: at.PCI_PORTS[0]}
        last = {False: at.PCI_WINDOW[1], True: at.PCI_PORTS[1]}
        bars = [(bar, function) for function in self.cards.values() for bar in function.BASES]
        for bar, function in sorted(bars, key=lambda entry: -entry[0].size):
            base = -(-free[bar.io] // bar.size) * bar.size
            if base + bar.size - 1 <= last[bar.io]:
                function.config.write(pci.BAR + 4 * bar.index, 4, base)
                free[bar.io] = base + bar.size
        for slot, function in enumerate(self.cards.values(), 1):
            if function.pin:
                function.config.write(pci.INTERRUPT_LINE, 1, at.PIRQ_IRQS[self._pirq_of(slot, function)])
            function.config.write(pci.COMMAND, 2, pci.IO | pci.MEMORY)
