"""Snapshots: a checkpoint, and what the machine boots from, in one file that another process can go on with.

Layout, little endian: magic, u32 version, u64 length of the header; the header, compressed JSON; pieces of RAM, each {u64 offset, u32 length, u32 compressed
length, bytes}, ended by a piece of length 0; SHA-256 of all before. Bytes in JSON are base64. Only what is not zero is stored. Nothing in it is executed.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import random
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from devices.pci.card import Card
from machine.boot import Boot, Firmware, Linux, Multiboot
from machine.cards import cards_named
from machine.checkpoint import BOARD, BOARD_VERSION, Checkpoint, CheckpointError, Kind, describe
from machine.engine.vcpu import VcpuState
from machine.errors import MachineError
from machine.memory import KIB, MAX_RAM, RamImage
from machine.schedule import Saved

MAGIC = b"FOLKSNAP"
VERSION = 4
HEAD, PIECE = struct.Struct("<8sIQ"), struct.Struct("<QII")
PIECE_LENGTH = 64 * KIB
LEVEL = 1                            # of compression: RAM is written once and read often, and time is what matters
LARGEST_HEADER = 1 << 31
MOST_CPUS = 255                      # what local APICs can be numbered with; how many a machine may have is for it to say
BOOTS: dict[str, type[Linux] | type[Multiboot] | type[Firmware]] = {"linux": Linux, "multiboot": Multiboot, "firmware": Firmware}


class SnapshotError(CheckpointError):
    """A file is no snapshot, is damaged, or is of another version."""


def write(path: str | Path, checkpoint: Checkpoint, boot: Boot, configuration: dict[str, Any]) -> None:
    """Write a snapshot; the file is there whole, or as it was before. In `configuration` cards are names. Raises SnapshotError."""
    path = Path(os.path.realpath(path))                  # a link stays one
    if path.exists() and not path.is_file():             # a rename would put a file in the place of a device
        raise SnapshotError(f"snapshot {path}: it is {'a folder' if path.is_dir() else 'no file that could be replaced'}")
    kind = next((name for name, cls in BOOTS.items() if isinstance(boot, cls)), None)
    if kind is None:
        raise SnapshotError(f"a machine that boots by {type(boot).__name__} cannot be saved")
    values = {item.name: getattr(checkpoint, item.name) for item in dataclasses.fields(checkpoint) if item.name != "ram"}
    values["vcpus"] = [dataclasses.asdict(vcpu) for vcpu in checkpoint.vcpus]
    header = {"checkpoint": values, "configuration": configuration, "boot": {"kind": kind, "values": dataclasses.asdict(boot)}}  # type: ignore[call-overload]
    packed = zlib.compress(json.dumps(_encode(header)).encode(), LEVEL)
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            try:
                _write(file, packed, checkpoint.ram)
                os.chmod(file.name, 0o666 & ~_umask())
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise SnapshotError(f"snapshot {path}: {error.strerror or error}") from None


def _umask() -> int:
    """What new files of this process may not allow; a temporary one allows its owner alone."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _write(file: IO[bytes], header: bytes, ram: RamImage) -> None:
    digest = hashlib.sha256()

    def put(data: bytes) -> None:
        digest.update(data)
        file.write(data)

    put(HEAD.pack(MAGIC, VERSION, len(header)) + header)
    for offset, data in ram.pieces(PIECE_LENGTH):
        squeezed = zlib.compress(data, LEVEL)
        put(PIECE.pack(offset, len(data), len(squeezed)) + squeezed)
    put(PIECE.pack(0, 0, 0))
    file.write(digest.digest())
    file.flush()


def read(path: str | Path) -> tuple[Checkpoint, Boot, dict[str, Any]]:
    """A checkpoint, what its machine boots from, and its configuration, with the names of cards. Raises SnapshotError in one line."""
    try:
        with Path(path).open("rb") as file:
            return _read(file, str(path))
    except OSError as error:
        raise SnapshotError(f"snapshot {path}: {error.strerror or error}") from None
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, MemoryError, zlib.error) as error:
        raise SnapshotError(f"snapshot {path}: it is damaged ({type(error).__name__}: {error})") from None


def cards_of(path: str | Path, names: tuple[str, ...], own: Iterable[Card]) -> tuple[Card, ...]:
    """The cards of a snapshot's machine. Raises SnapshotError if one is neither the machine's nor among `own`."""
    try:
        return cards_named(names, own)
    except MachineError as error:
        raise SnapshotError(f"snapshot {path}: {error}") from None


