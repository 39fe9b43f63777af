"""Which engine a piece of native code works for: what all engines of a process share, such as a stub in a linkage slot, looks its engine up here."""

from __future__ import annotations

import ctypes
import threading
from ctypes import c_uint64

FIRST_SIZE = 8                       # pairs
NOBODY = 1                           # no address


class Table:
    """Pairs of addresses, a key and what belongs to it, ended by a zero.

    Native code of other threads may be searching while engines come and go. So pairs change in place, the key last; and an array that has become too small is
    kept, for who is still in it: all of those together are smaller than the one that serves.

    Attributes:
        pointer: to the first pair.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()         # closing engines from within the garbage collector comes back to it
        self._places: dict[int, int] = {}
        self._free: list[int] = []
        self._arrays: list[ctypes.Array[c_uint64]] = []
        self.pointer = c_uint64()
        self._grow(FIRST_SIZE)

    def set(self, key: int, value: int) -> None:
        """From now on `value` belongs to `key`."""
        with self._lock:
            place = self._places.get(key)
            if place is None:
                if not self._free:
                    self._grow(2 * len(self._places))
                place = self._places[key] = self._free.pop()
            words = self._arrays[-1]
            words[place + 1] = value
            words[place] = key

    def forget(self, key: int) -> None:
        """Nothing does any more."""
        with self._lock:
            place = self._places.pop(key, None)
            if place is not None:
                for words in self._arrays:
                    if place < len(words):
                        words[place] = NOBODY
                self._free.append(place)

    def _grow(self, pairs: int) -> None:
        words = (c_uint64 * (2 * pairs + 1))()
        before = self._arrays[-1] if self._arrays else words
        self._arrays.append(words)           # first: whoever is forgotten meanwhile is forgotten in both
        used = len(before) - 1 if before is not words else 0
        ctypes.memmove(words, before, 8 * used)
        self._free.extend(range(2 * pairs - 2, used - 2, -2))
        self.pointer.value = ctypes.addressof(words)
