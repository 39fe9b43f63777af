"""What local APICs and I/O APICs send each other: interrupt messages, their destinations, EOI broadcasts, and MSI as the write it is.

Intel SDM vol. 3A (order 253668-078), 10.6 "Issuing interprocessor interrupts", 10.6.2 "Determining IPI destination", 10.11 "Message signalled interrupts".
A message is delivered at once: there is no arbitration that takes time, and no delivery status that stays pending.
"""

from __future__ import annotations

import enum
from typing import NamedTuple, Protocol

BROADCAST = 0xFF                           # 10.6.2.1: physical destination of everyone; as a logical one, too
MSI_WINDOW = 0xFEE00000                    # 10.11.1: the MiB to which device writes are messages
MSI_WINDOW_SIZE = 0x00100000


class DeliveryMode(enum.IntEnum):
    """10.6.1, "Delivery mode"."""

    FIXED = 0
    LOWEST_PRIORITY = 1
    SMI = 2
    REMOTE_READ = 3                        # reserved since the Pentium 4
    NMI = 4
    INIT = 5
    STARTUP = 6
    EXTINT = 7


class Message(NamedTuple):
    """One interrupt message.

    Attributes:
        destination: 8-bit APIC id, or logical destination.
        logical: which of the two.
        level: False is INIT level de-assert, which only set arbitration ids on old processors.
        level_triggered: the sender wants to hear of the EOI.
    """

    destination: int
    mode: int
    vector: int
    logical: bool = False
    level: bool = True
    level_triggered: bool = False


class Receiver(Protocol):
    """A local APIC, as the bus sees it."""

    def matches(self, destination: int, logical: bool) -> bool: ...
    def accept(self, message: Message) -> bool: ...
    def arbitration_rank(self) -> tuple[int, int] | None: ...
    def won(self, turn: int) -> None: ...


class Sender(Protocol):
    """An I/O APIC, as the bus sees it."""

    def end_of_interrupt(self, vector: int) -> None: ...
    def retry(self) -> None: ...


class ApicBus:
    """The bus that local APICs and I/O APICs of one board hang on. It has no state of its own."""

    def __init__(self) -> None:
        self.receivers: list[Receiver] = []
        self.senders: list[Sender] = []

    def deliver(self, message: Message) -> bool:
        """Hand a message to whom it names. True if somebody has accepted it."""
        destination, logical = message.destination, message.logical
        if message.mode == DeliveryMode.LOWEST_PRIORITY:
            return self.deliver_lowest([receiver for receiver in self.receivers if receiver.matches(destination, logical)], message)
        accepted = False
        for receiver in self.receivers:
            if receiver.matches(destination, logical):
                accepted |= receiver.accept(message)
        return accepted

    def deliver_lowest(self, candidates: list[Receiver], message: Message) -> bool:
        """10.6.2.4: to that one of the candidates that runs at the lowest priority; equals take turns."""
        ranked = [(rank, at) for at, receiver in enumerate(candidates) if (rank := receiver.arbitration_rank()) is not None]
        if not ranked:
            return False
        winner = candidates[min(ranked)[1]]
        winner.won(1 + max(turn for (_, turn), _ in ranked))
        return winner.accept(message)

    def deliver_msi(self, address: int, data: int) -> bool:
        """A device's 32-bit write of `data` to `address` in the MSI window (10.11.1, 10.11.2). True if somebody has accepted it.

        10.11.1 says that the destination mode counts only with the redirection hint. Chipsets heed it always, and Linux relies on it: with up to eight
        processors it sends to logical destinations without the hint.
        """
        mode = data >> 8 & 7
        redirect = address >> 3 & 1
        if redirect and mode == DeliveryMode.FIXED:
            mode = DeliveryMode.LOWEST_PRIORITY
        triggered = bool(data >> 15 & 1)
        return self.deliver(Message(address >> 12 & 0xFF, mode, data & 0xFF, bool(address >> 2 & 1),
                                    not triggered or bool(data >> 14 & 1), triggered))

    def end_of_interrupt(self, vector: int) -> None:
        """A local APIC has seen the end of a level-triggered interrupt; the I/O APICs with that vector may send it again."""
        for sender in self.senders:
            sender.end_of_interrupt(vector)

    def reconfigured(self) -> None:
        """A local APIC may now accept what it refused before."""
        for sender in self.senders:
            sender.retry()
