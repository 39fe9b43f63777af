"""The slice timer: ends a free-running slice after some nanoseconds, without a thread and without the interpreter.

A POSIX timer sends the thread that runs the engine a real-time signal that carries the address of the engine's `slices.stop`; the handler is one native
instruction that jumps there (`slices.TIMER_LISTING`). A request that is made before the engine is in its main loop stays in force until it gets there.

The timer is of that thread and no other: while another one handled the signal, on another processor, the engine's own might be changing the word in which the
request is made, and the request be lost. It goes on every `AGAIN` until it is disarmed, so that no loss would be the end.
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct
import threading

from machine.engine.stubs.pages import resident
from machine.engine.stubs.slices import TIMER
from machine.errors import EngineError

CLOCK_MONOTONIC = 1
SIGEV_THREAD_ID = 4
SIGNAL = 44                       # a real-time signal nobody else here uses
AGAIN = 10_000_000                # ns
LEAST = 10_000                    # ns: a slice much shorter than the way into it would end before its first instruction, time after time
SA_SIGINFO, SA_ONSTACK, SA_RESTART = 4, 0x08000000, 0x10000000


@functools.cache
def _handler() -> int:
    """The signal handler, one for the process, for as long as it lives."""
    return resident(TIMER)


class SliceTimer:
    """One timer for one engine.

    Args:
        request: address of the native function that asks the engine to stop.
    """

    def __init__(self, request: int) -> None:
        self._request = request
        self._id: ctypes.c_void_p | None = None
        self._spec = (ctypes.c_int64 * 4)()
        self._libc = ctypes.CDLL(None, use_errno=True)
        action = struct.pack("<Q128siI", _handler(), bytes(128), SA_SIGINFO | SA_ONSTACK | SA_RESTART, 0) + bytes(8)  # struct sigaction
        if self._libc.sigaction(SIGNAL, action, None):
            raise EngineError(f"cannot set the slice timer's signal handler: {os.strerror(ctypes.get_errno())}")
        self._settime = self._libc.timer_settime
        self._create()

    def _create(self) -> None:
        """A timer of this thread. A process that was forked off has none of its parent's."""
        self._thread, self._process = threading.current_thread(), os.getpid()
        event = struct.pack("<Qiii44x", self._request, SIGNAL, SIGEV_THREAD_ID, threading.get_native_id())          # struct sigevent
        created = ctypes.c_void_p()
        if self._libc.timer_create(CLOCK_MONOTONIC, event, ctypes.byref(created)):
            raise EngineError(f"cannot create the slice timer: {os.strerror(ctypes.get_errno())}")
        self._id = created

    def arm(self, nanoseconds: int) -> None:
        """Fires after `nanoseconds`, or `LEAST` if that is less."""
        if self._thread is not threading.current_thread() or self._process != os.getpid():
            self.close()
            self._create()
        spec = self._spec
        spec[0], spec[1] = 0, AGAIN
        spec[2], spec[3] = divmod(max(nanoseconds, LEAST), 1_000_000_000)
        self._settime(self._id, 0, spec, None)

    def disarm(self) -> None:
        """No more signals, but for one that is on its way."""
        spec = self._spec
        spec[1] = spec[2] = spec[3] = 0
        self._settime(self._id, 0, spec, None)

    def close(self) -> None:
        """Deletes the timer."""
        if self._id is not None and self._process == os.getpid():
            self._libc.timer_delete(self._id)
        self._id = None
