"""MSI: interrupts as messages, one address for all vectors of a function, whose data differs in the lowest bits alone.

Specification: PCI Local Bus 3.0, 6.8.1 "MSI Capability Structure" and 6.8.3 "MSI and MSI-X Operation". The capability's registers are the function's
(`capability`), which keeps them (`MsiState`) and tells `Msi` of what was written:

    class Card(PciFunction[CardState]):                        # CardState derives from MsiState
        BLOCKS = (layout(*header(...), *capability(0x40, 1)),)
        def on_MSI_CONTROL(self, value: int) -> None:
            self.msi.control(value)
        def on_MSI_MASK(self, _value: int) -> None:            # where the capability has masks
            self.msi.unmask()

A function calls `notify(vector)`. Software may allocate fewer vectors than the function asks for; the function's then share those that there are (6.8.3.1).
A vector that is masked becomes pending, and its message goes when the mask falls (6.8.3.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from devices.core.declare import RO, RW, Field, Register
from devices.core.dma import DmaFault, DmaPort
from devices.pci.config_space import HeaderState, PciFunction

CAPABILITY_ID = 0x05
MAX_VECTORS = 32
ENABLE, WIDE, MASKABLE = 1 << 0, 1 << 7, 1 << 8
CAPABLE = Field("CAPABLE", (3, 1), RO, doc="vectors that the function asks for, as a power of 2")
ALLOCATED = Field("ALLOCATED", (6, 4), doc="vectors that software gives it, as a power of 2 (multiple message enable)")
CONTROL_FIELDS = (Field("ENABLE", 0), CAPABLE, ALLOCATED, Field("WIDE", 7, RO, doc="addresses of 64 bits"),
                  Field("MASKABLE", 8, RO, doc="there are masks"), Field("RSVD", (15, 9), RO))


def message_control(vectors: int, *, wide: bool = True, maskable: bool = False) -> int:
    """What MSI_CONTROL holds after a reset; the function's state begins with it. Raises ValueError: `vectors` is no power of 2 up to `MAX_VECTORS`."""
    if vectors not in (1, 2, 4, 8, 16, 32):
        raise ValueError(f"{vectors} vectors: 1, 2, 4, 8, 16 or 32 are possible")
    return CAPABLE.put(vectors.bit_length() - 1) | WIDE * wide | MASKABLE * maskable


def capability(offset: int, vectors: int, *, wide: bool = True, maskable: bool = False, following: int = 0) -> tuple[Register, ...]:
    """The capability's registers at `offset` of a function's configuration space: 10 to 24 bytes.

    Args:
        offset: a multiple of 4.
        vectors: 1, 2, 4, 8, 16 or 32.
        wide: message addresses have 64 bits.
        maskable: each vector can be masked.
        following: offset of the next capability, 0 for none.

    Raises:
        ValueError: there cannot be so many vectors.
    """
    data = offset + (0xC if wide else 0x8)
    registers = [
        Register("MSI_ID", offset, 1, RO, CAPABILITY_ID), Register("MSI_NEXT", offset + 1, 1, RO, following),
        Register("MSI_CONTROL", offset + 2, 2, RW, message_control(vectors, wide=wide, maskable=maskable), CONTROL_FIELDS, "MSI message control"),
        Register("MSI_ADDRESS", offset + 4, 4, RW, fields=(Field("ZERO", (1, 0), RO), Field("ADDRESS", (31, 2))), doc="of the message"),
        Register("MSI_DATA", data, 2, RW, doc="of the message; its lowest bits are the vector's")]
    if wide:
        registers.append(Register("MSI_ADDRESS_HIGH", offset + 8, 4, RW))
    if maskable:
        which = (1 << vectors) - 1
        bits = (Field("MASKED", (vectors - 1, 0)), *([Field("RSVD", (31, vectors), RO)] if which >> 31 == 0 else []))
        registers += [Register("MSI_MASK", data + 4, 4, RW, fields=bits, doc="a bit a vector"), Register("MSI_PENDING", data + 8, 4, RO, doc="a bit a vector")]
    return tuple(registers)


@dataclass
class MsiState(HeaderState):
    """The capability's registers, for a function's state to derive from; it begins with its own `msi_control`."""

    msi_control: int = message_control(1)
    msi_address: int = 0
    msi_address_high: int = 0
    msi_data: int = 0
    msi_mask: int = 0
    msi_pending: int = 0


class Msi:
    """Sends a function's messages.

    Args:
        function: whose.
        dma: its own port, which says who sends.
    """

    def __init__(self, function: PciFunction[Any], dma: DmaPort) -> None:
        self._function, self._dma = function, dma

    @property
    def _state(self) -> MsiState:
        state: MsiState = self._function.state
        return state

    @property
    def enabled(self) -> bool:
        """Whether the function uses messages, and not its pin."""
        return self._state.msi_control & ENABLE != 0

    @property
    def vectors(self) -> int:
        """How many software has allocated."""
        return 1 << ALLOCATED.get(self._state.msi_control)

    def control(self, value: int) -> None:
        """The function's MSI_CONTROL was written. More vectors than it asked for are not allocated (6.8.1.3)."""
        capable = CAPABLE.get(value)
        if ALLOCATED.get(value) > capable:
            self._function.log.note(self._function.name, "MSI_CONTROL", "more vectors allocated than asked for", value=value)
            self._state.msi_control = ALLOCATED.put(capable, value)
        self.unmask()

    def unmask(self) -> None:
        """Masks may have fallen: send what waits."""
        state = self._state
        for vector in range(self.vectors):
            if self.enabled and state.msi_pending >> vector & 1 and not state.msi_mask >> vector & 1:
                state.msi_pending &= ~(1 << vector)
                self._send(vector)

    def notify(self, vector: int) -> None:
        """The function wants an interrupt. Without MSI nothing happens: the caller then has its pin."""
        if not self.enabled:
            return
        vector &= self.vectors - 1
        if self._state.msi_mask >> vector & 1:
            self._state.msi_pending |= 1 << vector
        else:
            self._send(vector)

    def retract(self, vector: int) -> None:
        """What the function wanted an interrupt for has been dealt with: one that is still pending is not sent (6.8.3.4)."""
        self._state.msi_pending &= ~(1 << (vector & self.vectors - 1))

    def _send(self, vector: int) -> None:
        state = self._state
        address = state.msi_address_high << 32 | state.msi_address
        data = state.msi_data & ~(self.vectors - 1) | vector
        try:
            self._dma.write(address, data.to_bytes(4, "little"))
        except DmaFault as fault:
            self._function.log.note(self._function.name, "MSI_ADDRESS", f"message lost: {fault.reason}", address=address)
