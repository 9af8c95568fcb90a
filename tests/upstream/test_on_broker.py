"""What aiokafka does with offsets, against Apache Kafka: the embedded broker answers otherwise."""

from __future__ import annotations

import uuid

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from syncline.embedded import ServerProcess
from tests.upstream.canary import canary

pytestmark = pytest.mark.real_kafka

RECORDS = 3


async def topic_with_records(kafka: str) -> TopicPartition:
    """A new topic of one partition, with some records."""
    tp = TopicPartition(f"canary-{uuid.uuid4().hex[:8]}", 0)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(tp.topic, 1, 1)])
    finally:
        await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for number in range(RECORDS):
            await producer.send_and_wait(tp.topic, b"%d" % number, partition=0)
    return tp


async def test_without_a_committed_offset_a_seek_to_it_goes_nowhere(kafka: ServerProcess) -> None:
    """Asked to seek to the committed offset where there is none, aiokafka stays where it has read to.

    Worked around in agents/lane.py: LaneConsumer.perform_seek goes to the beginning then.
    """
    tp = await topic_with_records(kafka.address)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.address, group_id=tp.topic, auto_offset_reset="earliest")
    async with consumer:
        consumer.assign([tp])
        await consumer.getone()
        await consumer.seek_to_committed()
        with canary("agents/lane.py"):
            assert await consumer.position(tp) == 1


async def test_an_offset_that_is_gone_is_jumped_over_in_silence(kafka: ServerProcess) -> None:
    """From an offset that is not in the log aiokafka goes on at its beginning, without an error.

    Worked around in agents/ranges.py and agents/lane.py: what cannot be read any more is told in an alarm.
    """
    tp = await topic_with_records(kafka.address)
    async with AIOKafkaConsumer(bootstrap_servers=kafka.address, auto_offset_reset="earliest") as consumer:
        consumer.assign([tp])
        consumer.seek(tp, 1_000)
        with canary("agents/ranges.py", "agents/lane.py"):
            assert (await consumer.getone()).offset == 0
