"""Copies a Redis Stream into `changes`, as one consumer of a group that all workers share.

Delivery: at least once. An entry is acknowledged to Redis (XACK) when Kafka has its change. What a worker leaves behind
is taken over by another one (XAUTOCLAIM); as version and event id follow from the entry's id, a repeat is a duplicate.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from mode import Service
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from agents.ingest.batch import Batch, take_all
from agents.ingest.changes_producer import ChangesProducer
from agents.ingest.stream_state import StreamState, dead_stream, look, totals_key
from agents.metrics import Metrics
from agents.turns import TurnTaking
from schemas.ingest_document import StreamSourceDocument
from schemas.refusal import Limits, Refusal
from streams.envelopes import Envelope
from streams.hybrid_version import entry_version
from streams.ingest import Dropped, Stamp, Taken, take_foreign, take_form
from streams.redis_entry import entry_id, foreign_parts, read_entry

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 0.2
BLOCK_MS: Final = 500
LOOK_SECONDS: Final = 2.0
#: A consumer is forgotten when it holds nothing and was away as long, at least.
FORGET_MS: Final = 600_000
FORGET: Final = Path(__file__).with_name("forget_consumers.lua").read_text()
BEGINNING: Final = b"0-0"
#: What Redis answers when stream or group are gone: at once, or to one who waits for entries.
GONE: Final = ("NOGROUP", "UNBLOCKED")


class Entry(NamedTuple):
    """One entry of the stream. fields: as they were added; of a field that stands twice, the last."""

    id: bytes
    fields: dict[bytes, bytes]


class StreamIngest(TurnTaking):
    """Reads the entries of one source's stream.

    envelope: in which they arrive, None for our own forms. redis: a client of its own, see `connect`. ready: whether
    the topics of Syncline are there. was_there: whether the group was made in an earlier life; made: told when it is
    there. Redis or Kafka being away is logged and tried again; nothing is raised.
    """

    def __init__(
        self,
        source: str,
        document: StreamSourceDocument,
        envelope: Envelope | None,
        redis: Redis,
        producer: ChangesProducer,
        limits: Callable[[], Limits],
        metrics: Metrics,
        ready: Callable[[], bool],
        was_there: Callable[[], Awaitable[bool]],
        made: Callable[[], Awaitable[None]],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.what = f"Ingest of stream {document.stream}"
        self._source, self._document, self._envelope, self._limits = source, document, envelope, limits
        self._producer, self._metrics, self._ready = producer, metrics, ready
        self._was_there, self._made = was_there, made
        self._redis = redis
        self._name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._grouped = False
        #: Read, and not yet acknowledged to Redis; and what it came to, once Kafka has that.
        self._held: list[Entry] = []
        self._sent: Batch[Entry] | None = None
        self._cursor = BEGINNING
        self._claimed_at = 0.0
        self._greatest = BEGINNING
        self._mourned = 0

    @Service.task
    async def _follow(self) -> None:
        try:
            await self._repeat("entries", self._turn, IDLE_SECONDS)
        finally:
            await self._redis.aclose()

    @Service.task
    async def _look_after(self) -> None:
        await self._repeat("state", self._look, LOOK_SECONDS)

    async def _turn(self) -> bool:
        if not self._ready():
            return False
        try:
            await self._have_group()
            self._held = self._held or await self._claim() or await self._read()
            await self._copy()
        except ResponseError as error:
            if not str(error).startswith(GONE):
                raise
            self._grouped = False
        return True

    # ---- reading ----

    async def _have_group(self) -> None:
        """Make the group if it is missing. A Redis that is full would not even say that it is there."""
        if self._grouped:
            return
        state = await look(self._redis, self._document)
        if state is not None:
            self._compare(state)  # before reading: afterwards it is not seen what went unread
        else:
            if self._greatest != BEGINNING or await self._was_there():
                self._alarm("the stream or its group was gone and is made anew: entries that were not copied are lost")
            self._greatest = BEGINNING
            await self._make_group()
        await self._made()
        self._grouped = True

    async def _make_group(self) -> None:
        try:
            # From the first entry on, also those that were added before the group was made.
            await self._redis.xgroup_create(self._document.stream, self._document.group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # another worker was quicker
                raise

    async def _read(self) -> list[Entry]:
        document = self._document
        answer: Any = await self._redis.xreadgroup(
            document.group, self._name, {document.stream: ">"}, count=document.read_entries, block=BLOCK_MS
        )
        read = _entries(answer[0][1]) if answer else []
        if read:
            self._greatest = max(self._greatest, read[-1].id, key=entry_id)
        return read

    async def _claim(self) -> list[Entry]:
        """Entries that a worker read long ago and did not acknowledge; this one, too, if it lost the answer."""
        document, now = self._document, asyncio.get_running_loop().time()
        if self._cursor == BEGINNING and now - self._claimed_at < document.min_idle / 2000:
            return []
        self._claimed_at = now
        self._cursor, read, *deleted = await self._redis.xautoclaim(
            document.stream,
            document.group,
            self._name,
            min_idle_time=document.min_idle,
            start_id=self._cursor,
            count=document.read_entries,
        )
        claimed = _entries(read)
        if claimed:
            self._metrics.stream_claimed.labels(self._source).inc(len(claimed))
            await self._redis.hincrby(totals_key(document.stream), "claimed", len(claimed))
        if deleted and deleted[0]:
            self._alarm(f"{len(deleted[0])} entries were deleted after they were read and before they were copied")
        return claimed

    # ---- copying ----

    async def _copy(self) -> None:
        if not self._held:
            return
        if self._sent is None:
            batch: Batch[Entry] = Batch()
            await take_all(self._held, self._take, batch)
            await self._producer.send(batch.changes)
            self._sent = batch
        await self._settle(self._sent)
        self._metrics.count_ingest(self._source, self._sent.counts)
        self._held, self._sent = [], None

    def _take(self, entry: Entry) -> Taken | Dropped:
        milliseconds, sequence = entry_id(entry.id)
        stamp = Stamp(self._source, entry_version(milliseconds, sequence), milliseconds)
        if self._envelope is not None:
            return take_foreign(*foreign_parts(entry.fields), self._envelope, stamp, self._limits())
        return take_form(read_entry(entry.fields, self._limits()), stamp, self._limits())

    async def _settle(self, batch: Batch[Entry]) -> None:
        """Acknowledge what is held, and put away what was refused, in one step."""
        document = self._document
        async with self._redis.pipeline(transaction=True) as pipeline:
            for entry, refusal in batch.refused:
                pipeline.xadd(dead_stream(document.stream), dead_entry(entry, refusal))  # type: ignore[arg-type]
            for outcome, times in batch.counts.items():
                pipeline.hincrby(totals_key(document.stream), outcome, times)
            pipeline.xack(document.stream, document.group, *(entry.id for entry in self._held))
            try:
                await pipeline.execute()
            except ResponseError as error:
                # It quotes what was sent; its last words are Redis's own.
                raise RedisError(f"{document.stream}: Redis {type(error).__name__} for what was copied") from None

    # ---- looking after the stream ----

    async def _look(self) -> bool:
        if not self._grouped:
            return False
        state = await look(self._redis, self._document)
        if state is None:
            self._grouped = False
            return False
        self._measure(state)
        self._compare(state)
        await self._trim(state)
        document = self._document
        await self._redis.eval(FORGET, 1, document.stream, document.group, max(FORGET_MS, 10 * document.min_idle))
        return False

    def _measure(self, state: StreamState) -> None:
        metrics, source = self._metrics, self._source
        metrics.stream_length.labels(source).set(state.length)
        metrics.stream_pending.labels(source).set(state.pending)
        metrics.stream_oldest.labels(source).set(state.oldest_pending_ms / 1000)
        metrics.stream_dead.labels(source).set(state.dead)
        metrics.ingest_lag.labels(source).set(state.pending + (state.unread or 0))

    def _compare(self, state: StreamState) -> None:
        """Raise the alarm where the stream is not what it was."""
        if entry_id(state.last) < entry_id(self._greatest):
            self._alarm(
                f"the stream ends at {state.last.decode()}, and was read up to {self._greatest.decode()}: Redis is back"
                " with older data, entries that were not copied may be lost"
            )
            self._greatest = state.last
        if state.deleted_unread > self._mourned:
            self._alarm(f"{state.deleted_unread} entries or more were deleted before they were read")
        self._mourned = state.deleted_unread

    async def _trim(self, state: StreamState) -> None:
        """Delete what is acknowledged and old enough; never what is pending or unread."""
        keep_ms = self._document.keep
        if keep_ms is None:
            return
        done = entry_id(state.oldest_pending or state.last_read)
        milliseconds, sequence = min(done, (max(0, state.time_ms - keep_ms), 0))
        await self._redis.xtrim(self._document.stream, minid=f"{milliseconds}-{sequence}", approximate=False)

    def _alarm(self, line: str) -> None:
        self._metrics.ingest_alarms.labels(self._source).inc()
        log.error("ALARM: Redis Stream %s of source %s: %s", self._document.stream, self._source, line)


def dead_entry(entry: Entry, refusal: Refusal) -> dict[bytes, bytes]:
    """An entry as it is put away: its fields as they were, and beside them why, where it was and what is wrong."""
    told = {b"syncline.entry": entry.id, b"syncline.reason": refusal.reason.encode()}
    return {**entry.fields, **told, b"syncline.message": str(refusal).encode(errors="replace")}


def _entries(answer: Sequence[Any]) -> list[Entry]:
    # Redis before 7 names entries that were deleted meanwhile, too, with nothing in them.
    return [Entry(id, fields) for id, fields in answer if fields]
