"""The account of a fault run: what became of every offset of `changes`, read from Kafka alone.

It knows what was published and what the topics hold, and compares the two by tests/oracle.py, which shares no
code with the engine.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from aiokafka import ConsumerRecord

from agents.dead_letters import CONNECT
from agents.fencing import FENCE_KEY
from agents.names import TopicNames
from agents.ranges import APPLIED_KEY, POLICY_KEY
from agents.settings import Settings
from schemas.codec import decode_conflict, decode_record
from streams.entity import Entity
from streams.entity_codec import decode_entity
from streams.export import export_line, row_of_state
from streams.policy import Policy
from syncline.topic_reader import read_topic
from tests import oracle
from tests.faults.load import Item

Log = dict[int, list[ConsumerRecord]]
#: One in so many entities.
CONFLICTS_SAMPLED = 6
TOUCHED, BURIED = "*touch", "*tombstone"


@dataclass(frozen=True, slots=True)
class Topics:
    """All records of a deployment's topics, by partition and in order."""

    changes: Log
    changelog: Log
    dead_letters: Log
    conflicts: Log
    records: Log


@dataclass(slots=True)
class Ledger:
    """Where each offset of `changes` went. notes: the first words about whatever is wrong."""

    kinds: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def book(self, kind: str, note: str = "", times: int = 1) -> None:
        """Count one offset, or one thing that no offset explains; what is wrong has a note."""
        self.kinds[kind] += times
        if note and len(self.notes) < 20:
            self.notes.append(f"{kind}: {note}")


@dataclass(frozen=True, slots=True)
class Rewrites:
    """What was written to a compacted topic besides news. repeated: as new as what was there (a replay after a
    crash); stale: older than that; surviving: keys whose last record is a stale one."""

    repeated: int
    stale: int
    surviving: int


async def read_topics(settings: Settings) -> Topics:
    """Everything that the deployment's topics hold now."""
    names = TopicNames.with_prefix(settings.topic_prefix)
    wanted = (names.changes, names.changelog, names.dead_letters, names.conflicts, names.records)
    topics = Topics(*await asyncio.gather(*(read_log(settings.kafka, topic) for topic in wanted)))
    for records in topics.changelog.values():
        # One of these is in each partition, and a key has one partition in what follows.
        records[:] = [record for record in records if record.key not in (APPLIED_KEY, FENCE_KEY, POLICY_KEY)]
    return topics


async def read_log(kafka: str, topic: str) -> Log:
    """All records of a topic."""
    log: Log = {}
    async with aclosing(read_topic(kafka, topic)) as batches:
        async for partition, records in batches:
            log.setdefault(partition, []).extend(records)
    return log


def folded(log: Log) -> dict[bytes, bytes]:
    """A compacted topic as compaction leaves it: the last value of each key, less the nulls."""
    last = {record.key: record.value for records in log.values() for record in records}
    return {key: value for key, value in last.items() if value is not None}


def rewrites(log: Log, position: Callable[[bytes], int]) -> Rewrites:
    """How often a record was written that was not newer than one of its key before. position: of a value."""
    newest: dict[bytes, int] = {}
    last: dict[bytes, int] = {}
    repeated = stale = 0
    for record in (record for records in log.values() for record in records):
        before = newest.get(record.key, -1)
        now = before if record.value is None else position(record.value)
        repeated += now == before and record.value is not None
        stale += now < before
        newest[record.key], last[record.key] = max(now, before), now
    return Rewrites(repeated, stale, sum(last[key] < newest[key] for key in last))


def position_of_record(value: bytes) -> int:
    """The offset of the change that a golden record reflects."""
    return decode_record(value).position.offset


