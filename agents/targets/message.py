"""The one form in which a delivery is written as JSON, whatever carries it."""

from __future__ import annotations

from typing import Any

from schemas.canonical import canonical
from streams.delivery import Delivery


def message(delivery: Delivery) -> dict[str, Any]:
    """A delivery as a JSON object; docs/targets.md describes it.

    `fields` are all fields of the entity, or with `partial` those that changed, null for one that is gone. Of a
    deleted entity they are null.
    """
    record = delivery.record
    return {
        "key": delivery.key,
        "entity_type": delivery.entity_type,
        "entity_id": delivery.entity_id,
        "fields": delivery.patch,
        "partial": record is not None and delivery.changed is not None,
        "deleted": record is None,
        "clock": {} if record is None else dict(record.clock),
        "position": delivery.position.model_dump(),
        "generation": delivery.generation,
        "idempotency_key": delivery.idempotency_key,
    }


def message_text(delivery: Delivery) -> str:
    """The same as canonical JSON, without a line break in it."""
    return canonical(message(delivery))
