"""Four busy vCPUs under Linux: `python -m tests.soak.busy [SECONDS]`, by default 600. Not part of the tests.

Every ten seconds the guest says what time it is by its own clocks: seconds since boot (the time-stamp counter, which Linux found the rate of by
itself) and the calendar (the real-time clock). Compared with the host's clock at the first and the last report, that is the drift; the host
process's resident memory after the first minute and at the end says whether anything grows. Returns 1 where the drift is more than 0.1 %,
memory grew by more than 5 %, or a processor was not busy.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

from machine import Configuration, Linux, Machine
from machine.loaders.initrd import build
from tests.guests import busybox_static, linux_image

SECONDS, CPUS, SETTLED = 600.0, 4, 60.0
DRIFT, GROWTH = 0.001, 0.05
SCRIPT = """
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for n in 1 2 3 4; do (while :; do :; done) & done
while :; do
  sleep 10
  echo "soak: $(cat /proc/uptime | head -c 12 | tr ' ' ',') rtc $(cat /sys/class/rtc/rtc0/since_epoch)"
  echo "soak: $(grep '^cpu[0-9]' /proc/stat | tr '\\n' ';')"
done
"""
REPORT = re.compile(rb"soak: ([\d.]+)[\d.,]* rtc (\d+)")
BUSY = re.compile(rb"cpu(\d) (\d+) \d+ (\d+) (\d+)")


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class Soak:
    """What came of it: (host seconds, guest seconds since boot, guest calendar, resident bytes) at each report."""

    def __init__(self) -> None:
        self.output = bytearray()
        self.reports: list[tuple[float, float, int, int]] = []
        self._read = 0

    def hear(self, data: bytes) -> None:
        """Console output, as it comes."""
        self.output += data
        if b"\n" not in data:
            return
        for found in REPORT.finditer(self.output, self._read):
            if self.output.find(b"\n", found.end()) < 0:
                return
            self.reports.append((time.monotonic(), float(found[1]), int(found[2]), resident()))
            self._read = found.end()
            host, guest, calendar, memory = self.reports[-1]
            first = self.reports[0]
            print(f"host {host - first[0]:8.2f} s   guest {guest - first[1]:8.2f} s   calendar {calendar - first[2]:4} s   resident {memory / 2**20:.1f} MiB",
                  flush=True)


def main(words: list[str]) -> int:
    """Run, compare, judge."""
    seconds = float(words[0]) if words else SECONDS
    kernel, initrd = linux_image().read_bytes(), build(busybox_static(), SCRIPT)
    machine, soak = Machine(Linux(kernel, initrd, "console=ttyS0"), Configuration(cpus=CPUS)), Soak()
    machine.board.serial_out = soak.hear
    outcome = machine.run(lambda: len(soak.reports) > 1 and soak.reports[-1][0] - soak.reports[0][0] >= seconds, timeout=2 * seconds + 120)
    machine.run(timeout=2)                                     # the line about the processors that follows
    if len(soak.reports) < 2:
        print(f"no reports: {outcome}\n{soak.output.decode(errors='replace')}")
        return 1
    first, last = soak.reports[0], soak.reports[-1]
    settled = next((memory for host, _, _, memory in soak.reports if host - first[0] >= min(SETTLED, seconds / 2)), last[3])
    host = last[0] - first[0]
    drift = (last[1] - first[1]) / host - 1
    shares = {int(cpu): (int(user) + int(system)) / (int(user) + int(system) + int(idle))
              for cpu, user, system, idle in BUSY.findall(bytes(soak.output[soak.output.rfind(b"soak: cpu"):]))}
    growth = last[3] / settled - 1
    print(f"{host:.1f} s: drift {drift:+.4%}, calendar {last[2] - first[2]} s, resident {settled / 2**20:.1f} -> {last[3] / 2**20:.1f} MiB ({growth:+.2%}), "
          f"busy {', '.join(f'{share:.0%}' for share in shares.values())}, slices {machine.stats.slices}")
    machine.close()
    return int(abs(drift) > DRIFT or growth > GROWTH or len(shares) < CPUS or min(shares.values()) < 0.5)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
