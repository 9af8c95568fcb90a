"""A Kafka topic, keyed by entity and partitioned as Java's clients do; a deleted entity is a null.

Headers `syncline-order` (generation and offset in `records`) and `syncline-idempotency-key` let a reader drop what
comes twice: Kafka itself has no guard that compares them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    AuthenticationFailedError,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from agents.kafka_producer import abandon, started_producer
from agents.targets.bisection import Refused, deliver_what_passes
from agents.targets.message import message_text
from agents.targets.target import Receipt, TargetUnavailable, TargetUnusable
from schemas.codec import encode_record
from schemas.target_document import KafkaDocument
from streams.delivery import Delivery
from streams.topics import COMPACT, MIB

ORDER_HEADER: Final = "syncline-order"
IDEMPOTENCY_HEADER: Final = "syncline-idempotency-key"
#: A golden record has 4 MiB at most, and what names it comes on top.
REQUEST_BYTES: Final = 5 * MIB


class KafkaTarget:
    """Produces to one topic: idempotent, and acknowledged by all in-sync replicas."""

    def __init__(self, said: KafkaDocument) -> None:
        self._said = said
        self._timeout_seconds = said.timeout / 1000
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self.healthy = True

    async def open(self) -> None:
        """Make the topic if it is missing, and connect."""
        async with self._answered():
            await self._make_topic()
            await self._started()

    async def deliver(self, batch: Sequence[Delivery]) -> Receipt:
        """All of the batch at once, in order within each partition."""
        return await deliver_what_passes(batch, self._send)

    async def close(self) -> None:
        """Close the connections. Nothing is under way unless a delivery was cut off."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await abandon(producer)

    async def _send(self, part: Sequence[Delivery]) -> Receipt:
        sent: list[asyncio.Future[Any]] = []
        sent_bytes = 0
        async with self._answered():
            producer = await self._started()
            try:
                for delivery in part:
                    value = self._value(delivery)
                    key, headers = delivery.key.encode(), headers_of(delivery)
                    sent.append(await producer.send(self._said.topic, value, key, headers=headers))
                    sent_bytes += len(value or b"")
                await asyncio.gather(*sent)
            finally:
                # After an error nobody waits for the others.
                for acknowledgement in sent:
                    acknowledgement.cancel()
        return Receipt(sent_bytes=sent_bytes)

    def _value(self, delivery: Delivery) -> bytes | None:
        if delivery.record is None:
            return None
        return encode_record(delivery.record) if self._said.format == "avro" else message_text(delivery).encode()

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                self._producer = await started_producer(self._said.kafka, self._timeout_seconds, REQUEST_BYTES)
            return self._producer

    async def _make_topic(self) -> None:
        said = self._said
        admin = AIOKafkaAdminClient(bootstrap_servers=said.kafka, request_timeout_ms=said.timeout)
        try:
            await admin.start()
            if said.topic in await admin.list_topics():
                return
            topic = NewTopic(said.topic, said.partitions, said.replication_factor, topic_configs=COMPACT)
            for _, code, *message in (await admin.create_topics([topic])).topic_errors:
                if code != 0 and for_code(code) is not TopicAlreadyExistsError:
                    problem = f"{for_code(code).__name__}: {' '.join(map(str, message))}"
                    raise TargetUnusable(f"topic {said.topic} cannot be made: {problem}")
        finally:
            await admin.close()

    @asynccontextmanager
    async def _answered(self) -> AsyncIterator[None]:
        """Until it ends without an error, a producer counts as broken, and is not used again.

        What such a one still has is never sent: it would come after what is delivered next. Raises Refused,
        TargetUnavailable, TargetUnusable.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                yield
        except BaseException as error:
            problem = judged(error, self._timeout_seconds)
            self.healthy = isinstance(problem, Refused)
            await self.close()
            raise problem from None
        self.healthy = True


def headers_of(delivery: Delivery) -> list[tuple[str, bytes]]:
    """What a reader drops repetitions by, which a null has no other room for."""
    return [
        (ORDER_HEADER, b"%d:%d" % delivery.order),
        (IDEMPOTENCY_HEADER, delivery.idempotency_key.encode()),
    ]


def judged(error: BaseException, timeout_seconds: float) -> BaseException:
    """What is to be raised for what the client says."""
    if isinstance(error, MessageSizeTooLargeError):
        return Refused("too large: more than the topic's max.message.bytes")
    if isinstance(error, AuthenticationFailedError | TopicAuthorizationFailedError | InvalidTopicError):
        return TargetUnusable(f"Kafka {type(error).__name__}: look at topic and the rights of the user")
    if isinstance(error, TimeoutError):
        return TargetUnavailable(f"no answer within {timeout_seconds:g} s")
    if isinstance(error, KafkaError | OSError):
        return TargetUnavailable(f"Kafka {type(error).__name__}")
    return error
