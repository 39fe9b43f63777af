"""Interrupts: who gets which vector, who handles it, and how often it came.

The nucleus hands every interrupt to Python with its vector and sends EOI afterwards; so a handler of a level-triggered interrupt must have quieted its
device when it returns. Vectors 0x30 to 0xEF are given out one a global system interrupt; devices that share a wire share the vector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kernel.acpi.madt import Line, Madt
from kernel.drivers import pic8259
from kernel.drivers.ioapic import IoApic
from kernel.drivers.lapic import LocalApic
from kernel.errors import KernelError
from kernel.hardware import Hardware
from kernel.log import Log

TIMER_VECTOR, WAKE_VECTOR, SPURIOUS_VECTOR = 0x20, 0xFE, 0xFF
FIRST_VECTOR, LAST_VECTOR = 0x30, 0xEF
FIXED_NAMES = {TIMER_VECTOR: "timer", WAKE_VECTOR: "wake", SPURIOUS_VECTOR: "spurious"}
MAX_VECTORS = 256


@dataclass(slots=True)
class Source:
    """What stands behind one vector."""

    name: str
    gsi: int
    handlers: list[Callable[[], None]] = field(default_factory=list)


class Interrupts:
    """All interrupts of the machine.

    Attributes:
        counts: interrupts so far by (vector, CPU).
        sources: device vectors in use.
        unexpected: interrupts that nobody handles.
    """

    def __init__(self, hardware: Hardware, log: Log) -> None:
        self._hardware, self._log = hardware, log
        self.counts: dict[tuple[int, int], int] = {}
        self.sources: dict[int, Source] = {}
        self.unexpected = 0
        self._io_apics: list[IoApic] = []
        self._local_apic: LocalApic | None = None
        self._madt = Madt()

    def start(self, madt: Madt) -> None:
        """Silence the 8259 pair and mask every pin of every I/O APIC; from now on lines can be connected."""
        self._madt = madt
        pic8259.silence(self._hardware)
        self._local_apic = LocalApic(self._hardware, madt.local_apic)
        for entry in madt.io_apics:
            chip = IoApic(self._hardware, entry.address, entry.first_gsi)
            chip.mask_all()
            self._io_apics.append(chip)

    def connect_isa(self, irq: int, name: str, handler: Callable[[], None], apic_id: int) -> int:
        """Let `handler` serve ISA interrupt `irq` on one CPU. Returns its vector. Raises: KernelError."""
        return self.connect(self._madt.isa(irq), name, handler, apic_id)

    def connect(self, line: Line, name: str, handler: Callable[[], None], apic_id: int) -> int:
        """Let `handler` serve a global system interrupt on one CPU. Returns its vector. Raises: KernelError."""
        for vector, source in self.sources.items():
            if source.gsi == line.gsi:
                source.handlers.append(handler)
                source.name = f"{source.name}, {name}"
                return vector
        chip = next((chip for chip in self._io_apics if chip.serves(line.gsi)), None)
        if chip is None:
            raise KernelError(f"interrupts: no I/O APIC serves interrupt {line.gsi} of {name}")
        free = next((vector for vector in range(FIRST_VECTOR, LAST_VECTOR + 1) if vector not in self.sources), None)
        if free is None:
            raise KernelError(f"interrupts: no vector is left for {name}")
        self.sources[free] = Source(name, line.gsi, [handler])
        chip.route(line.gsi, free, apic_id, active_low=line.active_low, level=line.level)
        return free

    def handle(self, vector: int, cpu: int) -> None:
        """One interrupt: count it and let its handlers work. A handler's trouble with its device is logged, not passed on."""
        source = self.sources.get(vector)
        if source is None and vector not in FIXED_NAMES:
            self.unexpected += 1
            self._log.once("interrupts", f"vector {vector:#x} came on cpu {cpu}, and nobody expects it")
        if vector < MAX_VECTORS:
            self.counts[vector, cpu] = self.counts.get((vector, cpu), 0) + 1
        if source is None:
            return
        for handler in source.handlers:
            try:
                handler()
            except KernelError as error:
                self._log.once("interrupts", f"{source.name}: {error}")

    def wake_cpu(self, apic_id: int) -> None:
        """Make an idle CPU come by the gate."""
        if self._local_apic is not None:
            self._local_apic.send(apic_id, WAKE_VECTOR)

    def name_of(self, vector: int) -> str:
        """What a vector is for."""
        source = self.sources.get(vector)
        return source.name if source else FIXED_NAMES.get(vector, "unexpected")

    @property
    def total(self) -> int:
        """All interrupts of all CPUs."""
        return sum(self.counts.values())