def _read(file: IO[bytes], name: str) -> tuple[Checkpoint, Boot, dict[str, Any]]:
    head = file.read(HEAD.size)
    if len(head) < HEAD.size or head[:len(MAGIC)] != MAGIC:
        raise SnapshotError(f"snapshot {name}: this is no snapshot of a machine")
    _magic, version, length = HEAD.unpack(head)
    if version != VERSION:
        raise SnapshotError(f"snapshot {name}: version {version}; this program reads version {VERSION}")
    if length > LARGEST_HEADER:
        raise SnapshotError(f"snapshot {name}: it is damaged (a header of {length} bytes)")
    packed = _exactly(file, length, name)
    digest = hashlib.sha256(head + packed)
    pieces = list(_pieces(file, digest, name))
    if file.read(digest.digest_size) != digest.digest():
        raise SnapshotError(f"snapshot {name}: it is damaged or truncated: its digest does not match")
    if file.read(1):
        raise SnapshotError(f"snapshot {name}: it is damaged (something follows its end)")
    header = _decode(json.loads(zlib.decompressobj().decompress(packed, LARGEST_HEADER)))
    values = header["checkpoint"]
    board = _board(values["board"])
    if board[:2] != (BOARD, BOARD_VERSION):
        raise SnapshotError(f"snapshot {name}: it is of {describe(board)}; this program has {BOARD} {BOARD_VERSION}")
    cpus, size = board[2:4]
    if not 0 < cpus <= MOST_CPUS:
        raise ValueError(f"{cpus} CPUs")
    if not 0 < size <= MAX_RAM:
        raise ValueError(f"{size} bytes of memory")
    ram = RamImage(size)
    for offset, length, squeezed in pieces:
        data = zlib.decompressobj().decompress(squeezed, PIECE_LENGTH + 1)
        if len(data) != length or offset + length > size:
            raise ValueError(f"a piece of RAM at {offset:#x}")
        ram.write(offset, data)
    checkpoint = Checkpoint(board, _whole(values["time"]), _whole(values["tsc"]), tuple(_vcpu(vcpu) for vcpu in values["vcpus"]), values["chips"],
                            _turns(values["turns"], board[2]), {key: _whole(value) for key, value in values["counters"].items()}, ram,
                            str(values["rom"]))
    return checkpoint, _boot(header["boot"]), _configuration(header["configuration"], board)


# --- shapes: a file may be made by anybody ----------------------------------------------------------------------------------------------
def _whole(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r:.40} is no whole number")
    return value


def _board(value: Any) -> Kind:
    name, version, cpus, memory, clock, cards = value
    return str(name), _whole(version), _whole(cpus), _whole(memory), str(clock), tuple(str(card) for card in cards)


def _vcpu(values: dict[str, Any]) -> VcpuState:
    state = VcpuState(**values)
    for vector in (state.offered, state.taken):
        if vector is not None and not 0 <= _whole(vector) <= 255:
            raise ValueError(f"vector {vector}")
    if not isinstance(state.context, bytes) or type(state.nmi_pending) is not bool or _whole(state.delivered) < 0:
        raise ValueError("this is no processor's state")
    return state


def _turns(value: Any, cpus: int) -> Saved:
    position, order, state, rest = value
    if sorted(_whole(cpu) for cpu in order) != list(range(cpus)) or not 0 <= _whole(position) < cpus:
        raise ValueError("this is no order of turns")
    if rest is not None:
        cpu, end, patience = (_whole(number) for number in rest)
        if not 0 <= cpu < cpus:
            raise ValueError(f"a turn of processor {cpu}")
        rest = cpu, end, patience
    if state is not None:
        random.Random().setstate(_as_tuples(state))       # raises ValueError or TypeError
    return position, tuple(order), _as_tuples(state), rest


def _boot(value: dict[str, Any]) -> Boot:
    boot = BOOTS[value["kind"]](**{key: _as_tuples(item) for key, item in value["values"].items()})
    match boot:
        case Linux(bytes(), bytes(), str()):
            return boot
        case Multiboot(bytes(), tuple() as modules, str()) if all(tuple(map(type, module)) == (bytes, str) for module in modules):
            return boot
        case Firmware(bytes(), dict() as files) if all(isinstance(name, str) and isinstance(data, bytes) for name, data in files.items()):
            return boot
        case _:
            raise ValueError("this cannot be booted")


def _configuration(values: Any, board: Kind) -> dict[str, Any]:
    seed = values["schedule_seed"]
    if (values["cpus"], values["memory"], values["clock"], tuple(values["cards"])) != board[2:]:
        raise ValueError("configuration and board differ")
    return {"memory": board[3], "cpus": board[2], "clock": board[4], "cards": board[5], "schedule_seed": None if seed is None else _whole(seed)}


def _pieces(file: IO[bytes], digest: Any, name: str) -> Iterator[tuple[int, int, bytes]]:
    while True:
        head = _exactly(file, PIECE.size, name)
        digest.update(head)
        offset, length, squeezed = PIECE.unpack(head)
        if length == 0:
            return
        data = _exactly(file, squeezed, name)
        digest.update(data)
        yield offset, length, data


def _exactly(file: IO[bytes], length: int, name: str) -> bytes:
    data = file.read(length)
    if len(data) != length:
        raise SnapshotError(f"snapshot {name}: it is truncated")
    return data


# --- JSON for plain values: bytes, and dictionaries whose keys are not all text ---------------------------------------------------------
def _encode(value: Any) -> Any:
    match value:
        case bytes() | bytearray():
            return {"$bytes": base64.b64encode(value).decode()}
        case dict() if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _encode(item) for key, item in value.items()}
        case dict():
            return {"$pairs": [[_encode(key), _encode(item)] for key, item in value.items()]}
        case list() | tuple():
            return [_encode(item) for item in value]
        case _:
            return value


def _decode(value: Any) -> Any:
    match value:
        case {"$bytes": text}:
            return base64.b64decode(text, validate=True)
        case {"$pairs": pairs}:
            return {_as_tuples(_decode(key)): _decode(item) for key, item in pairs}
        case dict():
            return {key: _decode(item) for key, item in value.items()}
        case list():
            return [_decode(item) for item in value]
        case _:
            return value


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list) else value
