"""Copies topics of single sources into `changes`, as a consumer group of its own.

Delivery: at least once. An offset is committed when Kafka has all that came before it, so a crash repeats some records;
they become the same changes again. With each offset the version last given is committed, so that the versions of what
follows go on from there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError, IllegalStateError
from aiokafka.structs import OffsetAndMetadata
from mode import Service

from agents.dead_letters import Row, dead_letter_row
from agents.ingest.batch import Batch, take_all
from agents.ingest.changes_producer import ChangesProducer
from agents.letting_go import let_go
from agents.metrics import Metrics
from agents.turns import TurnTaking
from schemas.refusal import Limits, Refusal
from streams.effects import DeadLetter
from streams.envelopes import Envelope
from streams.hybrid_version import next_version
from streams.ingest import Dropped, Stamp, Taken, take_foreign, take_record

log = logging.getLogger(__name__)

FETCH_MS: Final = 500
FETCH_RECORDS: Final = 1_000
IDLE_SECONDS: Final = 0.5
LOOK_SECONDS: Final = 5.0
KAFKA_TIMEOUT_SECONDS: Final = 10.0
#: Kafka would not take a dead letter that is larger than `dead-letters` allows; of such a value the beginning is kept.
DEAD_LETTER_BYTES: Final = 12 * 1024 * 1024
KEPT_BYTES: Final = 64 * 1024


class TopicSource(NamedTuple):
    """A source with a topic of its own. envelope: in which its changes arrive, None for our own forms."""

    name: str
    envelope: Envelope | None = None


class TopicIngest(TurnTaking, ConsumerRebalanceListener):  # type: ignore[misc]
    """Follows the topics that sources have of their own.

    kafka: host:port. group: consumer group, shared by all workers. sources: by full topic name. ready: whether
    the topics of Syncline are there. Kafka being away is logged and tried again; nothing is raised.
    """

    what = "Ingest of topics"

    def __init__(
        self,
        kafka: str,
        group: str,
        sources: Mapping[str, TopicSource],
        producer: ChangesProducer,
        limits: Callable[[], Limits],
        metrics: Metrics,
        ready: Callable[[], bool],
        session_seconds: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._kafka, self._group, self._sources = kafka, group, sources
        self._producer, self._limits, self._metrics, self._ready = producer, limits, metrics, ready
        self._session_ms = int(session_seconds * 1000)
        self._consumer: AIOKafkaConsumer | None = None
        self._topics: set[str] = set()
        self._looked_at = 0.0
        #: Version last given in each partition whose place is known.
        self._versions: dict[TopicPartition, int] = {}
        self._next: dict[TopicPartition, int] = {}

    @Service.task
    async def _follow(self) -> None:
        try:
            await self._repeat("topics", self._turn, IDLE_SECONDS)
        finally:
            await self._drop_consumer()

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """These partitions are somebody else's now."""
        for tp in revoked:
            self._versions.pop(tp, None)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """The next turn finds out where they stand."""

    async def _turn(self) -> bool:
        if not self._ready():
            return False
        try:
            consumer = await self._started_consumer()
            if not await self._subscribed(consumer):
                return False
            await self._place(consumer)
            fetched = await consumer.getmany(timeout_ms=FETCH_MS, max_records=FETCH_RECORDS)
            await self._copy(consumer, {tp: records for tp, records in fetched.items() if tp in self._versions})
            return True
        except (CommitFailedError, IllegalStateError):
            # The partitions are somebody else's by now, who reads the same once more.
            self._versions.clear()
            return True
        except BaseException:
            self._versions.clear()
            await self._drop_consumer()
            raise

    async def _copy(
        self, consumer: AIOKafkaConsumer, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]]
    ) -> None:
        changes: list[Row] = []
        letters: list[Row] = []
        commits: dict[TopicPartition, tuple[int, str]] = {}
        batches: list[tuple[str, Batch[ConsumerRecord]]] = []
        for tp, records in fetched.items():
            if records[0].offset > self._next[tp]:
                await self._tell_lost(consumer, tp)
            batch, version = await self._take(tp, records)
            changes += batch.changes
            letters += [dead_letter(record, refusal) for record, refusal in batch.refused]
            commits[tp] = (records[-1].offset + 1, str(version))
            batches.append((self._sources[tp.topic].name, batch))
        if commits:
            await self._producer.send(changes, letters)
            async with asyncio.timeout(KAFKA_TIMEOUT_SECONDS):
                await consumer.commit(commits)
            for tp, (offset, version_text) in commits.items():
                if tp in self._versions:
                    self._versions[tp], self._next[tp] = int(version_text), offset
            for source, batch in batches:
                self._metrics.count_ingest(source, batch.counts)
        await self._tell_lag(consumer)

    async def _take(self, tp: TopicPartition, records: Sequence[ConsumerRecord]) -> tuple[Batch[ConsumerRecord], int]:
        """What the records of a partition come to, and the version given to the last of them."""
        source, version = self._sources[tp.topic], self._versions[tp]

        def take(record: ConsumerRecord) -> Taken | Dropped:
            nonlocal version
            # For each record, also for one that has a version or is refused: so it depends on nothing else.
            version = next_version(version, record.timestamp)
            time_ms = record.timestamp if record.timestamp >= 0 else None
            stamp = Stamp(source.name, version, time_ms)
            if source.envelope is not None:
                return take_foreign(record.key, record.value, source.envelope, stamp, self._limits())
            return take_record(record.value, stamp, self._limits())

        batch: Batch[ConsumerRecord] = Batch()
        await take_all(records, take, batch)
        return batch, version

    # ---- where the group stands ----

    async def _place(self, consumer: AIOKafkaConsumer) -> None:
        """Go to where the group is in partitions that are new here, with the version last given there."""
        new = sorted(consumer.assignment() - self._versions.keys())
        if not new:
            return
        held = await committed(self._kafka, self._group, new)
        for tp in new:
            place = held.get(tp)
            if place is None or place.offset < 0:
                await consumer.seek_to_beginning(tp)
                self._next[tp], self._versions[tp] = 0, 0
            else:
                consumer.seek(tp, place.offset)
                self._next[tp] = place.offset
                self._versions[tp] = int(place.metadata) if place.metadata.isdecimal() else 0

    async def _tell_lost(self, consumer: AIOKafkaConsumer, tp: TopicPartition) -> None:
        """Raise the alarm if records were deleted before they were read; a gap alone may be compaction."""
        following = self._next[tp]
        async with asyncio.timeout(KAFKA_TIMEOUT_SECONDS):
            first = (await consumer.beginning_offsets([tp]))[tp]
        if following and first > following:
            self._metrics.ingest_alarms.labels(self._sources[tp.topic].name).inc()
            log.error(
                "ALARM: %s[%s]: offsets %s to %s were deleted before they were read; publish them again",
                *(tp.topic, tp.partition, following, first - 1),
            )

    async def _tell_lag(self, consumer: AIOKafkaConsumer) -> None:
        lags = {source.name: 0 for source in self._sources.values()}
        for tp in consumer.assignment() & self._versions.keys():
            end = consumer.highwater(tp)
            lags[self._sources[tp.topic].name] += max(0, (end or 0) - self._next[tp])
        for source, lag in lags.items():
            self._metrics.ingest_lag.labels(source).set(lag)

    async def _subscribed(self, consumer: AIOKafkaConsumer) -> bool:
        """Subscribe to those of the topics that are there: a broker may create whatever it is asked about."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at >= LOOK_SECONDS:
            async with asyncio.timeout(KAFKA_TIMEOUT_SECONDS):
                present = self._sources.keys() & await consumer.topics()
            self._looked_at = now
            if present != self._topics:
                for topic in sorted(self._sources.keys() - present):
                    log.warning("Topic %s of source %s is not there yet", topic, self._sources[topic].name)
                self._topics = present
                if present:
                    consumer.subscribe(topics=present, listener=self)
                else:
                    consumer.unsubscribe()
        return bool(self._topics)

    async def _started_consumer(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._kafka,
                group_id=self._group,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                session_timeout_ms=self._session_ms,
                heartbeat_interval_ms=max(1, self._session_ms // 5),
            )
            self._topics, self._looked_at = set(), 0.0
            try:
                async with asyncio.timeout(KAFKA_TIMEOUT_SECONDS):
                    await consumer.start()
            except BaseException:
                await let_go(consumer.stop(), KAFKA_TIMEOUT_SECONDS)
                raise
            self._consumer = consumer
        return self._consumer

    async def _drop_consumer(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await let_go(consumer.stop(), KAFKA_TIMEOUT_SECONDS)


def dead_letter(record: ConsumerRecord, refusal: Refusal) -> Row:
    """The row for `dead-letters`; of a value that Kafka would not take whole, the beginning."""
    letter = DeadLetter(0, refusal.reason, refusal.stage, str(refusal))
    row = dead_letter_row(record.topic, record.partition, record, letter)
    if row.value is None or len(row.value) <= DEAD_LETTER_BYTES:
        return row
    log.error("%s[%d] offset %d is too large to be kept whole", record.topic, record.partition, record.offset)
    return row._replace(value=row.value[:KEPT_BYTES])


async def committed(
    kafka: str, group: str, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata]:
    """What a group has committed, with what it noted down beside the offsets. Raises KafkaError or OSError."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    try:
        async with asyncio.timeout(KAFKA_TIMEOUT_SECONDS):
            await admin.start()
            held: dict[TopicPartition, OffsetAndMetadata] = await admin.list_consumer_group_offsets(
                group, partitions=list(partitions)
            )
            return held
    finally:
        await admin.close()
