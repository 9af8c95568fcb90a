"""A change log in this process on real servers: topics that grow, recorders that follow them, and the verdict."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

from agents.control import Control, tell
from agents.journal.cleanup import rules_of
from agents.journal.loading import SUBJECT, Declared, Plan
from agents.journal.recorder import Recorder
from agents.journal.store import Query, Store, spot_of
from agents.journal.transcribe import transcriptions
from agents.metrics import Metrics
from agents.names import TopicNames
from agents.settings import Settings
from agents.topics import prepare_topics
from schemas.codec import decode_conflict
from schemas.journal_document import JournalDocument
from schemas.refusal import Refusal
from streams.batch import BatchResolver
from streams.journal import DIMENSIONS, JournalRow, tally
from streams.policy import parse_policy
from syncline.journal_reader import opened
from syncline.topic_reader import read_topic
from tests.awaiting import until
from tests.conftest import Deployment
from tests.faults.load import POLICY, Item, Load

PARTITIONS = 3
TIMEOUT_SECONDS = 2.0


class Told:
    """One record of `changes` for the engine, which makes the conflicts of it."""

    def __init__(self, offset: int, item: Item) -> None:
        self.offset, self.timestamp, self.key, self.value = offset, 2**45, item.key, item.value


@dataclass
class JournalRun:
    """`changes` and `conflicts` of one deployment, filled by hand as a worker would."""

    deployment: Deployment
    plan: Plan
    names: TopicNames = field(init=False)

    def __post_init__(self) -> None:
        self.names = TopicNames.with_prefix(self.deployment.topic_prefix)
        self.policy = parse_policy(POLICY)
        self._items: Iterator[Item] = Load(changes=None, entities=50).items()
        self._engine = BatchResolver(self.policy, self.names.changes)
        self._states: list[dict[bytes, bytes]] = [{} for _ in range(PARTITIONS)]
        self._offset = itertools.count()

    async def prepare(self) -> None:
        """Make the topics."""
        settings = Settings(
            kafka=self.deployment.kafka, topic_prefix=self.deployment.topic_prefix, partitions=PARTITIONS
        )
        await prepare_topics(settings)

    async def publish(self, changes: int) -> None:
        """So many changes more, bad ones among them, and the conflicts that they lead to."""
        numbers = list(range(PARTITIONS))
        async with AIOKafkaProducer(bootstrap_servers=self.deployment.kafka, acks="all") as producer:
            for item in itertools.islice(self._items, changes):
                partition = DefaultPartitioner()(item.key, numbers, numbers)
                told = Told(next(self._offset), item)
                effects = self._engine.resolve_batch(partition, [told], self._states[partition])
                self._states[partition].update(effects.states)
                await producer.send(self.names.changes, item.value, item.key, partition)
                for key, body in effects.conflicts:
                    await producer.send(self.names.conflicts, body, key, partition)
            await producer.flush()

    @asynccontextmanager
    async def publishing(self, changes: int = 40) -> AsyncIterator[None]:
        """A load in the background, so many changes at a time."""
        over = asyncio.Event()

        async def load() -> None:
            while not over.is_set():
                await self.publish(changes)
                await asyncio.sleep(0.05)

        task = asyncio.create_task(load())
        try:
            yield
        finally:
            over.set()
            await task

    @asynccontextmanager
    async def recording(self) -> AsyncIterator[Recorder]:
        """The change log's part of one worker."""
        control = Control(self.deployment.kafka, self.names.control)
        recorder = Recorder(
            self.plan,
            control,
            transcriptions(self.names, lambda: self.policy, None),
            rules_of(self.plan.said, self.names),
            Metrics(),
            kafka=self.deployment.kafka,
            group=f"{self.deployment.app_id}-journal",
            session_seconds=6.0,
        )
        await control.start()
        await recorder.start()
        try:
            yield recorder
        finally:
            await recorder.stop()
            await control.stop()

    async def switch(self, name: str) -> None:
        """Tell all recorders to write another store."""
        await tell(self.deployment.kafka, self.names.control, SUBJECT, {"store": name})

    async def expected(self) -> tuple[dict[str, list[JournalRow]], dict[str, int]]:
        """By topic: the rows of all its records, less those of conflicts that come again; and how many records."""
        rows: dict[str, list[JournalRow]] = {}
        records: dict[str, int] = {}
        for topic, transcribe in transcriptions(self.names, lambda: self.policy, None).items():
            found: dict[object, JournalRow] = {}
            records[topic] = 0
            async with aclosing(read_topic(self.deployment.kafka, topic)) as batches:
                async for partition, read in batches:
                    records[topic] += len(read)
                    for one in read:
                        found[identity(topic, partition, one)] = transcribe(partition, one)
            rows[topic] = sorted(found.values())
        return rows, records

    async def complete(self, store: Store) -> None:
        """Wait until a store has exactly what the topics have, which stand still: each row once, each counter right."""
        rows, records = await self.expected()
        assert all(rows.values()), "the load led to no conflicts"

        async def all_taken() -> bool:
            positions = await store.positions()
            return all(
                sum(at for (of, _), at in positions.items() if of == topic) >= count for topic, count in records.items()
            )

        await until(all_taken, "the store does not get what the topics have")
        for topic, wanted in rows.items():
            assert sorted(await everything(store, topic)) == wanted
            assert await store.rows(topic) == len(wanted)
            by_kind = await store.hours(topic, "kind", None, None)
            assert sum(one.records for one in by_kind) == records[topic]
        changes = self.names.changes
        for dimension in DIMENSIONS:
            counted = {(hour, name): n for (hour, by, name), n in tally(rows[changes]).items() if by == dimension}
            found = {(one.hour, one.name): one.records for one in await store.hours(changes, dimension, None, None)}
            assert found == counted

    async def complete_in(self, name: str) -> None:
        """The same of a declared store, by a connection of its own."""
        async with opened(self.plan.stores[name]) as store:
            await self.complete(store)


def identity(topic: str, partition: int, record: Any) -> object:
    """What makes two records one: of conflicts their id."""
    if topic.endswith("conflicts"):
        try:
            return decode_conflict(record.value or b"").conflict_id
        except Refusal:
            pass
    return partition, record.offset


async def everything(store: Store, topic: str) -> list[JournalRow]:
    """All rows of a topic, page by page."""
    rows: list[JournalRow] = []
    before = None
    while True:
        page = await store.page(Query(topic, before=before, limit=500))
        rows += page.rows
        if page.cursor is None:
            return rows
        before = spot_of(page.cursor)


def plan_of(stores: dict[str, str], **said: Any) -> Plan:
    """A plan with these stores, by name and URL; the first one is written first."""
    declared = {name: Declared(name, url, TIMEOUT_SECONDS) for name, url in stores.items()}
    return Plan(declared, next(iter(stores)), JournalDocument(**said))


def taken(recorders: Sequence[Recorder], topic: str) -> float:
    """How many records of a topic recorders have written, into whatever store."""
    return sum(
        recorder._metrics.registry.get_sample_value("syncline_journal_records_total", {"topic": topic}) or 0.0
        for recorder in recorders
    )
