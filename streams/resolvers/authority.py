"""The strongest source that has a value, always: `source_priority` over the rest, live or not, less the nulls."""

from __future__ import annotations

from streams.entity import Write
from streams.resolvers import source_priority
from streams.resolvers.decision import ABSENT, Decision, Ranks, not_null, picked


def decide(live: list[Write], rest: list[Write], ranks: Ranks) -> Decision:
    """The value of the strongest source that has one; absent if none has."""
    candidates = not_null(rest)
    return picked(source_priority.pick(candidates, ranks)) if candidates else ABSENT
