"""Every distinct live value, as an array sorted by canonical JSON; a single one stays as it is."""

from __future__ import annotations

from streams.entity import Write
from streams.resolvers import last_update_wins
from streams.resolvers.decision import ABSENT, Decision, Ranks, not_null, picked


def decide(live: list[Write], rest: list[Write], ranks: Ranks) -> Decision:
    """All distinct live values, or the only one."""
    siblings = not_null(live)
    values = sorted({write.value for write in siblings})
    if not values:
        return ABSENT
    if len(values) == 1:
        return picked(last_update_wins.pick(siblings, ranks))
    return Decision("[" + ",".join(values) + "]", siblings)
