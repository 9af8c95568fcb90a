"""What a target has acknowledged of one entity: the newest place, and what its fields were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from schemas.canonical import canonical
from streams.delivery import Delivery


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """offset: of the record in `records`. digests: field -> 16 hex digits of its value's SHA-256; None: not known,
    or deleted."""

    offset: int
    digests: Mapping[str, str] | None = None

    @classmethod
    def of(cls, delivery: Delivery, incremental: bool) -> Acknowledged:
        """What is known once a delivery is acknowledged."""
        fields = delivery.fields if incremental else None
        return cls(delivery.position.offset, None if fields is None else digests_of(fields))

    def changed(self, delivery: Delivery) -> frozenset[str] | None:
        """The fields of a newer state that differ from what was acknowledged; None: any may, or it is deleted."""
        fields = delivery.fields
        if self.digests is None or fields is None:
            return None
        now = digests_of(fields)
        return frozenset(name for name in {*now, *self.digests} if now.get(name) != self.digests.get(name))


def digests_of(fields: Mapping[str, Any]) -> dict[str, str]:
    """Field -> digest of its value."""
    return {name: sha256(canonical(value).encode()).hexdigest()[:16] for name, value in fields.items()}
