"""Where the boot processor starts once a loader is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from machine.engine.vcpu import Vcpu


class EntryState(Protocol):
    """The state of the boot processor at its first instruction."""

    def apply(self, vcpu: Vcpu) -> None:
        """Put the vCPU, which comes out of reset, into this state."""


class ResetVector:
    """Leave the processor as reset makes it: real mode at F000:FFF0, CS base 0xFFFF0000."""

    def apply(self, vcpu: Vcpu) -> None:
        """Nothing is to be done."""


@dataclass(frozen=True, slots=True)
class LongMode:
    """64-bit mode with identity-mapped page tables; addresses are physical."""

    rip: int
    rsp: int
    rsi: int
    page_tables: int
    gdt: int
    gdt_limit: int
    code_selector: int
    data_selector: int

    def apply(self, vcpu: Vcpu) -> None:
        """Switch the vCPU over."""
        vcpu.long_mode(self.rip, self.rsp, self.rsi, self.page_tables, self.gdt, self.gdt_limit, self.code_selector, self.data_selector)


@dataclass(frozen=True, slots=True)
class ProtectedMode:
    """32-bit protected mode without paging, flat segments; addresses are physical."""

    eip: int
    eax: int
    ebx: int
    gdt: int
    gdt_limit: int
    code_selector: int
    data_selector: int

    def apply(self, vcpu: Vcpu) -> None:
        """Switch the vCPU over."""
        vcpu.protected_mode(self.eip, self.eax, self.ebx, self.gdt, self.gdt_limit, self.code_selector, self.data_selector)
