"""The line that every place of the system can be compared by (SPEC section 7, `export` and `digest`)."""

from __future__ import annotations

from schemas.canonical import canonical, canonical_string
from schemas.golden_record import GoldenRecord
from streams.effects import ViewRow
from streams.entity_codec import decode_entity
from streams.golden import clock_text, document, golden, names_text
from streams.merge import judge
from streams.policy import Policy


def export_line(key: str, document_text: str, contested: str) -> str:
    """One canonical JSON line {"contested","fields","key"} of an entity that exists; the texts are canonical."""
    return f'{{"contested":{contested},"fields":{document_text},"key":{canonical_string(key)}}}'


def line_of_record(record: GoldenRecord) -> str:
    """The line of a record read from `records`."""
    return export_line(record.key, canonical(record.fields), canonical(record.contested))


def row_of_state(key: bytes, state: bytes, policy: Policy) -> ViewRow:
    """What the view should hold for a stored state. Raises StateCorrupt."""
    entity = decode_entity(state)
    rules = policy.of(key.decode().partition(":")[0])
    record = golden(entity, judge(entity, rules), rules)
    text = document(record) if record.exists else None
    return ViewRow(key, text, clock_text(record.clock), names_text(record.contested), entity.offset)
