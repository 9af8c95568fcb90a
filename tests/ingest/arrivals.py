"""What arrives in the tests of ingest, and what must come of it: the fold of the same arrivals, without any server."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from agents.settings import Settings
from schemas.canonical import canonical
from schemas.refusal import DEFAULT_LIMITS, Refusal
from streams.export import export_line
from streams.fold import Replay
from streams.hybrid_version import entry_version, next_version
from streams.ingest import Dropped, Stamp, Taken, take_form, take_record
from streams.policy import Policy, parse_policy
from streams.redis_entry import entry_id, read_entry
from syncline.places import digest
from tests import awaiting

LATE = 2**62
Arrived = Taken | Dropped | None


@dataclass(frozen=True, slots=True)
class Appended:
    """A record of `changes` as a fold takes it."""

    offset: int
    timestamp: int
    key: bytes
    value: bytes


def update(number: int, fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A change of customer `number` in its JSON form, without version, source and time."""
    return {"entity_type": "customer", "entity_id": str(number), "op": "update", "fields": fields, **more}


def folded(taken: Iterable[Arrived], policy: Policy) -> str:
    """Digest of the records that these changes come to, in this order and without a fault."""
    replay = Replay(policy, "changes")
    kept = [one for one in taken if isinstance(one, Taken)]
    replay.feed(0, [Appended(place, LATE, one.key, one.value) for place, one in enumerate(kept)])
    rows = [row for _, row in sorted(replay.rows.items()) if row.doc is not None]
    lines = "".join(export_line(row.key.decode(), row.doc or "", row.contested) + "\n" for row in rows)
    return hashlib.sha256(lines.encode()).hexdigest()


async def add(redis: Redis, stream: str, changes: Sequence[dict[str, Any]]) -> list[Arrived]:
    """Add changes as entries, in the form `change`; what each must become, given the id that Redis gave it."""
    async with redis.pipeline(transaction=False) as pipeline:
        for change in changes:
            pipeline.xadd(stream, {"change": canonical(change)})
        ids = await pipeline.execute()
    return [taken(id, {b"change": canonical(change).encode()}) for id, change in zip(ids, changes, strict=True)]


def taken(id: bytes, fields: dict[bytes, bytes], source: str = "shop") -> Arrived:
    """What an entry of a stream must become; None also for one that is refused."""
    milliseconds, sequence = entry_id(id)
    stamp = Stamp(source, entry_version(milliseconds, sequence), milliseconds)
    try:
        return take_form(read_entry(fields, DEFAULT_LIMITS), stamp, DEFAULT_LIMITS)
    except Refusal:
        return None


async def make_topic(kafka: str, name: str, partitions: int) -> None:
    """A topic of a source, as the source would make it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs={"retention.ms": "-1"})])
        assert all(code == 0 for _, code, *_ in answer.topic_errors), answer
    finally:
        await admin.close()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it holds; what is awaited happens in a server, which may be starting, or in a process of its own."""

    async def holds_by_now() -> bool:
        with suppress(KafkaError, RedisError):
            return await holds()
        return False

    await awaiting.until(holds_by_now)


async def produce(
    kafka: str, topic: str, rows: Sequence[tuple[int, bytes | None, bytes | None]], timestamp_ms: int | None = None
) -> None:
    """Send rows (partition, key, value) in their order. timestamp_ms: of each, None for now."""
    async with AIOKafkaProducer(bootstrap_servers=kafka, acks="all") as producer:
        sent = [await producer.send(topic, value, key, partition, timestamp_ms) for partition, key, value in rows]
        for one in sent:
            await one


async def digest_of(place: str, settings: Settings, policy: Policy | None = None) -> str:
    """Digest of what a place of the deployment holds now."""
    return (await digest(place, settings, policy or parse_policy({}))).sha256


def taken_records(records: Iterable[Any], source: str) -> list[Arrived]:
    """What the records of a source's topic must become, each partition's in their order; None for what is refused."""
    versions: dict[int, int] = {}
    found: list[Arrived] = []
    for record in records:
        version = versions[record.partition] = next_version(versions.get(record.partition, 0), record.timestamp)
        try:
            found.append(take_record(record.value, Stamp(source, version, record.timestamp), DEFAULT_LIMITS))
        except Refusal:
            found.append(None)
    return found
