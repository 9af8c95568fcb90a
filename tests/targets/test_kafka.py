"""Delivery to a Kafka topic: where records go, what they say, and what a broker refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.partitioner import DefaultPartitioner

from agents.targets.kafka import KafkaTarget
from agents.targets.target import TargetUnavailable, TargetUnusable
from schemas.codec import decode_record
from schemas.target_document import KafkaDocument
from syncline.embedded import free_port
from tests.conftest import Deployment
from tests.targets.deliveries import delivery

PARTITIONS = 3


def target(deployment: Deployment, **said: Any) -> KafkaTarget:
    """A target that produces to a topic of this test's own."""
    given = {"kafka": deployment.kafka, "topic": f"{deployment.topic_prefix}crm", "partitions": PARTITIONS, **said}
    return KafkaTarget(KafkaDocument(kind="kafka", **given))


@asynccontextmanager
async def admin(deployment: Deployment) -> AsyncIterator[AIOKafkaAdminClient]:
    """What asks the broker."""
    client = AIOKafkaAdminClient(bootstrap_servers=deployment.kafka)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def records(deployment: Deployment, count: int) -> list[ConsumerRecord]:
    """So many records of the topic, by partition and offset."""
    consumer = AIOKafkaConsumer(bootstrap_servers=deployment.kafka, auto_offset_reset="earliest")
    await consumer.start()
    found: list[ConsumerRecord] = []
    try:
        consumer.assign([TopicPartition(f"{deployment.topic_prefix}crm", at) for at in range(PARTITIONS)])
        async with asyncio.timeout(30):
            while len(found) < count:
                for some in (await consumer.getmany(timeout_ms=200)).values():
                    found += some
    finally:
        await consumer.stop()
    return sorted(found, key=lambda record: (record.partition, record.offset))


async def test_records_of_an_entity_meet_in_one_partition(deployment: Deployment) -> None:
    """The key is the entity's, the partitioner Java's; a delete is a null, and headers say what it is."""
    producing = target(deployment)
    await producing.open()
    batch = [delivery(f"customer:{at % 5}", at, {"at": at} if at < 15 else None) for at in range(20)]
    receipt = await producing.deliver(batch)
    await producing.close()
    found = await records(deployment, len(batch))
    assert receipt.sent_bytes == sum(len(record.value or b"") for record in found)
    place = DefaultPartitioner()
    every = list(range(PARTITIONS))
    assert all(record.partition == place(record.key, every, every) for record in found)
    for key in {each.key for each in batch}:
        mine = [record for record in found if record.key == key.encode()]
        expected = [each for each in batch if each.key == key]
        assert [record.value and orjson.loads(record.value)["fields"] for record in mine] == [
            each.fields for each in expected
        ]
        assert [dict(record.headers) for record in mine] == [
            {
                "syncline-order": b"1:%d" % each.position.offset,
                "syncline-idempotency-key": each.idempotency_key.encode(),
            }
            for each in expected
        ]


async def test_avro_is_a_golden_record(deployment: Deployment) -> None:
    """The value is read as one of `records` is, with all fields, also where only some changed."""
    producing = target(deployment, format="avro")
    await producing.open()
    batch = [delivery("customer:1", 1, {"a": 2**53 + 1, "b": [1, 1.0]}, changed=["a"])]
    await producing.deliver(batch)
    await producing.close()
    (record,) = await records(deployment, 1)
    assert decode_record(record.value) == batch[0].record


@pytest.mark.real_kafka
async def test_the_topic_is_made_for_states(deployment: Deployment) -> None:
    """Compacted, with as many partitions as the file says; one that is there is left as it is."""
    for partitions in (PARTITIONS, 7):
        producing = target(deployment, partitions=partitions)
        await producing.open()
        await producing.close()
    name = f"{deployment.topic_prefix}crm"
    async with admin(deployment) as client:
        (described,) = await client.describe_topics([name])
        (configs,) = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    settings = {entry[0]: entry[1] for entry in configs.resources[0][4]}
    assert len(described["partitions"]) == PARTITIONS
    assert settings["cleanup.policy"] == "compact"


@pytest.mark.real_kafka
async def test_what_the_topic_does_not_take_is_refused(deployment: Deployment) -> None:
    """A record beyond the topic's own limit is named; the others, sent beside it, are there in order."""
    topic = NewTopic(f"{deployment.topic_prefix}crm", 1, 1, topic_configs={"max.message.bytes": "2000"})
    async with admin(deployment) as client:
        await client.create_topics([topic])
    producing = target(deployment)
    await producing.open()
    batch = [delivery("customer:1", at, {"at": at, "fill": "x" * (3000 if at in (2, 5) else 10)}) for at in range(7)]
    receipt = await producing.deliver(batch)
    assert receipt.refused == dict.fromkeys((2, 5), "too large: more than the topic's max.message.bytes")
    assert producing.healthy
    await producing.close()
    consumer = AIOKafkaConsumer(topic.name, bootstrap_servers=deployment.kafka, auto_offset_reset="earliest")
    await consumer.start()
    found = (await consumer.getmany(timeout_ms=5000)).values()
    await consumer.stop()
    assert [orjson.loads(record.value)["fields"]["at"] for some in found for record in some][-5:] == [0, 1, 3, 4, 6]


async def test_no_broker(deployment: Deployment) -> None:
    """An address where nobody listens makes the target unavailable at once."""
    lost = target(deployment, kafka=f"127.0.0.1:{free_port()}")
    for work in (lost.open(), lost.deliver([delivery("customer:1", 1, {})])):
        with pytest.raises(TargetUnavailable, match="Kafka KafkaConnectionError"):
            await work
    await lost.close()
    assert not lost.healthy


@pytest.mark.real_kafka
async def test_a_topic_that_cannot_be_made(deployment: Deployment) -> None:
    """What the broker says is told."""
    greedy = target(deployment, replication_factor=3)
    with pytest.raises(TargetUnusable, match="cannot be made: InvalidReplicationFactorError"):
        await greedy.open()
    await greedy.close()
