"""The closed table of resolvers (SPEC section 3): pure functions of writes, one a file.

A resolver decides one field from its live writes and from the rest, which is every source's newest write
that was not dropped. Ties are broken in the same way everywhere, so the order of the lists never matters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.canonical import canonical
from streams.resolvers import (
    authority,
    first_update_wins,
    forward_only,
    keep_siblings,
    largest,
    last_update_wins,
    longest,
    smallest,
    source_priority,
    stock,
    sum_of_totals,
    union,
)
from streams.resolvers.decision import Decide, Fits, Narrow, Pick
from streams.resolvers.trust import Trust


@dataclass(frozen=True, slots=True)
class Resolver:
    """One row of the table.

    pick: chooses one write among live ones, None where no single write is the value.
    decide: the value for a field; only what has neither `pick` nor `trust` needs it.
    trust: chooses one write among live ones, at a moment.
    narrow: which of the writes that are not dropped count.
    fits: whether a value, no null, counts. misfit: how one is counted that does not.
    totals: made of every source's own total, so no person's write counts.
    time_counts: between writes without evidence the later one dominates.
    always: computes even where the live writes agree. contests: disagreement is a conflict.
    pends: the choice is provisional until a person decides.
    grouped: may decide a field group. said: its parameters, or the code of a function, as text.
    Two are equal if they decide alike.
    """

    name: str
    pick: Pick | None = field(default=None, compare=False)
    decide: Decide | None = field(default=None, compare=False)
    trust: Trust | None = field(default=None, compare=False)
    narrow: Narrow | None = field(default=None, compare=False)
    fits: Fits | None = field(default=None, compare=False)
    misfit: str = ""
    totals: bool = False
    time_counts: bool = False
    always: bool = False
    contests: bool = True
    pends: bool = False
    grouped: bool = False
    said: str = ""


_TABLE: Final = (
    Resolver("last_update_wins", pick=last_update_wins.pick, time_counts=True, grouped=True),
    Resolver("first_update_wins", pick=first_update_wins.pick, grouped=True),
    Resolver("source_priority", pick=source_priority.pick, grouped=True),
    Resolver("authority", decide=authority.decide, always=True),
    Resolver("max", pick=largest.pick, grouped=True),
    Resolver("min", pick=smallest.pick, grouped=True),
    Resolver("longest", pick=longest.pick, grouped=True),
    Resolver("union", decide=union.decide, always=True, contests=False),
    Resolver(
        "sum",
        decide=sum_of_totals.decide,
        fits=sum_of_totals.is_number,
        misfit="not_a_number",
        totals=True,
        always=True,
        contests=False,
    ),
    Resolver("keep_siblings", decide=keep_siblings.decide),
    Resolver("manual", pick=last_update_wins.pick, pends=True, grouped=True),
)

#: Those that need no parameters.
RESOLVERS: Final = {resolver.name: resolver for resolver in _TABLE}
#: Those that are made with parameters.
PARAMETRIC: Final = ("forward_only", "stock", "trust")


def keeping_siblings(most: int | None) -> Resolver:
    """`keep_siblings` of at most so many values; None: of all."""
    if most is None:
        return RESOLVERS["keep_siblings"]
    decide = keep_siblings.at_most(most)
    return Resolver("keep_siblings", decide=decide, said=canonical({"max_siblings": most}))


def made(name: str, parameters: Mapping[str, Any]) -> Resolver:
    """A resolver of the table. Raises ValueError: parameters that are missing, or of which nothing can be made."""
    said = canonical(parameters)
    if name == "forward_only":
        states = forward_only.States(_transitions(parameters))
        return Resolver(
            name,
            pick=last_update_wins.pick,
            narrow=states.furthest,
            fits=states.fits,
            misfit="not_a_state",
            always=True,
            said=said,
        )
    if name == "stock":
        return Resolver(
            name,
            decide=stock.Stock(parameters.get("floor", 0)).decide,
            fits=sum_of_totals.is_number,
            misfit="not_a_number",
            totals=True,
            always=True,
            contests=False,
            said=said,
        )
    if name == "trust":
        scores, half_lives = parameters.get("scores", {}), parameters.get("half_life", {})
        if not scores:
            raise ValueError("trust needs scores, for example scores: {crm: 0.9, web: 0.5}")
        return Resolver(name, trust=Trust(scores, half_lives), grouped=True, said=said)
    return RESOLVERS[name]


def _transitions(parameters: Mapping[str, Any]) -> dict[str, list[str]]:
    if ("states" in parameters) == ("transitions" in parameters):
        raise ValueError("forward_only needs either states or transitions, for example states: [new, paid, shipped]")
    if "states" in parameters:
        return forward_only.in_a_row(parameters["states"])
    return dict(parameters["transitions"])


__all__ = ["PARAMETRIC", "RESOLVERS", "Resolver", "made"]
