"""The command line: what can be said, and one line for whatever was said wrongly.

An error is one line with a hint and exit code 2; the usage text is for `--help`.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

USAGE = 2                        # exit code of a wrong flag, value or file
MAX_CPUS = 64
MIN_MEMORY, MAX_MEMORY = 2, 65536   # MiB

SUMMARY = """\
usage: python folkering.py COMMAND [OPTION]...

Folkering: an AI-native operating system, and the virtual x86-64 PC that it runs on, all of it in Python.

commands:
  boot      start the PC with Folkering OS on it and talk to its shell
  run       start the PC with something else on it: a Linux kernel, or a firmware image of your own
  debug     the same, standing before its first instruction, with a console to look into it
  test      run the tests; the guests that they boot are fetched first
  check     check style, types and who imports whom
  bench     measure the PC, beside QEMU where that is found
  doctor    what is here, what is missing, and what that costs you

Each has its own help: python folkering.py boot --help

The first command that needs them installs the locked packages into .venv beside this file, and nothing anywhere else.
Try:
  python folkering.py boot -c 'Get-SystemStats |> Format-Dashboard' -c poweroff
  python folkering.py run --kernel vmlinuz --initrd initrd --append console=ttyS0 --cpus 4
"""

BOOT_HELP = """\
Starts a virtual PC, runs our firmware, loader and nucleus on it, and gives you Folkering's shell on its serial port.
A command that does not exist is synthesized: understood, searched for, compiled, checked, signed and run. `help` lists what to talk about.
Without -c or --script it is a conversation: arrows for history, Tab to complete, Ctrl-C to give up a line, Ctrl-D to switch off, Ctrl-A x to leave
at once, Ctrl-A h for more. With them the PC is switched off after the last command."""

BOOT_MORE = """\
examples:
  python folkering.py boot
  python folkering.py boot -c 'Get-SystemStats |> Format-Dashboard' -c poweroff
  python folkering.py boot --cpus 2 --json -c 'show the three busiest tasks' -c poweroff

What the system learns is kept in $XDG_DATA_HOME/folkering, by default ~/.local/share/folkering.

exit codes: 0 every command succeeded; 1 one was refused or failed, or the system came to nothing; 2 wrong usage, or a command that was not
  understood; 4 set-up failed; 124 --timeout; 130 you left"""

WRITTEN, ACCESSES = "rw", ("rw", "ro", "snapshot")          # of --disk: those of devices/backends/disk.py
RUN_DEFAULTS = {"cpus": 1, "memory": 256}
RUN_HELP = """\
Starts the virtual PC with a guest of your choice, unmodified: a Linux bzImage, placed in memory as a boot loader would, or a firmware image,
started at the reset vector. Nothing of Folkering OS is involved. The guest's first serial port is your terminal: Ctrl-A x leaves, Ctrl-A h helps."""

RUN_MORE = """\
examples:
  python folkering.py run --kernel vmlinuz --initrd initrd --append console=ttyS0 --cpus 4
  python folkering.py run --kernel vmlinuz --initrd initrd --append 'console=ttyS0 panic=-1' --no-reboot --exit-on 'login:' --timeout 60
  python folkering.py run --firmware bios.bin --debugcon /dev/stderr --serial none
  python folkering.py run --kernel vmlinuz --initrd initrd --append console=ttyS0 --exit-on 'login:' --save booted
  python folkering.py run --load booted
  python folkering.py run --kernel vmlinuz --initrd initrd --append console=ttyS0 --device edu
  python folkering.py run --firmware bios.bin --record typed          (then with --replay typed: the same run again)

exit codes: 0 the guest powered off, or --exit-on matched its serial output; 2*v+1 it wrote v to port 0xF4; 3 triple fault or reset with
  --no-reboot; 1 it cannot go on (--strict, or every vCPU is halted for good), or --replay came to something else; 2 wrong usage; 4 set-up failed;
  6 the recording that --replay plays has no end, and was played as far as it goes; 124 --timeout; 130 you left"""

DEBUG_HELP = """\
Starts the virtual PC standing before its first instruction, with a console: step, break, watch, look at registers, memory, page walks and
chips, ask why it faulted, and, on the instruction clock (the default here), go back."""

