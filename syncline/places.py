"""What each place of the system holds now, in lines that can be compared (SPEC section 7, `export`)."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass

from redis.asyncio import Redis

from agents import view
from agents.names import TopicNames
from agents.settings import Settings
from schemas.canonical import canonical
from schemas.codec import decode_record
from streams.effects import ViewRow
from streams.entity_codec import position_of
from streams.export import export_line, row_of_state
from streams.fold import Replay
from streams.policy import Policy
from syncline.topic_reader import read_topic


@dataclass(frozen=True, slots=True)
class Digest:
    """SHA-256 (hex) over a place's lines, each with its line feed, and their number."""

    place: str
    count: int
    sha256: str


async def view_lines(settings: Settings, policy: Policy) -> AsyncIterator[str]:
    """The lines of the Redis view. The settings must name a Redis."""
    assert settings.redis is not None, "the view needs settings.redis"
    async with Redis.from_url(settings.redis) as redis:
        async for key, document, contested in view.export(redis):
            yield export_line(key, document, contested)


async def records_lines(settings: Settings, policy: Policy) -> AsyncIterator[str]:
    """The lines of the topic `records`: its last record of each key, less those that are null."""
    names = TopicNames.with_prefix(settings.topic_prefix)
    for key, value in sorted((await newest_values(settings.kafka, names.records)).items()):
        record = decode_record(value)
        yield export_line(key.decode(), canonical(record.fields), canonical(record.contested))


async def table_lines(settings: Settings, policy: Policy) -> AsyncIterator[str]:
    """The lines of the table, judged again: of each key the state in its changelog that contains most."""
    names = TopicNames.with_prefix(settings.topic_prefix)
    states = await newest_states(settings.kafka, names.changelog)
    for line in _of_rows(row_of_state(key, state, policy) for key, state in sorted(states.items())):
        yield line


async def replay_lines(settings: Settings, policy: Policy) -> AsyncIterator[str]:
    """The lines of a fold of topic `changes`, from its beginning to where it ends now."""
    names = TopicNames.with_prefix(settings.topic_prefix)
    replay = Replay(policy, names.changes)
    async with aclosing(read_topic(settings.kafka, names.changes)) as batches:
        async for partition, records in batches:
            replay.feed(partition, records)
    for line in _of_rows(row for _, row in sorted(replay.rows.items())):
        yield line


PLACES: dict[str, Callable[[Settings, Policy], AsyncIterator[str]]] = {
    "view": view_lines,
    "records": records_lines,
    "table": table_lines,
    "replay": replay_lines,
}


async def digest(place: str, settings: Settings, policy: Policy) -> Digest:
    """The digest of what a place exports now."""
    sha, count = hashlib.sha256(), 0
    async for line in PLACES[place](settings, policy):
        sha.update(line.encode() + b"\n")
        count += 1
    return Digest(place, count, sha.hexdigest())


async def newest_values(kafka: str, topic: str, key: bytes | None = None) -> dict[bytes, bytes]:
    """The last value of each key, less the keys whose last value is null. key: of this one only."""
    values: dict[bytes, bytes] = {}
    async with aclosing(read_topic(kafka, topic, key)) as batches:
        async for _, records in batches:
            for record in records:
                if record.value is None:
                    values.pop(record.key, None)
                else:
                    values[record.key] = record.value
    return values


async def newest_states(kafka: str, topic: str, key: bytes | None = None) -> dict[bytes, bytes]:
    """Of each key the state whose position is the greatest, as the workers' recovery takes it."""
    states: dict[bytes, bytes] = {}
    async with aclosing(read_topic(kafka, topic, key)) as batches:
        async for _, records in batches:
            for record in records:
                if record.value is None or b":" not in record.key:  # of no entity, but of a whole partition
                    states.pop(record.key, None)
                    continue
                known = states.get(record.key)
                # A worker that was stopped for long may have written an older state after a newer one.
                if known is None or position_of(record.value) >= position_of(known):
                    states[record.key] = record.value
    return states


def _of_rows(rows: Iterable[ViewRow]) -> Iterable[str]:
    for row in rows:
        if row.doc is not None:
            yield export_line(row.key.decode(), row.doc, row.contested)
