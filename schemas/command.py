"""A command: what a person or a tool asks the engine to do with one entity (SPEC section 5)."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import model_validator

from schemas.record import Clock, Long, Record, Value

#: What each kind must name.
NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "resolve": ("field", "conflict_id"),
    "pin": ("field", "until"),
    "release": ("field",),
    "undo": ("field", "decision"),
}


class Command(Record):
    """requested_at and until in ms since the epoch.

    resolve: decides the conflict conflict_id about field. pin: holds field at value until a time. release: ends the
    pin of requested_by, and where decision is given only that of this command_id. undo: takes the decision with this
    command_id back. value of field *: whether the entity exists. seen: the clock of the record that was on the screen.
    """

    command_id: str
    kind: Literal["force_sync", "invalidate", "resolve", "pin", "release", "undo"]
    entity_type: str
    entity_id: str
    requested_by: str
    requested_at: Long
    field: str | None = None
    value: Value = None
    seen: Clock | None = None
    conflict_id: str | None = None
    decision: str | None = None
    until: Long | None = None
    note: str | None = None

    @property
    def key(self) -> str:
        """The entity key."""
        return f"{self.entity_type}:{self.entity_id}"

    @model_validator(mode="after")
    def _names_what_it_needs(self) -> Self:
        for name in NEEDS.get(self.kind, ()):
            if getattr(self, name) in (None, ""):
                raise ValueError(f"{self.kind} names no {name}")
        if self.field == "*" and self.kind in ("resolve", "pin") and not isinstance(self.value, bool):
            raise ValueError("the value of * must be true, it exists, or false, it is deleted")
        return self
