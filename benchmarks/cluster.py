"""What the benchmark asks of Kafka: topics, a quick way in, the ends, the committed offsets, a whole topic back."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, for_code
from aiokafka.partitioner import murmur2

BATCH_BYTES = 512 * 1024
APPEAR_ATTEMPTS = 200

#: The broker writes down when it appended a record: the clock of every rate in this benchmark.
APPEND_TIME = {"message.timestamp.type": "LogAppendTime"}


def partition_of(key: bytes, partitions: int) -> int:
    """Kafka's default partition of a key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def by_partition(rows: Iterable[tuple[bytes, bytes]], partitions: int) -> list[list[tuple[bytes, bytes]]]:
    """Rows (key, value) of partition 0, 1 and so on, in their order."""
    parts: list[list[tuple[bytes, bytes]]] = [[] for _ in range(partitions)]
    places: dict[bytes, int] = {}
    for row in rows:
        key = row[0]
        if key not in places:
            places[key] = partition_of(key, partitions)
        parts[places[key]].append(row)
    return parts


class Cluster:
    """One broker at `address`, with topics of `partitions` partitions. Use as `async with`."""

    def __init__(self, address: str, partitions: int) -> None:
        self.address = address
        self.partitions = partitions
        self._admin = AIOKafkaAdminClient(bootstrap_servers=address)

    async def __aenter__(self) -> Cluster:
        await self._admin.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._admin.close()

    async def create(self, configs: Mapping[str, Mapping[str, str]]) -> None:
        """Create topics, name -> settings, and wait until the broker lists them. Raises KafkaError."""
        topics = [NewTopic(n, self.partitions, 1, topic_configs=dict(config)) for n, config in configs.items()]
        response = await self._admin.create_topics(topics)
        for name, code, *_ in response.topic_errors:
            if code:
                raise for_code(code)(f"topic {name}")
        for _ in range(APPEAR_ATTEMPTS):
            if configs.keys() <= set(await self._admin.list_topics()):
                return
            await asyncio.sleep(0.05)
        raise KafkaError(f"topics {sorted(configs)} were created but the broker does not list them all")

    async def delete(self, names: Iterable[str]) -> None:
        """Delete topics, so that what one run left takes no memory from the next."""
        await self._admin.delete_topics(list(names))

    async def topics(self) -> set[str]:
        """Names of all topics."""
        return set(await self._admin.list_topics())

    async def produce(self, topic: str, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Append rows (key, value) in whole batches, each in the partition of its key, in their order."""
        await self.produce_parts(topic, by_partition(rows, self.partitions))

    async def produce_parts(self, topic: str, parts: Sequence[Iterable[tuple[bytes, bytes]]]) -> None:
        """Append the rows of each partition in whole batches; parts: those of partition 0, 1 and so on."""
        async with AIOKafkaProducer(
            bootstrap_servers=self.address, acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES
        ) as producer:
            sends = (self._produce(producer, topic, number, rows) for number, rows in enumerate(parts))
            await asyncio.gather(*sends)

    async def _produce(
        self, producer: AIOKafkaProducer, topic: str, partition: int, rows: Iterable[tuple[bytes, bytes]]
    ) -> None:
        batch = producer.create_batch()
        for key, value in rows:
            if batch.append(key=key, value=value, timestamp=None) is None:
                await (await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None)
        if batch.record_count():
            await (await producer.send_batch(batch, topic, partition=partition))

    async def committed(self, group: str, topic: str) -> int:
        """Sum of a group's committed offsets in a topic; 0 before there is a group."""
        wanted = [TopicPartition(topic, number) for number in range(self.partitions)]
        try:
            offsets = await self._admin.list_consumer_group_offsets(group, partitions=wanted)
        except KafkaError:
            return 0
        return sum(max(0, offset.offset) for offset in offsets.values())

    async def members(self, group: str) -> int:
        """Number of members of a group that is not rebalancing; 0 before there is one."""
        try:
            (answer,) = await self._admin.describe_consumer_groups([group])
        except KafkaError:
            return 0
        _, _, state, _, _, members, *_ = answer.groups[0]
        return len(members) if state == "Stable" else 0

    async def ends(self, topic: str) -> dict[int, int]:
        """The end of each partition."""
        async with AIOKafkaConsumer(bootstrap_servers=self.address) as consumer:
            ends = await consumer.end_offsets([TopicPartition(topic, p) for p in range(self.partitions)])
        return {tp.partition: end for tp, end in ends.items()}

    async def read(self, topic: str) -> dict[int, list[ConsumerRecord[Any, Any]]]:
        """Every record of a topic, by partition. The topic must not have been compacted yet."""
        ends = await self.ends(topic)
        found: dict[int, list[ConsumerRecord[Any, Any]]] = {number: [] for number in ends}
        async with AIOKafkaConsumer(
            bootstrap_servers=self.address, auto_offset_reset="earliest", max_partition_fetch_bytes=4 * 1024 * 1024
        ) as consumer:
            consumer.assign([TopicPartition(topic, number) for number in ends])
            while any(len(found[number]) < end for number, end in ends.items()):
                for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                    found[tp.partition] += records
        return found

    async def counts(self, topics: Collection[str]) -> dict[str, int]:
        """Number of records of each topic."""
        return {topic: sum((await self.ends(topic)).values()) for topic in topics}
