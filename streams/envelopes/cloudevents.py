"""CloudEvents 1.0 in their JSON format (github.com/cloudevents/spec), the structured mode.

`subject` names the entity: its key, or its id alone where syncline.yaml says the type. The last word of `type` says
what happened (`com.example.customer.updated`), and `data` are the fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from schemas.canonical import canonical
from schemas.refusal import Refusal
from streams.envelopes.identity import Identity, entity_id, values_of

OPS: Final = {
    **dict.fromkeys(("create", "created"), "create"),
    **dict.fromkeys(("update", "updated", "change", "changed"), "update"),
    **dict.fromkeys(("delete", "deleted"), "delete"),
    "snapshot": "snapshot",
}


def cloudevents(identity: Identity, key: Any, value: Any) -> dict[str, Any]:
    """One event. Its source and id together are the event id, as the standard has it."""
    if not isinstance(value, dict) or value.get("specversion") != "1.0":
        raise Refusal("bad_shape", "it is no CloudEvent of specversion 1.0 in JSON", "check")
    data = value.get("data")
    if not isinstance(data, dict | None):
        raise Refusal("bad_shape", f"data is a JSON {type(data).__name__}; it must be an object of fields", "check")
    op = _op(value.get("type"))
    entity_type, subject = _entity(identity, value.get("subject"), data or {})
    form = {
        "event_id": canonical([_text(value, "source"), _text(value, "id")]),
        "entity_type": entity_type,
        "entity_id": subject,
        "op": op,
        "occurred_at": value.get("time"),
    }
    return form if op == "delete" else {**form, "fields": data}


def _op(kind: Any) -> str:
    word = kind.rpartition(".")[2].lower() if isinstance(kind, str) else ""
    if word not in OPS:
        raise Refusal("bad_op", f"type ends with {word[:64]!r}; its last word must be one of {', '.join(OPS)}", "check")
    return OPS[word]


def _entity(identity: Identity, subject: Any, data: Mapping[str, Any]) -> tuple[Any, str]:
    if identity.id:
        return identity.entity_type, entity_id(values_of(data, identity.id))
    if not isinstance(subject, str):
        raise Refusal("bad_entity_id", "a CloudEvent without a subject; it names the entity", "check")
    if identity.entity_type is not None:
        return identity.entity_type, subject
    entity_type, _, id = subject.partition(":")
    return entity_type, id


def _text(event: Mapping[str, Any], name: str) -> str:
    text = event.get(name)
    if not isinstance(text, str) or not text:
        raise Refusal("bad_event_id", f"a CloudEvent without {name}", "check")
    return text
