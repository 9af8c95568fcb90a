"""Reads a topic from the beginning of its partitions to where they end now, as no member of any group."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.partitioner import DefaultPartitioner

from agents.log_ends import log_ends
from agents.reading import connected, read_between


async def partitions_of(kafka: str, topic: str) -> list[TopicPartition]:
    """The partitions of a topic; none for a topic that is not there, which is not created by asking."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    try:
        await admin.start()
        # All topics are asked for first, not this name: some brokers create whatever they are asked about.
        if topic not in await admin.list_topics():
            return []
        (described,) = await admin.describe_topics([topic])
        return [TopicPartition(topic, number) for number in range(len(described["partitions"]))]
    finally:
        await admin.close()


def partition_of(key: bytes, partitions: Sequence[TopicPartition]) -> TopicPartition:
    """Where all records of an entity key are. partitions: all of the topic, at least one."""
    numbers = [tp.partition for tp in partitions]
    return partitions[numbers.index(DefaultPartitioner()(key, numbers, numbers))]


async def read_topic(
    kafka: str, topic: str, key: bytes | None = None
) -> AsyncGenerator[tuple[int, list[ConsumerRecord]], None]:
    """Each partition's records in their order, as (partition, some of them), up to the ends at the start.

    key: only this key's records, from its partition alone. A topic that is not there yields nothing.
    """
    partitions = await partitions_of(kafka, topic)
    if not partitions:
        return
    if key is not None:
        partitions = [partition_of(key, partitions)]
    async with connected(kafka) as consumer:
        ends = await log_ends(kafka, partitions)
        starts = await consumer.beginning_offsets(partitions)
        async for tp, records in read_between(consumer, starts, ends):
            if key is not None:
                records = [record for record in records if record.key == key]
            if records:
                yield tp.partition, records
