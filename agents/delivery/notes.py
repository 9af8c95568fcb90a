"""Topic `deliveries`: what a target has acknowledged where the committed offset does not say it, and its progress.

A key is `<target>/<entity key>` for an acknowledgement, and `<target>#<subject>` for what concerns all of a partition
(`status`, `backfill`). Values are canonical JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer, TopicPartition

from agents.kafka_producer import abandon, started_producer
from agents.log_ends import log_ends
from agents.names import TopicNames
from agents.reading import connected, read_between
from schemas.canonical import canonical
from streams.acknowledged import Acknowledged
from streams.topics import MIB

KAFKA_SECONDS = 10.0
#: As much as the topics take: a letter is JSON, with all that its record has.
LETTER_BYTES = 4 * MIB


@dataclass(slots=True)
class Noted:
    """What is known of one partition of a target. committed: the group's offset in `records`, or the log's start.

    end: of `records`, when this was read. acknowledged: by entity key, of this generation. subjects: subject -> value.
    """

    committed: int
    end: int
    acknowledged: dict[str, Acknowledged] = field(default_factory=dict)
    subjects: dict[str, Any] = field(default_factory=dict)

    def take(self, target: str, generation: int, key: bytes | None, value: bytes | None) -> None:
        """Take note of one record of the topic; those of other targets are left out."""
        name = (key or b"").decode(errors="replace")
        if name.startswith(f"{target}#"):
            self.subjects[name.removeprefix(f"{target}#")] = None if value is None else orjson.loads(value)
        elif name.startswith(f"{target}/") and value is not None:
            said = orjson.loads(value)
            known = self.acknowledged.get(name.removeprefix(f"{target}/"))
            # A worker that was replaced may have written an older one late.
            if said["generation"] == generation and (known is None or said["offset"] >= known.offset):
                self.acknowledged[name.removeprefix(f"{target}/")] = Acknowledged(said["offset"], said["fields"])


async def read_notes(
    kafka: str, names: TopicNames, group: str, target: str, generation: int, partitions: Iterable[int]
) -> dict[int, Noted]:
    """What is known of these partitions of a target now. Raises KafkaError."""
    numbers = list(partitions)
    ours = [TopicPartition(names.deliveries, number) for number in numbers]
    records = [TopicPartition(names.records, number) for number in numbers]
    async with connected(kafka, group) as consumer:
        starts = await consumer.beginning_offsets([*ours, *records])
        ends = await log_ends(kafka, [*ours, *records])
        noted = {}
        for tp in records:
            committed = await consumer.committed(tp)
            noted[tp.partition] = Noted(max(committed or 0, starts[tp]), ends[tp])
        async for tp, batch in read_between(consumer, {tp: starts[tp] for tp in ours}, ends):
            for record in batch:
                noted[tp.partition].take(target, generation, record.key, record.value)
        return noted


class Notebook:
    """Writes to `deliveries` and to the target's dead letters. kafka: host:port. Connects with the first write."""

    def __init__(self, kafka: str) -> None:
        self._kafka = kafka
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def write(self, topic: str, partition: int, rows: Mapping[str, Any]) -> None:
        """Write values by key, None as a null, and wait for Kafka. Raises KafkaError, TimeoutError."""
        if not rows:
            return
        async with asyncio.timeout(KAFKA_SECONDS):
            async with self._starting:
                if self._producer is None:
                    self._producer = await started_producer(self._kafka, request_bytes=LETTER_BYTES)
                producer = self._producer
            sent = [
                await producer.send(
                    topic, None if value is None else canonical(value).encode(), key.encode(), partition=partition
                )
                for key, value in rows.items()
            ]
            await asyncio.gather(*sent)

    async def close(self) -> None:
        """Let go of the connection; what Kafka has not acknowledged is the writer's to write again."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await abandon(producer)


def note(acknowledged: Acknowledged, generation: int) -> dict[str, Any]:
    """An acknowledgement as it is written."""
    digests = acknowledged.digests
    return {
        "offset": acknowledged.offset,
        "generation": generation,
        "fields": None if digests is None else dict(digests),
    }
