"""The rate of the host's time-stamp counter, which free-running guests read.

The counter and the monotonic clock are read together when this module is first asked, and again at least `SPAN` later: the longer between, the better.
"""

from __future__ import annotations

import ctypes
import functools

from devices.core.clock import host_time
from machine.engine.stubs import pages, slices

SPAN = 4_000_000                    # ns: readings so far apart give the rate to about 1 part in 10,000


@functools.cache
def _reader() -> tuple[object, object]:
    page = pages.CodePage()
    function = ctypes.CFUNCTYPE(ctypes.c_uint64)(page.add(slices.READ_TSC))
    return page, function


def _read() -> tuple[int, int]:
    """(ns, counts), from the reading of several that took least long."""
    function = _reader()[1]
    assert callable(function)
    readings = []
    for _ in range(5):
        before = host_time()
        counts = function()
        after = host_time()
        readings.append((after - before, (before + after) // 2, counts))
    _, middle, counts = min(readings)
    return middle, counts


@functools.cache
def start() -> tuple[int, int]:
    """The first reading; call it early."""
    return _read()


@functools.cache
def host_tsc_hz() -> int:
    """Counts a second, once measured always the same."""
    began, first = start()
    now, counts = _read()
    while now - began < SPAN:
        now, counts = _read()
    return (counts - first) * 1_000_000_000 // (now - began)


def host_tsc() -> int:
    """The host's counter now."""
    return _read()[1]
