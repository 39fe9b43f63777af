"""`python -m tests.conformance.peer [CHIP...]`: asks both sides and shows what differs; `--record` writes down what QEMU says."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.conformance.peer import chips, golden, sides


def main(arguments: Sequence[str]) -> int:
    """Number of answers that differ without being known to, 1 at most."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.peer", description=__doc__)
    parser.add_argument("chip", nargs="*", default=list(chips.CHIPS), help="default: all")
    parser.add_argument("--record", action="store_true", help="write down what QEMU says")
    given = parser.parse_args(arguments)
    total = 0
    for name in given.chip:
        script = chips.CHIPS[name].script()
        theirs = sides.qemu(script.records, *chips.CHIPS[name].options)
        if given.record:
            golden.write(name, script, theirs)
        differing = golden.differences(script, sides.ours(script.records), theirs)
        total += len(differing)
        print(f"{name}: {script.accesses} accesses, {len(script.questions)} answers, {sum(q.difference is not None for q in script.questions)} known, "
              f"{len(differing)} differ", *differing, sep="\n    ")
    return min(total, 1)


sys.exit(main(sys.argv[1:]))
