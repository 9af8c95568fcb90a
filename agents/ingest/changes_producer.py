"""Sends what was taken to `changes`, and what was refused to `dead-letters`; returns when Kafka has all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner
from mode import Service

from agents.dead_letters import Row
from agents.kafka_producer import abandon, started_producer
from agents.names import TopicNames
from agents.sending import send_rows

START_SECONDS: Final = 15.0


class ChangesProducer(Service):
    """Acknowledged by all replicas, idempotent, and partitioned as Java's client does it.

    kafka: host:port. deadline_seconds: for one call of `send`. After a failure the next call makes a new producer: the
    old one may be left with a gap in its numbers that the broker refuses for ever.
    """

    def __init__(self, kafka: str, names: TopicNames, deadline_seconds: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._kafka, self._names, self._deadline = kafka, names, deadline_seconds
        self._partitioner = DefaultPartitioner()
        self._producer: AIOKafkaProducer | None = None
        self._making = asyncio.Lock()

    async def send(self, changes: Sequence[Row], dead_letters: Sequence[Row] = ()) -> None:
        """Send, those of one key in the order given. Raises KafkaError or OSError: some may have been sent."""
        producer = await self._connected()
        try:
            async with asyncio.timeout(self._deadline):
                numbers = sorted(await producer.partitions_for(self._names.changes))
                sends = [
                    send_rows(producer, topic, number, rows)
                    for topic, all_rows in ((self._names.changes, changes), (self._names.dead_letters, dead_letters))
                    for number, rows in self._by_partition(all_rows, numbers).items()
                ]
                await asyncio.gather(*sends)
        except BaseException:
            await self._drop(producer)
            raise

    async def on_stop(self) -> None:
        if self._producer is not None:
            await self._drop(self._producer)

    def _by_partition(self, rows: Sequence[Row], numbers: list[int]) -> dict[int, list[Row]]:
        """The table's topics have equally many partitions, so one rule does for both."""
        parted: dict[int, list[Row]] = {}
        for row in rows:
            number = numbers[0] if row.key is None else self._partitioner(row.key, numbers, numbers)
            parted.setdefault(number, []).append(row)
        return parted

    async def _connected(self) -> AIOKafkaProducer:
        async with self._making:
            if self._producer is None:
                async with asyncio.timeout(START_SECONDS):
                    self._producer = await started_producer(self._kafka)
            return self._producer

    async def _drop(self, producer: AIOKafkaProducer) -> None:
        if self._producer is producer:
            self._producer = None
        await abandon(producer)
