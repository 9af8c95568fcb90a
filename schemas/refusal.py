"""Why a record is refused: the closed table of dead-letter reasons, and the limits (SPEC section 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Stage = Literal["decode", "check", "resolve"]

REASONS: Final[dict[str, str]] = {
    "not_avro": "No framed Avro record: wrong magic byte, a body its schema cannot read, bytes left over.",
    "unknown_schema": "The schema id is not in the table of released schemas, or is another record's.",
    "truncated": "The record ends before its schema says so.",
    "null_key": "The record has no key; the key is the entity key, entity_type:entity_id.",
    "null_value": "The record has no value; a deletion is a change whose op is delete.",
    "not_utf8": "A string, or the record's key, is not valid UTF-8.",
    "key_mismatch": "The record's key is not the entity key of the change in it.",
    "bad_entity_type": "entity_type does not match [a-z][a-z0-9_]*, or is longer than 256 bytes.",
    "bad_entity_id": "entity_id is empty or longer than 256 bytes.",
    "bad_event_id": "event_id is empty.",
    "bad_source": "source is empty, or begins with *, which is reserved.",
    "bad_field_name": "A field's name is empty or *, which stands for existence.",
    "bad_version": "version is not above 0, or a version in seen is below 0.",
    "bad_op": "op is none of create, update, delete and snapshot, or a delete carries fields.",
    "bad_value": "Not a JSON value: NaN, infinity, a lone surrogate, an integer beyond 64 bits, broken text.",
    "bad_time": "occurred_at is neither an integer of ms since the epoch nor RFC 3339 with a zone.",
    "bad_shape": "The JSON is no change event: a field is missing, unknown, or of another type.",
    "too_large": "The change has more bytes than the limit.",
    "value_too_large": "A value's canonical JSON has more bytes than the limit.",
    "too_deep": "A value is nested deeper than the limit.",
    "too_many_fields": "fields or before has more entries than the limit.",
    "too_many_seen": "seen has more entries than the limit.",
    "unknown_source": "The policy lists its sources, and this is none of them.",
    "foreign_source": "The change names another source than the one whose topic or stream it came on.",
    "bad_reply": "in_reply_to is not what was delivered about this entity: its key, fields and clock.",
    "clock_skew": "occurred_at is further ahead of the append time than max_future.",
    "wrong_type": "The policy gives the field a type, and the value has another one.",
    "too_many_sources": "The entity has changes of as many sources as seen may have entries, and this is another one.",
    "state_too_large": "The entity's state would have more bytes than the limit.",
    "bad_command": "The command cannot be carried out as it stands.",
    "superseded": "What the command decides is no more as the person saw it.",
    "not_caught_up": "The worker has not read all changes yet, so it cannot tell what a command would decide.",
}


class Refusal(ValueError):
    """A record that goes to dead letters.

    reason: a key of REASONS. stage: where it was refused. The message names the place and what would be
    right, and no field value, since it travels in a header and in logs.
    """

    def __init__(self, reason: str, message: str, stage: Stage = "decode") -> None:
        if reason not in REASONS:
            raise KeyError(f"{reason!r} is no reason; the reasons are {', '.join(REASONS)}")
        super().__init__(message)
        self.reason = reason
        self.stage: Stage = stage

    def __reduce__(self) -> tuple[type[Refusal], tuple[str, str, Stage]]:
        return Refusal, (self.reason, str(self), self.stage)


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused as too much (SPEC section 5).

    change_bytes: of a record's value with its framing. value_bytes: of one value's canonical JSON. depth: of
    arrays and objects in a value, a scalar having 0. fields: entries of fields, and of before. seen: its entries,
    and so the sources of one entity. state_bytes: of one entity's encoded state.
    """

    change_bytes: int = 262_144
    value_bytes: int = 65_536
    depth: int = 32
    fields: int = 1_000
    seen: int = 256
    state_bytes: int = 524_288


DEFAULT_LIMITS: Final = Limits()
