"""Whether a run's outputs are right: digests of what it wrote and of what a pure fold of the same changes gives."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
import redis.asyncio
from aiokafka import ConsumerRecord

from agents import view
from benchmarks.job import POLICY
from benchmarks.peers.fold import VIEW_PREFIX, State, fold, golden, new_state
from schemas.codec import decode_record
from streams.export import export_line, line_of_record
from streams.fold import Replay
from streams.policy import parse_policy

Records = Mapping[int, Sequence[ConsumerRecord[Any, Any]]]


def digest(lines: Iterable[str]) -> str:
    """SHA-256 over the sorted lines."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def last_values(records: Records) -> dict[bytes, bytes | None]:
    """The newest value of each key."""
    return {record.key: record.value for partition in records.values() for record in partition}


class Incoming(NamedTuple):
    """A record of `changes` as it will stand in its partition."""

    offset: int
    timestamp: int
    key: bytes
    value: bytes


def incoming(rows: Iterable[tuple[bytes, bytes]]) -> list[Incoming]:
    """The rows of one partition as records that were appended just now."""
    now_ms = round(time.time() * 1_000)
    return [Incoming(offset, now_ms, key, value) for offset, (key, value) in enumerate(rows)]


def replayed(parts: Sequence[Sequence[Incoming]], topic: str) -> str:
    """Digest of the golden records after a replay of `changes`, partition by partition."""
    replay = Replay(parse_policy(POLICY), topic)
    for partition, records in enumerate(parts):
        for start in range(0, len(records), 4_000):
            effects = replay.feed(partition, records[start : start + 4_000])
            assert not effects.dead_letters, f"the job has a change that is refused: {effects.dead_letters[0]}"
    rows = replay.rows.values()
    return digest(export_line(row.key.decode(), row.doc, row.contested) for row in rows if row.doc is not None)


def of_records(records: Records) -> str:
    """Digest of the golden records in Syncline's topic `records`."""
    values = last_values(records).values()
    return digest(line_of_record(decode_record(value)) for value in values if value is not None)


async def of_view(url: str) -> str:
    """Digest of the golden records in Syncline's view."""
    async with redis.asyncio.Redis.from_url(url) as client:
        return digest([export_line(*line) async for line in view.export(client)])


def folded(rows: Iterable[tuple[bytes, bytes]]) -> str:
    """Digest of the golden records of the simple job after a fold of its input."""
    states: dict[bytes, State] = {}
    records: dict[bytes, dict[str, Any]] = {}
    for key, value in rows:
        change = orjson.loads(value)
        state = states.setdefault(key, new_state())
        if fold(state, change):
            records[key] = golden(state, change)
    return digest(map(_sorted, records.values()))


def offsets(parts: Sequence[Sequence[Incoming]]) -> dict[str, int]:
    """Where the change of each event id stands in its partition; of a duplicate, where it stood first."""
    found: dict[str, int] = {}
    for records in parts:
        for record in records:
            found.setdefault(orjson.loads(record.value)["event_id"], record.offset)
    return found


def of_stock_records(records: Records) -> str:
    """Digest of the golden records in a peer's topic."""
    return digest(_sorted(orjson.loads(value)) for value in last_values(records).values() if value is not None)


async def of_stock_view(url: str) -> str:
    """Digest of the golden records that a peer set in Redis."""
    lines = []
    async with redis.asyncio.Redis.from_url(url) as client:
        keys = [key async for key in client.scan_iter(match=VIEW_PREFIX + b"*", count=1_000)]
        for start in range(0, len(keys), 1_000):
            lines += [_sorted(orjson.loads(value)) for value in await client.mget(keys[start : start + 1_000])]
    return digest(lines)


def _sorted(record: dict[str, Any]) -> str:
    return orjson.dumps(record, option=orjson.OPT_SORT_KEYS).decode()
