"""The write with the greatest (time, -rank, source): what happened last, by the writers' own clocks."""

from __future__ import annotations

from streams.entity import Write
from streams.resolvers.decision import Ranks


def pick(live: list[Write], ranks: Ranks) -> Write:
    """The live write that happened last."""
    return max(live, key=lambda write: (write.dot.time, -ranks.of(write.dot.source), write.dot.source))
