"""`folkering.py debug`: a machine that stands before its first instruction, and the monitor at the user's terminal.

What the guest writes to COM1 is shown between the monitor's lines, or goes to a file. With `-c` the commands are carried out in order and the exit code is 1 if
one of them could not be; without, lines are read until `quit` or the end of the input.
"""

from __future__ import annotations

import contextlib
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from devices.backends.output import Recorder
from devices.backends.terminal import Terminal
from machine.debug.monitor import Monitor
from machine.debug.symbols import NO_SYMBOLS, Symbols
from machine.errors import MachineError
from machine.recording import read
from machine.run_command import NONE, STDIO, RunOptions, disks_of, machine_of, recorder_of

PROMPT = "(folkering) "
ESCAPE = b"\x1b"
QUESTION = re.compile(rb"\x1b(\[[0-9;?>=]*[cn]|Z)")               # ECMA-48 DA, DSR and DECID: a terminal answers them
BEGUN = re.compile(rb"\x1b(\[[0-9;?>=]{0,16})?$")
WORD_ENDS = " \t+-:"
FAILED = 1


@dataclass(frozen=True, slots=True)
class DebugOptions:
    """What to debug and how: `run` says which machine, `symbols` names a file of them, `commands` is empty for a conversation."""

    run: RunOptions
    symbols: str | None = None
    commands: tuple[str, ...] = ()


def debug(options: DebugOptions) -> int:
    """Debug a machine. Returns the exit code. Raises MachineError for a file or value that cannot be used."""
    symbols = Symbols.from_file(options.symbols) if options.symbols is not None else NO_SYMBOLS
    disks = disks_of(options.run)
    machine = machine_of(options.run, disks)
    serial: Terminal | Recorder
    if options.run.serial == STDIO:
        serial = Terminal(machine.board.serial, machine.stop, None)
    else:
        serial = recorder_of(None if options.run.serial == NONE else options.run.serial, "serial output")
    try:
        voice = Voice(serial, shared=options.run.serial == STDIO)
        machine.board.serial_out = voice.guest
        machine.flush.append(voice.flush)
        if options.run.replay is not None:
            read(options.run.replay).player(machine)
        monitor = Monitor(machine, voice.say, symbols)
        voice.running = lambda: monitor.running
        with _ctrl_c(monitor):
            if options.commands:
                done = [_carry_out(monitor, line, voice) for line in options.commands if not monitor.leaving]
                return 0 if all(done) else FAILED
            return _converse(monitor, voice)
    finally:
        machine.close()
        for opened in (serial, *disks):
            opened.close()


class Voice:
    """The guest's output and the console's lines, in their order.

    Where they share a terminal, a line of the console begins a line, and what the guest asks of its terminal is left out: the answers would be typed here.
    """

    def __init__(self, serial: Terminal | Recorder, shared: bool) -> None:
        self._serial, self._shared = serial, shared
        self._in_line = False
        self._held = b""
        self._said = bytearray()
        self.running: Callable[[], bool] = lambda: False      # while it does, the guest's words come in pieces and not between the lines of a trace

    def guest(self, data: bytes) -> None:
        """The guest says something."""
        if self._shared and (self._held or ESCAPE in data):
            data = QUESTION.sub(b"", self._held + data)
            begun = BEGUN.search(data)
            data, self._held = (data, b"") if begun is None else (data[:begun.start()], data[begun.start():])
        self._said += data

    def flush(self) -> None:
        """What the guest has said comes out."""
        if self._said:
            self._serial.write(bytes(self._said))
            self._in_line = self._shared and not self._said.endswith((b"\n", b"\r"))
            self._said.clear()
        self._serial.flush()

    def say(self, line: str) -> None:
        """The console says a line."""
        if not self.running():
            self.flush()
        sys.stdout.write("\n" + line + "\n" if self._in_line else line + "\n")
        sys.stdout.flush()
        self._in_line = False


def _converse(monitor: Monitor, voice: Voice) -> int:
    _edit_lines(monitor)
    monitor.say("`help` lists the commands; Ctrl-C stops a running machine, Ctrl-D leaves.")
    monitor.where()
    while not monitor.leaving:
        try:
            line = input(PROMPT)
        except EOFError:
            monitor.say("")
            break
        except UnicodeDecodeError:
            monitor.say("that is no text")
            continue
        except KeyboardInterrupt:
            monitor.say("")
            continue
        _carry_out(monitor, line, voice)
    return 0


def _edit_lines(monitor: Monitor) -> None:
    """Arrows, history and Tab, where the host's Python has them."""
    try:
        import readline
    except ImportError:
        return

    def complete(_text: str, index: int) -> str | None:
        if index == 0:
            candidates[:] = monitor.completions(readline.get_line_buffer()[:readline.get_endidx()])
        return candidates[index] if index < len(candidates) else None

    candidates: list[str] = []
    readline.set_completer(complete)
    readline.set_completer_delims(WORD_ENDS)
    libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
    if not libedit:
        readline.parse_and_bind("set enable-bracketed-paste off")


def _carry_out(monitor: Monitor, line: str, voice: Voice) -> bool:
    try:
        return monitor.execute(line)
    except (MachineError, OSError) as trouble:
        sys.stderr.write(f"folkering: {trouble}\n")
        return False
    finally:
        voice.flush()
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
