r"""The one AML object this kernel evaluates: `\_S5`, which says what to write to PM1_CNT to switch the machine off.

Source: ACPI 6.5, 7.4.2 (`\_Sx`: package of SLP_TYPa, SLP_TYPb, ..), 20.2.3 and 20.2.5.4 (encoding). A full interpreter is not needed for a
constant package; a definition block that builds `_S5_` by running code is answered with an AcpiError.
"""

from __future__ import annotations

from kernel.acpi.tables import HEADER
from kernel.errors import AcpiError

NAME_OP, PACKAGE_OP, ROOT_CHAR = 0x08, 0x12, 0x5C
ZERO_OP, ONE_OP = 0x00, 0x01
BYTE_PREFIX, WORD_PREFIX, DWORD_PREFIX = 0x0A, 0x0B, 0x0C
CONSTANT_SIZES = {BYTE_PREFIX: 1, WORD_PREFIX: 2, DWORD_PREFIX: 4}
MAX_SLP_TYP = 7                     # three bits


def soft_off(definition_block: bytes) -> tuple[int, int]:
    """SLP_TYPa and SLP_TYPb of state S5, out of a whole DSDT or SSDT. Raises: AcpiError."""
    at = definition_block.find(b"_S5_", HEADER.size)
    while at >= 0:
        if NAME_OP in (definition_block[at - 1], definition_block[at - 2] if definition_block[at - 1] == ROOT_CHAR else -1):
            return _package(definition_block, at + 4)
        at = definition_block.find(b"_S5_", at + 1)
    raise AcpiError(r"ACPI: the DSDT has no \_S5: this machine cannot be switched off")


def _package(code: bytes, at: int) -> tuple[int, int]:
    """The first two numbers of the package at an offset; a package of one number means the same for both registers."""
    try:
        if code[at] != PACKAGE_OP:
            raise AcpiError(r"ACPI: \_S5 is not a constant package")
        extra = code[at + 1] >> 6                       # PkgLength: bytes that follow the first
        end = at + 1 + _package_length(code, at + 1)
        count, at = code[at + 2 + extra], at + 3 + extra
        values = []
        for _ in range(min(count, 2)):
            value, at = _constant(code, at)
            values.append(value)
    except IndexError:
        raise AcpiError(r"ACPI: \_S5 is cut off") from None
    if not values or at > end or max(values) > MAX_SLP_TYP:
        raise AcpiError(rf"ACPI: \_S5 holds {values}")
    return values[0], values[-1]


def _package_length(code: bytes, at: int) -> int:
    extra = code[at] >> 6
    if not extra:
        return code[at] & 0x3F
    return code[at] & 0x0F | int.from_bytes(code[at + 1:at + 1 + extra], "little") << 4


def _constant(code: bytes, at: int) -> tuple[int, int]:
    """A number and the offset behind it."""
    op = code[at]
    if op in (ZERO_OP, ONE_OP):
        return op, at + 1
    size = CONSTANT_SIZES.get(op)
    if size is None:
        raise AcpiError(rf"ACPI: \_S5 has an element of kind {op:#04x}, not a number")
    if at + 1 + size > len(code):
        raise IndexError
    return int.from_bytes(code[at + 1:at + 1 + size], "little"), at + 1 + size
