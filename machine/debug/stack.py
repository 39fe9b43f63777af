"""A processor's stack in words: what lies on it, and who has called.

A return address is told by the CALL before it (Intel SDM volume 2A, "CALL": E8, FF /2, 9A), which needs no symbols and is right but for accidents. Frames
are followed by frame pointers, where code keeps them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from machine.engine import abi
from machine.errors import TargetError

if TYPE_CHECKING:
    from machine.debug.symbols import Symbols
    from machine.debug.target import Target

MOST = 4096                          # words
DEEPEST = 64                         # frames
NEAR_CALL, FAR_CALL, GROUP_5 = 0xE8, 0x9A, 0xFF
GROUP_5_CALLS = (2, 3)
GROUP_5_LENGTHS = (2, 3, 4, 6, 7)


def pointer_size(target: Target, cpu: int) -> int:
    """Bytes that a near CALL pushes in the processor's mode, prefixes aside."""
    vcpu = target.vcpu(cpu)
    return 8 if vcpu.in_long_mode else 4 if vcpu.is_32_bit else 2


def top(target: Target, cpu: int) -> int:
    """Linear address of the stack's top."""
    return _linear(target, cpu, target.value(cpu, "rsp"))


def _linear(target: Target, cpu: int, offset: int) -> int:
    """Of an offset in the stack segment."""
    vcpu = target.vcpu(cpu)
    if vcpu.in_long_mode:
        return offset
    at = abi.ENV_SEGS + abi.R_SS * abi.ENV_SEG_SIZE
    wide = vcpu.field(at + abi.SEGMENT_FLAGS, 4) & 1 << 22
    return vcpu.field(at + abi.SEGMENT_BASE, 8) + (offset & (0xFFFFFFFF if wide else 0xFFFF))


def words(target: Target, cpu: int, count: int, symbols: Symbols) -> list[str]:
    """The stack from its top. Raises TargetError where it is not mapped."""
    size, begin = pointer_size(target, cpu), top(target, cpu)
    data = target.read(cpu, begin, min(count, MOST) * size)
    lines = []
    for at in range(0, len(data) - size + 1, size):
        value = int.from_bytes(data[at:at + size], "little")
        code = value + (target.vcpu(cpu).cs_base if size == 2 else 0)
        notes = [f"<{symbols.name(code)}>"] if symbols.name(code) else []
        notes += ["return address"] if behind_call(target, cpu, code) else []
        lines.append(f"{begin + at:#x}  +{at:#05x}  {value:0{2 * size}x}  {' '.join(notes)}".rstrip())
    return lines


def frames(target: Target, cpu: int, symbols: Symbols) -> list[str]:
    """Callers, the innermost first. Where the frame pointer leads to no return address the list ends, and says so."""
    size = pointer_size(target, cpu)
    vcpu = target.vcpu(cpu)
    lines = [f"#0  {symbols.describe(vcpu.cs_base + vcpu.rip)}"]
    pointer = target.value(cpu, "rbp") & (1 << 8 * size) - 1
    for depth in range(1, DEEPEST):
        try:
            data = target.read(cpu, _linear(target, cpu, pointer), 2 * size)
        except TargetError:
            data = b""
        following, back = int.from_bytes(data[:size], "little"), int.from_bytes(data[size:], "little")
        code = back + (vcpu.cs_base if size == 2 else 0)
        if len(data) < 2 * size or not behind_call(target, cpu, code):
            if following == 0 and len(data) == 2 * size and depth > 1:             # by custom the outermost frame
                break
            lines.append("    the frame pointer leads no further; `stack` tells return addresses without it")
            break
        lines.append(f"#{depth}  {symbols.describe(code)}")
        if following <= pointer:                        # none lies below its callee's
            break
        pointer = following
    return lines


def behind_call(target: Target, cpu: int, address: int) -> bool:
    """Whether a CALL ends just before an address."""
    if address < 7:
        return False
    try:
        code = target.read(cpu, address - 7, 7)
        target.read(cpu, address, 1)
    except TargetError:
        return False
    if len(code) < 7:
        return False
    near = -3 if pointer_size(target, cpu) == 2 else -5
    if code[near] == NEAR_CALL or (near == -3 and code[-5] in (FAR_CALL, NEAR_CALL)):
        return True
    return any(code[-length] == GROUP_5 and code[1 - length] >> 3 & 7 in GROUP_5_CALLS for length in GROUP_5_LENGTHS)
