"""What is to be different while workers run: topic `control`, read from its beginning and followed by each of them.

A key is a subject, such as `journal` or `target:crm`, and its newest value counts; null takes it back. Values are
canonical JSON. They name what syncline.yaml declares and have no secrets in them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from mode import Service

from agents.kafka_producer import abandon, started_producer
from agents.log_ends import log_ends
from schemas.canonical import canonical

log = logging.getLogger(__name__)

FETCH_SECONDS: Final = 0.5
KAFKA_TIMEOUT_SECONDS: Final = 10.0
BACKOFF_SECONDS: Final = 1.0

Listener = Callable[[str, Any], None]
"""Is told a subject and its value, None where it was taken back; it must not raise and returns at once."""


class Control(Service):
    """Follows topic `control`. current: the newest value of each subject. read: all that was there is in `current`.

    kafka: host:port. topic: full name. Kafka being away is logged and tried again; nothing is raised.
    """

    def __init__(self, kafka: str, topic: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.current: dict[str, Any] = {}
        self.read = asyncio.Event()
        self.topic = topic
        self._kafka = kafka
        self._partition = TopicPartition(topic, 0)
        self._next = 0
        self._listeners: list[tuple[str, Listener]] = []

    def listen(self, prefix: str, listener: Listener) -> None:
        """Tell a listener of every subject that begins with `prefix`: what there is now, and each change of it."""
        self._listeners.append((prefix, listener))
        for subject, value in self.current.items():
            if subject.startswith(prefix):
                listener(subject, value)

    @Service.task
    async def _follow(self) -> None:
        while not self.should_stop:
            try:
                await self._follow_until_it_fails()
            except (KafkaError, OSError) as error:  # TimeoutError is one
                log.warning("Topic %s cannot be read: %r", self._partition.topic, error)
                await self.sleep(BACKOFF_SECONDS)

    async def _follow_until_it_fails(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._kafka,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            request_timeout_ms=int(KAFKA_TIMEOUT_SECONDS * 1000),
        )
        try:
            async with asyncio.timeout(KAFKA_TIMEOUT_SECONDS):
                await consumer.start()
                consumer.assign([self._partition])
                end = (await log_ends(self._kafka, [self._partition]))[self._partition]
            consumer.seek(self._partition, self._next)
            while not self.should_stop:
                fetched = await consumer.getmany(timeout_ms=int(FETCH_SECONDS * 1000))
                self._take(fetched.get(self._partition, ()))
                async with asyncio.timeout(KAFKA_TIMEOUT_SECONDS):
                    self._next = await consumer.position(self._partition)
                if self._next >= end:
                    self.read.set()
        finally:
            await consumer.stop()

    def _take(self, records: Iterable[ConsumerRecord]) -> None:
        for record in records:
            try:
                subject = (record.key or b"").decode()
                value = None if record.value is None else orjson.loads(record.value)
            except ValueError:
                log.error("%s offset %d is no JSON under a name: left out", record.topic, record.offset)
                continue
            if value is None:
                self.current.pop(subject, None)
            else:
                self.current[subject] = value
            for prefix, listener in self._listeners:
                if subject.startswith(prefix):
                    listener(subject, value)


async def tell(kafka: str, topic: str, subject: str, value: Any) -> int:
    """Write what all workers are to know of a subject, None to take it back; the offset at which Kafka has it.

    kafka: host:port. topic: full name of `control`. value: what `canonical` takes. Raises KafkaError, TimeoutError.
    """
    return await tell_all(kafka, topic, {subject: value})


async def tell_all(kafka: str, topic: str, values: Mapping[str, Any]) -> int:
    """As `tell`, of several subjects, at least one, in their order; the offset of the last one."""
    async with asyncio.timeout(KAFKA_TIMEOUT_SECONDS):
        producer = await started_producer(kafka)
        try:
            for subject, value in values.items():
                body = None if value is None else canonical(value).encode()
                sent = await producer.send_and_wait(topic, body, subject.encode(), partition=0)
            return int(sent.offset)
        finally:
            await abandon(producer)
