"""What somebody with a broker's tools does to topics while Syncline uses them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams.topics import Topic


def alter_settings(kafka: str, prefix: str, topic: Topic, changed: Mapping[str, str]) -> None:
    """Change settings of a topic; those it was created with stay as they are."""
    settings = {**topic.config, **changed}

    async def alter() -> None:
        async with _admin(kafka) as admin:
            # This request sets what it does not name to the broker's defaults.
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic.full_name(prefix), settings)])

    asyncio.run(alter())


def add_partitions(kafka: str, topic: str, total: int) -> None:
    """Let a topic have so many partitions, more than before."""

    async def add() -> None:
        async with _admin(kafka) as admin:
            await admin.create_partitions({topic: NewPartitions(total)})

    asyncio.run(add())


def delete_records(kafka: str, before: Mapping[TopicPartition, int]) -> None:
    """Have Kafka delete the records before these offsets."""

    async def delete() -> None:
        async with _admin(kafka) as admin:
            await admin.delete_records({tp: RecordsToDelete(before_offset=at) for tp, at in before.items()})

    asyncio.run(delete())


@asynccontextmanager
async def _admin(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
