"""Golden records and conflicts -> the bytes of their schemas.

A source's writes stay in an entity's state over many batches, and a dot stands beside every field that it wins. So
the bytes of a value and of a dot are made once and kept with them (streams/entity.py).
"""

from __future__ import annotations

from typing import Final, get_args

from librt.strings import BytesWriter

from schemas.avro_binary import encode_value, write_long, write_string, write_value
from schemas.conflict import Kind, Outcome
from schemas.released import newest
from schemas.rules import OPS
from streams.causality import Clock
from streams.conflicts import Conflict
from streams.entity import Entity
from streams.golden import Golden
from streams.masking import masked
from streams.names import name_of

END: Final = 0
OP_INDEX: Final = {op: index for index, op in enumerate(OPS)}

_RECORD_FRAME: Final[bytes] = newest("GoldenRecord").frame
_CONFLICT_FRAME: Final[bytes] = newest("Conflict").frame
_KINDS: Final[tuple[str, ...]] = get_args(Kind)
_OUTCOMES: Final[tuple[str, ...]] = get_args(Outcome)


def spread_dots(entity: Entity) -> int:
    """Bytes of the dots of all writes of a state, each as often as records and conflicts may repeat it."""
    total = 0
    for writes in (entity.touches, entity.tombstones, *entity.fields.values()):
        for write in writes:
            total += len(write.dot.encoded)
    return total


def write_clock(out: BytesWriter, clock: Clock) -> None:
    """Append a map of source to version."""
    if clock:
        write_long(out, len(clock))
        for source, version in clock.items():
            out.write(name_of(source).encoded)
            write_long(out, version)
    out.append(END)


def encode_record(
    record: Golden, entity_type: str, entity_id: str, policy_version: str, topic: str, partition: int, offset: int
) -> bytes:
    """Bytes of a golden record, framed; topic, partition and offset are those of the change that produced it."""
    out, provenance = BytesWriter(), BytesWriter()
    out.write(_RECORD_FRAME)
    out.write(name_of(entity_type).encoded)
    write_string(out, entity_id)
    fields = record.fields
    if fields:
        write_long(out, len(fields))
        write_long(provenance, len(fields))
        for name, verdict in fields.items():
            encoded, value, made_by = name_of(name).encoded, verdict.value, verdict.made_by
            assert value is not None, "a golden record has the fields that have a value"
            out.write(encoded)
            out.write(made_by[0].encoded if value == made_by[0].value else encode_value(value))
            provenance.write(encoded)
            write_long(provenance, len(made_by))
            for write in made_by:
                provenance.write(write.dot.encoded)
            provenance.append(END)
    out.append(END)
    out.write(provenance.getvalue())
    out.append(END)
    write_clock(out, record.clock)
    _write_names(out, record.contested)
    _write_names(out, record.pending)
    out.write(name_of(policy_version).encoded)
    _write_place(out, topic, partition, offset)
    return out.getvalue()


def encode_conflict(
    conflict: Conflict,
    policy_version: str,
    topic: str,
    partition: int,
    offset: int,
    personal: bool = False,
    masking_key: bytes | None = None,
) -> bytes:
    """Bytes of a conflict, framed; topic, partition and offset are those of the change that caused it.

    personal: its values are masked, under the key.
    """
    change = conflict.change
    out = BytesWriter()
    out.write(_CONFLICT_FRAME)
    write_string(out, conflict.conflict_id)
    out.write(name_of(change.entity_type).encoded)
    write_string(out, change.entity_id)
    out.write(name_of(conflict.field).encoded)
    write_long(out, _KINDS.index(conflict.kind))
    write_long(out, _OUTCOMES.index(conflict.outcome))
    out.write(name_of(conflict.resolver).encoded)
    out.write(name_of(policy_version).encoded)
    write_long(out, len(conflict.candidates))
    for write in conflict.candidates:
        out.write(write.dot.encoded)
        write_long(out, OP_INDEX[write.dot.op])
        out.write(encode_value(masked(write.value, masking_key)) if personal else write.encoded)
        out.append(1 if write.told else 0)
    out.append(END)
    if conflict.winner is None:
        out.append(END)
    else:
        out.append(2)
        out.write(conflict.winner.dot.encoded)
    value = "null" if conflict.value is None else conflict.value
    write_value(out, masked(value, masking_key) if personal else value)
    out.write(name_of(change.source).encoded)
    write_long(out, change.version)
    _write_place(out, topic, partition, offset)
    write_long(out, conflict.left_out)
    return out.getvalue()


def _write_place(out: BytesWriter, topic: str, partition: int, offset: int) -> None:
    out.write(name_of(topic).encoded)
    write_long(out, partition)
    write_long(out, offset)


def _write_names(out: BytesWriter, names: list[str]) -> None:
    if names:
        write_long(out, len(names))
        for name in names:
            out.write(name_of(name).encoded)
    out.append(END)