DEBUG_MORE = """\
examples:
  python folkering.py debug --firmware bios.bin
  python folkering.py debug --kernel vmlinuz --append console=ttyS0 -c 'continue'
  python folkering.py debug --kernel vmlinuz --initrd initrd --append console=ttyS0 -c 'wait # ' -c 'type nproc' -c 'trace on com1' -c 'continue 0.1'
  python folkering.py debug --load booted -c cpus -c registers -c why

exit codes: 0, or with -c 1 if a command could not be carried out; 2 wrong usage; 4 set-up failed"""

TEST_HELP = """\
Installs what testing takes, fetches the third-party guests that some tests boot (Debian packages, by name, with the system's own package client,
unpacked into a cache and never installed; without such a client those tests are skipped by name), and runs pytest on all cores.
Everything after `test` goes to pytest."""

TEST_MORE = """\
examples:
  python folkering.py test
  python folkering.py test -m 'not guest'          the quick ones
  python folkering.py test tests/kernel -x -n0     one room, stop at the first failure, in one process
  python folkering.py test -k apic --durations 10

exit codes: pytest's own (0 all passed, 1 some failed, 2 interrupted, 3 internal error, 4 wrong usage, 5 no test ran); 4 set-up failed"""

CHECK_HELP = """\
Runs ruff (style), mypy --strict (types) and import-linter (who may import whom), as pyproject.toml configures them, and prints what they object to."""

BENCH_HELP = """\
Measures engine loops, port and MMIO accesses, Linux to user space, checkpoints, forks, memory and `boot`, and prints a table: medians, the same work on
qemu-system-x86_64 (TCG, one thread) beside it where that is found, in turn, and whether the budgets of DESIGN.md are kept. About three minutes."""

BENCH_MORE = """\
A host that has other work to do makes times on the clock longer; ratios are those of processor time. The Linux that is booted is fetched as for `test`.

exit codes: 0 measured, whatever the figures are; 2 wrong usage; 4 set-up failed"""

DOCTOR_HELP = """\
Looks at this host and says what is here, what is missing, and what that costs you. Changes nothing and works on a bare Python."""

