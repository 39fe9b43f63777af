"""Packets of GDB's remote serial protocol: `$body#checksum`, with escapes and single bytes between them ("Debugging with GDB", E.1 "Overview")."""

from __future__ import annotations

LARGEST = 1 << 20                    # bytes of a packet; a client that sends more without an end is not heard
ESCAPE, TOGGLE = 0x7D, 0x20
SPECIAL = b"#$}*"
INTERRUPT = 0x03
AGAIN = ord("-")                     # the other side could not read what it was sent last


def packet(body: bytes) -> bytes:
    """A body, escaped already, with its checksum."""
    return b"$%s#%02x" % (body, sum(body) & 0xFF)


def escape(body: bytes) -> bytes:
    """What may not stand in a packet, behind a brace."""
    if not any(byte in SPECIAL for byte in body):
        return body
    return b"".join(bytes((ESCAPE, byte ^ TOGGLE)) if byte in SPECIAL else bytes((byte,)) for byte in body)


def unescape(body: bytes) -> bytes:
    """The other way round; a brace at the end stands for nothing."""
    if ESCAPE not in body:
        return body
    plain, escaped = bytearray(), False
    for byte in body:
        if escaped:
            plain.append(byte ^ TOGGLE)
            escaped = False
        elif byte == ESCAPE:
            escaped = True
        else:
            plain.append(byte)
    return bytes(plain)


class PacketReader:
    """Takes bytes as they come, gives packets: (body, whether its checksum is right), or `INTERRUPT` or `AGAIN`. Acknowledgements and noise are dropped."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        """More bytes."""
        self._data += data
        if len(self._data) > LARGEST:
            del self._data[:]

    @property
    def speaking(self) -> bool:
        """Whether the other side has said something that is more than an acknowledgement, be it the beginning of a packet."""
        return any(byte in self._data for byte in b"\x03$")

    def next(self) -> tuple[bytes, bool] | int | None:
        """The next packet or single byte that means something, None if it is not complete yet."""
        data = self._data
        while data:
            if data[0] in (INTERRUPT, AGAIN):
                return data.pop(0)
            if data[0] != ord("$"):
                del data[0]
                continue
            end = data.find(b"#")
            if end < 0 or len(data) < end + 3:
                return None
            body, check = bytes(data[1:end]), bytes(data[end + 1:end + 3])
            del data[:end + 3]
            try:
                good = int(check, 16) == sum(body) & 0xFF
            except ValueError:
                good = False
            return unescape(body), good
        return None
