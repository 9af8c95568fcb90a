"""Reads a topic from the beginning of its partitions to where they end now, as no member of any group."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.partitioner import DefaultPartitioner

from agents.header_names import tolerate_header_names
from agents.log_ends import log_ends

POLL_MS = 200
FETCH_RECORDS = 5_000
#: A partition whose last records were compacted away never yields the record before its end: so many answers of
#: the broker without anything are taken as the end.
EMPTY_ANSWERS = 3


@asynccontextmanager
async def connected(kafka: str, group: str | None = None) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that commits nothing. kafka: host:port. group: whose committed offsets it may ask for."""
    tolerate_header_names()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


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
        async for partition, records in _read_to_ends(kafka, consumer, partitions):
            if key is not None:
                records = [record for record in records if record.key == key]
            if records:
                yield partition, records


async def _read_to_ends(
    kafka: str, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]
) -> AsyncGenerator[tuple[int, list[ConsumerRecord]], None]:
    ends = await log_ends(kafka, partitions)
    starts = await consumer.beginning_offsets(partitions)
    left = {tp for tp in partitions if starts[tp] < ends[tp]}
    if not left:
        return
    consumer.assign(list(left))
    await consumer.seek_to_beginning(*left)
    polled: dict[TopicPartition, int | None] = {}
    empty: dict[TopicPartition, int] = {}
    while left:
        fetched = await consumer.getmany(*left, timeout_ms=POLL_MS, max_records=FETCH_RECORDS)
        for tp, records in fetched.items():
            empty[tp] = 0
            within = [record for record in records if record.offset < ends[tp]]
            if within:
                yield tp.partition, within
        for tp in sorted(left):
            answered = consumer.last_poll_timestamp(tp)
            if not fetched and answered is not None and answered != polled.get(tp):
                empty[tp] = empty.get(tp, 0) + 1
            polled[tp] = answered
            if await consumer.position(tp) >= ends[tp] or empty.get(tp, 0) >= EMPTY_ANSWERS:
                left.discard(tp)
