"""Reads what lies between two offsets of partitions, with a consumer that is a member of no group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from agents.header_names import tolerate_header_names

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
        # A task of aiokafka's that has not begun yet would, when stopped, have this one cancelled.
        await asyncio.sleep(0)
        yield consumer
    finally:
        await consumer.stop()


async def read_between(
    consumer: AIOKafkaConsumer, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> AsyncGenerator[tuple[TopicPartition, list[ConsumerRecord]], None]:
    """Each partition's records in their order, some of them at a time, from its start to before its end.

    consumer: started, and nobody else's meanwhile. Raises KafkaError.
    """
    left = {tp for tp in starts if starts[tp] < ends[tp]}
    if not left:
        return
    consumer.assign(list(left))
    for tp in left:
        consumer.seek(tp, starts[tp])
    polled: dict[TopicPartition, int | None] = {}
    empty: dict[TopicPartition, int] = {}
    while left:
        fetched = await consumer.getmany(*left, timeout_ms=POLL_MS, max_records=FETCH_RECORDS)
        for tp, records in fetched.items():
            empty[tp] = 0
            within = [record for record in records if record.offset < ends[tp]]
            if within:
                yield tp, within
        for tp in sorted(left):
            answered = consumer.last_poll_timestamp(tp)
            if not fetched and answered is not None and answered != polled.get(tp):
                empty[tp] = empty.get(tp, 0) + 1
            polled[tp] = answered
            if await consumer.position(tp) >= ends[tp] or empty.get(tp, 0) >= EMPTY_ANSWERS:
                left.discard(tp)
