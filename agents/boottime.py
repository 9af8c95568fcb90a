"""The clock of deadlines that a sleeping machine must not stretch."""

from __future__ import annotations

import time

#: Linux's monotonic clock stands still while the machine sleeps; this one does not. Elsewhere monotonic does.
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime() -> float:
    """Seconds since some moment before the process, sleep included."""
    return time.clock_gettime(CLOCK)
