"""GDB's remote serial protocol: a server that is asked between slices, without threads.

Source: "Debugging with GDB", appendix E "GDB Remote Serial Protocol". A vCPU is a thread, numbered from 1. Each resume is answered by exactly one stop reply.
What is not known is answered by an empty packet, as the protocol asks; what cannot be done by `E.` and the reason, where GDB shows that, or E and a number.
All stop when one does, and all go on together: non-stop mode is not offered. On the instruction clock, `bs` and `bc` go back.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING

from machine.debug.history import History
from machine.debug.packets import AGAIN, INTERRUPT, PacketReader, escape, packet
from machine.debug.registers import BY_NAME, REGISTERS, Register, description
from machine.debug.target import Target
from machine.debug.views import Views
from machine.engine.vcpu import Activity
from machine.errors import TargetError
from machine.outcome import ExitReason, Outcome

if TYPE_CHECKING:
    from devices.backends.stream import ByteStream
    from machine.machine import Machine

LARGEST_PACKET = 0x4000
MONITOR_PIECE = 2000                 # bytes of a monitor command's answer in one packet
SIGINT, SIGTRAP, SIGKILL = 2, 5, 9
SOFTWARE, HARDWARE, WRITE, READ, ACCESS = "0", "1", "2", "3", "4"
WATCHES = {WRITE: (False, True, "watch"), READ: (True, False, "rwatch"), ACCESS: (True, True, "awatch")}
HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
STEPS_BETWEEN_LOOKS = 100            # single steps of a range between two looks at the connection


class Motion(enum.Enum):
    """What the debugger wants next."""

    CONTINUE = "c"
    STEP = "s"
    RANGE = "r"
    BACK_STEP = "bs"
    BACK_CONTINUE = "bc"
    DETACH = "D"
    KILL = "k"


class GdbServer:
    """Serves one debugger at a time.

    Args:
        machine: what is debugged.
        stream: the connection.
        wait: stand before the first instruction until a debugger says otherwise.
        backwards: offer the ways back, where the clock allows them. A run that is recorded goes forwards only.
    """

    def __init__(self, machine: Machine, stream: ByteStream, wait: bool = False, backwards: bool = True) -> None:
        self.target = Target(machine)
        self._machine, self._stream = machine, stream
        self._history = History(machine) if machine.engine.counted and backwards else None
        self._reader = PacketReader()
        self._acknowledge = True
        self._standing = wait
        self._pause = False
        self._reason = f"T{SIGTRAP:02x}thread:1;"
        self._owes_reply = False
        self._thread = self._step_thread = 1
        self._lines: list[str] = []
        self._views = Views(self.target, self._lines.append)          # of the processor that stopped; GDB does not say which one its user looks at
        self._range = range(0)
        self._last = b""
        self._reasons: frozenset[str] = frozenset()
        self._breakpoints: dict[tuple[str, int, int], int] = {}
        machine.inputs.append(self)

    # --- the machine's side ------------------------------------------------------------------------------------------------------------
    def fileno(self) -> int | None:
        """What to wait on while the machine runs."""
        return self._stream.fileno()

    def pump(self) -> bool:
        """While the machine runs: a debugger that connects or speaks stops it."""
        if not self._pause:
            was_connected = self._stream.connected
            data = self._stream.read()
            if was_connected and not self._stream.connected:      # what was said between the two of us is void for the next one
                self._forget()
            self._reader.feed(data)
            if self._reader.speaking or (self._stream.connected and not was_connected):
                self._pause = True
        return self._pause

    def run(self, until: Callable[[], bool] | None = None, timeout: float | None = None) -> Outcome:
        """Run the machine under the debugger to its end, or until `until` or the timeout, which count only while it runs."""
        while True:
            motion = self._converse() if self._standing else Motion.CONTINUE
            if motion is Motion.KILL:
                return Outcome(ExitReason.STOPPED, detail="killed by the debugger")
            if motion is Motion.DETACH:
                self._let_go()
                continue
            outcome = self._move(motion, until, timeout)
            if outcome is not None and not Target.is_break(outcome):
                self._say_end(outcome)
                return outcome
            if outcome is not None and outcome.reason is ExitReason.CONDITION and not self._pause and until is not None and until():
                self._say_end(outcome)
                return outcome
            self._stand(motion, outcome)

    def close(self) -> None:
        """The machine is about to go."""
        self._stream.close()

    # --- motions -----------------------------------------------------------------------------------------------------------------------
    def _move(self, motion: Motion, until: Callable[[], bool] | None, timeout: float | None) -> Outcome | None:
        self._pause = False
        if motion is Motion.STEP:
            cpu = self._step_thread - 1
            if self._history is not None:
                self._history.note_step(cpu)
            return self.target.step(cpu)
        if motion is Motion.RANGE:
            return self._step_through(self._step_thread - 1)
        if motion is Motion.CONTINUE:
            if self._history is not None:
                self._history.note_run()
            return self.target.resume(lambda: self._pause or (until is not None and until()), timeout)
        assert self._history is not None
        arrived = self._history.back_one() if motion is Motion.BACK_STEP else self._history.back_to_break()
        self._reason = f"T{SIGTRAP:02x}thread:{self._machine.engine.current + 1:x};" + ("" if arrived else "replaylog:begin;")
        return None

    def _step_through(self, cpu: int) -> Outcome | None:
        """Single steps while RIP is in the range, at least one; a breakpoint, a watchpoint or the debugger ends them, too."""
        breakpoints = self._machine.engine.breakpoints
        steps = 0
        while True:
            vcpu = self.target.vcpu(cpu)
            if vcpu.activity is Activity.HALTED and not vcpu.runnable:
                outcome = self._wait_behind_halt(cpu)
                if outcome is not None:
                    return outcome
            if self._history is not None:
                self._history.note_step(cpu)
            outcome = self.target.step(cpu)
            steps += 1
            now = self.target.value(cpu, "rip")
            if outcome is not None or breakpoints.hit is not None or now not in self._range or now in breakpoints.addresses:
                return outcome
            if steps % STEPS_BETWEEN_LOOKS == 0 and self.pump():
                return None

    def _wait_behind_halt(self, cpu: int) -> Outcome | None:
        """Let all run until a halted processor goes on behind its HLT. None, or what has stopped them before."""
        address, breakpoints = self.target.value(cpu, "rip"), self._machine.engine.breakpoints
        kept = address in breakpoints.addresses
        self.target.add_breakpoint(address)
        if self._history is not None:
            self._history.note_run()
        try:
            outcome = self.target.resume(lambda: self._pause)
        finally:
            if not kept:
                self.target.remove_breakpoint(address)
        hit = breakpoints.hit
        if kept or hit is None or (hit.cpu, hit.kind, hit.address) != (cpu, "breakpoint", address):
            return outcome
        breakpoints.hit = None
        return None

    def _stand(self, motion: Motion, outcome: Outcome | None) -> None:
        """The machine stands: say why, once, if a debugger waits for it."""
        stepping = motion in (Motion.STEP, Motion.RANGE)
        cpu = self._step_thread - 1 if stepping else self._machine.engine.current
        self._thread = self._step_thread = cpu + 1
        self._views.cpu = cpu
        if motion not in (Motion.BACK_STEP, Motion.BACK_CONTINUE):
            broke = outcome is not None and outcome.reason is ExitReason.BREAK
            signal = SIGINT if (motion is Motion.CONTINUE and not broke) or (motion is Motion.RANGE and self._pause) else SIGTRAP
            self._reason = f"T{signal:02x}thread:{cpu + 1:x};" + (self._hit() if broke or stepping else "")
        self._standing = True
        if self._owes_reply:
            self._owes_reply = False
            self._send(self._reason.encode())

    def _hit(self) -> str:
        breakpoints = self._machine.engine.breakpoints
        hit, breakpoints.hit = breakpoints.hit, None
        if hit is None:
            return ""
        if hit.kind != "breakpoint":
            watch = self.target.watched(hit.address, hit.size)
            name = WATCHES[{(False, True): WRITE, (True, False): READ}.get((watch.on_read, watch.on_write), ACCESS)][2] if watch else "watch"
            return f"{name}:{watch.linear if watch else hit.address:x};"
        kinds = {kind for kind, address, _ in self._breakpoints if address == hit.address}
        reason = "hwbreak" if kinds == {HARDWARE} else "swbreak"
        return f"{reason}:;" if reason in self._reasons else ""

    def _say_end(self, outcome: Outcome) -> None:
        if self._owes_reply:
            self._owes_reply = False
            self._send(b"X06" if outcome.reason is ExitReason.SHUTDOWN else b"W%02x" % (outcome.value & 0xFF))

    def _let_go(self) -> None:
        self.target.detach()
        self._breakpoints.clear()
        self._standing = self._owes_reply = False
        self._acknowledge = True
        self._stream.hang_up()

    # --- conversation ------------------------------------------------------------------------------------------------------------------
    def _converse(self) -> Motion:
        """Answer packets until one moves the machine. A client that hangs up lets it stand until the next one comes, breakpoints and all."""
        while True:
            while (found := self._reader.next()) is not None:
                if isinstance(found, int):
                    if found == AGAIN and self._acknowledge and self._last:
                        self._stream.write(self._last)
                    if found == INTERRUPT and self._owes_reply:
                        self._owes_reply = False
                        self._send(self._reason.encode())
                    continue
                body, good = found
                if self._acknowledge:
                    self._stream.write(b"+" if good else b"-")
                if not good:
                    continue
                motion = self._answer(body)
                if motion is not None:
                    self._standing = False
                    self._owes_reply = motion not in (Motion.DETACH, Motion.KILL)
                    return motion
            connected = self._stream.connected
            if not connected:
                self._forget()
            self._stream.wait()
            self._reader.feed(self._stream.read())

    def _forget(self) -> None:
        """The client has gone, in the middle of anything."""
        self._acknowledge, self._owes_reply, self._last = True, False, b""
        self._reasons = frozenset()
        self._reader = PacketReader()

    def _answer(self, body: bytes) -> Motion | None:
        try:
            answer = self._carry_out(body)
        except TargetError as error:
            answer = b"E01" if body[:1] in (b"m", b"M", b"X") else b"E." + str(error).encode("ascii", "replace")
        except (ValueError, IndexError):                              # what the client sent is no such packet
            answer = b"E02"
        if isinstance(answer, Motion):
            return answer
        if answer is not NOTHING:
            self._send(answer)
        return None

    def _send(self, body: bytes) -> None:
        self._last = packet(escape(body))
        self._stream.write(self._last)

    def _carry_out(self, body: bytes) -> bytes | Motion:
        text = body.decode("latin-1")
        for name, method in _LONG:
            if text == name or (text.startswith(name) and (name[-1] in SEPARATORS or text[len(name)] in SEPARATORS)):
                return method(self, text[len(name):], body[len(name):])
        method_of = _SHORT.get(text[:1])
        return b"" if method_of is None else method_of(self, text[1:], body[1:])

    def _supported(self, text: str, _body: bytes) -> bytes:
        self._reasons = frozenset(word[:-1] for word in text.lstrip(":").split(";") if word in ("swbreak+", "hwbreak+"))
        backwards = ";ReverseStep+;ReverseContinue+" if self._history is not None else ""
        return (f"PacketSize={LARGEST_PACKET:x};qXfer:features:read+;QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+" + backwards).encode()

    def _no_acknowledgements(self, _text: str, _body: bytes) -> bytes:
        self._send(b"OK")
        self._acknowledge = False
        return NOTHING

    def _features(self, text: str, _body: bytes) -> bytes:
        annex, _, place = text.rpartition(":")
        offset, length = self._pair(place)
        document = description()
        if annex != "target.xml" or offset > len(document):
            return b"E00"
        piece = document[offset:offset + min(length, LARGEST_PACKET - 64)]
        return (b"l" if offset + len(piece) >= len(document) else b"m") + piece.encode()

    def _threads(self, _text: str, _body: bytes) -> bytes:
        return b"m" + b",".join(b"%x" % (cpu + 1) for cpu in range(self.target.cpus))

    def _thread_words(self, text: str, _body: bytes) -> bytes:
        return self.target.describe(self._number(text) - 1).encode().hex().encode()

    def _choose(self, text: str, _body: bytes) -> bytes:
        thread = self._number(text[1:])
        if text[0] not in "gc":
            raise ValueError("no such purpose")
        if thread > 0:
            self.target.vcpu(thread - 1)
            if text[0] == "g":
                self._thread = thread
            else:
                self._step_thread = thread
        return b"OK"

    def _alive(self, text: str, _body: bytes) -> bytes:
        self.target.vcpu(self._number(text) - 1)
        return b"OK"

    def _read_all(self, _text: str, _body: bytes) -> bytes:
        return self.target.registers(self._thread - 1).hex().encode()

    def _write_all(self, text: str, _body: bytes) -> bytes:
        data = bytes.fromhex(text)
        if len(data) != sum(register.bits // 8 for register in REGISTERS):
            raise ValueError("not all registers")
        for register in REGISTERS:
            piece, data = data[:register.bits // 8], data[register.bits // 8:]
            if piece != self.target.read_register(self._thread - 1, register):
                self._write_register(register, piece)
        return b"OK"

    def _read_one(self, text: str, _body: bytes) -> bytes:
        return self.target.read_register(self._thread - 1, REGISTERS[self._hex(text)]).hex().encode()

    def _write_one(self, text: str, _body: bytes) -> bytes:
        number, value = text.split("=")
        self._write_register(REGISTERS[self._hex(number)], bytes.fromhex(value))
        return b"OK"

    def _write_register(self, register: Register, data: bytes) -> None:
        self.target.write_register(self._thread - 1, register, data)
        if self._history is not None:
            self._history.note_change()

    def _read_memory(self, text: str, _body: bytes) -> bytes:
        address, length = self._pair(text)
        return self.target.read(self._thread - 1, address, min(length, LARGEST_PACKET // 2 - 8)).hex().encode()

    def _write_memory(self, text: str, _body: bytes) -> bytes:
        place, data = text.split(":")
        return self._store(place, bytes.fromhex(data))

    def _write_binary(self, text: str, body: bytes) -> bytes:
        return self._store(text[:text.index(":")], body[body.index(b":") + 1:])

    def _store(self, place: str, data: bytes) -> bytes:
        address, length = self._pair(place)
        if length != len(data):
            raise ValueError("another length than was said")
        self.target.write(self._thread - 1, address, data)
        if self._history is not None:
            self._history.note_change()
        return b"OK"

    def _set_break(self, text: str, _body: bytes) -> bytes:
        return self._breakpoint(text, True)

    def _clear_break(self, text: str, _body: bytes) -> bytes:
        return self._breakpoint(text, False)

    def _breakpoint(self, text: str, wanted: bool) -> bytes:
        kind, _, place = text.partition(";")[0].partition(",")
        address, size = self._pair(place)
        key = (kind, address, size)
        if kind not in (SOFTWARE, HARDWARE, *WATCHES):
            return b""
        if wanted == (key in self._breakpoints):
            return b"OK"
        if kind in WATCHES:
            on_read, on_write, _ = WATCHES[kind]
            if wanted:
                self.target.add_watchpoint(self._thread - 1, address, size, on_read, on_write)
            else:
                self.target.remove_watchpoint(address, size, on_read, on_write)
        elif wanted:
            self.target.add_breakpoint(address)
        if wanted:
            self._breakpoints[key] = 1
        else:
            del self._breakpoints[key]
            if kind not in WATCHES and not any(other[0] in (SOFTWARE, HARDWARE) and other[1] == address for other in self._breakpoints):
                self.target.remove_breakpoint(address)
        return b"OK"

    def _continue_actions(self, text: str, _body: bytes) -> bytes | Motion:
        """vCont;action[:thread]...: a step, or steps through a range, are of one processor, and the others stand meanwhile; otherwise all run."""
        for action in text.split(";"):
            verb, _, thread = action.partition(":")
            motion = VERBS.get(verb[:1])
            if motion is None or (verb[1:] and verb[0] in "cs"):
                raise ValueError("no such action")
            number = self._number(thread) if thread else 0
            if number > 0:
                self.target.vcpu(number - 1)
            if motion is Motion.RANGE:
                self._range = range(*self._pair(verb[1:]))
            elif verb[0] in "CS":
                self._hex(verb[1:])                                   # a signal means nothing to a machine
            if motion is not Motion.CONTINUE:
                self._step_thread = number if number > 0 else self._thread
                return motion
        return Motion.CONTINUE

    def _motion(self, motion: Motion) -> bytes | Motion:
        return motion if self._history is not None or motion not in (Motion.BACK_STEP, Motion.BACK_CONTINUE) else b""

    def _go_on(self, text: str, _body: bytes) -> bytes | Motion:
        return self._from(text, Motion.CONTINUE)

    def _step(self, text: str, _body: bytes) -> bytes | Motion:
        return self._from(text, Motion.STEP)

    def _go_on_signalled(self, text: str, _body: bytes) -> bytes | Motion:
        return self._from(text.partition(";")[2], Motion.CONTINUE)

    def _step_signalled(self, text: str, _body: bytes) -> bytes | Motion:
        return self._from(text.partition(";")[2], Motion.STEP)

    def _from(self, text: str, motion: Motion) -> Motion:
        if text:
            self._thread = self._step_thread
            self._write_register(BY_NAME["rip"], (self._hex(text)).to_bytes(8, "little"))
        return motion

    def _leave(self, _text: str, _body: bytes) -> Motion:
        self._send(b"OK")
        return Motion.DETACH

    def _kill(self, _text: str, _body: bytes) -> Motion:
        self._send(b"OK")
        return Motion.KILL

    def _monitor(self, text: str, _body: bytes) -> bytes:
        words = bytes.fromhex(text).decode("utf-8", "replace")
        self._lines.clear()
        self._views.execute(words.strip() or "help")
        said = ("\n".join(self._lines) + "\n").encode()
        for start in range(0, len(said), MONITOR_PIECE):
            self._send(b"O" + said[start:start + MONITOR_PIECE].hex().encode())
        return b"OK"

    @staticmethod
    def _number(text: str) -> int:
        """A thread; -1 is all of them, 0 any."""
        return -1 if text == "-1" else GdbServer._hex(text)

    @staticmethod
    def _hex(text: str) -> int:
        """A number of up to 64 bits, as the protocol writes it. Raises ValueError."""
        if not 0 < len(text.lstrip("0") or "0") <= 16 or not HEXADECIMAL.issuperset(text):
            raise ValueError("no number")
        return int(text, 16)

    @staticmethod
    def _pair(text: str) -> tuple[int, int]:
        first, second = text.split(",")
        return GdbServer._hex(first), GdbServer._hex(second)


NOTHING = b"\0nothing"               # an answer that has been given already
SEPARATORS = ":;,?"                  # what may follow a packet's name; a longer name is another packet
VERBS = {"c": Motion.CONTINUE, "C": Motion.CONTINUE, "s": Motion.STEP, "S": Motion.STEP, "r": Motion.RANGE}
Method = Callable[[GdbServer, str, bytes], "bytes | Motion"]

_LONG: tuple[tuple[str, Method], ...] = (
    ("qSupported", GdbServer._supported), ("QStartNoAckMode", GdbServer._no_acknowledgements), ("qXfer:features:read:", GdbServer._features),
    ("qfThreadInfo", GdbServer._threads), ("qsThreadInfo", lambda server, text, body: b"l"), ("qThreadExtraInfo,", GdbServer._thread_words),
    ("qC", lambda server, text, body: b"QC%x" % server._thread), ("qAttached", lambda server, text, body: b"1"), ("qRcmd,", GdbServer._monitor),
    ("qOffsets", lambda server, text, body: b"Text=0;Data=0;Bss=0"), ("vCont?", lambda server, text, body: b"vCont;c;C;s;S;r"),
    ("vCont;", GdbServer._continue_actions), ("vKill", GdbServer._kill),
    ("bs", lambda server, text, body: server._motion(Motion.BACK_STEP)),
    ("bc", lambda server, text, body: server._motion(Motion.BACK_CONTINUE)))
_SHORT: dict[str, Method] = {
    "?": lambda server, text, body: server._reason.encode(), "H": GdbServer._choose, "T": GdbServer._alive, "g": GdbServer._read_all, "G": GdbServer._write_all,
    "p": GdbServer._read_one, "P": GdbServer._write_one, "m": GdbServer._read_memory, "M": GdbServer._write_memory, "X": GdbServer._write_binary,
    "Z": GdbServer._set_break, "z": GdbServer._clear_break, "c": GdbServer._go_on, "s": GdbServer._step, "C": GdbServer._go_on_signalled,
    "S": GdbServer._step_signalled, "D": GdbServer._leave,
    "k": lambda server, text, body: Motion.KILL}
