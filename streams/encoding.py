"""Conflict -> the bytes of `schemas/conflict.avsc`."""

from __future__ import annotations

from typing import Final

from schemas.avro_binary import write_long, write_string, write_value
from streams.conflicts import Conflict
from streams.entity_codec import OP_INDEX, provenance

SCHEMA_ID: Final = 3
_HEADER: Final = b"\x00" + SCHEMA_ID.to_bytes(4, "big")
_KINDS: Final = (
    "delete_recently_updated",
    "update_recently_deleted",
    "insert_exists",
    "update_differing",
    "ambiguous_order",
    "update_origin_differs",
)
_OUTCOMES: Final = ("pending", "merge", "user", "apply_remote", "keep_local")


def encode_conflict(conflict: Conflict, policy_version: str, topic: str, partition: int, offset: int) -> bytes:
    """Bytes of a conflict record, framed; topic, partition and offset are those of the change that caused it."""
    change = conflict.change
    out = bytearray(_HEADER)
    write_string(out, conflict.conflict_id)
    write_string(out, change.entity_type)
    write_string(out, change.entity_id)
    write_string(out, conflict.field)
    out.append(_KINDS.index(conflict.kind) << 1)
    out.append(_OUTCOMES.index(conflict.outcome) << 1)
    write_string(out, conflict.resolver)
    write_string(out, policy_version)
    write_long(out, len(conflict.candidates))
    for write in conflict.candidates:
        out += provenance(write.dot)
        out.append(OP_INDEX[write.dot.op] << 1)
        write_value(out, write.value)
        out.append(write.told)
    out.append(0)
    if conflict.winner is None:
        out.append(0)
    else:
        out.append(2)
        out += provenance(conflict.winner.dot)
    write_value(out, "null" if conflict.value is None else conflict.value)
    write_string(out, change.source)
    write_long(out, change.version)
    write_string(out, topic)
    write_long(out, partition)
    write_long(out, offset)
    return bytes(out)
