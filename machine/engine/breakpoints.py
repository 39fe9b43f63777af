"""Breakpoints and watchpoints, for debuggers.

A breakpoint is a hook on one linear address: the instruction does not begin, as if the slice had ended just before it. A watchpoint is a hook on a range of
physical addresses: the instruction that touches it is the slice's last. Neither costs anything elsewhere, but that memory hooks make every access slow, and
that watchpoints and single steps count instructions, which the host's clock does not do otherwise.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from machine.engine import abi

if TYPE_CHECKING:
    from machine.engine.engine import Engine

NOWHERE = (1 << 64) - 1
PASS, HIT = 0, 1                     # places in `Engine.place`


@dataclass(frozen=True, slots=True)
class Hit:
    """What stopped a vCPU: a breakpoint at a linear address, or a watchpoint's access to a physical one."""

    cpu: int
    kind: str                        # "breakpoint", "read" or "write"
    address: int
    size: int = 0


class Breakpoints:
    """Those of one engine.

    Attributes:
        hit: what stopped the last slice that ended with BREAK.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._code: dict[int, int] = {}                               # linear address -> hook
        self._memory: dict[tuple[int, int, bool, bool], tuple[list[int], object]] = {}
        self._instrumented = False
        self._touched: Hit | None = None
        self._stopped_at: dict[int, int] = {}                         # vCPU -> breakpoint that it has not executed yet
        self._watched_only = False
        self._note: Callable[[int], None] | None = None
        self.hit: Hit | None = None

    @property
    def counting(self) -> bool:
        """Whether instructions are counted: always with the instruction clock, and with the host's between `instrument` and `release`."""
        return self._engine.counted or self._instrumented

    def instrument(self) -> None:
        """Count instructions from now on, also with the host's clock: `Engine.step` and watchpoints need it. About half speed."""
        if not self.counting:
            self._instrumented = True
            self._engine.count(True)
            self._hook_code(self._engine.break_address)    # behind it: what a watchpoint ended is over before the next instruction is looked at
            self._engine.instance.translate_anew()

    def release(self) -> None:
        """No more single steps for now: unless a watchpoint needs it, the host's clock runs at full speed again."""
        if self._instrumented and not self._memory:
            self._instrumented = False
            self._engine.count(False)
            self._engine.instance.translate_anew()

    # --- breakpoints -----------------------------------------------------------------------------------------------------------------
    @property
    def addresses(self) -> frozenset[int]:
        """Linear addresses."""
        return frozenset(self._code)

    def add(self, linear: int) -> None:
        """Stop before the instruction at a linear address; once is enough."""
        if linear not in self._code:
            self._code[linear] = self._engine.instance.hook(abi.UC_HOOK_CODE, self._engine.break_address, begin=linear, end=linear)
            self._engine.instance.translate_anew()

    def remove(self, linear: int) -> None:
        """Do not any more."""
        handle = self._code.pop(linear, None)
        if handle is not None:
            self._engine.instance.unhook(handle)
            self._engine.instance.translate_anew()

    @property
    def untouched(self) -> bool:
        """Whether the engine is as if there had never been any."""
        return not self._code and not self._memory and not self._instrumented

    # --- watchpoints -----------------------------------------------------------------------------------------------------------------
    def watch(self, physical: int, length: int, on_read: bool, on_write: bool) -> None:
        """Stop after an instruction that reads or writes any of these bytes."""
        key = (physical, length, on_read, on_write)
        if key in self._memory:
            return
        self.instrument()
        callback = abi.MEMORY_CALLBACK(self._on_access)
        kinds = [kind for kind, wanted in ((abi.UC_HOOK_MEM_READ, on_read), (abi.UC_HOOK_MEM_WRITE, on_write)) if wanted]
        # an access may begin up to seven bytes below and reach in
        hooks = [self._engine.instance.hook(kind, callback, begin=max(physical - 7, 0), end=physical + length - 1) for kind in kinds]
        self._memory[key] = hooks, callback
        self._engine.instance.watch_stores(True)
        self._engine.instance.translate_anew()

    def unwatch(self, physical: int, length: int, on_read: bool, on_write: bool) -> None:
        """Do not any more."""
        hooks, _callback = self._memory.pop((physical, length, on_read, on_write), ([], None))
        for handle in hooks:
            self._engine.instance.unhook(handle)
        if not self._memory:
            self._engine.instance.watch_stores(False)
        self._engine.instance.translate_anew()

    def _on_access(self, _uc: int, kind: int, address: int, size: int, _value: int, _user: int) -> None:
        writing = kind == abi.UC_MEM_WRITE
        for physical, length, on_read, on_write in self._memory:
            if address < physical + length and physical < address + size and (on_write if writing else on_read):
                if self._watched_only:
                    if self._note is not None:
                        self._note(self._engine.retired_in_slice())
                elif self._touched is None:
                    self._touched = Hit(self._engine.current, "write" if writing else "read", address, size)
                    self._engine.stop_after_this()
                return

    def clear(self) -> None:
        """Take everything away."""
        for linear in tuple(self._code):
            self.remove(linear)
        for key in tuple(self._memory):
            self.unwatch(*key)

    @contextlib.contextmanager
    def watched_only(self, note: Callable[[int], None] | None = None) -> Iterator[None]:
        """Meanwhile nothing stops, and no slice or block ends that would not end without them. Inside another one this changes nothing.

        Args:
            note: told, where one would have stopped, how many instructions of the slice are finished there. Instructions are counted.
        """
        if self._watched_only:
            yield
            return

        def reached(_uc: int, _address: int, _size: int, _user: int) -> None:
            assert note is not None
            note(self._engine.retired_in_slice() - 1)      # the instruction has been counted and has not begun

        callback = abi.CODE_CALLBACK(reached)
        self._watched_only, self._note = True, note
        self._hook_code(callback if note is not None else None)
        try:
            yield
        finally:
            self._watched_only, self._note, self.hit, self._touched = False, None, None, None
            self._stopped_at.clear()
            self._hook_code(self._engine.break_address)

    def _hook_code(self, callback: object) -> None:
        """Lets every breakpoint call something else; None: nothing."""
        for linear, handle in self._code.items():
            if handle:
                self._engine.instance.unhook(handle)
            self._code[linear] = self._engine.instance.hook(abi.UC_HOOK_CODE, callback, begin=linear, end=linear) if callback is not None else 0
        if self._code:
            self._engine.instance.translate_anew()

    # --- what the engine asks --------------------------------------------------------------------------------------------------------
    def pass_now(self, cpu: int) -> int:
        """The breakpoint that this vCPU stopped at last and now goes on from, if it still stands there."""
        stopped = self._stopped_at.pop(cpu, NOWHERE)
        if stopped == NOWHERE:
            return NOWHERE
        vcpu = self._engine.vcpus[cpu]
        return stopped if vcpu.cs_base + vcpu.rip == stopped else NOWHERE

    def has_hit(self, cpu: int) -> bool:
        """Whether the slice that has just ended was ended by one of these."""
        place = self._engine.place
        place[PASS] = NOWHERE
        if place[HIT] != NOWHERE:
            self.hit = Hit(cpu, "breakpoint", place[HIT])
            self._stopped_at[cpu] = place[HIT]
            place[HIT] = NOWHERE
            self._touched = None
            return True
        if self._touched is not None:
            self.hit, self._touched = self._touched, None
            return True
        return False

    def missed(self) -> None:
        """The slice that has just ended is not told of: what stopped it stops the next one, or has never been."""
        self._engine.place[:] = [NOWHERE, NOWHERE]
        self._touched = None

    def reported(self, cpu: int, linear: int) -> None:
        """A debugger has shown this vCPU standing here: if there is a breakpoint, going on begins with its instruction."""
        if linear in self._code:
            self._stopped_at[cpu] = linear
