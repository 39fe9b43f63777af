"""A whole PC: board, engine and clock, and the loop that gives the processors their turns.

Between two slices everything else happens, on the one thread that there is: due deadlines run, host input reaches the chips, and whoever drives
the machine (a kernel in Python, a test) is served. Virtual time comes from the host's clock or from counted instructions (DESIGN.md section 3).
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from devices.core.clock import InstructionTime, host_time, wall_time
from devices.core.reset import ResetKind
from machine.board import Board
from machine.configuration import HOST, INSTRUCTIONS, Configuration
from machine.core import Closed, Core, Spare, keep, take
from machine.engine.engine import Reason, RunExit
from machine.errors import MachineError
from machine.hardware import HardwarePort
from machine.memory import GuestMemory
from machine.msrs import ModelSpecificRegisters
from machine.outcome import ExitReason, Outcome
from machine.outside import CUT, LONGEST_SLEEP, STEP, TURN, Bell, HostInput, Script
from machine.schedule import Saved, Schedule, Turn
from machine.stats import Stats

if TYPE_CHECKING:
    from devices.pci.card import Card
    from machine.boot import Boot
    from machine.checkpoint import Checkpoint
    from machine.screen import Screen

POLL_INTERVAL = 2_000_000           # ns of host time between two looks at host input while a guest is busy
MOST_OVERSLEPT = 100_000_000        # ns by which paced time may be late and is made up for
VIRTUAL_WALL_START = 1_767_225_600_000_000_000    # 2026-01-01: what the calendar shows at power-on where runs must repeat
TAKEN_AT_ONCE = 16                  # interrupts before an instruction, one in another, beyond which the host is asked, too


class Machine:
    """A PC, powered on and halted before its first instruction.

    Attributes:
        hardware: what a kernel in Python drives.
        inputs: host input to serve between slices.
        flush: called between slices, so that output leaves in pieces and not in bytes.
        log: what the guest did that no chip makes sense of.
        listeners: told of what comes from outside: (inlet of the board, bytes), what a debugger does (`STEP`, `MEMORY`, `REGISTER`), and with the instruction
            clock (`CUT`, nothing) of turns that were cut short.
        script: what comes from outside by itself, when that is played back.
        alarm: ns of virtual time at which whoever drives the machine wants to be asked again, between two slices. It is none of the machine's deadlines: a turn
            that it cuts short goes on.
        paced: with the instruction clock, while all processors stand, virtual time passes as the host's does instead of jumping to the next deadline: for a
            person at the guest's console, whose patience the guest's time-outs are made for. It matters to the host alone.

    Args:
        boot: what it starts with.
        configuration: what to build.
        checkpoint: where it goes on from, instead of starting; of a machine with the same boot and board.

    Raises:
        MachineError: it cannot be built so.
    """

    def __init__(self, boot: Boot, configuration: Configuration | None = None, *, checkpoint: Checkpoint | None = None) -> None:
        self.configuration = configuration = configuration or Configuration()
        configuration.check()
        self._boot = boot
        self._began_from = None if checkpoint is None else weakref.ref(checkpoint.ram)
        core = None if checkpoint is None else take(checkpoint.ram, boot, configuration)
        self._core = core = core or Core(GuestMemory(configuration.memory, boot.roms()), configuration.cpus, configuration.clock == INSTRUCTIONS,
                                         configuration.strict)
        self.memory, self.time, self.clock, self.log, self.ports, self.mmio = core.memory, core.time, core.clock, core.log, core.ports, core.mmio
        self.engine = core.engine
        try:
            self.board = Board(self.memory, self.ports, self.mmio, self.clock, self.engine, self.log, boot.files(),
                               wall_time() if configuration.clock == HOST else VIRTUAL_WALL_START, configuration.cards)
        except BaseException:
            core.close()
            raise
        self._msrs = ModelSpecificRegisters(self.engine, self.board.lapics, self.log, core.tsc)
        self.engine.answer(self._msrs)
        self.board.on_power_off = lambda: self._end(Outcome(ExitReason.POWER_OFF))
        self.board.on_debug_exit = lambda value: self._end(Outcome(ExitReason.DEBUG_EXIT, value))
        self.board.on_reset = self._reset_requested
        self.clock.on_earlier = self._deadline_set
        self.stats = Stats(configuration.cpus)
        self.inputs: list[HostInput] = []
        self.listeners: list[Callable[[str, bytes], None]] = []
        self.script: Script | None = None
        self.alarm: int | None = None
        self.paced = False
        self._overslept = 0                  # ns of the host's time by which paced virtual time is late
        self.board.on_input = self.came
        self.flush: list[Callable[[], None]] = []
        self._bell = Bell()
        self.hardware = HardwarePort(self.ports, self.mmio, self.memory, self.wake)
        self._schedule = Schedule(self.engine.vcpus, configuration.schedule_seed)
        self._slice_end = 0
        self._limit: int | None = None
        self._polled = 0
        self._cut = False
        self._closed = False
        self._ended: Outcome | None = None
        self._pending_reset: ResetKind | None = None
        if checkpoint is None:
            self._start()
        else:
            try:
                self.restore(checkpoint)
            except BaseException:
                self._closed = True                      # and nothing of it is kept for another
                self._core.close()
                self._bell.close()
                raise

    # --- for whoever drives it -------------------------------------------------------------------------------------------------------
    def run(self, until: Callable[[], bool] | None = None, service: Callable[[], None] | None = None, timeout: float | None = None,
            limit: int | None = None) -> Outcome:
        """Run until the guest ends, `until` is true between two slices, or `timeout` seconds of host time have passed.

        Args:
            until: what the caller waits for.
            service: called between slices: a kernel's own loop.
            timeout: seconds; None for no limit.
            limit: stop when exactly so many instructions have retired since power-on; for the instruction clock.
        """
        self._limit = limit
        deadline = None if timeout is None else host_time() + int(timeout * 1e9)
        self._ended = None
        started = host_time()
        try:
            while True:
                self.clock.run_due()
                if self._pending_reset is not None:
                    self._reset()
                # what comes from outside comes last of all that happens at a moment, here and when it is played back
                if service is not None:
                    service()
                if self.script is not None and (why := self.script.serve()) is not None and self._ended is None:
                    self._ended = Outcome(ExitReason.CONDITION, detail=why)
                self._serve_inputs()
                if self._pending_reset is not None:
                    continue
                if until is not None and self._ended is None and until():
                    self._ended = Outcome(ExitReason.CONDITION)
                if self._ended is not None:
                    return self._ended
                if limit is not None and self.stats.retired >= limit:
                    return Outcome(ExitReason.CONDITION)
                if deadline is not None and host_time() >= deadline:
                    return Outcome(ExitReason.TIMEOUT, detail=f"{timeout:g} s")
                if self.script is not None and self.script.step():
                    continue
                turn = self._schedule.next(self.engine.take_kick(), self.clock.now())
                if turn is None:
                    self._idle(deadline, has_service=service is not None)
                else:
                    self._slice(turn)
                for flush in self.flush:
                    flush()
        finally:
            for flush in self.flush:
                flush()
            self.stats.wall_ns += host_time() - started

    def screen(self) -> Screen:
        """What the monitor shows now, as text and as a picture."""
        return self.board.screen()

    def step(self, cpu: int) -> Outcome | None:
        """One instruction of one processor, and no interrupt. None, or how the guest ended by it."""
        self._ended = None
        self.clock.run_due()
        if self.script is not None:
            self.script.serve()
            self.script.stepping(cpu)
        self.came(STEP, b"%d" % cpu)
        result = self.engine.step(cpu)
        if isinstance(self.time, InstructionTime):
            self.time.retire(result.retired)
            self.stats.retired += result.retired
        self.board.lapics[cpu].poll()
        if result.reason is Reason.SHUTDOWN:
            self._shut_down(cpu)
        if self._pending_reset is not None:
            self._reset()
        return self._ended

    def stop(self) -> None:
        """End `run` soon, as a user's wish; from any thread, or a signal handler."""
        self._ended = self._ended or Outcome(ExitReason.STOPPED)
        self.wake()

    def wake(self) -> None:
        """End an idle wait or the slice under way, whose turn goes on at the next; from any thread."""
        if self._closed:
            return
        self._cut = True
        self._bell.ring()
        if self.engine.running:
            self.engine.interrupt()

    # --- copies ----------------------------------------------------------------------------------------------------------------------
    def checkpoint(self) -> Checkpoint:
        """This moment, to come back to. Between slices. Time grows with the RAM in use."""
        from machine.checkpoint import take

        return take(self)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to a checkpoint of this machine, or of another one of its board; in constant time. Raises CheckpointError."""
        from machine.checkpoint import put_back

        self._ended = self._pending_reset = None
        put_back(self, checkpoint)

    def fork(self, checkpoint: Checkpoint | None = None) -> Machine:
        """Another machine that goes on from here, or from a checkpoint, by itself; RAM is shared until one of the two writes to it."""
        return Machine.from_checkpoint(checkpoint or self.checkpoint(), self._boot, self.configuration)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, boot: Boot, configuration: Configuration) -> Machine:
        """A machine that goes on from a checkpoint. Raises MachineError."""
        return cls(boot, configuration, checkpoint=checkpoint)

    def save(self, path: str | Path) -> None:
        """Write a snapshot that another process can `load`. Raises SnapshotError."""
        from machine.snapshot import write

        values = {item.name: getattr(self.configuration, item.name) for item in fields(self.configuration)}
        write(path, self.checkpoint(), self._boot, {**values, "cards": tuple(card.name for card in self.configuration.cards)})

    @classmethod
    def load(cls, path: str | Path, *, strict: bool = False, reboot: bool = True, cards: Iterable[Card] = ()) -> Machine:
        """A machine that goes on where one was saved; `cards` are those of your own that it had. Raises SnapshotError."""
        from machine.snapshot import cards_of, read

        checkpoint, boot, configuration = read(path)
        found = cards_of(path, configuration["cards"], cards)
        return cls.from_checkpoint(checkpoint, boot, Configuration(**{**configuration, "strict": strict, "reboot": reboot, "cards": found}))

    def turns(self) -> Saved:
        """Whose turn it is, for a checkpoint."""
        return self._schedule.save()

    def take_turns(self, turns: Saved) -> None:
        """The other way round."""
        self._schedule.restore(turns)

    def close(self) -> None:
        """Free the engine and the wake-up pipe; what a fork was built around is kept beside its checkpoint for the next. Once is enough. Between slices."""
        if self._closed:
            return
        if self.engine.running:
            raise MachineError("a machine cannot be closed in the middle of a slice")
        self._closed = True
        image = None if self._began_from is None else self._began_from()
        if image is None or not keep(image, Spare(self._core, self._boot, self.configuration)):
            self._core.close()
        self.engine = self.memory = self._core = Closed()  # type: ignore[assignment]
        self._bell.close()

    def __del__(self) -> None:
        """Nobody can reach it any more, and it was not closed: a native engine, a pipe and a mapping would be left for good."""
        if not getattr(self, "_closed", True) and not sys.is_finalizing() and not self.engine.running:
            self.close()

    # --- turns -----------------------------------------------------------------------------------------------------------------------
    def _slice(self, turn: Turn) -> None:
        engine, now, cpu = self.engine, self.clock.now(), turn.cpu
        end, due = turn.end, self.clock.next_deadline()
        if due is not None and due < end:
            end = max(due, now + 1)
        self._slice_end = end
        self._cut = False
        source, alarm = self.time, self.alarm
        if isinstance(source, InstructionTime):
            bound = None if self.script is None else self.script.bound()
            allowed = max(source.instructions_until(end), 1)
            bounds = (None if self._limit is None else self._limit - self.stats.retired, None if bound is None else bound - self.stats.retired,
                      source.instructions_until(alarm) if alarm is not None and now < alarm < end else None)
            outside = min((most for most in bounds if most is not None and most < allowed), default=None)
            try:
                result = engine.run(cpu, allowed if outside is None else outside, turn.patience)
            except BaseException:
                source.retire(engine.retired)
                self.stats.retired += engine.retired
                raise
            for _ in range(TAKEN_AT_ONCE):              # nothing comes from outside between an interrupt and its handler: both have the same moment
                if result.retired or result.reason is not Reason.BUDGET or outside == 0 or self._is_over(result):
                    break
                self.board.lapics[cpu].poll()
                result = engine.run(cpu, allowed if outside is None else outside, engine.patience)
            source.retire(result.retired)
            self.stats.retired += result.retired
            if not self._is_over(result):
                self._schedule.go_on(Turn(cpu, self._slice_end, engine.patience))
                if result.reason is Reason.BREAK or (result.reason is Reason.STOP and self._cut) or result.retired == outside:
                    self.came(*((CUT, b"") if result.retired else (TURN, b"%d" % cpu)))
        else:
            result = engine.run(cpu, (end if alarm is None or not now < alarm < end else alarm) - now, turn.patience)
        self.stats.slices += 1
        self.board.lapics[cpu].poll()
        if result.reason is Reason.SHUTDOWN:
            self._shut_down(cpu)
        elif result.reason is Reason.BREAK:
            self._ended = self._ended or Outcome(ExitReason.BREAK, cpu)

    def _is_over(self, result: RunExit) -> bool:
        """Whether a turn ended with this slice: by its time, a HLT, its patience, or because another processor is to run. Where instructions are counted.

        A slice also ends where a processor has taken an interrupt, so that its local APIC knows of it at once, and behind an instruction that made one pending;
        and where something outside cuts it. Then the turn goes on.
        """
        assert isinstance(self.time, InstructionTime)
        return (result.reason in (Reason.HALT, Reason.SHUTDOWN) or self.engine.patience <= 0 or self.engine.kicked or self._pending_reset is not None
                or self.time.instructions_until(self._slice_end) == 0)

    def came(self, inlet: str, data: bytes) -> None:
        """Something has come from outside, or is about to: say so to whoever writes that down."""
        for listener in self.listeners:
            listener(inlet, data)

    def _shut_down(self, cpu: int) -> None:
        """SDM vol. 3A 6.15: shutdown is a special cycle, to which the board answers with a reset."""
        self.stats.triple_faults += 1
        if self.configuration.reboot:
            self._pending_reset = ResetKind.HARD
        else:
            self._ended = Outcome(ExitReason.SHUTDOWN, detail=f"vCPU {cpu} at RIP {self.engine.vcpus[cpu].rip:#x}")

    def _deadline_set(self, when: int) -> None:
        """A chip set the earliest deadline: the slice under way must not run past it."""
        if self.engine.running and when < self._slice_end:
            self._slice_end = when
            if isinstance(self.time, InstructionTime):
                self.engine.keep_to(self.time.instructions_until(when))
            else:
                self.engine.shorten(max(when - self.clock.now(), 1))

    # --- waiting ---------------------------------------------------------------------------------------------------------------------
    def _idle(self, deadline: int | None, has_service: bool) -> None:
        """No processor has anything to run: let time pass until something happens."""
        due, before = self.clock.next_deadline(), self.clock.now()
        for when in (self.alarm, None if self.script is None else self.script.wakes()):
            if when is not None and when > before:
                due = when if due is None else min(due, when)
        paced = self.paced and self.script is None and isinstance(self.time, InstructionTime)
        if isinstance(self.time, InstructionTime) and due is not None and not paced:
            self.stats.idle_ns += max(0, due - self.time.now())
            self.time.skip_to(due)
            return
        readers = [one for one in (source.fileno() for source in self.inputs) if one is not None]
        if due is None and not has_service and (self.script is not None or not readers):
            self._ended = Outcome(ExitReason.DEAD, detail="every processor is halted and nothing can wake one")
            return
        wait = LONGEST_SLEEP if due is None else max(0.0, (due - before - self._overslept) / 1e9)
        if deadline is not None:
            wait = min(wait, max(0.0, (deadline - host_time()) / 1e9))
        began = host_time()
        backlog = [source.pump() for source in self.inputs]
        if any(vcpu.runnable for vcpu in self.engine.vcpus):                   # by what has just come: not a moment passes
            return
        self._bell.wait(readers, 0.0 if any(backlog) else wait)
        self._polled = 0
        if paced and isinstance(self.time, InstructionTime):
            reached = before + self._overslept + host_time() - began
            self._overslept = 0 if due is None else max(0, min(reached - due, MOST_OVERSLEPT))
            self.time.skip_to(reached if due is None else min(due, reached))
        self.stats.idle_ns += self.clock.now() - before

    def _serve_inputs(self) -> None:
        """Host input, at most every `POLL_INTERVAL`."""
        if not self.inputs:
            return
        now = host_time()
        if now - self._polled < POLL_INTERVAL:
            return
        self._polled = now
        for source in self.inputs:
            source.pump()

    # --- starting and ending -----------------------------------------------------------------------------------------------------------
    def _start(self) -> None:
        self._boot.prepare(self.board).apply(self.engine.vcpus[0])

    def _reset_requested(self, kind: ResetKind) -> None:
        self._pending_reset = kind
        self.engine.finish()

    def _reset(self) -> None:
        """Everything starts over, memory aside: what the boot puts there is put there again."""
        kind, self._pending_reset = self._pending_reset, None
        assert kind is not None
        self.stats.resets += 1
        self._schedule.start_over()
        if not self.configuration.reboot and self._ended is None:
            self._ended = Outcome(ExitReason.RESET, detail=kind.value)
            return
        if kind is ResetKind.INIT and self._boot.roms():
            self.board.init_processors()
            return
        for vcpu in self.engine.vcpus:
            vcpu.init()
        self.board.reset()
        self._start()

    def _end(self, outcome: Outcome) -> None:
        """The guest's own end, told by a device."""
        self._ended = self._ended or outcome
        if self.engine.running:
            self.engine.finish()

