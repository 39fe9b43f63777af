"""Random bytes as a guest: whatever the processors execute, the host process lives on and the run ends for a named reason.

A child process runs the guests, because what this looks for is the end of the process. `python -m tests.fuzz.test_code FIRST COUNT` runs more.
"""

from __future__ import annotations

import collections
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from machine import Configuration, ExitReason, Firmware, Machine
from machine.loaders.bzimage import BOOT_CS, BOOT_DS, FLAT_CODE_64, FLAT_DATA, GDT, PAGE_TABLES, STACK_TOP, _identity_map
from machine.loaders.entry import LongMode

ROOT = Path(__file__).resolve().parents[2]
SIZE = 0x10000
VIRTUAL_TIME = 100_000                  # ns of virtual time for one guest: 12,500 instructions
HOST_TIME = 0.02                        # s, for those on the host's clock
LONG_CODE = 0x100000
# instructions, or their beginnings, that reach what random bytes seldom do: control registers, descriptor tables, MSRs, ports, rings, strings, x87 and SSE
BEGINNINGS = [bytes.fromhex(code) for code in (
    "0f22c0 0f20c0 0f0116 0f30 0f32 cd cf f4 fb fa e6 e4 ef ed 0fa2 0f05 0f07 f3a4 f3ab 0fae ea 9a 0f00 db d9 660f 0f09 0f31 62 c5 c4 0f34 f390").split()]


def image(chance: random.Random) -> bytes:
    """A ROM whose reset vector jumps into random bytes, half of the time richer in privileged instructions."""
    code = bytearray(chance.randbytes(SIZE))
    at = SIZE if chance.random() < 0.5 else 0
    while at < SIZE - 16:
        beginning = chance.choice(BEGINNINGS)
        code[at:at + len(beginning)] = beginning
        at += len(beginning) + chance.randrange(4)
    code[-16:-13] = b"\xe9" + (SIZE - 0xFFF3 & 0xFFFF).to_bytes(2, "little")
    return bytes(code[:SIZE])


def one(seed: int) -> str:
    """Run one random guest and say how it ended."""
    chance = random.Random(seed)
    code = image(chance)
    clock = chance.choice(("host", "instructions"))
    machine = Machine(Firmware(code), Configuration(memory=4 << 20, cpus=chance.choice((1, 2)), clock=clock, reboot=chance.random() < 0.5))
    try:
        if chance.random() < 0.4:
            machine.memory.write(PAGE_TABLES, _identity_map())
            machine.memory.write(GDT, bytes(16) + FLAT_CODE_64.to_bytes(8, "little") + FLAT_DATA.to_bytes(8, "little"))
            machine.memory.write(LONG_CODE, code)
            LongMode(LONG_CODE + chance.randrange(SIZE - 0x1000), STACK_TOP, 0, PAGE_TABLES, GDT, 31, BOOT_CS, BOOT_DS).apply(machine.engine.vcpus[0])
        machine.clock.at(VIRTUAL_TIME + 1, lambda: None)             # a slice ends there
        return machine.run(until=lambda: machine.clock.now() > VIRTUAL_TIME, timeout=HOST_TIME if clock == "host" else 5.0).reason.value
    finally:
        machine.close()


def endings(first: int, count: int) -> dict[str, int]:
    """How so many guests ended."""
    return dict(collections.Counter(one(seed) for seed in range(first, first + count)))


@pytest.mark.parametrize("first", [0, 10_000])
def test_random_code_cannot_break_the_host(first: int) -> None:
    done = subprocess.run([sys.executable, "-m", "tests.fuzz.test_code", str(first), "60"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert sum(found.values()) == 60
    assert set(found) <= {reason.value for reason in ExitReason}
    assert found[ExitReason.CONDITION.value] > 5 and len(found) >= 2, "some go on, some fault"


if __name__ == "__main__":
    print(json.dumps(endings(int(sys.argv[1]), int(sys.argv[2]))))
