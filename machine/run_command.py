"""`folkering.py run`: build a machine as the command line says, connect it to the host, run it, and say how it ended.

Exit codes: 0 power-off or `--exit-on` seen, 2v+1 for v written to port 0xF4, 3 triple fault or reset with --no-reboot, 6 a recording without an end was played
as far as it goes, 124 timeout, 130 left by the user.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from devices.backends.output import OutputLost, Recorder
from devices.backends.terminal import Terminal
from devices.core.log import UnmodelledAccess
from machine.boot import Firmware, kernel_from_files
from machine.cards import DISK, cards_named, disk_card
from machine.errors import EngineError, MachineError
from machine.configuration import HOST, Configuration
from machine.machine import Machine
from machine.memory import MIB
from machine.outcome import ExitReason, Outcome
from machine.recording import Recorder as InputRecorder
from machine.recording import read
from machine.replay import ReplayError
from machine.stats import report
from machine.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from devices.backends.disk import FileDisk
    from machine.boot import Boot
    from machine.debug.rsp import GdbServer

WATCHED = 512                        # bytes of output in which a pattern is looked for, beside what has just come
TIMEOUT_CODE, LEFT_CODE, RESET_CODE, FAILED_CODE, UNFINISHED_CODE = 124, 130, 3, 1, 6      # 6: not odd, which the debug-exit port makes
STDIO, NONE = "stdio", "none"
SAVED_AFTER = (ExitReason.CONDITION, ExitReason.TIMEOUT, ExitReason.STOPPED)     # ends that are not the guest's own: it could go on


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of `run`, parsed. Memory in MiB, timeout in seconds of host time."""

    kernel: str | None = None
    initrd: str | None = None
    module: tuple[tuple[str, str], ...] = ()
    append: str = ""
    firmware: str | None = None
    cpus: int = 1
    memory: int = 256
    clock: str = HOST
    schedule_seed: int | None = None
    serial: str = STDIO
    debugcon: str | None = None
    exit_on: str | None = None
    timeout: float | None = None
    stats: str | None = None
    strict: bool = False
    no_reboot: bool = False
    save: str | None = None
    load: str | None = None
    gdb: tuple[str, int] | None = None
    wait_gdb: bool = False
    trace: str | None = None
    record: str | None = None
    replay: str | None = None
    device: tuple[str, ...] = ()
    disk: tuple[tuple[str, str], ...] = ()           # file, and a value of devices.backends.disk.Access


class OutputWatch:
    """Looks for a pattern in what a serial line has said, also across the pieces it comes in."""

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile(pattern.encode())
        self._tail = b""
        self.found = False

    def __call__(self, data: bytes) -> None:
        if not self.found:
            text = self._tail + data
            self.found = self._pattern.search(text) is not None
            self._tail = text[-WATCHED:]


