#!/usr/bin/env python3
"""Folkering's command line: `boot`, `run`, `test`, `check`, `bench`, `doctor`.

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
from typing import TYPE_CHECKING

from launcher.environment import RUN_LOCK, SETUP_FAILED, TEST_LOCK, Environment, SetupError

if TYPE_CHECKING:
    from devices.backends.terminal import Terminal
    from machine.machine import Machine
    from shell.system import System

ROOT = Path(__file__).resolve().parent
LOCKS = {"boot": RUN_LOCK, "run": RUN_LOCK, "debug": RUN_LOCK, "bench": RUN_LOCK, "test": TEST_LOCK, "check": TEST_LOCK}     # `doctor` must do without
FAILED, USAGE, TIMEOUT, INTERRUPTED = 1, 2, 124, 130


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
    if command == "boot":
        arguments.check_boot(options)
    if command == "run":
        arguments.check_run(options)
    if command == "debug":
        arguments.check_debug(options)
    if command == "doctor":
        from launcher.doctor import doctor

        return doctor(environment)
    environment.enter(LOCKS[command])
    if command == "check":
        from launcher.checking import check

        return check(ROOT)
    try:
        return {"boot": boot, "run": run, "bench": bench, "debug": debug}[command](options)
    except ImportError:
        environment.repair(RUN_LOCK)        # comes back only if the environment is not what is wrong
        raise


def boot(options: Namespace) -> int:
    """The PC with Folkering OS on it, once more for each reboot that a person asks for."""
    from images.builder import build
    from images.errors import ImageError
    from machine.errors import MachineError

    alone = bool(options.commands) or options.script is not None
    try:
        images = build()
        files = {"opt/folkering/nucleus": images.nucleus, "opt/folkering/archive": images.archive, "opt/folkering/cmdline": command_line(alone).encode()}
        while True:
            code, again = boot_once(options, images.rom, files, alone)
            if not again:
                return code
    except ImageError as error:
        print(f"folkering.py boot: cannot assemble what the PC boots: {error}", file=sys.stderr)
        return FAILED
    except MachineError as error:
        print(f"folkering.py boot: {error}", file=sys.stderr)
        return USAGE


def boot_once(options: Namespace, rom: bytes, files: dict[str, bytes], alone: bool) -> "tuple[int, bool]":
    """From power-on to power-off. Returns the exit code, and whether the machine is to start over."""
    from devices.backends.output import Recorder
    from devices.backends.terminal import Terminal
    from machine.boot import Firmware
    from machine.configuration import INSTRUCTIONS, Configuration
    from machine.machine import Machine
    from machine.memory import MIB
    from machine.outcome import ExitReason
    from machine.run_command import OutputWatch
    from shell.system import System

    machine = Machine(Firmware(rom, files), Configuration(options.memory * MIB, options.cpus, options.clock, reboot=False))
    system = System(machine.hardware, None if options.fresh else data_folder(), at_once=options.clock == INSTRUCTIONS)
    serial = Recorder() if options.json else Terminal(machine.board.serial, machine.stop, None if alone else 0)
    watch = serial.watch = OutputWatch(options.until) if options.until else None
    machine.board.serial_out = serial.write
    machine.flush.append(serial.flush)
    system.start(options.commands, options.script)
    try:
        if isinstance(serial, Terminal) and not alone:
            serial.make_raw()
            if serial.interactive:
                machine.inputs.append(serial)
                machine.paced = True
            else:
                serial.farewell = b"\x04"
                system.kernel.spawn(connect_when_online(system, machine, serial))
        outcome = machine.run(lambda: system.has_ended() or (watch is not None and watch.found), system.service, options.timeout)
    finally:
        if isinstance(serial, Terminal):
            serial.restore()
        system.close()
        machine.close()
    if options.json:
        import json

        for entry in system.report():
            print(json.dumps(entry, ensure_ascii=False))
    if system.failed or outcome.reason not in (ExitReason.POWER_OFF, ExitReason.CONDITION, ExitReason.RESET):
        detail = system.failed or outcome.detail
        print(f"folkering: {outcome.reason.value if not system.failed else 'stopped'}{f': {detail}' if detail else ''}", file=sys.stderr)
    codes = {ExitReason.POWER_OFF: system.status, ExitReason.CONDITION: system.status, ExitReason.RESET: system.status,
             ExitReason.TIMEOUT: TIMEOUT, ExitReason.STOPPED: INTERRUPTED}
    return codes.get(outcome.reason, FAILED), outcome.reason is ExitReason.RESET and not alone


async def connect_when_online(system: "System", machine: "Machine", serial: "Terminal") -> None:
    """Hand a file or pipe to the serial line when somebody reads it: what is sent while the system boots would be lost."""
    await system.kernel.online()
    machine.inputs.append(serial)


def command_line(alone: bool) -> str:
    """The kernel's: what kind of terminal is at the other end of its console."""
    if alone or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return "terminal=plain"
    size = os.get_terminal_size(sys.stdout.fileno())
    name = os.environ.get("TERM", "")
    known = name.isascii() and name.replace("-", "").replace(".", "").replace("+", "").isalnum()
    return f"terminal={name if known else 'vt100'} columns={size.columns} rows={size.lines}"


def data_folder() -> Path:
    """Where the system's memory is kept (XDG Base Directory Specification 0.8)."""
    configured = os.environ.get("XDG_DATA_HOME", "")
    return (Path(configured) if os.path.isabs(configured) else Path.home() / ".local" / "share") / "folkering"


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


def debug(options: Namespace) -> int:
    """The PC with a guest of the user's choice, and a console to look into it."""
    from machine.debug.command import DebugOptions
    from machine.debug.command import debug as debug_machine
    from machine.errors import MachineError
    from machine.run_command import RunOptions

    words = vars(options)
    symbols, commands = words.pop("symbols"), tuple(words.pop("commands"))
    try:
        return debug_machine(DebugOptions(RunOptions(**words), symbols, commands))
    except MachineError as error:
        print(f"folkering.py debug: {error}", file=sys.stderr)
        return USAGE


def bench(options: Namespace) -> int:
    """What the PC costs. The guests are fetched here, because the machine knows no package client."""
    from launcher.guests import GuestUnavailable, busybox_static, linux_image
    from machine.bench.command import FULL, QUICK
    from machine.bench.command import bench as measure

    kernel, busybox, missing = None, None, ""
    try:
        kernel, busybox = linux_image(), busybox_static()
    except GuestUnavailable as reason:
        missing = str(reason)
    return measure(ROOT / "folkering.py", kernel, busybox, missing, as_json=options.json, plan=QUICK if options.quick else FULL)


def leave(code: int) -> None:
    """End the process. A thread inside a C++ library while the interpreter is torn down would abort it: with others alive it is not torn down."""
    import threading

    if threading.active_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    try:
        leave(main(sys.argv[1:]))
    except SetupError as error:
        print(f"folkering.py: {error}", file=sys.stderr)
        leave(SETUP_FAILED)
    except KeyboardInterrupt:
        leave(INTERRUPTED)
    except BrokenPipeError:                 # the reader of our output has gone, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        leave(FAILED)
