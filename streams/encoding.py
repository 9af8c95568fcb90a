"""Golden records and conflicts -> the bytes of their schemas.

A source's writes stay in an entity's state over many batches, and a dot stands beside every field that it wins. So
the bytes of a value and of a dot are made once and kept with them.
"""

from __future__ import annotations

from typing import Final, get_args

from schemas.avro_binary import encode_long, encode_string, encode_value
from schemas.conflict import Kind, Outcome
from schemas.released import newest
from schemas.rules import OPS
from streams.causality import Clock
from streams.conflicts import Conflict
from streams.entity import Dot, Write
from streams.golden import Golden

END: Final = b"\x00"
OP_INDEX: Final = {op: index for index, op in enumerate(OPS)}
# Names of fields and sources are few and come again and again; a producer that invents them must not fill memory.
MOST_NAMES: Final = 10_000

_RECORD_FRAME: Final[bytes] = newest("GoldenRecord").frame
_CONFLICT_FRAME: Final[bytes] = newest("Conflict").frame
_KINDS: Final[tuple[str, ...]] = get_args(Kind)
_OUTCOMES: Final[tuple[str, ...]] = get_args(Outcome)
_names: Final[dict[str, bytes]] = {}


def encode_name(name: str) -> bytes:
    """Bytes of a string that comes often."""
    encoded = _names.get(name)
    if encoded is None:
        if len(_names) >= MOST_NAMES:
            _names.clear()
        encoded = _names[name] = encode_string(name)
    return encoded


def dot_bytes(dot: Dot) -> bytes:
    """Source, version, occurred_at and event_id, as Provenance, Candidate and KnownDot begin."""
    encoded = dot.encoded
    if encoded is None:
        encoded = dot.encoded = b"".join(
            [
                encode_name(dot.source),
                encode_long(dot.version),
                encode_long(dot.occurred_at),
                encode_string(dot.event_id),
            ]
        )
    return encoded


def value_bytes(write: Write) -> bytes:
    """The write's value as the Value union."""
    encoded = write.encoded
    if encoded is None:
        encoded = write.encoded = encode_value(write.value)
    return encoded


def encode_clock(clock: Clock) -> bytes:
    """A map of source to version."""
    parts: list[bytes] = []
    if clock:
        parts.append(encode_long(len(clock)))
        for source, version in clock.items():
            parts.append(encode_name(source))
            parts.append(encode_long(version))
    parts.append(END)
    return b"".join(parts)


def encode_record(
    record: Golden, entity_type: str, entity_id: str, policy_version: str, topic: str, partition: int, offset: int
) -> bytes:
    """Bytes of a golden record, framed; topic, partition and offset are those of the change that produced it."""
    out = [_RECORD_FRAME, encode_name(entity_type), encode_string(entity_id)]
    provenance: list[bytes] = []
    if record.fields:
        count = encode_long(len(record.fields))
        out.append(count)
        provenance.append(count)
        for name, value, made_by in record.fields:
            encoded = encode_name(name)
            out.append(encoded)
            out.append(value_bytes(made_by[0]) if value == made_by[0].value else encode_value(value))
            provenance.append(encoded)
            provenance.append(encode_long(len(made_by)))
            for write in made_by:
                provenance.append(dot_bytes(write.dot))
            provenance.append(END)
    out.append(END)
    out += provenance
    out += [
        END,
        encode_clock(record.clock),
        _encode_names(record.contested),
        _encode_names(record.pending),
        encode_name(policy_version),
        encode_name(topic),
        encode_long(partition),
        encode_long(offset),
    ]
    return b"".join(out)


def encode_conflict(conflict: Conflict, policy_version: str, topic: str, partition: int, offset: int) -> bytes:
    """Bytes of a conflict, framed; topic, partition and offset are those of the change that caused it."""
    change = conflict.change
    out = [
        _CONFLICT_FRAME,
        encode_string(conflict.conflict_id),
        encode_name(change.entity_type),
        encode_string(change.entity_id),
        encode_name(conflict.field),
        encode_long(_KINDS.index(conflict.kind)),
        encode_long(_OUTCOMES.index(conflict.outcome)),
        encode_name(conflict.resolver),
        encode_name(policy_version),
        encode_long(len(conflict.candidates)),
    ]
    for write in conflict.candidates:
        out.append(dot_bytes(write.dot))
        out.append(encode_long(OP_INDEX[write.dot.op]))
        out.append(value_bytes(write))
        out.append(b"\x01" if write.told else b"\x00")
    out.append(END)
    if conflict.winner is None:
        out.append(END)
    else:
        out.append(b"\x02")
        out.append(dot_bytes(conflict.winner.dot))
    out += [
        encode_value("null" if conflict.value is None else conflict.value),
        encode_name(change.source),
        encode_long(change.version),
        encode_name(topic),
        encode_long(partition),
        encode_long(offset),
    ]
    return b"".join(out)


def _encode_names(names: list[str]) -> bytes:
    if not names:
        return END
    return encode_long(len(names)) + b"".join([encode_name(name) for name in names]) + END