def run(options: RunOptions) -> int:
    """Run a machine to its end. Returns the exit code.

    Raises:
        MachineError: a file or value that cannot be used, in one line.
    """
    watch = _watch(options.exit_on)
    disks = disks_of(options)
    machine = machine_of(options, disks)
    outputs: list[Terminal | Recorder] = []
    debugger: GdbServer | None = None
    recorder: InputRecorder | None = None
    try:
        recording = read(options.replay) if options.replay is not None else None
        player = recording.player(machine) if recording is not None else None
        serial = _serial(options, machine)
        outputs.append(serial)
        machine.board.serial_out = serial.write if watch is None else _watched(serial.write, watch, machine)
        machine.flush.append(serial.flush)
        debug = recorder_of(options.debugcon, "debug console")
        outputs.append(debug)
        machine.board.debug_out = debug.write
        machine.flush.append(debug.flush)
        if options.trace is not None:
            trace = recorder_of(options.trace, "trace")
            outputs.append(trace)
            machine.flush.append(trace.flush)
            Trace(machine, trace.write)
        if options.record is not None:
            lines = recorder_of(options.record, "recording")
            outputs.append(lines)
            machine.flush.append(lines.flush)
            recorder = InputRecorder(machine, lines.write)
        debugger = _debugger(options, machine)
        failure, outcome, unfinished = None, Outcome(ExitReason.STOPPED), ""
        try:
            if isinstance(serial, Terminal):
                machine.paced = serial.interactive
                serial.make_raw()
            def until() -> bool:
                return (watch is not None and watch.found) or (player is not None and player.arrived)

            runner = machine if debugger is None else debugger
            with _ctrl_c(machine, debugger):
                outcome = runner.run(until=until, timeout=options.timeout)
            if recorder is not None:
                recorder.finish()
                for flush in machine.flush:
                    flush()
            if recording is not None and player is not None and player.arrived and outcome.reason is ExitReason.CONDITION and not (watch and watch.found):
                unfinished = recording.breaks_off
            if recording is not None and player is not None and (player.arrived or outcome.reason not in SAVED_AFTER):
                failure = recording.difference(machine, player.arrived)
        except KeyboardInterrupt:
            pass
        except (UnmodelledAccess, EngineError, OutputLost, ReplayError) as trouble:      # --strict, the engine met what it cannot do, a full disk
            failure = str(trouble)
        finally:
            if isinstance(serial, Terminal):
                serial.restore()
        if options.save is not None and failure is None and outcome.reason in SAVED_AFTER:
            machine.save(options.save)
        figures = report(machine, outcome)
        if failure is not None:
            figures.update(exit_reason="failed", exit_detail=failure)
        _write_stats(options.stats, figures)
        _tell(outcome, failure, machine, options)
        if unfinished and failure is None:
            print(f"folkering: recording {options.replay} breaks off {unfinished}: played as far as it goes, to instruction {machine.stats.retired} at "
                  f"{machine.clock.now() / 1e9:.6f} s of virtual time, and nothing compared", file=sys.stderr)
            return UNFINISHED_CODE
        return FAILED_CODE if failure is not None else exit_code(outcome)
    finally:
        if debugger is not None:
            debugger.close()
        machine.close()
        for opened in (*outputs, *disks):
            opened.close()


@contextlib.contextmanager
def _ctrl_c(machine: Machine, debugger: GdbServer | None) -> Iterator[None]:
    """Ctrl-C where the guest does not get it ends the run between two slices, so that a recording or snapshot is whole; pressed again, at once."""
    before = signal.getsignal(signal.SIGINT)

    def pressed(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        machine.stop()

    if debugger is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, pressed)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Deaf:
    """A serial line at which nobody hears what is typed, because a recording is played."""

    def space(self) -> int:
        """Any amount."""
        return 1 << 30

    def receive(self, data: bytes) -> None:
        """It is lost."""


def _watched(write: Callable[[bytes], None], watch: OutputWatch, machine: Machine) -> Callable[[bytes], None]:
    """Output that is looked at byte by byte, so that the machine stops where the awaited text was printed."""
    def written(data: bytes) -> None:
        write(data)
        watch(data)
        if watch.found:
            machine.wake()                     # ends the slice

    return written


def _debugger(options: RunOptions, machine: Machine) -> GdbServer | None:
    """GDB's server, if one is wanted."""
    if options.gdb is None:
        return None
    from devices.backends.stream import ByteStream, StreamError
    from machine.debug.rsp import GdbServer

    try:
        stream = ByteStream(*options.gdb)
    except StreamError as error:
        raise MachineError(f"--gdb {error}") from None
    if options.wait_gdb:
        print(f"folkering: waiting for a debugger: target remote {options.gdb[0]}:{stream.port}", file=sys.stderr, flush=True)
    return GdbServer(machine, stream, options.wait_gdb, backwards=options.record is None)


def disks_of(options: RunOptions) -> list[FileDisk]:
    """The files that `--disk` names, open; whoever asked closes them. Raises MachineError."""
    if not options.disk:
        return []
    from devices.backends.disk import Access, DiskError, FileDisk

    try:
        return [FileDisk(path, Access(access)) for path, access in options.disk]
    except DiskError as error:
        raise MachineError(str(error)) from None


