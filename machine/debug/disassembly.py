"""Instructions in words, by capstone, in the mode that a processor is in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from machine.debug.symbols import NO_SYMBOLS, Symbols
from machine.engine import abi

if TYPE_CHECKING:
    from machine.debug.target import Target

LONGEST = 15                          # bytes of an instruction
MOST = 4096                           # instructions
DIRECT = re.compile(r"(?:j\w+|call|loop\w*|xbegin) (0x[0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction at a linear address; `text` is `(bad)` where there is none, with the one byte that was looked at."""

    address: int
    code: bytes
    text: str

    @property
    def mnemonic(self) -> str:
        """Its first word that is no prefix."""
        words = [word for word in self.text.split() if word not in ("lock", "notrack", "bnd")]
        return words[0] if words else ""


def decode(target: Target, cpu: int, address: int, count: int, bits: int | None = None, symbols: Symbols = NO_SYMBOLS) -> list[Instruction]:
    """Instructions from a linear address on, at least one, at most `count`.

    Args:
        target: the machine.
        cpu: in whose address space, and in whose mode if `bits` is None.
        address: linear.
        count: how many.
        bits: 16, 32 or 64.
        symbols: names for the targets of branches.

    Raises:
        TargetError: nothing is mapped at the address.
    """
    import capstone

    vcpu = target.vcpu(cpu)
    if bits is None:
        bits = 64 if vcpu.in_long_mode else 32 if vcpu.is_32_bit else 16
    mode = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}[bits]
    count = min(count, MOST)
    code = target.read(cpu, address, count * LONGEST)
    base = vcpu.cs_base if bits == 16 and 0 <= address - vcpu.cs_base < 1 << 16 else 0        # there branches name offsets in the segment
    found: list[Instruction] = []
    engine = capstone.Cs(capstone.CS_ARCH_X86, mode)
    offset = 0
    while len(found) < count and offset < len(code):
        for at, size, name, operands in engine.disasm_lite(code[offset:], address + offset - base, count - len(found)):
            text = f"{name} {operands}".strip()
            branch = DIRECT.fullmatch(text)
            known = symbols.name(int(branch[1], 16) + base) if branch else ""
            found.append(Instruction(at + base, code[at + base - address:at + base - address + size], f"{text} <{known}>" if known else text))
            offset = at + base - address + size
        if len(found) < count and offset < len(code):          # no instruction: go on behind its first byte
            found.append(Instruction(address + offset, code[offset:offset + 1], "(bad)"))
            offset += 1
    return found


def place(target: Target, cpu: int, address: int) -> str:
    """`f000:e05b`, for an address in the code segment of a processor that executes 16-bit code; else nothing."""
    vcpu = target.vcpu(cpu)
    offset = address - vcpu.cs_base
    if vcpu.in_long_mode or vcpu.is_32_bit or not 0 <= offset < 1 << 16:
        return ""
    return f"{vcpu.field(abi.ENV_SEGS + abi.R_CS * abi.ENV_SEG_SIZE, 4):04x}:{offset:04x}"
