#!/usr/bin/env python3
"""Folkering's command line: `boot`, `run`, `test`, `check`, `doctor`.

This file and `launcher/` use the standard library alone until the environment exists; then this file is where the two sides of the house meet:
it builds the machine, builds the system, and hands the one's hardware to the other. `run` imports nothing of the system.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 -- this line is for whoever has an older one
    sys.stderr.write("folkering.py: needs Python 3.11 or newer, this is %d.%d; start it with a newer one\n" % sys.version_info[:2])  # noqa: UP031
    sys.exit(4)

import os
from argparse import Namespace
from pathlib import Path

from launcher.environment import RUN_LOCK, SETUP_FAILED, TEST_LOCK, Environment, SetupError

ROOT = Path(__file__).resolve().parent
LOCKS = {"boot": RUN_LOCK, "run": RUN_LOCK, "test": TEST_LOCK, "check": TEST_LOCK}      # `doctor` must work without an environment
USAGE, INTERRUPTED = 2, 130


def main(words: list[str]) -> int:
    """Run one command line; returns the exit code."""
    from launcher import arguments

    if not words or words[0] in ("-h", "--help", "help"):
        print(arguments.SUMMARY, end="")
        return 0 if words else USAGE
    command, rest = words[0], words[1:]
    if command not in arguments.PARSERS:
        arguments.fail_unknown(command)
    environment = Environment(ROOT)
    if command == "test" and not (rest and rest[0] in ("-h", "--help")):
        environment.enter(TEST_LOCK)
        from launcher.testing import test

        return test(ROOT, rest)
    options = arguments.parse(command, rest)
    if command == "run":
        arguments.check_run(options)
    if command == "doctor":
        from launcher.doctor import doctor

        return doctor(environment)
    environment.enter(LOCKS[command])
    if command == "check":
        from launcher.checking import check

        return check(ROOT)
    try:
        return run(options)
    except ImportError:
        environment.repair(RUN_LOCK)        # comes back only if the environment is not what is wrong
        raise


def run(options: Namespace) -> int:
    """The PC with a guest of the user's choice."""
    from machine.errors import MachineError
    from machine.run_command import RunOptions
    from machine.run_command import run as run_machine

    try:
        return run_machine(RunOptions(**vars(options)))
    except MachineError as error:
        print(f"folkering.py run: {error}", file=sys.stderr)
        return USAGE


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except SetupError as error:
        print(f"folkering.py: {error}", file=sys.stderr)
        sys.exit(SETUP_FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:                 # the reader of our output has gone, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
