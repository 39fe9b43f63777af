"""`folkering.py debug`: a machine that stands before its first instruction, and the monitor at the user's terminal.

What the guest writes to COM1 is shown between the monitor's lines, or goes to a file. With `-c` the commands are carried out in order and the exit code is 1 if
one of them could not be; without, lines are read until `quit` or the end of the input.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from devices.backends.output import Recorder
from devices.backends.terminal import Terminal
from machine.debug.monitor import Monitor
from machine.debug.symbols import NO_SYMBOLS, Symbols
from machine.errors import EngineError, MachineError
from machine.recording import read
from machine.run_command import NONE, STDIO, RunOptions, machine_of, recorder_of

PROMPT = "(folkering) "
FAILED = 1


@dataclass(frozen=True, slots=True)
class DebugOptions:
    """What to debug and how: `run` says which machine, `symbols` names an ELF file, `commands` is empty for a conversation."""

    run: RunOptions
    symbols: str | None = None
    commands: tuple[str, ...] = ()


def debug(options: DebugOptions) -> int:
    """Debug a machine. Returns the exit code. Raises MachineError for a file or value that cannot be used."""
    symbols = Symbols.from_elf(options.symbols) if options.symbols is not None else NO_SYMBOLS
    machine = machine_of(options.run)
    serial: Terminal | Recorder
    if options.run.serial == STDIO:
        serial = Terminal(machine.board.serial, machine.stop, None)
    else:
        serial = recorder_of(None if options.run.serial == NONE else options.run.serial, "serial output")
    try:
        machine.board.serial_out = serial.write
        machine.flush.append(serial.flush)
        if options.run.replay is not None:
            read(options.run.replay).player(machine)
        monitor = Monitor(machine, _say, symbols)
        with _ctrl_c(monitor):
            if options.commands:
                done = [_carry_out(monitor, line, serial) for line in options.commands if not monitor.leaving]
                return 0 if all(done) else FAILED
            return _converse(monitor, serial)
    finally:
        machine.close()
        serial.close()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _converse(monitor: Monitor, serial: Terminal | Recorder) -> int:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 -- gives input() line editing and history
    monitor.say("`help` lists the commands; Ctrl-C stops a running machine, Ctrl-D leaves.")
    monitor.where()
    while not monitor.leaving:
        try:
            line = input(PROMPT)
        except EOFError:
            _say("")
            break
        except KeyboardInterrupt:
            _say("")
            continue
        _carry_out(monitor, line, serial)
    return 0


def _carry_out(monitor: Monitor, line: str, serial: Terminal | Recorder) -> bool:
    if monitor.ended is not None and line.split()[:1] in (["c"], ["continue"], ["s"], ["step"], ["n"], ["next"]):
        monitor.say(f"the guest has ended ({monitor.ended.reason.value}); `back` may go to before that")
        return False
    try:
        return monitor.execute(line)
    except (EngineError, MachineError) as trouble:
        sys.stderr.write(f"folkering: {trouble}\n")
        return False
    finally:
        serial.flush()
        sys.stdout.flush()


@contextlib.contextmanager
def _ctrl_c(monitor: Monitor) -> Iterator[None]:
    """Ctrl-C stops the machine while it runs, and is a KeyboardInterrupt while a line is read."""
    def pressed(_number: int, _frame: object) -> None:
        if monitor.running:
            monitor.interrupt()
        else:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, pressed)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
