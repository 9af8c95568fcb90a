"""The closed table of resolvers (SPEC section 3): pure functions of writes, one a file.

A resolver decides one field from its live writes and from the rest, which is every source's newest write
that was not dropped. Ties are broken in the same way everywhere, so the order of the lists never matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from streams.resolvers import (
    authority,
    first_update_wins,
    keep_siblings,
    largest,
    last_update_wins,
    longest,
    smallest,
    source_priority,
    sum_of_totals,
    union,
)
from streams.resolvers.decision import Decide, Pick


@dataclass(frozen=True, slots=True)
class Resolver:
    """One row of the table.

    pick: chooses one write among live ones, None where no single write is the value.
    decide: the value for a field; only what has no `pick` needs it.
    time_counts: between writes without evidence the later one dominates.
    always: computes even where the live writes agree. contests: disagreement is a conflict.
    pends: the choice is provisional until a person decides.
    """

    name: str
    pick: Pick | None = None
    decide: Decide | None = None
    time_counts: bool = False
    always: bool = False
    contests: bool = True
    pends: bool = False


_TABLE: Final = (
    Resolver("last_update_wins", pick=last_update_wins.pick, time_counts=True),
    Resolver("first_update_wins", pick=first_update_wins.pick),
    Resolver("source_priority", pick=source_priority.pick),
    Resolver("authority", decide=authority.decide, always=True),
    Resolver("max", pick=largest.pick),
    Resolver("min", pick=smallest.pick),
    Resolver("longest", pick=longest.pick),
    Resolver("union", decide=union.decide, always=True, contests=False),
    Resolver("sum", decide=sum_of_totals.decide, always=True, contests=False),
    Resolver("keep_siblings", decide=keep_siblings.decide),
    Resolver("manual", pick=last_update_wins.pick, pends=True),
)

RESOLVERS: Final = {resolver.name: resolver for resolver in _TABLE}

__all__ = ["RESOLVERS", "Resolver"]