DOCTOR_MORE = "exit codes: 0 nothing is missing that `boot` and `run` need; 1 something is, and it says what to do"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def __init__(self, command: str, usage: str, description: str, epilog: str = "") -> None:
        super().__init__(prog=f"folkering.py {command}", usage=f"python folkering.py {command} {usage}".rstrip(), description=description,
                         epilog=epilog, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        """Print `message` in one line and exit with code 2."""
        fail(self.prog, self._hinted(message.removeprefix("argument ")))

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Like `parse_args`; of several unknown words only the first is named."""
        result, unknown = self.parse_known_args(words)
        if unknown:
            self.error(f"unknown option {unknown[0]}" if unknown[0].startswith("-") else f"{unknown[0]!r} is one word too many")
        return result

    def _hinted(self, message: str) -> str:
        match = re.match(r"unknown option (--[\w-]+)", message)
        near = difflib.get_close_matches(match[1], self._option_string_actions, 1) if match else []
        return f"{message}; did you mean {near[0]}?" if near else message


def fail(program: str, message: str) -> NoReturn:
    """One line about wrong usage, and the end."""
    print(f"{program}: {message} (see {program} --help)", file=sys.stderr)
    raise SystemExit(USAGE)


def fail_unknown(command: str) -> NoReturn:
    """One line about a command that does not exist, and the end."""
    near = difflib.get_close_matches(command, PARSERS, 1)
    what = f"unknown option {command}" if command.startswith("-") else f"there is no command {command!r}"
    fail("folkering.py", f"{what}; did you mean {near[0]}?" if near else f"{what}; there are {', '.join(PARSERS)}")


def parse(command: str, words: Sequence[str]) -> argparse.Namespace:
    """The options of `command`. Exits with code 2 and one line, or 0 after `--help`."""
    return PARSERS[command]().parse(words)


def boot_parser() -> Parser:
    """`boot`."""
    parser = Parser("boot", "[OPTION]...", BOOT_HELP, BOOT_MORE)
    _machine_options(parser, cpus=4, memory=256)
    parser.add_argument("--fresh", action="store_true", help="remember nothing: no commands synthesized before, none kept afterwards, a key for this run only")
    parser.add_argument("-c", dest="commands", metavar="COMMAND", action="append", default=[], help="run COMMAND; may be given several times, in order")
    parser.add_argument("--script", metavar="FILE", type=_file, help="then run FILE, commands one a line; # begins a comment")
    parser.add_argument("--until", metavar="REGEX", type=_regex, help="stop when the console's output matches REGEX")
    parser.add_argument("--timeout", metavar="SECONDS", type=_seconds, help="stop after so many seconds of wall time, with exit code 124")
    parser.add_argument("--json", action="store_true", help="print each command's result as one line of JSON, and nothing else, on standard output")
    return parser


def run_parser() -> Parser:
    """`run`."""
    parser = Parser("run", "(--kernel FILE [--initrd FILE] [--append TEXT] | --firmware FILE | --load FILE) [OPTION]...", RUN_HELP, RUN_MORE)
    _guest_options(parser, "what to start")
    parser.add_argument("--schedule-seed", metavar="N", type=_whole(0, (1 << 64) - 1, "a seed"),
                        help="vary the length and order of the vCPUs' slices by this seed, to shake out races; the same seed, the same schedule")
    parser.add_argument("--serial", metavar="stdio|none|FILE", default="stdio", type=_output, help="where the first serial port goes (default stdio)")
    parser.add_argument("--debugcon", metavar="FILE", type=_output, help="write what the guest sends to the debug console, port 0x402, to FILE")
    parser.add_argument("--exit-on", metavar="REGEX", type=_regex, help="stop with exit code 0 when the serial output matches REGEX")
    parser.add_argument("--timeout", metavar="SECONDS", type=_seconds, help="stop after so many seconds of wall time, with exit code 124")
    parser.add_argument("--stats", metavar="FILE", type=_output, help="write figures about the run to FILE as JSON: exit_reason, wall_seconds, retired, "
                        "slices, interrupts (per vCPU), rss_mib")
    parser.add_argument("--save", metavar="FILE", type=_output, help="at the end, unless the guest itself ended it, save a snapshot of the machine to FILE")
    parser.add_argument("--gdb", metavar="[HOST:]PORT", type=_address, help="let GDB attach (target remote)")
    parser.add_argument("--wait-gdb", action="store_true", help="stand before the first instruction until GDB has attached and goes on")
    parser.add_argument("--trace", metavar="FILE", type=_output, help="write every access to a chip's register, every interrupt and DMA transfer to FILE, a "
                        "line each, with virtual time")
    parser.add_argument("--record", metavar="FILE", type=_output, help="write what is typed, and at which instruction, to FILE; on the instruction clock")
    parser.add_argument("--replay", metavar="FILE", type=_file, help="with otherwise the same command line as for --record: the same run again, bit for bit")
    parser.add_argument("--strict", action="store_true", help="stop at the first access to something that is not modelled, naming it")
    parser.add_argument("--no-reboot", action="store_true", help="stop with exit code 3 where the guest resets or triple-faults, instead of starting again")
    return parser


def _guest_options(parser: Parser, title: str, clock: str = "host") -> None:
    """A machine with a guest of the user's own."""
    guest = parser.add_argument_group(title)
    guest.add_argument("--kernel", metavar="FILE", type=_file, help="a Linux bzImage, or a multiboot kernel")
    guest.add_argument("--initrd", metavar="FILE", type=_file, help="the kernel's initial RAM disk, or a multiboot kernel's module")
    guest.add_argument("--module", metavar="FILE[=TEXT]", action="append", type=_module, help="a multiboot kernel's module, and the text it is given with "
                       "(otherwise its file's name); may be given several times")
    guest.add_argument("--append", metavar="TEXT", help="the kernel's command line")
    guest.add_argument("--firmware", metavar="FILE", type=_file, help="or a ROM image that ends at 4 GiB, such as SeaBIOS or one of your own")
    guest.add_argument("--load", metavar="FILE", type=_file, help="or a snapshot, which goes on where it was saved")
    guest.add_argument("--device", metavar="NAME", action="append", help="plug a PCI card in; may be given several times, a slot each; a name that is none "
                       "gets the list")
    guest.add_argument("--disk", metavar="FILE[,ro|,snapshot]", action="append", type=_disk, help="plug a virtio disk in, behind the other cards; "
                       "the guest writes to FILE, or with ro cannot write; with snapshot its writes are the machine's own, and end with it")
    _machine_options(parser, **RUN_DEFAULTS, clock=clock)
    parser.set_defaults(cpus=None, memory=None, clock=None)                  # what is not said differs from what --load says otherwise


def debug_parser() -> Parser:
    """`debug`."""
    parser = Parser("debug", "(--kernel FILE [--initrd FILE] [--append TEXT] | --firmware FILE | --load FILE) [OPTION]...", DEBUG_HELP, DEBUG_MORE)
    _guest_options(parser, "what to debug", clock="instructions")
    parser.add_argument("--symbols", metavar="FILE", type=_file, help="names for addresses: an ELF file, or lines like System.map's")
    parser.add_argument("--serial", metavar="stdio|none|FILE", default="stdio", type=_output, help="where the guest's output goes (default stdio)")
    parser.add_argument("--replay", metavar="FILE", type=_file, help="debug what `run --record FILE` recorded; give what that was given to start")
    parser.add_argument("-c", dest="commands", metavar="COMMAND", action="append", default=[], help="carry out COMMAND and leave; may be given several times")
    return parser


def check_debug(options: argparse.Namespace) -> None:
    """What one option of `debug` means for another. Exits with code 2 and one line."""
    parser = debug_parser()
    _check_start(options, parser, "instructions")
    _check_disks(options, parser, GOES_BACK)


def check_boot(options: argparse.Namespace) -> None:
    """What one option of `boot` means for another; reads the script. Exits with code 2 and one line."""
    parser = boot_parser()
    if options.script is not None:
        try:
            options.script = Path(options.script).read_text()
        except (OSError, UnicodeDecodeError) as error:
            parser.error(f"--script: {options.script}: {getattr(error, 'strerror', None) or 'this is no text'}")
    if options.json and not options.commands and options.script is None:
        parser.error("--json goes with -c or --script; a conversation is for people")


def _check_start(options: argparse.Namespace, parser: Parser, clock: str) -> None:
    """What is started, once; and what was not said about the machine."""
    started = [name for name in ("kernel", "firmware", "load") if getattr(options, name) is not None]
    if len(started) != 1:
        parser.error("give one of --kernel FILE, --firmware FILE and --load FILE" + (", not several" if started else ""))
    for name in ("cpus", "memory", "clock", "schedule_seed", "device"):
        if options.load is not None and getattr(options, name, None) is not None:
            parser.error(f"--{name.replace('_', '-')} does not go with --load; the snapshot says it")
    for name in ("initrd", "append", "module"):
        if options.kernel is None and getattr(options, name) is not None:
            parser.error(f"--{name} goes with --kernel; " + ("a firmware gets no such thing" if options.load is None else "a snapshot has its own"))
    options.append = options.append or ""
    options.device, options.disk = tuple(options.device or ()), tuple(options.disk or ())
    options.module = tuple(options.module or ())
    for name, default in {**RUN_DEFAULTS, "clock": clock}.items():
        if getattr(options, name) is None:
            setattr(options, name, default)


GOES_BACK = "a debugger goes back, and what is written to a file stays written"


def _check_disks(options: argparse.Namespace, parser: Parser, why: str) -> None:
    """Where a run is repeated, or goes back, what is written to a file cannot be undone."""
    for path, access in options.disk:
        if access == WRITTEN:
            parser.error(f"--disk {path}: {why}; with ,snapshot or ,ro behind its name it is not written")


def check_run(options: argparse.Namespace) -> None:
    """What one option of `run` means for another. Exits with code 2 and one line."""
    parser = run_parser()
    repeats = options.record is not None or options.replay is not None
    if repeats and options.clock == "host":
        parser.error("--record and --replay go with --clock instructions; on the host's clock no run repeats")
    _check_start(options, parser, "instructions" if repeats else "host")
    if options.record is not None and options.replay is not None:
        parser.error("--record does not go with --replay")
    if repeats:
        _check_disks(options, parser, "a recording is played on the disk as it was")
    if options.gdb is not None and options.clock == "instructions":
        _check_disks(options, parser, GOES_BACK)
    if options.wait_gdb and options.gdb is None:
        parser.error("--wait-gdb goes with --gdb PORT")
    if options.save is not None and Path(options.save).exists() and not Path(options.save).is_file():
        parser.error(f"--save: {options.save} is no file that could be replaced")      # now, and not when the run is over


def check_parser() -> Parser:
    """`check`."""
    return Parser("check", "", CHECK_HELP)


def bench_parser() -> Parser:
    """`bench`."""
    parser = Parser("bench", "[--quick] [--json]", BENCH_HELP, BENCH_MORE)
    parser.add_argument("--quick", action="store_true", help="each thing once, with fewer rounds: half a minute, and figures to match")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def doctor_parser() -> Parser:
    """`doctor`."""
    return Parser("doctor", "", DOCTOR_HELP, DOCTOR_MORE)


def test_parser() -> Parser:
    """`test`: only its help; all else is pytest's."""
    return Parser("test", "[PYTEST-ARGUMENT]...", TEST_HELP, TEST_MORE)


PARSERS: dict[str, Callable[[], Parser]] = {
    "boot": boot_parser,
    "run": run_parser,
    "test": test_parser,
    "check": check_parser,
    "bench": bench_parser,
    "debug": debug_parser,
    "doctor": doctor_parser,
}


def _machine_options(parser: Parser, cpus: int, memory: int, clock: str = "host") -> None:
    parser.add_argument("--cpus", metavar="N", default=cpus, type=_whole(1, MAX_CPUS, "the number of vCPUs"), help=f"vCPUs (default {cpus})")
    parser.add_argument("--memory", metavar="MIB", default=memory, type=_whole(MIN_MEMORY, MAX_MEMORY, "the memory in MiB"),
                        help=f"memory in MiB (default {memory})")
    parser.add_argument("--clock", choices=("host", "instructions"), default=clock,
                        help="what the PC's clocks follow: the host's time, or the count of executed instructions, which makes runs repeatable "
                        f"(default {clock})")


def _whole(lowest: int, highest: int, what: str) -> Callable[[str], int]:
    def convert(text: str) -> int:
        try:
            value = int(text, 0)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{what} is a whole number from {lowest} to {highest}, not {text!r}") from None
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"{what} is from {lowest} to {highest}, not {text}")
        return value

    return convert


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 0xFFFF:
        raise argparse.ArgumentTypeError(f"{text!r} is no port, and no HOST:PORT")
    return host or "127.0.0.1", int(port)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def _regex(text: str) -> str:
    try:
        re.compile(text.encode())       # it is matched against the bytes of a serial line
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a regular expression: {error}") from None
    return text


def _file(text: str) -> str:
    """A file to read."""
    path = Path(text)
    try:
        if path.is_dir():
            raise argparse.ArgumentTypeError(f"{text} is a folder, not a file")
        with path.open("rb"):
            return text
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error.strerror or error}") from None


def _module(text: str) -> tuple[str, str]:
    """A file to read, and a text that goes with it."""
    name, given, rest = text.partition("=")
    if given and not Path(text).exists():
        return _file(name), rest
    return _file(text), Path(text).name


def _disk(text: str) -> tuple[str, str]:
    """A file and what becomes of writes to it."""
    path, comma, access = text.rpartition(",")
    if not comma or access not in ACCESSES:
        path, access = text, WRITTEN
    _file(path)
    if access == WRITTEN and not os.access(path, os.W_OK):
        raise argparse.ArgumentTypeError(f"{path}: no permission to write it; {path},ro does not")
    return path, access


def _output(text: str) -> str:
    """A file to write, or a name that stands for something else."""
    folder = Path(text).parent
    if not text or Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text or 'an empty name'} is not a file that can be written")
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: there is no folder {folder}")
    if not os.access(text if Path(text).exists() else folder, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text}: no permission to write it")
    return text
