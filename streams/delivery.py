"""One golden state on its way to one target."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from schemas.canonical import canonical
from schemas.golden_record import GoldenRecord
from schemas.record import Position


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a target is to know of an entity.

    target: its name in syncline.yaml. key: the entity's.
    record: the golden record with fields and provenance as the target is to have them; None: the entity is deleted,
    or none of those that the target gets.
    position: of the record in `records`. generation: the target's, raised by hand to have all sent as new.
    changed: fields (named as in `record`, those that are gone among them) that may be other ones at the target: each
    that any attempt since the newest acknowledged delivery had another value of, also if it has changed back
    meanwhile, for that attempt may have arrived. None: any field may, as when nobody knows what was attempted.
    """

    target: str
    key: str
    record: GoldenRecord | None
    position: Position
    generation: int = 1
    changed: frozenset[str] | None = None

    @property
    def entity_type(self) -> str:
        """The part of the key before the first colon."""
        return self.key.partition(":")[0]

    @property
    def entity_id(self) -> str:
        """The part of the key after the first colon."""
        return self.key.partition(":")[2]

    @property
    def fields(self) -> dict[str, Any] | None:
        """Field -> Python value; None: deleted."""
        return None if self.record is None else self.record.fields

    @property
    def patch(self) -> dict[str, Any] | None:
        """The changed fields alone, null where one is gone; all fields if any may have changed. None: deleted."""
        fields = self.fields
        if fields is None or self.changed is None:
            return fields
        return {name: fields.get(name) for name in sorted(self.changed)}

    @property
    def order(self) -> tuple[int, int]:
        """What a target's guard compares: of two deliveries of one entity the greater is the newer state."""
        return self.generation, self.position.offset

    @property
    def idempotency_key(self) -> str:
        """32 hex digits, the same for each attempt at this delivery and for no other delivery."""
        place = [self.target, self.key, self.generation, *self.position.model_dump().values()]
        return sha256(canonical(place).encode()).hexdigest()[:32]
