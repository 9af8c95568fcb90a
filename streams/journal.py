"""What the change log keeps of each record of `changes` and `conflicts`: one row, and what is counted of it.

A row is keyed by where its record stands in Kafka, so writing it twice is writing it once. Values of personal fields
are masked before they get here to stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Final, Literal, NamedTuple

from schemas.canonical import canonical, canonical_string, parse
from schemas.codec import decode_conflict
from schemas.conflict import Conflict
from schemas.fast import decode_change
from schemas.refusal import Refusal
from schemas.wire import WireChange
from streams.admission import NULL_KEY, admit, entity_key
from streams.effects import InputRecord
from streams.masking import masked, stands_masked
from streams.policy import Policy

#: Kinds of rows beside the operations of changes and the kinds of conflicts.
REFUSED: Final = "refused"
UNREADABLE: Final = "unreadable"

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
#: A time beyond is no time: what producers give where the broker does not stamp. Every store holds it exactly.
LATEST_MS: Final = 2**52

#: What an index takes of a name; a longer one is cut and told apart by its hash.
NAME_BYTES: Final = 600
KEPT_CHARACTERS: Final = 100
HASH_DIGITS: Final = 16

Dimension = Literal["kind", "source", "field"]
DIMENSIONS: Final[tuple[Dimension, ...]] = ("kind", "source", "field")

Tally = dict[tuple[int, Dimension, str], int]
"""(hour since 1970 in UTC, what is counted, its name) -> how many records."""


class JournalRow(NamedTuple):
    """One record. topic: full name. at_ms: when Kafka appended it. body: whatever else there is to show, as JSON.

    kind: the operation of a change, the kind of a conflict, REFUSED or UNREADABLE. source: who wrote the change, or the
    one that caused the conflict; empty where nobody can tell. fields: those that were written, or are in conflict.
    targets: of a conflict, the other sources in it. conflict_id: of conflicts; the later of two replaces the earlier.
    """

    topic: str
    partition: int
    offset: int
    at_ms: int
    entity: str
    kind: str
    source: str
    fields: tuple[str, ...]
    targets: tuple[str, ...]
    conflict_id: str | None
    body: str


class Hour(NamedTuple):
    """A counter as a store keeps it. hour: since 1970 in UTC."""

    hour: int
    name: str
    records: int


class Count(NamedTuple):
    """How many records a name stands for. at_ms: the begin of the hour or day, None where all time is one."""

    at_ms: int | None
    name: str
    records: int


def change_row(topic: str, partition: int, record: InputRecord, policy: Policy, key: bytes | None) -> JournalRow:
    """The row of a record of `changes`. key: as `masked` takes it.

    What the worker refuses by the record alone (decoding, key, source, clock) is REFUSED with its reason. What it
    refuses for the state of the entity, it alone can tell: here that is a change, in dead letters it has its reason.
    """
    change: WireChange | None = None
    refusal: Refusal | None = None
    try:
        if record.key is None:
            raise Refusal("null_key", NULL_KEY, "check")
        name = entity_key(record.key)
        if record.value is None:
            raise Refusal("null_value", "the record has no value", "check")
        change = decode_change(record.value, policy.limits)
        admit(change, name, record.timestamp, policy)
    except Refusal as error:
        refusal = error
    told = "{}" if change is None else _change_body(change, policy, key)
    if refusal is not None:
        told = canonical({**parse(told), "reason": refusal.reason, "stage": refusal.stage})
    return JournalRow(
        topic=topic,
        partition=partition,
        offset=record.offset,
        at_ms=_time(record.timestamp),
        entity=indexed((record.key or b"").decode(errors="backslashreplace")),
        kind=REFUSED if refusal is not None or change is None else change.op,
        source="" if change is None else indexed(change.source),
        fields=() if change is None else tuple(indexed(name) for name in sorted(change.fields)),
        targets=(),
        conflict_id=None,
        body=told,
    )


def conflict_row(topic: str, partition: int, record: InputRecord, policy: Policy, key: bytes | None) -> JournalRow:
    """The row of a record of `conflicts`. key: as `masked` takes it. One that is none of ours is UNREADABLE."""
    conflict: Conflict | None = None
    with suppress(Refusal):
        conflict = decode_conflict(record.value or b"")
    sources = set() if conflict is None else {one.source for one in conflict.candidates} - {conflict.caused_by.source}
    return JournalRow(
        topic=topic,
        partition=partition,
        offset=record.offset,
        at_ms=_time(record.timestamp),
        entity=indexed((record.key or b"").decode(errors="backslashreplace")),
        kind=UNREADABLE if conflict is None else conflict.kind,
        source="" if conflict is None else indexed(conflict.caused_by.source),
        fields=() if conflict is None else (indexed(conflict.field),),
        targets=tuple(indexed(source) for source in sorted(sources)),
        conflict_id=None if conflict is None else conflict.conflict_id,
        body="{}" if conflict is None else _conflict_body(conflict, policy, key),
    )


def indexed(name: str) -> str:
    """A name as rows and queries have it: itself, or for a very long one its beginning and a hash."""
    size = len(name.encode(errors="backslashreplace"))
    if size <= NAME_BYTES:
        return name
    return f"{name[:KEPT_CHARACTERS]}…{sha256(name.encode(errors='backslashreplace')).hexdigest()[:HASH_DIGITS]}"


def tally(rows: Iterable[JournalRow]) -> Tally:
    """What is counted of rows: each record once under its kind and source, and once under each of its fields."""
    counts: Counter[tuple[int, Dimension, str]] = Counter()
    for row in rows:
        hour = row.at_ms // HOUR_MS
        counts[hour, "kind", row.kind] += 1
        counts[hour, "source", row.source] += 1
        for name in row.fields:
            counts[hour, "field", name] += 1
    return dict(counts)


def per(hours: Iterable[Hour], period_ms: int | None) -> list[Count]:
    """Counters added up: for each HOUR_MS, DAY_MS, or, for None, for all time; the newest first, then by name."""
    sums: Counter[tuple[int | None, str]] = Counter()
    for hour, name, records in hours:
        sums[None if period_ms is None else hour * HOUR_MS // period_ms * period_ms, name] += records
    return [Count(at, name, sums[at, name]) for at, name in sorted(sums, key=lambda one: (-(one[0] or 0), one[1]))]


def newest_of_each_conflict(rows: Iterable[JournalRow]) -> list[JournalRow]:
    """Rows without those of conflicts that come again further on. rows: in the order of their offsets."""
    last: dict[object, JournalRow] = {}
    for row in rows:
        last[row.conflict_id or (row.partition, row.offset)] = row
    return sorted(last.values(), key=lambda row: (row.partition, row.offset))


def _time(timestamp: int) -> int:
    return min(max(timestamp, 0), LATEST_MS)


def _change_body(change: WireChange, policy: Policy, key: bytes | None) -> str:
    personal = policy.of(change.entity_type).personal
    values = _object({name: masked(text, key) if name in personal else text for name, text in change.fields.items()})
    # Values are canonical JSON already, and to parse them only to write them again costs more than all the rest.
    return (
        f'{{"event_id":{canonical_string(change.event_id)},"occurred_at":{change.occurred_at},'
        f'"seen":{canonical(change.seen)},"values":{values},"version":{change.version}}}'
    )


def hidden_conflict(conflict: Conflict, policy: Policy, key: bytes | None) -> Conflict:
    """The conflict with its values masked if its field is personal. key: as `masked` takes it."""
    if conflict.field not in policy.of(conflict.entity_type).personal:
        return conflict
    candidates = [one.model_copy(update={"value": _hidden(one.value, key)}) for one in conflict.candidates]
    return conflict.model_copy(update={"value": _hidden(conflict.value, key), "candidates": candidates})


def _conflict_body(conflict: Conflict, policy: Policy, key: bytes | None) -> str:
    named = {"conflict_id", "entity_type", "entity_id", "field", "kind"}
    return canonical(hidden_conflict(conflict, policy, key).model_dump(exclude=named))


def _hidden(value: object, key: bytes | None) -> object:
    # The worker has masked it already, unless the field was not personal then.
    text = canonical(value)
    hidden: object = value if stands_masked(text) else parse(masked(text, key))
    return hidden


def _object(texts: Mapping[str, str]) -> str:
    return "{" + ",".join(f"{canonical_string(name)}:{texts[name]}" for name in sorted(texts)) + "}"
