"""The binary format of a WebAssembly module: sections, types, LEB128.

Source: WebAssembly Core Specification 2.0, chapter 5. Knows nothing of plans; `wasm.compiler` decides what goes into the bodies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

I32, I64, F64 = 0x7F, 0x7E, 0x7C                  # value types, 5.3.1
VALUE_TYPES = {"i32": I32, "i64": I64, "f64": F64}
FUNCTION_TYPE = 0x60
EMPTY_BLOCK = 0x40
PAGE = 65_536
MAGIC = b"\0asm\x01\0\0\0"

TYPE, IMPORT, FUNCTION, MEMORY, GLOBAL, EXPORT, CODE, DATA = 1, 2, 3, 5, 6, 7, 10, 11     # section ids, 5.5.2

Signature = tuple[tuple[str, ...], str]           # parameter types, and the result's type or ""


def unsigned(value: int) -> bytes:
    """LEB128 of a number that is not negative (5.2.2)."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def signed(value: int) -> bytes:
    """Signed LEB128 (5.2.2)."""
    encoded = bytearray()
    while not -0x40 <= value < 0x40:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value & 0x7F)
    return bytes(encoded)


def name(text: str) -> bytes:
    """A name: its length and its UTF-8 (5.2.4)."""
    data = text.encode()
    return unsigned(len(data)) + data


def vector(items: Sequence[bytes]) -> bytes:
    """A vector: its length and its items (5.1.3)."""
    return unsigned(len(items)) + b"".join(items)


@dataclass(slots=True)
class Body:
    """A function: its signature, its further locals' types in order, its instructions without the final `end`."""

    signature: Signature
    locals: list[str]
    code: bytes


@dataclass(slots=True)
class Module:
    """What a module is made of. Functions are numbered imports first; `memory` and the function `run` are exported."""

    imports: list[tuple[str, Signature]] = field(default_factory=list)        # all from module `env`
    bodies: list[Body] = field(default_factory=list)
    run: int = 0                                                             # index of the exported function
    pages: int = 1
    heap: int | None = None                                                  # initial value of global 0, or no global
    data: bytes = b""
    data_at: int = 0

    def encode(self) -> bytes:
        """The module's bytes."""
        signatures = list(dict.fromkeys([signature for _, signature in self.imports] + [body.signature for body in self.bodies]))
        types = [bytes([FUNCTION_TYPE]) + vector([bytes([VALUE_TYPES[one]]) for one in parameters])
                 + vector([bytes([VALUE_TYPES[result]])] if result else []) for parameters, result in signatures]
        imports = [name("env") + name(field_name) + b"\0" + unsigned(signatures.index(signature)) for field_name, signature in self.imports]
        heap = [] if self.heap is None else [bytes([I32, 1, 0x41]) + signed(self.heap) + b"\x0b"]
        data = [b"\0\x41" + signed(self.data_at) + b"\x0b" + unsigned(len(self.data)) + self.data] if self.data else []
        exports = [name("memory") + b"\x02\0", name("run") + b"\0" + unsigned(self.run)]
        sections = [(TYPE, types), (IMPORT, imports), (FUNCTION, [unsigned(signatures.index(body.signature)) for body in self.bodies]),
                    (MEMORY, [b"\0" + unsigned(self.pages)]), (GLOBAL, heap), (EXPORT, exports),
                    (CODE, [_body(body) for body in self.bodies]), (DATA, data)]
        return MAGIC + b"".join(bytes([number]) + sized(vector(items)) for number, items in sections if items)


def sized(content: bytes) -> bytes:
    """A section's or body's content behind its size."""
    return unsigned(len(content)) + content


def _body(body: Body) -> bytes:
    runs: list[tuple[int, str]] = []                      # locals are declared in runs of one type (5.4.8)
    for kind in body.locals:
        if runs and runs[-1][1] == kind:
            runs[-1] = (runs[-1][0] + 1, kind)
        else:
            runs.append((1, kind))
    declared = vector([unsigned(count) + bytes([VALUE_TYPES[kind]]) for count, kind in runs])
    return sized(declared + body.code + b"\x0b")
