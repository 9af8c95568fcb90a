"""What a resolver of one's own is given: the live writes of a field. A public type; its fields stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from schemas.record import Op


@dataclass(frozen=True, slots=True)
class LiveWrite:
    """What one source says about a field, with nobody's write having replaced it.

    value: as JSON gives it to Python, None where the source unset the field. occurred_at: ms since the epoch.
    rank: place of the source in the field's order, 0 the strongest; a person has -1, who is not listed comes last.
    told: its writer said what it had read (`seen` or `before`). by_person: source is `steward:<name>`.
    """

    value: Any
    source: str
    version: int
    occurred_at: int
    op: Op
    event_id: str
    rank: int
    told: bool
    by_person: bool
