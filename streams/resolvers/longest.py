"""`longest`: the live value with the most code points; equal lengths are decided by `last_update_wins`."""

from __future__ import annotations

from streams.entity import Write
from streams.resolvers import last_update_wins
from streams.resolvers.decision import Ranks, not_null
from streams.resolvers.size import text_of


def pick(live: list[Write], ranks: Ranks) -> Write:
    """A live write with the longest value."""
    candidates = not_null(live) or live
    most = max(len(text_of(write)) for write in candidates)
    return last_update_wins.pick([write for write in candidates if len(text_of(write)) == most], ranks)