def account(topics: Topics, items: Iterable[Item]) -> Ledger:
    """Books every offset of `changes` as applied, superseded, duplicate, quarantined, or lost or unexplained."""
    ledger = Ledger()
    known = {(item.key, item.value): item for item in items}
    states = {key: decode_entity(value) for key, value in folded(topics.changelog).items()}
    held = {key: versions_of(state) for key, state in states.items()}
    letters = places_of_letters(topics.dead_letters)
    met: set[tuple[bytes, str, int]] = set()
    for partition, records in topics.changes.items():
        for expected, record in enumerate(records):
            where = f"offset {record.offset} of partition {partition}"
            if record.offset != expected:
                ledger.book("unexplained", f"{where} comes where {expected} is expected")
            item = known.get((record.key, record.value))
            refused = letters.pop((partition, record.offset), 0)
            if item is None:
                ledger.book("unexplained", f"{where} was published by nobody")
            elif item.change is None:
                ledger.book("quarantined" if refused else "lost", "" if refused else f"bad record at {where}")
            elif refused:
                ledger.book("unexplained", f"the good change at {where} is in dead letters")
            else:
                dot = (item.key, item.change["source"], item.change["version"])
                kind = fate_of(item.change, held.get(item.key, {}), repeated=dot in met)
                ledger.book(kind, f"{dot} at {where}" if kind == "lost" else "")
                met.add(dot)
    for place in letters:
        ledger.book("unexplained", f"dead letters name {place}, which is no offset of changes")
    for key, version in phantoms(held, met):
        ledger.book("unexplained", f"the state of {key!r} holds {version}, which nobody published")
    return ledger


def fate_of(change: Mapping[str, Any], held: Mapping[tuple[str, str], int], *, repeated: bool) -> str:
    """What became of a change, by the versions that its entity's state holds of each of its parts."""
    own = change["version"]
    found = [held.get((part, change["source"]), -1) for part in parts_of(change)]
    if min(found) < own:
        return "lost"
    if repeated:
        return "duplicate"
    return "applied" if own in found else "superseded"


def parts_of(change: Mapping[str, Any]) -> list[str]:
    """What a change says something about: its fields, and that the entity is there, or is deleted."""
    if change["op"] == "delete":
        return [BURIED]
    return [TOUCHED, *oracle.writes_of(dict(change))]


def versions_of(state: Entity) -> dict[tuple[str, str], int]:
    """(part, source) -> the newest version that a state holds."""
    parts = {TOUCHED: state.touches, BURIED: state.tombstones, **state.fields}
    return {(part, write.dot.source): write.dot.version for part, writes in parts.items() for write in writes}


def phantoms(
    held: Mapping[bytes, Mapping[tuple[str, str], int]], published: set[tuple[bytes, str, int]]
) -> list[tuple[bytes, tuple[str, int]]]:
    """Versions in the states that no change of the log has."""
    dots = {(key, source, version) for key, parts in held.items() for (_, source), version in parts.items()}
    return [(key, (source, version)) for key, source, version in sorted(dots - published)]


def places_of_letters(dead_letters: Log) -> Counter[tuple[int, int]]:
    """Partition and offset that dead letters name, with how many letters name them."""
    places: Counter[tuple[int, int]] = Counter()
    for records in dead_letters.values():
        for record in records:
            headers = dict(record.headers)
            places[int(headers[CONNECT + "partition"]), int(headers[CONNECT + "offset"])] += 1
    return places


def differing_records(records: Log, histories: Sequence[dict[str, Any]], policy: dict[str, Any]) -> list[str]:
    """Keys whose golden record is not what the oracle makes of their whole history."""
    golden = {key.decode(): decode_record(value) for key, value in folded(records).items()}
    found = {key: (record.fields, list(record.contested)) for key, record in golden.items()}
    expected = {
        key: (one.fields, list(one.contested)) for key, one in oracle.golden(histories, policy).items() if one.exists
    }
    return sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))


def differing_conflicts(conflicts: Log, histories: Sequence[dict[str, Any]], policy: dict[str, Any]) -> list[str]:
    """Ids of conflicts that were told and should not be, or should be and were not; histories: in log order.

    Only those of sampled entities: the oracle makes each state anew from the whole history, which is slow.
    """
    ours = [change for change in histories if sampled(oracle.key_of(change).encode())]
    records = [record for log in conflicts.values() for record in log if sampled(record.key)]
    told = {decode_conflict(record.value).conflict_id for record in records}
    return sorted(told ^ {one["conflict_id"] for one in oracle.conflicts(ours, policy)})


def sampled(key: bytes) -> bool:
    """Whether an entity's conflicts are compared."""
    return zlib.crc32(key) % CONFLICTS_SAMPLED == 0


def changelog_lines(changelog: Log, policy: Policy) -> list[str]:
    """The lines of the table as somebody gets them who has nothing but the compacted changelog."""
    rows = [row_of_state(key, state, policy) for key, state in sorted(folded(changelog).items())]
    return [export_line(row.key.decode(), row.doc, row.contested) for row in rows if row.doc is not None]
