"""Publishes changes: completes them, encodes them, and awaits Kafka's acknowledgement (SPEC section 2)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import RecordMetadata

from agents.kafka_producer import started_producer
from agents.settings import load_settings
from agents.topics import create_missing
from schemas.change import Change
from schemas.codec import encode_change
from schemas.refusal import DEFAULT_LIMITS, Limits
from streams.topics import CHANGES
from syncline.hybrid_clock import HybridClock, wall_clock_ms

#: One for all publishers of the process, so that two of them that write as one source never meet.
PROCESS_CLOCK = HybridClock()


class Read(Protocol):
    """Something that was read before writing: a GoldenRecord, or an entry of the view."""

    @property
    def entity_type(self) -> str: ...
    @property
    def entity_id(self) -> str: ...
    @property
    def fields(self) -> Mapping[str, Any]: ...
    @property
    def clock(self) -> Mapping[str, int]: ...


class Encoded(NamedTuple):
    """A change as it goes to Kafka: the entity key and the framed Avro record."""

    key: bytes
    value: bytes


class Publisher:
    """Publishes changes to one deployment; use it with `async with`.

    kafka: host:port, several with commas between. topic_prefix, limits: those of the deployment. partitions: of
    topics that are not there yet. What is not given comes from SYNCLINE_* in the environment, else from the
    defaults. clock: gives versions to changes that have none; a source that numbers its changes never needs it.
    """

    def __init__(
        self,
        kafka: str | None = None,
        topic_prefix: str | None = None,
        *,
        partitions: int | None = None,
        limits: Limits = DEFAULT_LIMITS,
        clock: HybridClock = PROCESS_CLOCK,
    ) -> None:
        self._settings = load_settings(kafka=kafka, topic_prefix=topic_prefix, partitions=partitions)
        self.topic = CHANGES.full_name(self._settings.topic_prefix)
        self._limits = limits
        self._clock = clock
        self._partitioner = DefaultPartitioner()
        self._producer: AIOKafkaProducer | None = None
        self._partitions: list[int] = []

    async def start(self) -> None:
        """Connect, and create the topics that are missing. ConnectionError: no broker answers."""
        kafka = self._settings.kafka
        try:
            await self._create_topics()
            self._producer = await started_producer(kafka)
            self._partitions = sorted(await self._producer.partitions_for(self.topic))
        except BaseException as error:
            await self.stop()
            if not isinstance(error, KafkaConnectionError):
                raise
            raise ConnectionError(
                f"no broker answers at {kafka}; start one, or set SYNCLINE_KAFKA=host:port"
            ) from error

    async def stop(self) -> None:
        """Send what is under way and disconnect; a second call does nothing."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def publish(self, change: Change | Mapping[str, Any], *, seen_from: Read | None = None) -> RecordMetadata:
        """Publish one change and return where Kafka put it, once all in-sync replicas have it.

        change: a Change, or its JSON form; version, occurred_at and event_id are filled in where they are missing.
        seen_from: what the writer had read; gives `seen`, and `before` for the fields that are written.
        Raises Refusal when it is no change, KafkaError when Kafka does not take it.
        """
        encoded = self.encode(change, seen_from=seen_from)
        return await self._started().send_and_wait(self.topic, value=encoded.value, key=encoded.key)

    async def publish_many(self, changes: Iterable[Change | Mapping[str, Any]]) -> list[RecordMetadata]:
        """Publish changes, those of one entity in the order given, and return where each is, in the same order.

        Raises Refusal before anything is sent when one of them is no change.
        """
        return await self.send([self.encode(change) for change in changes])

    async def update(self, record: Read, *, fields: Mapping[str, Any], source: str, **rest: Any) -> RecordMetadata:
        """Publish an informed change of a record that was just read: it passes over all that is in the record.

        fields: what changes; null unsets. source: who writes. rest: further parts of the change, such as version.
        Raises as `publish`, and ClockAhead where the source numbers its changes itself and no version is given.
        """
        return await self._informed(record, {"op": "update", "source": source, "fields": dict(fields), **rest})

    async def delete(self, record: Read, *, source: str, **rest: Any) -> RecordMetadata:
        """Publish the informed deletion of a record that was just read; as `update` for the rest."""
        return await self._informed(record, {"op": "delete", "source": source, **rest})

    def encode(self, change: Change | Mapping[str, Any], *, seen_from: Read | None = None) -> Encoded:
        """Complete and encode a change without sending it. Raises Refusal, TypeError."""
        if seen_from is not None:
            change = _informed_by(change, seen_from)
        if not isinstance(change, Change):
            if not isinstance(change, Mapping):
                raise TypeError(
                    f"a change is a {type(change).__name__}; it must be a Change or its JSON form, a mapping"
                )
            version = 0 if change.get("version") is not None else self._clock.tick()
            change = Change.fill(change, version, wall_clock_ms())
        return Encoded(change.key.encode(), encode_change(change, self._limits))

    async def send(self, encoded: Sequence[Encoded]) -> list[RecordMetadata]:
        """Send what `encode` made, in one batch for each partition or as few as hold it, and await all."""
        places: dict[int, list[int]] = {}
        for place, (key, _) in enumerate(encoded):
            partition = self._partitioner(key, self._partitions, self._partitions)
            places.setdefault(partition, []).append(place)
        sent: list[Any] = [None] * len(encoded)
        work = [self._send_partition(partition, own, encoded, sent) for partition, own in places.items()]
        # All are waited for: what is still being sent when this returns could overtake what is sent next.
        for outcome in await asyncio.gather(*work, return_exceptions=True):
            if outcome is not None:
                raise outcome
        return sent

    async def _send_partition(
        self, partition: int, places: list[int], encoded: Sequence[Encoded], sent: list[Any]
    ) -> None:
        producer = self._started()
        batches: list[tuple[int, asyncio.Future[RecordMetadata]]] = []

        async def submit(batch: Any) -> None:
            batch.close()
            batches.append((batch.record_count(), await producer.send_batch(batch, self.topic, partition=partition)))

        batch = producer.create_batch()
        for place in places:
            key, value = encoded[place]
            if batch.append(key=key, value=value, timestamp=None) is None:
                await submit(batch)
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None)  # an empty batch takes any record
        await submit(batch)
        following = iter(places)
        for count, future in batches:
            base = await future
            for number in range(count):
                sent[next(following)] = base._replace(offset=base.offset + number if base.offset >= 0 else -1)

    async def _informed(self, record: Read, change: dict[str, Any]) -> RecordMetadata:
        if change.get("version") is None:
            self._clock.observe(record.clock.get(change["source"], 0))
        entity = {"entity_type": record.entity_type, "entity_id": record.entity_id}
        return await self.publish({**entity, **change}, seen_from=record)

    async def _create_topics(self) -> None:
        # A broker that creates whatever a client asks for would give `changes` one partition and a retention.
        admin = AIOKafkaAdminClient(bootstrap_servers=self._settings.kafka)
        try:
            await admin.start()
            await create_missing(admin, self._settings)
        finally:
            await admin.close()

    def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise RuntimeError("the publisher is not started; use it with `async with`, or call start()")
        return self._producer


def _informed_by(change: Change | Mapping[str, Any], record: Read) -> dict[str, Any]:
    """The JSON form of a change with `seen` and `before` taken from what was read."""
    whole = change.model_dump() if isinstance(change, Change) else dict(change)
    for name in ("seen", "before"):
        if whole.get(name) is not None:
            raise TypeError(f"the change has a {name} and seen_from is given too; give one of them")
    whole["seen"] = dict(record.clock)
    if whole.get("fields"):
        whole["before"] = {name: record.fields.get(name) for name in whole["fields"]}
    return whole
