"""The Redis view (SPEC section 6): what applications read, written so that nothing older ever comes last.

Keys: `syncline:view:<entity key>` is a hash of `doc`, `clock`, `contested`, `position` (canonical JSON) and
`v`, the version that the scripts compare. `syncline:guard:<entity key>` keeps the version of an entity
whose key is gone or may vanish. `syncline:view-progress` has, for every partition of `records`, the next
offset not known to be in the view; it lies beside the data so that a wiped Redis has lost both.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from time import monotonic
from typing import Any, Final

from redis.asyncio import Redis

from agents.redis_connection import UNAVAILABLE, RedisConnection, Script
from schemas.canonical import canonical
from streams.effects import ViewRow

log = logging.getLogger(__name__)

VIEW_PREFIX: Final = b"syncline:view:"
GUARD_PREFIX: Final = b"syncline:guard:"
PROGRESS_KEY: Final = "syncline:view-progress"

#: Progress of a partition of which this Redis holds nothing at all.
START: Final = -1

#: Redis does nothing else while a script runs (200 rows: 1 ms), and larger calls cost it more for each row.
CHUNK_ROWS: Final = 200
CHUNK_CHARACTERS: Final = 8 * 1024 * 1024
SCAN_COUNT: Final = 1000
#: Of one lasting trouble there is no more than one line in the log in this time.
LOG_INTERVAL_SECONDS: Final = 30.0

WRITE: Final = Script("view_write.lua")
ADVANCE: Final = Script("view_advance.lua")
INVALIDATE: Final = Script("view_invalidate.lua")


class RedisView:
    """Writes the view over one connection of its own.

    records_topic, changes_topic: full names. ttl_ms: the view's time to live, None for no end.
    timeout_seconds: of one call, a whole `write` among them.
    """

    def __init__(
        self,
        url: str,
        records_topic: str,
        changes_topic: str,
        ttl_ms: int | None = None,
        timeout_seconds: float = 1.0,
    ) -> None:
        self._redis = RedisConnection(url, timeout_seconds)
        self._records_topic = records_topic
        self._changes_topic = canonical(changes_topic)
        self._ttl: int | str = ""
        self.live_for(ttl_ms)
        self._logged_at: float | None = None

    def live_for(self, ttl_ms: int | None) -> None:
        """Give what is written from now on another time to live, None for no end."""
        self._ttl = "" if ttl_ms is None else ttl_ms

    @property
    def connection(self) -> int:
        """Number of the newest connection to Redis; 0 before the first."""
        return self._redis.number

    @property
    def healthy(self) -> bool:
        """Whether the newest call was answered."""
        return self._redis.healthy

    async def write(self, partition: int, rows: Sequence[ViewRow], record_offsets: Sequence[int] | None) -> int:
        """Write rows of one partition. Never raises because of Redis.

        record_offsets: the offset of each row in `records`, None when Kafka has not told them yet.
        Returns the number of the connection when each row, or something newer, is in the view. Returns 0
        when that is not sure: Redis did not answer, or a row's offset in `changes` is the one already held
        and only its offset in `records` can tell which of the two is the newer.

        Without record offsets Redis is not even asked while it is unhealthy, until another call went well
        (the materializer keeps trying): nobody shall wait for a time-out again and again.
        """
        end = f',"partition":{partition},"topic":{self._changes_topic}}}'
        calls: list[list[Any]] = []
        for start, stop in _chunks(rows):
            call = [0, end, self._ttl, stop - start, *_flat(rows[start:stop])]
            if record_offsets is not None:
                call += record_offsets[start:stop]
            calls.append(call)
        try:
            unjudged = await self._redis.run_all(WRITE, calls, patient=record_offsets is not None)
        except UNAVAILABLE as error:
            self._complain(error)
            return 0
        return 0 if any(unjudged) else self._redis.number

    async def invalidate(self, key: bytes) -> None:
        """Delete the view's entry of an entity, until the next write of it. Raises one of UNAVAILABLE."""
        await self._redis.run(INVALIDATE, 2, VIEW_PREFIX + key, GUARD_PREFIX + key)

    async def progress(self) -> dict[int, int]:
        """Partition of `records` -> next offset not known to be in the view. Raises one of UNAVAILABLE."""
        held = _pairs(await self._redis.call("HGETALL", PROGRESS_KEY))
        prefix = f"{self._records_topic}:".encode()
        return {
            int(field[len(prefix) :]): int(value)
            for field, value in held.items()
            if field.startswith(prefix) and field[len(prefix) :].isdigit()
        }

    async def advance(self, steps: Sequence[tuple[int, int, int]], on: int | None = None) -> list[int]:
        """Move the progress of partitions, each given as (partition, first, next), to `next`.

        Only where it has reached `first` (START: whatever it is). on: the connection over which the records `first` to
        `next` - 1 were written. Returns the progress that is held now of each, START for none: less than `next` means
        that Redis was wiped or is an older copy.
        Raises one of UNAVAILABLE, also when that connection was lost: then those writes may be lost too.
        """
        calls = [
            (1, PROGRESS_KEY, f"{self._records_topic}:{partition}", first, next) for partition, first, next in steps
        ]
        return [int(reply) for reply in await self._redis.run_all(ADVANCE, calls, on)]

    async def rebuild(self, dropped: Callable[[int], None] = lambda keys: None) -> int:
        """Drop every view and guard key, and the progress: workers then fill the view from `records`.

        dropped: told the number of keys so far. Returns the number of keys. Raises one of UNAVAILABLE.
        """
        # First, because an interrupted rebuild must not leave a view that counts as complete; and last,
        # because what workers wrote meanwhile may have been dropped again.
        await self._redis.call("UNLINK", PROGRESS_KEY)
        count = 0
        for prefix in (VIEW_PREFIX, GUARD_PREFIX):
            cursor = b"0"
            while True:
                cursor, keys = await self._redis.call("SCAN", cursor, "MATCH", prefix + b"*", "COUNT", SCAN_COUNT)
                if keys:
                    count += await self._redis.call("UNLINK", *keys)
                    dropped(count)
                if cursor == b"0":
                    break
        await self._redis.call("UNLINK", PROGRESS_KEY)
        return count

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.close()

    def _complain(self, error: BaseException) -> None:
        if self._logged_at is None or monotonic() - self._logged_at > LOG_INTERVAL_SECONDS:
            self._logged_at = monotonic()
            log.warning("Redis takes no view rows, they follow later: %s: %s", type(error).__name__, error)


