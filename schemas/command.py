"""A command: what a person or a tool asks the engine to do with one entity (SPEC section 5)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from schemas.record import Clock, Long, Record, Value


class Command(Record):
    """requested_at in ms since the epoch. field, value and seen belong to resolve, which needs a field."""

    command_id: str
    kind: Literal["force_sync", "invalidate", "resolve"]
    entity_type: str
    entity_id: str
    requested_by: str
    requested_at: Long
    field: str | None = None
    value: Value = None
    seen: Clock | None = None

    @property
    def key(self) -> str:
        """The entity key."""
        return f"{self.entity_type}:{self.entity_id}"

    @model_validator(mode="after")
    def _names_a_field(self) -> Self:
        if self.kind == "resolve" and not self.field:
            raise ValueError("resolve names no field; give the field, or * for existence")
        return self
