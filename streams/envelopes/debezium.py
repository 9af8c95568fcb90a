"""Debezium's change events as JSON, with or without their schema (debezium.io, "Change event values").

The database's rows become entities: the table is the entity type, the primary key the id, the columns the fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from schemas.canonical import canonical
from schemas.refusal import Refusal
from streams.envelopes.identity import Identity, entity_id, values_of

OPS: Final = {"c": "create", "u": "update", "d": "delete", "r": "snapshot"}
#: Stands where PostgreSQL did not tell a large value because it had not changed.
UNAVAILABLE: Final = "__debezium_unavailable_value"


def debezium(identity: Identity, key: Any, value: Any) -> dict[str, Any]:
    """One event. An update has the columns that changed, where the database tells what they were, else all of them.

    occurred_at is when the database committed. What the row was (`before`) is the evidence of what the write replaced.
    """
    event = _payload(value)
    op = event.get("op")
    if op not in OPS:
        raise Refusal("bad_op", "op is none of c, u, d and r; have the connector send nothing else", "check")
    before, after = _row(event, "before"), _row(event, "after")
    row = before if op == "d" else after
    if row is None and op != "d":
        raise Refusal("bad_shape", f"an event with op {op} has no after", "check")
    form = {
        "entity_type": identity.entity_type or _table(event),
        "entity_id": _id(identity, key, row or {}),
        "op": OPS[op],
        "occurred_at": _time(event),
    }
    return form if op == "d" else {**form, **_fields(op, before, after or {})}


def _fields(op: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: value for name, value in after.items() if value != UNAVAILABLE}
    if op != "u" or before is None:
        return {"fields": told}
    known = {name: value for name, value in before.items() if value != UNAVAILABLE}
    changed = {n: v for n, v in told.items() if n not in known or canonical(known[n]) != canonical(v)}
    return {"fields": changed, "before": {name: known[name] for name in changed if name in known}}


def _id(identity: Identity, key: Any, row: Mapping[str, Any]) -> str:
    if identity.id:
        return entity_id(values_of(row, identity.id))
    if key is None:
        raise Refusal("null_key", "the record has no key; name the columns of the id in syncline.yaml", "check")
    columns = _payload(key)
    return entity_id(list(columns.values()))


def _payload(value: Any) -> dict[str, Any]:
    """What a schema may be wrapped around."""
    if isinstance(value, dict) and "payload" in value and "schema" in value:
        value = value["payload"]
    if not isinstance(value, dict):
        raise Refusal("bad_shape", f"a Debezium record is a JSON {type(value).__name__}; it must be an object")
    return value


def _row(event: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    row = event.get(name)
    if not isinstance(row, dict | None):
        raise Refusal("bad_shape", f"{name} is a JSON {type(row).__name__}; it must be an object or null")
    return row


def _table(event: Mapping[str, Any]) -> Any:
    source = event.get("source")
    return source.get("table") or source.get("collection") if isinstance(source, dict) else None


def _time(event: Mapping[str, Any]) -> Any:
    source = event.get("source")
    committed = source.get("ts_ms") if isinstance(source, dict) else None
    return committed or event.get("ts_ms")
