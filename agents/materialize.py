"""Guarantees the Redis view: follows `records` with a consumer of its own wherever the hand-over missed.

The hand-over writes the view at once and tells here which records it wrote. As long as those follow each
other without a gap, nothing is consumed at all. Whatever is missing (Redis was away or was wiped, another
worker died or wrote in between) is read from `records`, from the progress that Redis keeps beside its data.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from mode import Service

from agents.coverage import Coverage
from agents.deletions import deletion_offset
from agents.log_ends import log_ends
from agents.turns import TurnTaking
from agents.view import START, RedisView
from schemas.canonical import canonical
from schemas.codec import decode_record
from streams.effects import ViewRow

log = logging.getLogger(__name__)

FLUSH_SECONDS: Final = 0.2
CHECK_SECONDS: Final = 1.0
FETCH_SECONDS: Final = 0.2
FETCH_RECORDS: Final = 500
#: Records decoded before the event loop gets its turn: resolution runs on the same one.
DECODE_RECORDS: Final = 8
KAFKA_TIMEOUT_SECONDS: Final = 10.0
#: A new leader may not know its newest records for a moment; a topic that was made anew never will.
SHRUNK_SECONDS: Final = 10.0


class ViewUnavailable(Exception):
    """Redis did not take the rows."""


class Standing(NamedTuple):
    """Where the consumer is in a partition, and when (ms) Kafka had last answered when it came there."""

    offset: int
    polled: int | None


class Materializer(TurnTaking):
    """Keeps the view equal to `records` for the partitions that this worker has.

    view: the one that the hand-over writes too (what is told here counts by its connections). kafka:
    host:port. records_topic: full name. Redis or Kafka being away is logged, tried again and told by
    `healthy`; nothing is raised.
    """

    what = "The view"

    def __init__(self, view: RedisView, kafka: str, records_topic: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.unreadable = 0
        self._view = view
        self._kafka = kafka
        self._topic = records_topic
        self._partitions: dict[int, Coverage] = {}
        self._consumer: AIOKafkaConsumer | None = None
        self._stands: dict[TopicPartition, Standing] = {}
        self._ends_at = 0.0
        self._checked_at = 0.0
        self._shrunk_since: dict[int, float] = {}

    def assigned(self, partitions: Iterable[int]) -> None:
        """These partitions are this worker's now."""
        for partition in partitions:
            self._partitions.setdefault(partition, Coverage())
        self._ends_at = 0.0

    def revoked(self, partitions: Iterable[int]) -> None:
        """These partitions are somebody else's now; who reads what was not saved again, harmlessly."""
        for partition in partitions:
            self._partitions.pop(partition, None)
            self._shrunk_since.pop(partition, None)

    def delivered(self, partition: int, first: int, next: int, connection: int | None = None) -> None:
        """Records `first` to `next` - 1 are in the view, and acknowledged by Kafka.

        connection: what RedisView.write returned for them; None takes the newest.
        """
        coverage = self._partitions.get(partition)
        if coverage is not None:
            coverage.claim(first, next, self._view.connection if connection is None else connection)

    def lag(self, partition: int) -> int:
        """Number of offsets of a partition not known to be in the view."""
        coverage = self._partitions.get(partition)
        return 0 if coverage is None else max(0, coverage.end - coverage.position)

    def caught_up(self) -> bool:
        """Whether all records known of every partition of this worker are in the view."""
        ends_known = self._ends_at > 0.0
        return ends_known and all(coverage.complete for coverage in self._partitions.values())

    async def on_stop(self) -> None:
        try:
            await self._flush()
        except Exception as error:
            log.info("The view's progress was not saved at the end: %s", type(error).__name__)

    @Service.task
    async def _keep_progress(self) -> None:
        await self._repeat("progress", self._keep, FLUSH_SECONDS)

    @Service.task
    async def _follow_records(self) -> None:
        try:
            await self._repeat("records", self._follow, FETCH_SECONDS)
        finally:
            await self._drop_consumer()

    # ---- progress in Redis ----

    async def _keep(self) -> bool:
        try:
            await self._learn()
            await self._flush()
            if monotonic() - self._checked_at >= CHECK_SECONDS:
                await self._check()
        except Exception:
            for coverage in self._partitions.values():
                coverage.doubt()
            raise
        return False

    async def _learn(self) -> None:
        """Ask Redis about partitions in doubt, and mark those of which it holds nothing as begun.

        The mark comes before the first row that counts, so that a wipe after any such row is noticed: it takes
        the mark too. Over a new connection, so that rows of before, which Kafka may acknowledge only now, do not
        count: they may have gone with the rest. A partition just marked is asked about again, for the same reason.
        """
        unsure = {p: c for p, c in self._partitions.items() if c.saved is None}
        if not unsure:
            return
        await self._view.close()
        stored = await self._view.progress()
        for partition, coverage in unsure.items():
            if partition in stored:
                coverage.learned(stored[partition], self._view.connection)
        new = sorted(unsure.keys() - stored.keys())
        if new:
            log.info("The view holds nothing of %s, partitions %s: reading them from the start", self._topic, new)
            await self._view.advance([(partition, START, 0) for partition in new])

    async def _flush(self) -> None:
        due = [c for c in self._partitions.items() if c[1].saved is not None and c[1].position > c[1].saved]
        for connection in {coverage.connection for _, coverage in due}:
            group = [(p, c, c.saved or 0, c.position) for p, c in due if c.connection == connection]
            stored = await self._view.advance([(p, saved, sent) for p, _, saved, sent in group], connection)
            for (_, coverage, _, sent), held in zip(group, stored, strict=True):
                coverage.flushed(sent, held)

    async def _check(self) -> None:
        saved = {p: c.saved for p, c in self._partitions.items()}
        stored = await self._view.progress()
        self._checked_at = monotonic()
        for partition, coverage in self._partitions.items():
            known = saved.get(partition)
            if known is not None and stored.get(partition, START) < known:
                log.warning("Redis lost the view of %s:%d, filling it again", self._topic, partition)
                coverage.doubt()

    # ---- records from Kafka ----

    async def _follow(self) -> bool:
        if not self._partitions:
            return False
        if monotonic() - self._ends_at >= CHECK_SECONDS:
            await self._see_ends()
        behind = {TopicPartition(self._topic, p): c for p, c in self._partitions.items() if c.behind}
        if not behind:
            return False
        await self._catch_up(behind)
        return True

    async def _see_ends(self) -> None:
        consumer = await self._started_consumer()
        owned = dict(self._partitions)
        ends = await consumer.end_offsets([TopicPartition(self._topic, p) for p in owned])
        self._ends_at = monotonic()
        for tp, end in ends.items():
            coverage = owned[tp.partition]
            coverage.end = max(coverage.end, end)
            if coverage.saved is None or end >= coverage.saved:
                self._shrunk_since.pop(tp.partition, None)
            elif self._ends_at - self._shrunk_since.setdefault(tp.partition, self._ends_at) > SHRUNK_SECONDS:
                # The embedded broker tells ends that are too low; this way it tells the right ones, more slowly.
                end = (await log_ends(self._kafka, [tp]))[tp]
                if coverage.saved is not None and end < coverage.saved:
                    await self._start_over(tp.partition, end, coverage.saved)
                    return
                self._shrunk_since.pop(tp.partition, None)

    async def _start_over(self, partition: int, end: int, saved: int) -> None:
        """The topic is another one than the view was made from, so no version in the view means anything."""
        log.error(
            "%s:%d ends at %d, but the view has seen %d: the topic was made anew, dropping the view",
            self._topic, partition, end, saved,
        )  # fmt: skip
        await self._view.rebuild()
        self._shrunk_since.clear()
        for owned in self._partitions:
            self._partitions[owned] = Coverage()

    async def _catch_up(self, behind: dict[TopicPartition, Coverage]) -> None:
        consumer = await self._started_consumer()
        if consumer.assignment() != set(behind):
            consumer.assign(list(behind))
            self._stands.clear()
        for tp, coverage in behind.items():
            if tp not in self._stands or self._stands[tp].offset != coverage.position:
                consumer.seek(tp, coverage.position)
                self._stands[tp] = Standing(coverage.position, consumer.last_poll_timestamp(tp))
        try:
            await self._write_next(consumer, behind)
        except BaseException:
            # The consumer has moved on in every partition, also in those whose records were not written.
            self._stands.clear()
            raise

    async def _write_next(self, consumer: AIOKafkaConsumer, behind: dict[TopicPartition, Coverage]) -> None:
        """Fetch once from where all these partitions stand, and write what came."""
        empty_until = {tp: self._nothing_before(consumer, tp) for tp in behind}
        fetched = await consumer.getmany(timeout_ms=int(FETCH_SECONDS * 1000), max_records=FETCH_RECORDS)
        for tp, coverage in behind.items():
            first, records = self._stands[tp].offset, fetched.get(tp, ())
            async with asyncio.timeout(KAFKA_TIMEOUT_SECONDS):
                reached = await consumer.position(tp)
            if reached != first:
                self._stands[tp] = Standing(reached, consumer.last_poll_timestamp(tp))
            elif not fetched:
                reached = max(reached, empty_until[tp])
            if reached > first:
                coverage.claim(first, reached, await self._write(tp.partition, records))

    def _nothing_before(self, consumer: AIOKafkaConsumer, tp: TopicPartition) -> int:
        """The end that Kafka told when it answered a fetch from where we stand, else that place itself.

        Unless its records wait in the consumer, that answer was empty: all up to the end was compacted away.
        """
        offset, polled = self._stands[tp]
        end, polled_now = consumer.highwater(tp), consumer.last_poll_timestamp(tp)
        answered = polled_now is not None and (polled is None or polled_now > polled)
        return end if answered and end is not None else offset

    async def _write(self, partition: int, records: Sequence[ConsumerRecord]) -> int:
        rows: list[ViewRow] = []
        offsets: list[int] = []
        for number, record in enumerate(records, 1):
            row = self._row(record)
            if row is not None:
                rows.append(row)
                offsets.append(record.offset)
            if number % DECODE_RECORDS == 0:
                await asyncio.sleep(0)
        if not rows:
            return self._view.connection
        connection = await self._view.write(partition, rows, offsets)
        if not connection:
            raise ViewUnavailable(f"Redis did not take {len(rows)} rows of {self._topic}:{partition}")
        return connection

    def _row(self, record: ConsumerRecord) -> ViewRow | None:
        try:
            return view_row(record)
        except (ValueError, LookupError, TypeError) as error:
            self.unreadable += 1
            log.error(
                "%s:%d offset %d cannot be read, the view lacks it: %s",
                record.topic, record.partition, record.offset, type(error).__name__,
            )  # fmt: skip
            return None

    async def _started_consumer(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._kafka,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                request_timeout_ms=int(KAFKA_TIMEOUT_SECONDS * 1000),
            )
            try:
                await consumer.start()
            except BaseException:
                await consumer.stop()
                raise
            self._consumer = consumer
            self._stands.clear()
        return self._consumer

    async def _drop_consumer(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()


def view_row(record: ConsumerRecord) -> ViewRow:
    """The view's row of one record of `records`. ValueError or LookupError: it is none of ours."""
    if record.key is None:
        raise ValueError("a record without key; the key is the entity's")
    if record.value is None:
        return ViewRow(record.key, None, "", "", deletion_offset(record.headers))
    golden = decode_record(record.value)
    return ViewRow(
        record.key,
        canonical(dict(golden.fields)),
        canonical(dict(golden.clock)),
        canonical(list(golden.contested)),
        golden.position.offset,
    )
