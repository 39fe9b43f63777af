"""Engine loops, port and MMIO accesses: the same ROM on both, in turn."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator

from machine.bench import peer
from machine.bench.peer import PeerError
from machine.bench.rom import LOOPS, Loop, image
from machine.bench.rows import Row, against_peer, within
from machine.boot import Firmware
from machine.configuration import Configuration
from machine.machine import Machine
from machine.memory import MIB
from machine.outcome import ExitReason

PATIENCE = 120.0


def _processor_time() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def ours(rom: bytes) -> float:
    """Seconds of processor time for a ROM on our machine. Raises PeerError where it does not end as it should."""
    machine = Machine(Firmware(rom), Configuration(16 * MIB, reboot=False))
    try:
        started = _processor_time()
        outcome = machine.run(timeout=PATIENCE)
        spent = _processor_time() - started
    finally:
        machine.close()
    if outcome.reason is not ExitReason.DEBUG_EXIT:
        raise PeerError(f"the loop ended by {outcome.reason.value} {outcome.detail}")
    return spent


def measure(pairs: int, scale: float, tell: Callable[[str], None]) -> Iterator[Row]:
    """A row for each loop: `pairs` measurements of each side, in turn, of `scale` times the usual rounds. Start-up is measured and taken off."""
    has_peer = peer.found() is not None
    for loop in LOOPS:
        rounds = max(int(loop.rounds * scale), 100)
        tell(loop.doc)
        try:
            yield _row(loop, rounds, [_pair(loop, rounds, has_peer) for _ in range(pairs)])
        except PeerError as trouble:
            yield Row(loop.name, loop.doc, note=str(trouble))


def _pair(loop: Loop, rounds: int, has_peer: bool) -> tuple[float, float | None]:
    """Seconds a round, ours and QEMU's."""
    whole, empty = image(loop, rounds), image(loop, 1)
    return _once(ours, whole, empty) / rounds, _once(peer.rom_seconds, whole, empty) / rounds if has_peer else None


def _once(seconds: Callable[[bytes], float], whole: bytes, empty: bytes) -> float:
    """What the rounds alone cost. Raises PeerError where they are lost in the noise of starting up."""
    spent = seconds(whole) - seconds(empty)
    if spent <= 0:
        raise PeerError("so few rounds cannot be measured")
    return spent


def _row(loop: Loop, rounds: int, pairs: list[tuple[float, float | None]]) -> Row:
    unit, number = loop.budget
    if unit == "ratio":
        return against_peer(loop.name, f"{loop.doc}, a round", "ns", pairs, number, 1e9)
    peers = [other * 1e6 for _, other in pairs if other is not None]
    return within(loop.name, loop.doc, "us", [mine * 1e6 for mine, _ in pairs], number, peers)
