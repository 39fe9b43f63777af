"""Random code that runs in the F segment and switches it while it does: the host process lives on, and the same run comes again, restored and forked.

A child process runs the guests, because one thing that this looks for is the end of the process. `python -m tests.fuzz.test_pam FIRST COUNT` runs more.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from machine import Configuration, Firmware, Machine
from machine.checkpoint import digest

ROOT = Path(__file__).resolve().parents[2]
SIZE = 0x10000
PAM0 = 0x90
MIDDLE, END = 7001, 20_000              # instructions
SWITCH = bytes.fromhex("66b890000080baf80c66efbafc0cb0")              # real mode: mov eax, 0x80000090; mov dx, 0xcf8; out dx, eax; mov dx, 0xcfc; mov al, ..
PIECES: list[Callable[[random.Random], bytes]] = [
    lambda chance: SWITCH + bytes((chance.choice((0x00, 0x10, 0x20, 0x30)), 0xEE)),
    lambda chance: b"\xea" + chance.randbytes(2) + b"\x00\xf0",       # jmp 0xf000:..
    lambda chance: bytes.fromhex("6800f01f89078905aba5"),             # push 0xf000; pop ds; mov [bx], ax; mov [di], ax; stosw; movsw
    lambda chance: bytes.fromhex("6800f007f3ab"),                     # push 0xf000; pop es; rep stosw
    *[lambda chance: chance.choice((b"\x90", b"\x40", b"\xeb\x02", b"\x75\xf0", b"\xe2\xf8"))] * 4]


def code(chance: random.Random) -> bytes:
    """64 KiB that begin at random at the reset vector."""
    text, at = bytearray(chance.randbytes(SIZE)), 0
    while at < SIZE - 40:
        piece = chance.choice(PIECES)(chance)
        text[at:at + len(piece)] = piece
        at += len(piece) + (chance.randrange(3) if chance.random() < 0.1 else 0)
    text[-16:-11] = b"\xea" + chance.randrange(SIZE - 0x1000).to_bytes(2, "little") + b"\x00\xf0"
    return bytes(text[:SIZE])


def one(seed: int) -> tuple[int, bool]:
    """Stores to ROM of one guest, and whether it ended the same each of three times."""
    chance = random.Random(seed)
    machine = Machine(Firmware(code(chance)), Configuration(memory=4 << 20, cpus=2, clock="instructions"))
    machine.memory.write(0, b"\x00\x00\x00\xf0" * 256)                # every exception leads to 0xf000:0
    machine.board.open_segments()
    machine.memory.write(0xF0000, code(chance))
    machine.board.host_bridge.config.write(PAM0, 1, 0)
    machine.run(limit=MIDDLE)
    middle = machine.checkpoint()
    machine.run(limit=END)
    found = [digest(machine)]
    lost = machine.memory.rom_writes
    machine.restore(middle)
    fork = machine.fork(middle)
    for again in (machine, fork):
        again.run(limit=END)
        found.append(digest(again))
        again.close()
    return lost, len(set(found)) == 1


def runs(first: int, count: int) -> dict[str, object]:
    """What came of so many guests."""
    results = {seed: one(seed) for seed in range(first, first + count)}
    return {"lost": sum(lost for lost, _ in results.values()), "astray": [seed for seed, (_, same) in results.items() if not same]}


def test_code_that_switches_its_own_segment_runs_the_same_each_time() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.fuzz.test_pam", "0", "12"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["astray"] == [] and found["lost"] > 1000


if __name__ == "__main__":
    print(json.dumps(runs(int(sys.argv[1]), int(sys.argv[2]))))
