"""The write with the least (rank, -time, source): priority decides between writes that did not see each other."""

from __future__ import annotations

from streams.entity import Write
from streams.resolvers.decision import Ranks


def pick(live: list[Write], ranks: Ranks) -> Write:
    """The live write of the strongest source."""
    return min(live, key=lambda write: (ranks.of(write.dot.source), -write.dot.time, write.dot.source))
