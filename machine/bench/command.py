"""`folkering.py bench`: measure, print a table or JSON. Progress goes to standard error."""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from machine.bench import linux, loops, peer
from machine.bench.linux import Guest
from machine.bench.peer import PeerError
from machine.bench.rows import Row, table


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        pairs: measurements of each side, in turn; the table shows medians.
        scale: of the loops' rounds.
        rounds: of restores and forks.
        guests: whether Linux and `boot` are started.
    """

    pairs: int = 5
    scale: float = 1.0
    rounds: int = 50
    guests: bool = True


FULL, QUICK = Plan(scale=3.0), Plan(pairs=1, rounds=10)


def bench(launcher: Path, kernel: Path | None, busybox: Path | None, missing: str, *, as_json: bool, plan: Plan) -> int:
    """Measure and print. `missing` says why there is no kernel or busybox. Returns 0, whatever the figures are: a benchmark is no test."""
    rows = measure(launcher, Guest(kernel, busybox, launcher) if kernel and busybox else None, missing, plan)
    if as_json:
        print(json.dumps({"host": f"{platform.machine()}, Python {platform.python_version()}", "peer": peer.found(), "pairs": plan.pairs,
                          "rows": [row.as_json() for row in rows]}, indent=2))
    else:
        print(table(rows), end="")
    return 0


def measure(launcher: Path, guest: Guest | None, missing: str, plan: Plan) -> list[Row]:
    """All rows, those that could not be measured included."""
    rows = list(loops.measure(plan.pairs, plan.scale, _tell))
    if not plan.guests:
        return rows
    if guest is None:
        rows += [Row(name, doc, note=missing) for name, doc in (("linux", "Linux to user space"), ("copies", "checkpoint, restore, fork"))]
    else:
        rows += linux.boots(guest, plan.pairs, _tell)
        try:
            rows += linux.copies(guest, plan.rounds, _tell)
        except PeerError as trouble:
            rows.append(Row("copies", "checkpoint, restore, fork", note=str(trouble)))
    rows.append(linux.to_prompt(launcher, plan.pairs, _tell))
    return rows


def _tell(what: str) -> None:
    print(f"bench: {what}", file=sys.stderr, flush=True)
