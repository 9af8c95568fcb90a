"""Kafka killed and restarted: no source is told that its changes are there before they are."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agents.topics import prepare_topics
from schemas.codec import decode_change
from streams.ingest import Taken
from tests.conftest import Deployment
from tests.ingest.arrivals import add, make_topic, taken_records, until, update
from tests.ingest.copying import Copying, line
from tests.ingest.reading import STREAM, Reading
from tests.servers.kafka import KafkaServer
from tests.servers.redis import RedisServer


@pytest.mark.real_kafka
async def test_what_kafka_did_not_acknowledge_is_not_acknowledged(
    own_kafka: KafkaServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Entries that are read while Kafka is away stay pending, and with it back they and the topic are copied on."""
    deployment = Deployment(own_kafka.address, redis_server.url(7), "away.", "away", real_kafka=True)
    reading, copying = Reading(deployment, deployment.redis, min_idle="10m"), Copying(deployment)
    await prepare_topics(reading.settings)
    await make_topic(deployment.kafka, copying.topic, 3)
    async with reading.worker(deadline_seconds=1.0) as stream, copying.worker():
        expected = await add(reading.redis, STREAM, [update(1, {"n": number}) for number in range(10)])
        await copying.send([line(number, {"n": number}) for number in range(10)])
        await asyncio.gather(reading.read_up(), copying.copied_up())
        own_kafka.kill()
        expected += await add(reading.redis, STREAM, [update(2, {"n": number}) for number in range(10)])

        async def tried_in_vain() -> bool:
            return (await reading.state()).pending > 0 and not stream.healthy

        await until(tried_in_vain)
        own_kafka.start()
        await copying.send([line(number, {"m": number}) for number in range(10)])
        await asyncio.gather(reading.read_up(), copying.copied_up())
        assert stream.healthy
    became = {"shop": set[bytes](), "crm": set[bytes]()}
    for record in await copying.read(copying.names.changes):
        became[decode_change(record.value).source].add(record.value)
    arrived = taken_records(await copying.read(copying.topic), "crm")
    assert became["shop"] == {one.value for one in expected if isinstance(one, Taken)}
    assert became["crm"] == {one.value for one in arrived if isinstance(one, Taken)}
    await reading.redis.aclose()
