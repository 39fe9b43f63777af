"""Boots Linux over and over: `python -m tests.soak.boots [BOOTS] [CPUS]...`, by default 20 boots each with 1 and 4 vCPUs. Not part of the tests.

Each boot is a process of its own, under the host's clock, with KASLR, default mitigations and `console=ttyS0` alone; it must say all that
`tests.linux_guest` asks for and end with exit code 0. The first boot that does not ends the run, with its transcript.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.guests import busybox_static, linux_image
from tests.linux_guest import complaints, full_initrd

ROOT = Path(__file__).resolve().parents[2]
BOOTS, PROCESSORS, PATIENCE = 20, (1, 4), 300.0


def boot(kernel: Path, initrd: Path, cpus: int) -> tuple[int, str]:
    """Exit code and console of one boot."""
    command = [sys.executable, "folkering.py", "run", "--kernel", str(kernel), "--initrd", str(initrd), "--append", "console=ttyS0", "--cpus", str(cpus),
               "--timeout", str(PATIENCE)]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode, done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")


def main(words: list[str]) -> int:
    """Boot and count. Returns 1 after a boot that failed."""
    boots = int(words[0]) if words else BOOTS
    with tempfile.TemporaryDirectory() as folder:
        initrd = Path(folder) / "initrd"
        initrd.write_bytes(full_initrd(busybox_static()))
        for cpus in map(int, words[1:]) if words[1:] else PROCESSORS:
            for number in range(1, boots + 1):
                started = time.monotonic()
                code, text = boot(linux_image(), initrd, cpus)
                wrong = complaints(text, cpus) + ([f"exit code {code}"] if code else [])
                print(f"{cpus} vCPUs, boot {number} of {boots}: {'; '.join(wrong) or 'good'}, {time.monotonic() - started:.1f} s", flush=True)
                if wrong:
                    print(text)
                    return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
