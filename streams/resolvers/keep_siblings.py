"""Every distinct live value, as an array sorted by canonical JSON; a single one stays as it is.

With a limit, the values that were written last by `last_update_wins` are kept. Which ones those are follows from the
live writes alone, so no order of arrival changes it; the others stay candidates in the conflict record.
"""

from __future__ import annotations

from streams.entity import Write
from streams.resolvers import last_update_wins
from streams.resolvers.decision import ABSENT, Decide, Decision, Ranks, not_null, picked


def at_most(values: int) -> Decide:
    """`decide` for so many distinct values."""

    def decide_among_the_latest(live: list[Write], rest: list[Write], ranks: Ranks) -> Decision:
        """All distinct values of the latest live writes, or the only one."""
        left = not_null(live)
        kept: list[Write] = []
        distinct: set[str] = set()
        while left and len(distinct) < values:
            latest = last_update_wins.pick(left, ranks)
            distinct.add(latest.value)
            kept += [write for write in left if write.value == latest.value]
            left = [write for write in left if write.value != latest.value]
        return decide(kept, rest, ranks)

    return decide_among_the_latest


def decide(live: list[Write], rest: list[Write], ranks: Ranks) -> Decision:
    """All distinct live values, or the only one."""
    siblings = not_null(live)
    values = sorted({write.value for write in siblings})
    if not values:
        return ABSENT
    if len(values) == 1:
        return picked(last_update_wins.pick(siblings, ranks))
    return Decision("[" + ",".join(values) + "]", siblings)
