"""The golden record: what one entity is now, and where that comes from (SPEC section 5)."""

from __future__ import annotations

from schemas.record import Clock, Position, Provenance, Record, Value


class GoldenRecord(Record):
    """provenance maps a field to the changes that make its value; contested and pending are sorted."""

    entity_type: str
    entity_id: str
    fields: dict[str, Value]
    provenance: dict[str, list[Provenance]]
    clock: Clock
    contested: list[str]
    pending: list[str]
    policy_version: str
    position: Position

    @property
    def key(self) -> str:
        """The entity key."""
        return f"{self.entity_type}:{self.entity_id}"
