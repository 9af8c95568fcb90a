"""The live write with the least (time, rank, source): who was there first stays, and may change its own value."""

from __future__ import annotations

from streams.entity import Write
from streams.resolvers.decision import Ranks


def pick(live: list[Write], ranks: Ranks) -> Write:
    """The live write that was there first."""
    return min(live, key=lambda write: (write.dot.time, ranks.of(write.dot.source), write.dot.source))
