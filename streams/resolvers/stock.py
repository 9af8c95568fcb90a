"""`stock`: like `sum`, each source publishes its own running total of ins less outs; never below a floor.

What was sold beyond the floor does not show in the value, so it is noted: by sources that did not know of each other's
totals it is a conflict, by those that did it is merely counted.
"""

from __future__ import annotations

from typing import Final

from schemas.canonical import canonical, parse
from streams.entity import Write
from streams.resolvers import sum_of_totals
from streams.resolvers.decision import OVERSOLD, Decision, Ranks


class Stock:
    """A sum with a floor."""

    __slots__ = ("_floor",)

    def __init__(self, floor: int | float) -> None:
        self._floor: Final = floor

    def decide(self, live: list[Write], rest: list[Write], ranks: Ranks) -> Decision:
        """The sum of all totals, or the floor if that is more; absent where `sum` is."""
        total = sum_of_totals.decide(live, rest, ranks)
        if total.value is None or parse(total.value) >= self._floor:
            return total
        return Decision(canonical(self._floor), total.made_by, OVERSOLD)
