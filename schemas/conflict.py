"""A conflict: who disagrees about what, and what came of it (SPEC section 4)."""

from __future__ import annotations

from typing import Literal

from schemas.record import Dot, Long, Op, Position, Provenance, Record, Value, Version

Kind = Literal[
    "delete_recently_updated",
    "update_recently_deleted",
    "insert_exists",
    "update_differing",
    "ambiguous_order",
    "update_origin_differs",
]
Outcome = Literal["pending", "merge", "user", "apply_remote", "keep_local"]


class Candidate(Record):
    """One live write. informed: it has a seen or a before of the field. occurred_at: ms since the epoch."""

    source: str
    version: Version
    occurred_at: Long
    op: Op
    event_id: str
    value: Value
    informed: bool


class Conflict(Record):
    """winner: None where no single write is the value. value: the golden value after it, None if absent.

    left_out: how many records of this entity were left out before this one.
    """

    conflict_id: str
    entity_type: str
    entity_id: str
    field: str
    kind: Kind
    outcome: Outcome
    resolver: str
    policy_version: str
    candidates: list[Candidate]
    winner: Provenance | None
    value: Value
    caused_by: Dot
    position: Position
    left_out: Long = 0

    @property
    def key(self) -> str:
        """The entity key."""
        return f"{self.entity_type}:{self.entity_id}"
