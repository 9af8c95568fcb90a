"""Services that copy a source's topic in the process of a test."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from aiokafka import ConsumerRecord

from agents.ingest.changes_producer import ChangesProducer
from agents.ingest.topic_ingest import TopicIngest, TopicSource, committed
from agents.log_ends import log_ends
from agents.metrics import Metrics
from agents.names import TopicNames
from agents.settings import Settings
from schemas.refusal import DEFAULT_LIMITS
from streams.policy import parse_policy
from syncline.topic_reader import partitions_of, read_topic
from tests.conftest import Deployment
from tests.ingest.arrivals import digest_of, folded, produce, taken_records, until, update

PARTITIONS = 3


class Copying:
    """One deployment whose source `crm` has a topic, and services that copy it, as workers would."""

    def __init__(self, deployment: Deployment) -> None:
        self.settings = Settings(kafka=deployment.kafka, topic_prefix=deployment.topic_prefix, partitions=2)
        self.names = TopicNames.with_prefix(deployment.topic_prefix)
        self.topic = f"crm-{deployment.topic_prefix}changes"
        self.group = f"{deployment.app_id}-ingest"
        self.metrics = Metrics()
        self.limits = DEFAULT_LIMITS

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[TopicIngest]:
        """A service that copies the topic, until the end of the block."""
        producer = ChangesProducer(self.settings.kafka, self.names, 15.0)
        service = TopicIngest(
            self.settings.kafka, self.group, {self.topic: TopicSource("crm")}, producer, lambda: self.limits,
            self.metrics, lambda: True, 6.0,
        )  # fmt: skip
        await service.start()
        try:
            yield service
        finally:
            await service.stop()
            await producer.stop()

    async def send(self, rows: list[tuple[int, bytes | None, bytes | None]], timestamp_ms: int | None = None) -> None:
        """Send rows (partition, key, value) to the source's topic."""
        await produce(self.settings.kafka, self.topic, rows, timestamp_ms)

    async def copied_up(self) -> None:
        """Wait until the group has committed all that the topic holds now."""
        kafka = self.settings.kafka

        async def committed_all() -> bool:
            ends = await log_ends(kafka, await partitions_of(kafka, self.topic))
            held = await committed(kafka, self.group, ends)
            return all(end == 0 or (tp in held and held[tp].offset >= end) for tp, end in ends.items())

        await until(committed_all)

    async def read(self, topic: str) -> list[ConsumerRecord]:
        """All records of a topic, each partition's in their order."""
        found: list[ConsumerRecord] = []
        async with aclosing(read_topic(self.settings.kafka, topic)) as batches:
            async for _, records in batches:
                found += records
        return found

    async def verify(self) -> None:
        """What is in `changes` comes to the records that the topic comes to without a fault."""
        expected = taken_records(await self.read(self.topic), "crm")
        assert await digest_of("replay", self.settings) == folded(expected, parse_policy({}))


def line(number: int, fields: dict[str, Any], **more: Any) -> tuple[int, bytes, bytes]:
    """A row with a change of customer `number` as JSON."""
    return number % PARTITIONS, str(number).encode(), json.dumps(update(number, fields, **more)).encode()
