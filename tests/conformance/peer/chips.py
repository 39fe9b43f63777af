"""The chips that are compared: for each its script and its random accesses."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.conformance.peer import sequences
from tests.conformance.peer.script import Script, compile_script, read

SEED = 8086


@dataclass(frozen=True, slots=True)
class Peer:
    """One chip.

    Attributes:
        name: of its script.
        sequence: makes random accesses, after those of the script and with its macros.
        options: what QEMU needs to have such a chip.
    """

    name: str
    sequence: Callable[[random.Random], Iterator[str]] | None = None
    options: tuple[str, ...] = ()

    def script(self) -> Script:
        """All of it."""
        lines = read(self.name)
        if self.sequence is not None:
            lines += ["[random]", *self.sequence(random.Random(SEED))]
        return compile_script(lines)


CHIPS = {peer.name: peer for peer in (
    Peer("pic8259", sequences.pic8259),
    Peer("pit8254", sequences.pit8254),
    Peer("uart16550", sequences.uart16550),
    Peer("rtc", sequences.rtc),
    Peer("lapic", sequences.lapic),
    Peer("ioapic", sequences.ioapic),
    Peer("hpet", sequences.hpet, options=("-global", "hpet.msi=on")),
    Peer("pm", sequences.pm),
    Peer("i8042", sequences.i8042),
    Peer("fw_cfg", sequences.fw_cfg),
    Peer("pci", sequences.pci),
    Peer("vga", sequences.vga, options=("-device", "VGA")),
    Peer("ports", sequences.ports),
)}
