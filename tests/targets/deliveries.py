"""Deliveries for tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schemas.golden_record import GoldenRecord
from schemas.record import Position
from streams.delivery import Delivery

TOPIC = "syncline.records"


def delivery(
    key: str,
    offset: int,
    fields: dict[str, Any] | None,
    changed: Iterable[str] | None = None,
    generation: int = 1,
    target: str = "crm",
) -> Delivery:
    """A delivery of an entity whose record is at this offset of `records`; fields None: deleted."""
    position = Position(topic=TOPIC, partition=3, offset=offset)
    record = None if fields is None else golden(key, offset, fields)
    return Delivery(target, key, record, position, generation, None if changed is None else frozenset(changed))


def golden(key: str, offset: int, fields: dict[str, Any]) -> GoldenRecord:
    """A golden record with these fields, each from change `offset + 1` of the CRM."""
    entity_type, _, entity_id = key.partition(":")
    dot = {"source": "crm", "version": offset + 1}
    return GoldenRecord.model_validate(
        {
            "entity_type": entity_type,
            "entity_id": entity_id,
            "fields": fields,
            "provenance": {name: [{**dot, "occurred_at": offset, "event_id": f"e{offset}"}] for name in fields},
            "clock": {"crm": offset + 1},
            "contested": [],
            "pending": [],
            "policy_version": "p1",
            "position": {"topic": "syncline.changes", "partition": 3, "offset": offset},
        }
    )
