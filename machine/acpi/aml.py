"""A small AML encoder: the terms that our DSDT is made of, each a function that returns its bytes.

Source: ACPI 6.5 chapter 20 "ACPI Machine Language", and 6.4 "Resource Data Types for ACPI".
"""

from __future__ import annotations

import struct

ZERO_OP, ONE_OP, NAME_OP, BYTE_PREFIX, WORD_PREFIX, DWORD_PREFIX, STRING_PREFIX, QWORD_PREFIX = 0x00, 0x01, 0x08, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E
SCOPE_OP, BUFFER_OP, PACKAGE_OP, DUAL_NAME_PREFIX, EXT_OP_PREFIX, DEVICE_OP = 0x10, 0x11, 0x12, 0x2E, 0x5B, 0x82
METHOD_OP, STORE_OP, IF_OP, RETURN_OP = 0x14, 0x70, 0xA0, 0xA4
ARG0 = bytes((0x68,))
ROOT, PARENT = "\\", "^"
END_TAG = b"\x79\x00"                   # with a checksum of 0, which means "not checked" (6.4.2.9)

CONSUMER, PRODUCER = 1, 0               # general flags of address space descriptors (6.4.3.5)
MIN_FIXED, MAX_FIXED = 1 << 2, 1 << 3


def package_length(body: int) -> bytes:
    """PkgLength (20.2.4) of a package with `body` bytes behind it; the length counts its own bytes."""
    if body + 1 < 1 << 6:
        return bytes((body + 1,))
    for extra in (1, 2, 3):
        total = body + 1 + extra
        if total < 1 << (4 + 8 * extra):
            return bytes((extra << 6 | total & 0xF,)) + (total >> 4).to_bytes(extra, "little")
    raise ValueError(f"{body} bytes do not fit into one AML package")


def name_string(path: str) -> bytes:
    """A NameString (20.2.2) of at most two segments, which may begin at the root or the parent."""
    prefix = b""
    while path and path[0] in ROOT + PARENT:
        prefix, path = prefix + path[0].encode(), path[1:]
    segments = [segment.ljust(4, "_").encode() for segment in path.split(".") if segment]
    if any(len(segment) != 4 for segment in segments) or len(segments) > 2:
        raise ValueError(f"{path!r} is no AML name that is needed here")
    if not segments:
        return prefix + b"\0"
    return prefix + (bytes((DUAL_NAME_PREFIX,)) if len(segments) == 2 else b"") + b"".join(segments)


def integer(value: int) -> bytes:
    """An integer constant (20.2.3) in its shortest form."""
    if value in (0, 1):
        return bytes((value,))
    for prefix, size in ((BYTE_PREFIX, 1), (WORD_PREFIX, 2), (DWORD_PREFIX, 4), (QWORD_PREFIX, 8)):
        if value < 1 << 8 * size:
            return bytes((prefix,)) + value.to_bytes(size, "little")
    raise ValueError(f"{value:#x} is wider than 64 bits")


def string(text: str) -> bytes:
    """A string constant."""
    return bytes((STRING_PREFIX,)) + text.encode("ascii") + b"\0"


def name(path: str, value: bytes) -> bytes:
    """Name (path, value)."""
    return bytes((NAME_OP,)) + name_string(path) + value


def package(*elements: bytes) -> bytes:
    """Package () { elements }, at most 255 of them."""
    body = bytes((len(elements),)) + b"".join(elements)
    return bytes((PACKAGE_OP,)) + package_length(len(body)) + body


def buffer(data: bytes) -> bytes:
    """Buffer () { data }."""
    body = integer(len(data)) + data
    return bytes((BUFFER_OP,)) + package_length(len(body)) + body


def scope(path: str, *terms: bytes) -> bytes:
    """Scope (path) { terms }."""
    body = name_string(path) + b"".join(terms)
    return bytes((SCOPE_OP,)) + package_length(len(body)) + body


def device(path: str, *terms: bytes) -> bytes:
    """Device (path) { terms }."""
    body = name_string(path) + b"".join(terms)
    return bytes((EXT_OP_PREFIX, DEVICE_OP)) + package_length(len(body)) + body


def method(path: str, arguments: int, *terms: bytes) -> bytes:
    """Method (path, arguments, NotSerialized) { terms }, 20.2.5.2."""
    body = name_string(path) + bytes((arguments,)) + b"".join(terms)
    return bytes((METHOD_OP,)) + package_length(len(body)) + body


def store(value: bytes, target: str) -> bytes:
    """Store (value, target)."""
    return bytes((STORE_OP,)) + value + name_string(target)


def if_(condition: bytes, *terms: bytes) -> bytes:
    """If (condition) { terms }."""
    body = condition + b"".join(terms)
    return bytes((IF_OP,)) + package_length(len(body)) + body


def return_(value: bytes) -> bytes:
    """Return (value)."""
    return bytes((RETURN_OP,)) + value


def eisa_id(text: str) -> bytes:
    """EisaId ("PNP0501") as the integer it stands for (19.6.37)."""
    letters = [ord(letter) - 0x40 for letter in text[:3]]
    packed = letters[0] << 10 | letters[1] << 5 | letters[2]
    return integer(int.from_bytes(struct.pack(">HH", packed, int(text[3:], 16)), "little"))


def resources(*descriptors: bytes) -> bytes:
    """ResourceTemplate () { descriptors }."""
    return buffer(b"".join(descriptors) + END_TAG)


def io(base: int, length: int) -> bytes:
    """IO (Decode16, base, base, 1, length), 6.4.2.5."""
    return struct.pack("<BBHHBB", 0x47, 1, base, base, 1, length)


def irq(number: int) -> bytes:
    """IRQNoFlags () {number}: edge, active high, exclusive, 6.4.2.1."""
    return struct.pack("<BH", 0x22, 1 << number)


def memory32(base: int, length: int) -> bytes:
    """Memory32Fixed (ReadWrite, base, length), 6.4.3.4."""
    return struct.pack("<BHBII", 0x86, 9, 1, base, length)


def bus_numbers(first: int, last: int) -> bytes:
    """WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode), 6.4.3.5.3."""
    return struct.pack("<BHBBBHHHHH", 0x88, 13, 2, MIN_FIXED | MAX_FIXED, 0, 0, first, last, 0, last - first + 1)


def io_window(first: int, last: int) -> bytes:
    """WordIO (ResourceProducer, ..., EntireRange), 6.4.3.5.3."""
    return struct.pack("<BHBBBHHHHH", 0x88, 13, 1, MIN_FIXED | MAX_FIXED, 3, 0, first, last, 0, last - first + 1)


def memory_window(first: int, last: int) -> bytes:
    """DWordMemory (ResourceProducer, ..., NonCacheable, ReadWrite), 6.4.3.5.2."""
    return struct.pack("<BHBBBIIIII", 0x87, 23, 0, MIN_FIXED | MAX_FIXED, 1, 0, first, last, 0, last - first + 1)
