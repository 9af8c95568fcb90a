"""`min`: the least of the live values that are not null; equal sizes are decided by `last_update_wins`."""

from __future__ import annotations

from streams.entity import Write
from streams.resolvers import last_update_wins
from streams.resolvers.decision import Ranks, not_null
from streams.resolvers.size import magnitude


def pick(live: list[Write], ranks: Ranks) -> Write:
    """A live write with the least value."""
    candidates = not_null(live) or live
    least = min(magnitude(write) for write in candidates)
    return last_update_wins.pick([write for write in candidates if magnitude(write) == least], ranks)
