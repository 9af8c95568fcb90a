"""How many conflict records an entity may have in a minute, before only some of them are sent.

Two sources that take turns on one field would fill the topic with the same news. All conflicts are counted; of those
beyond the budget of a minute the 1st, 2nd, 4th, 8th and so on is recorded, and each record says how many were left out
before it. Minutes are those of the recorded append time, and the count lies in the entity's state: a replay, and a
worker that takes over, leave out the same.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

MINUTE_MS: Final = 60_000


@mypyc_attr(acyclic=True)
class ConflictBudget:
    """What an entity has used. minute: since the epoch. found: conflicts in it. left_out: since the last record."""

    __slots__ = ("found", "left_out", "minute")

    def __init__(self, minute: int, found: int, left_out: int) -> None:
        self.minute = minute
        self.found = found
        self.left_out = left_out

    def left_out_before(self, append_time_ms: int, most: int) -> int:
        """Counts one more conflict: how many were left out before it, -1 if it is left out itself.

        append_time_ms: of the change that caused it. most: records in a minute.
        """
        minute = append_time_ms // MINUTE_MS
        if minute > self.minute:
            self.minute = minute
            self.found = 0
        self.found += 1
        over = self.found - most
        if over > 0 and over & (over - 1):
            self.left_out += 1
            return -1
        left_out, self.left_out = self.left_out, 0
        return left_out
