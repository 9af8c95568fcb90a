"""What a Redis Stream looks like from our consumer group: for metrics, trimming, alarms and `ingest status`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from schemas.ingest_document import StreamSourceDocument
from streams.redis_entry import entry_id

TIMEOUT_SECONDS: Final = 5.0


def connect(url: str, password: str | None) -> Redis:
    """A client whose every call has a deadline and is not repeated by itself. password: where the URL has none."""
    return Redis.from_url(
        url,
        password=password,
        protocol=2,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def dead_stream(stream: str) -> str:
    """Where entries are put away that are no change."""
    return f"{stream}.dead"


def totals_key(stream: str) -> str:
    """Hash of what became of all entries so far, by outcome."""
    return f"{stream}.ingested"


@dataclass(frozen=True, slots=True)
class StreamState:
    """length, dead: entries of the stream, and of its dead letters. pending: read and not acknowledged, by all workers.

    unread: entries after the last one read, None where Redis does not know. oldest_pending: id, None for none.
    last, last_read: ids. deleted_unread: entries that went before they were read, as far as Redis knows.
    time_ms: Redis' own clock. totals: by outcome (copied, near_miss, echo, refused, claimed).
    """

    length: int
    dead: int
    pending: int
    unread: int | None
    oldest_pending: bytes | None
    last: bytes
    last_read: bytes
    deleted_unread: int
    workers: int
    time_ms: int
    totals: dict[str, int]

    @property
    def oldest_pending_ms(self) -> int:
        """Age of the oldest pending entry by its id, 0 for none."""
        return 0 if self.oldest_pending is None else max(0, self.time_ms - entry_id(self.oldest_pending)[0])


async def look(redis: Redis, document: StreamSourceDocument) -> StreamState | None:
    """Ask Redis; None when stream or group are not there. Raises RedisError, OSError."""
    stream, group = document.stream, document.group
    if not await redis.exists(stream):
        return None
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.xinfo_stream(stream)
        pipeline.xinfo_groups(stream)
        pipeline.xlen(dead_stream(stream))
        pipeline.hgetall(totals_key(stream))
        pipeline.time()
        info, groups, dead, totals, (seconds, microseconds) = await pipeline.execute()
    ours: dict[str, Any] | None = next((one for one in groups if one["name"] == group.encode()), None)
    if ours is None:
        return None
    pending = await redis.xpending(stream, group)
    return StreamState(
        length=info["length"],
        dead=dead,
        pending=pending["pending"],
        unread=_unread(info, ours),
        oldest_pending=pending["min"],
        last=info["last-generated-id"],
        last_read=ours["last-delivered-id"],
        deleted_unread=_deleted_unread(info, ours),
        workers=ours["consumers"],
        time_ms=seconds * 1000 + microseconds // 1000,
        totals={name.decode(): int(times) for name, times in totals.items()},
    )


def _unread(info: dict[str, Any], group: dict[str, Any]) -> int | None:
    if group["last-delivered-id"] == info["last-generated-id"]:
        return 0  # Redis 7.0 counts entries that were trimmed unread for ever
    lag: int | None = group.get("lag")
    return lag


def _deleted_unread(info: dict[str, Any], group: dict[str, Any]) -> int:
    """Redis 7 counts what was added and what the group has read; what is gone can be no more than that."""
    read, added = group.get("entries-read"), info.get("entries-added")
    if read is not None and added is not None and added - info["length"] > read:
        return int(added - info["length"] - read)
    # Those that were deleted one by one; of them Redis knows the greatest.
    return int(entry_id(info.get("max-deleted-entry-id", b"0-0")) > entry_id(group["last-delivered-id"]))
