"""What a machine is built around: memory, time, address spaces, processors. It knows no chip.

A closed fork's core is worth keeping: its engine has translated what the next fork of the same moment will execute, and translating is most of what a
short-lived fork costs. So it is put back to that moment and laid beside the RAM image (`RamImage.spares`), where the next fork finds it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devices.core.bus import Bus
from devices.core.clock import HostTime, InstructionTime, VirtualClock
from devices.core.log import AccessLog
from machine.engine import tsc
from machine.engine.engine import Engine
from machine.errors import MachineError
from machine.memory import GuestMemory, RamImage

if TYPE_CHECKING:
    from machine.boot import Boot
    from machine.configuration import Configuration

PORTS = 0x10000
VIRTUAL_TSC_HZ = 1_000_000_000      # the time-stamp counter of an instruction clock counts its nanoseconds
KEPT = 2                            # spares beside an image; each has an engine's translations, some ten MiB


class Core:
    """Built once, and used by one machine at a time.

    Args:
        memory: the guest's.
        cpus: vCPUs.
        counted: time is counted instructions.
        strict: an access to what a chip's model leaves out is an error.
    """

    def __init__(self, memory: GuestMemory, cpus: int, counted: bool, strict: bool) -> None:
        if not counted:
            tsc.start()
        self.memory = memory
        self.time: HostTime | InstructionTime = InstructionTime() if counted else HostTime()
        self.clock = VirtualClock(self.time)
        self._strict = strict
        self.tsc: Callable[[], int] = self.clock.now if counted else tsc.host_tsc        # before a processor's offset
        self.log = self._new_log()
        self.ports, self.mmio = Bus("port", PORTS, self.log), Bus("mmio", 1 << 64, self.log)
        self.engine = Engine(memory, self.ports, self.mmio, cpus, counted, self.time if isinstance(self.time, InstructionTime) else None,
                             (lambda: VIRTUAL_TSC_HZ) if counted else tsc.host_tsc_hz)
        if isinstance(self.time, InstructionTime):
            self.time.in_slice = self.engine.retired_in_slice

    def renew(self) -> None:
        """For another machine: no device is mapped, nothing has been logged, nobody is told of anything. Memory and translations stay."""
        self.clock.clear()
        self.log = self._new_log()
        for bus in (self.ports, self.mmio):
            bus.clear(self.log)
        self.engine.renew()

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()

    def _new_log(self) -> AccessLog:
        return AccessLog(strict=self._strict, where=self._where)

    def _where(self) -> str:
        self.engine.sync_rip()
        vcpu = self.engine.vcpus[self.engine.current]
        return f"cpu {vcpu.index} rip {vcpu.rip:#x}"


@dataclass(frozen=True, slots=True)
class Spare:
    """A core that nobody uses, whose memory holds an image's contents."""

    core: Core
    boot: Boot
    configuration: Configuration

    def close(self) -> None:
        """Its image is gone."""
        self.core.close()


def keep(image: RamImage, spare: Spare) -> bool:
    """Lay a closed machine's core beside the image that the machine began from. False if there are enough, or a debugger has left something in it."""
    core = spare.core
    if len(image.spares) >= KEPT or not core.engine.breakpoints.untouched:
        return False
    core.engine.start_over(core.memory.adopt(image))
    image.spares.append(spare)
    return True


def take(image: RamImage, boot: Boot, configuration: Configuration) -> Core | None:
    """A spare core for such a machine, if there is one."""
    for spare in image.spares:
        if isinstance(spare, Spare) and spare.boot is boot and spare.configuration == configuration:
            image.spares.remove(spare)
            spare.core.renew()
            return spare.core
    return None


class Closed:
    """In the place of what a closed machine had: whatever is asked of it ends with one clear line."""

    def __getattr__(self, name: str) -> object:
        raise MachineError(f"this machine is closed; it has no {name} any more")