def _chunks(rows: Sequence[ViewRow]) -> Iterator[tuple[int, int]]:
    """Cut rows into parts, as (first, end), neither too many rows nor too much text in one."""
    start = characters = 0
    for at, row in enumerate(rows):
        size = len(row.doc or "")
        if at - start == CHUNK_ROWS or (characters + size > CHUNK_CHARACTERS and at > start):
            yield start, at
            start, characters = at, 0
        characters += size
    if start < len(rows):
        yield start, len(rows)


def _flat(rows: Sequence[ViewRow]) -> list[Any]:
    arguments: list[Any] = []
    for row in rows:
        arguments += (row.key, row.doc or "", row.clock, row.contested, row.offset)
    return arguments


def _pairs(reply: Any) -> dict[bytes, bytes]:
    """A hash as RESP3 (a dict) or RESP2 (a flat list) returns it."""
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))


FIELDS: Final = ("doc", "clock", "contested", "position")


async def read(redis: Redis, key: str) -> dict[str, str] | None:
    """One entity of the view: its four fields as canonical JSON texts; None when it is not there.

    redis: a client without `decode_responses`. key: the entity key.
    """
    values: Any = await redis.hmget((VIEW_PREFIX + key.encode()).decode(), FIELDS)
    if values[0] is None:
        return None
    return {field: value.decode() for field, value in zip(FIELDS, values, strict=True)}


async def export(redis: Redis) -> AsyncIterator[tuple[str, str, str]]:
    """Every entity of the view, sorted by key: key, doc, contested; the last two as canonical JSON texts.

    redis: a client without `decode_responses`.
    """
    # SCAN may name a key twice, and never in order.
    keys = sorted({key async for key in redis.scan_iter(match=VIEW_PREFIX + b"*", count=SCAN_COUNT)})
    for start in range(0, len(keys), SCAN_COUNT):
        part = keys[start : start + SCAN_COUNT]
        async with redis.pipeline(transaction=False) as pipeline:
            for key in part:
                pipeline.hmget(key, ("doc", "contested"))
            for key, (doc, contested) in zip(part, await pipeline.execute(), strict=True):
                if doc is not None:
                    yield key[len(VIEW_PREFIX) :].decode(), doc.decode(), contested.decode()
