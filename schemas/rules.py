"""What every change must satisfy, whichever way it came in (SPEC sections 1, 2 and 5)."""

from __future__ import annotations

import re
from typing import Final

from schemas.refusal import Limits, Refusal
from schemas.strict_json import nesting
from schemas.wire import WireChange

ENTITY_ID_BYTES: Final = 256
ENTITY_TYPE_BYTES: Final = 256
#: The source that says of fields that are weighed by age what time it is, and nothing else.
CLOCK: Final = "syncline:clock"
OPS: Final = ("create", "update", "delete", "snapshot")
_ENTITY_TYPE: Final = re.compile(r"[a-z][a-z0-9_]*")
MOST_TYPES: Final = 1_000
_good_types: Final[set[str]] = set()


def check_change(change: WireChange, limits: Limits) -> None:
    """Refuse (stage check) a change that breaks a rule or a limit; the message has no field value in it."""
    fields = change.fields
    _check_head(change)
    if change.source == CLOCK:
        _check_clock(change)
    if change.seen is not None:
        _check_seen(change.seen, limits.seen)
    if change.op == "delete" and fields:
        raise _refusal("bad_op", f"a delete carries {len(fields)} fields; a delete carries none")
    if fields:
        _check_values("fields", fields, limits)
    if change.before:
        _check_values("before", change.before, limits)


def _refusal(reason: str, message: str) -> Refusal:
    return Refusal(reason, message, "check")


def _check_head(change: WireChange) -> None:
    # An expression is slow for a word that is nearly always the one before.
    if change.entity_type not in _good_types and not _is_entity_type(change.entity_type):
        raise _refusal(
            "bad_entity_type",
            f"entity_type is {change.entity_type[:64]!r}; it must match [a-z][a-z0-9_]* and have at most"
            f" {ENTITY_TYPE_BYTES} bytes",
        )
    size = len(change.entity_id)
    if size == 0 or size > ENTITY_ID_BYTES or (size > 64 and len(change.entity_id.encode()) > ENTITY_ID_BYTES):
        raise _refusal(
            "bad_entity_id",
            f"entity_id has {size} characters; it must have 1 to {ENTITY_ID_BYTES} bytes of UTF-8",
        )
    if not change.event_id:
        raise _refusal("bad_event_id", "event_id is empty; it must be unique per change")
    if not change.source:
        raise _refusal("bad_source", "source is empty; it must name the system that wrote")
    if change.source[0] == "*":
        raise _refusal("bad_source", f"source is {change.source[:64]!r}; names that begin with * are reserved")
    if change.version <= 0:
        raise _refusal("bad_version", f"version is {change.version}; it must be above 0 and rise per source and entity")
    if change.op not in OPS:
        raise _refusal("bad_op", f"op is {change.op[:64]!r}; it must be one of {', '.join(OPS)}")


def _check_clock(change: WireChange) -> None:
    values = set(change.fields.values())
    if change.op != "update" or values != {"null"} or change.seen is not None or change.before is not None:
        raise _refusal(
            "bad_source",
            f"source is {CLOCK!r}, which says what time it is; its changes are updates of one field or more to null,"
            " without seen and before",
        )


def _is_entity_type(name: str) -> bool:
    if len(name) > ENTITY_TYPE_BYTES or _ENTITY_TYPE.fullmatch(name) is None:
        return False
    if len(_good_types) < MOST_TYPES:
        _good_types.add(name)
    return True


def _check_seen(seen: dict[str, int], limit: int) -> None:
    if len(seen) > limit:
        raise _refusal("too_many_seen", f"seen has {len(seen)} entries; at most {limit} are allowed")
    for source, version in seen.items():
        if version < 0:
            raise _refusal("bad_version", f"seen of {source[:64]!r} is {version}; it must be 0 or above")


def _check_values(place: str, values: dict[str, str], limits: Limits) -> None:
    if len(values) > limits.fields:
        raise _refusal("too_many_fields", f"{place} has {len(values)} entries; at most {limits.fields} are allowed")
    if "" in values or "*" in values:
        raise _refusal("bad_field_name", f"{place} names a field '' or '*'; a field's name is neither")
    # One character is at most four bytes: only what is long enough need be encoded to be measured.
    long_enough = limits.value_bytes // 4
    for name, text in values.items():
        if len(text) > long_enough and len(text.encode()) > limits.value_bytes:
            raise _refusal(
                "value_too_large",
                f"{place}.{name[:64]} is over {limits.value_bytes} bytes; store a reference instead",
            )
        first = text[0]
        if (first == "[" or first == "{") and nesting(text, limits.depth) > limits.depth:
            raise _refusal(
                "too_deep",
                f"{place}.{name[:64]} is nested deeper than {limits.depth}; flatten it",
            )