def machine_of(options: RunOptions, disks: Sequence[FileDisk]) -> Machine:
    """A new machine, or one that goes on from a snapshot. Disks are in the slots behind the other cards."""
    cards = tuple(disk_card(disk) for disk in disks)
    if options.load is not None:
        machine = Machine.load(options.load, strict=options.strict, reboot=not options.no_reboot, cards=cards)
        had = sum(card.name == DISK for card in machine.configuration.cards)
        if had != len(disks):
            machine.close()
            raise MachineError(f"--disk: {len(disks)} given; the snapshot's machine has {had}")
        return machine
    configuration = Configuration(options.memory * MIB, options.cpus, options.clock, options.schedule_seed, options.strict, not options.no_reboot,
                                  (*cards_named(options.device), *cards))
    return Machine(_boot(options), configuration)


def exit_code(outcome: Outcome) -> int:
    """What the process ends with."""
    match outcome.reason:
        case ExitReason.POWER_OFF | ExitReason.CONDITION:
            return 0
        case ExitReason.DEBUG_EXIT:
            return (2 * outcome.value + 1) & 0xFF
        case ExitReason.RESET | ExitReason.SHUTDOWN:
            return RESET_CODE
        case ExitReason.TIMEOUT:
            return TIMEOUT_CODE
        case ExitReason.STOPPED:
            return LEFT_CODE
        case ExitReason.DEAD | ExitReason.BREAK:
            return FAILED_CODE


def _boot(options: RunOptions) -> Boot:
    if options.kernel is not None:
        return kernel_from_files(options.kernel, options.initrd, options.append, options.module)
    assert options.firmware is not None
    return Firmware.from_file(options.firmware)


def _watch(pattern: str | None) -> OutputWatch | None:
    if pattern is None:
        return None
    try:
        return OutputWatch(pattern)
    except re.error as error:
        raise MachineError(f"--exit-on {pattern!r} is no regular expression: {error}") from None


def _serial(options: RunOptions, machine: Machine) -> Terminal | Recorder:
    if options.serial == STDIO:
        terminal = Terminal(machine.board.serial if options.replay is None else Deaf(), machine.stop)
        machine.inputs.append(terminal)
        return terminal
    return recorder_of(None if options.serial == NONE else options.serial, "serial output")


def recorder_of(path: str | None, what: str) -> Recorder:
    """A file for output, or nothing. Raises MachineError."""
    try:
        return Recorder(path)
    except OSError as error:
        raise MachineError(f"{what} {path}: {error.strerror}") from None


def _write_stats(path: str | None, figures: dict[str, object]) -> None:
    if path is None:
        return
    try:
        Path(path).write_text(json.dumps(figures, indent=2) + "\n")
    except OSError as error:
        raise MachineError(f"--stats {path}: {error.strerror}") from None


def _tell(outcome: Outcome, failure: str | None, machine: Machine, options: RunOptions) -> None:
    """What a person should know beside the guest's own output, on standard error. A plain power-off says nothing."""
    if failure is not None:
        print(f"folkering: stopped: {failure}", file=sys.stderr)
    elif outcome.reason not in (ExitReason.POWER_OFF, ExitReason.CONDITION, ExitReason.DEBUG_EXIT):
        print(f"folkering: {outcome.reason.value}{': ' + outcome.detail if outcome.detail else ''}", file=sys.stderr)
    mistakes = machine.log.total()
    if mistakes and failure is None and outcome.reason is not ExitReason.POWER_OFF:
        shown = machine.log.lines[:5]
        rest = len(machine.log.lines) - len(shown)
        more = "" if not rest else f"\n  and {rest} more kinds" + ("" if options.stats else "; --stats FILE lists all")
        print(f"folkering: the guest did what no chip makes sense of, {mistakes} times:\n  " + "\n  ".join(shown) + more, file=sys.stderr)
