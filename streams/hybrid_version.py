"""Versions for changes that have none: those of a hybrid logical clock, by recorded time alone (SPEC section 2).

Kulkarni et al., "Logical Physical Clocks", 2014, as `syncline.hybrid_clock`: milliseconds since the epoch and a counter
of 16 bits in one integer. Here the clock is no machine's but the log's: it goes by the time with which each record was
stored, so whoever reads the same records gives the same versions.
"""

from __future__ import annotations

from typing import Final

COUNTER_BITS: Final = 16
COUNTERS: Final = 1 << COUNTER_BITS
#: The year 4199. What a producer stamps later than this is no time, and must not use up the numbers there are.
END_OF_TIME_MS: Final = 1 << 46


def next_version(last: int, timestamp_ms: int) -> int:
    """The version of the record that follows in a log. It is greater than `last`, whatever the record's time says.

    last: version of the record before, 0 at the beginning of the log. timestamp_ms: of the record; negative or beyond
    END_OF_TIME_MS for none.
    """
    told = timestamp_ms << COUNTER_BITS if 0 <= timestamp_ms < END_OF_TIME_MS else 0
    return max(last + 1, told)


def entry_version(milliseconds: int, sequence: int) -> int | None:
    """The version of an entry of a Redis Stream with id `milliseconds-sequence`: it rises with the id.

    None where the id has no room in a version: `sequence` has more than 16 bits, or the time is no time.
    """
    if not (0 <= sequence < COUNTERS and 0 <= milliseconds < END_OF_TIME_MS):
        return None
    return (milliseconds << COUNTER_BITS) + sequence or None
