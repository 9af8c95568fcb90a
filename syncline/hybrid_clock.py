"""A hybrid logical clock: version numbers for sources that have none of their own (SPEC section 2).

Kulkarni et al., "Logical Physical Clocks", 2014: physical time, pushed on by whatever was read, with a counter
for what happens within one tick. A version is milliseconds since the epoch (48 bits) and the counter (16 bits)
in one integer, so that versions compare as numbers, survive a restart and say roughly when they were given.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from streams.hybrid_version import COUNTER_BITS

MAX_VERSION = (1 << 63) - 1
#: A new millisecond's counter begins somewhere in here: two processes that write as one source at the same
#: moment then hardly ever give the same version.
START_BELOW = 1 << (COUNTER_BITS - 1)
MAX_AHEAD_MS = 86_400_000


class ClockAhead(ValueError):
    """A version that was read is too far in the future to go on from; the message says how far."""


def wall_clock_ms() -> int:
    """Milliseconds since the epoch by this machine's clock."""
    return time.time_ns() // 1_000_000


class HybridClock:
    """Gives versions that rise strictly, also over threads and when the wall clock steps back.

    now_ms: the physical clock. start: what the counter of a new millisecond begins with, drawn by chance where it
    is not given. max_ahead_ms: how far in the future a version may lie that is still gone on from.
    """

    def __init__(
        self,
        now_ms: Callable[[], int] = wall_clock_ms,
        start: int | None = None,
        max_ahead_ms: int = MAX_AHEAD_MS,
    ) -> None:
        self._now_ms = now_ms
        self._start = random.randrange(START_BELOW) if start is None else start
        self._max_ahead_ms = max_ahead_ms
        self._last = 0
        self._lock = threading.Lock()

    def tick(self) -> int:
        """The next version: greater than any given or observed before, and not below the physical time."""
        with self._lock:
            # A full counter carries into the milliseconds, which physical time soon overtakes again.
            self._last = max(self._last + 1, (self._now_ms() << COUNTER_BITS) | self._start)
            return self._last

    def observe(self, version: int) -> None:
        """Make every later version greater than this one, which somebody else gave.

        Raises ClockAhead for one that no clock of today could have given: to go on from it would give every
        entity versions that other writers of the source cannot reach.
        """
        ahead_ms = (version >> COUNTER_BITS) - self._now_ms()
        if ahead_ms > self._max_ahead_ms:
            raise ClockAhead(
                f"version {version} is {ahead_ms} ms ahead of this machine's clock, at most {self._max_ahead_ms} can "
                "be gone on from: this source numbers its changes itself, so give each change its version"
            )
        with self._lock:
            self._last = max(self._last, version)
