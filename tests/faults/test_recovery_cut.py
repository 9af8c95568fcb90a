"""The broker goes away in the middle of a recovery: it completes when the broker is back, and the worker works."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from agents.names import TopicNames
from syncline.embedded import free_port
from tests.conftest import DATABASE_NUMBERS, Deployment
from tests.faults.ledger import folded, read_log
from tests.faults.proxy import Proxy
from tests.faults.worker import NORMAL, Worker
from tests.integration.shell import SESSION_SECONDS, Shell, worker_settings
from tests.integration.test_web import get
from tests.servers.kafka import KafkaServer
from tests.servers.redis import RedisServer

pytestmark = pytest.mark.real_kafka

PARTITIONS = 4
STATES = 200_000
PATIENCE_SECONDS = 90.0
#: Each request and each answer takes so much longer: a recovery of all the states lasts some seconds.
DELAY_SECONDS = 0.15
#: The first is the least that the session of these workers allows (agents/app.py).
REQUEST_SECONDS = SESSION_SECONDS + 10.0
SILENT_SECONDS = REQUEST_SECONDS + 5.0
BATCH_BYTES = 500_000
REMAINING, ENTITIES = "syncline_recovery_remaining_offsets", "syncline_entities"
#: Resolved before: so many that each partition has one, for whose state there must be a change.
RESOLVED = 40


@pytest.fixture
def proxy(server_directory: Path) -> Iterator[Proxy]:
    """The way to a broker of this test's own."""
    port = free_port()
    server = KafkaServer(server_directory, advertised_port=port)
    server.start()
    with Proxy(server.port, port) as proxy:
        yield proxy
    server.kill()


@pytest.fixture
def deployment(proxy: Proxy, redis_server: RedisServer) -> Deployment:
    """A deployment on that broker."""
    name = f"c{uuid.uuid4().hex[:10]}"
    return Deployment(proxy.address, redis_server.url(next(DATABASE_NUMBERS)), f"{name}.", name, real_kafka=True)


@pytest.fixture
def shell(deployment: Deployment) -> Shell:
    """Runs `syncline` there."""
    return Shell(deployment, SYNCLINE_PARTITIONS=str(PARTITIONS))


@pytest.fixture(params=["memory", "rocksdb"])
def worker(
    request: pytest.FixtureRequest, deployment: Deployment, shell: Shell, proxy: Proxy, tmp_path: Path
) -> Iterator[Worker]:
    """A worker on each store, just started, which has many states to recover over a slow way."""
    store = {"store": request.param, "data_dir": tmp_path / "data"}
    settings = worker_settings(deployment, partitions=PARTITIONS, request_seconds=REQUEST_SECONDS, **store)
    shell.out("doctor")
    publish(shell, "before")
    first = Worker(settings, tmp_path / "first.log", NORMAL, {})
    shell.out("wait", "--timeout", f"{PATIENCE_SECONDS:g}")
    assert first.end() == 0
    asyncio.run(multiply(deployment))
    proxy.delay(DELAY_SECONDS)
    worker = Worker(settings, tmp_path / "second.log", NORMAL, {})
    yield worker
    assert worker.end() == 0


@pytest.mark.parametrize("seconds", [3.0, 20.0])
def test_broker_cut_off_in_a_recovery(seconds: float, worker: Worker, proxy: Proxy, shell: Shell) -> None:
    """An outage, shorter or longer than the group's session: afterwards all states are there, and changes resolved."""
    until(lambda: 0.1 < metric(worker, REMAINING) / STATES < 0.8, worker)
    proxy.cut()
    time.sleep(seconds)
    assert not worker.ready()
    proxy.heal()
    works(worker, shell)


def test_broker_silent_when_recovery_begins(worker: Worker, proxy: Proxy, shell: Shell) -> None:
    """A broker that does not answer what recovery asks first, for longer than any question may take: the same.

    (Earlier, while partitions are taken over, a worker ends instead: agents/app.py, take_over.)
    """
    until(lambda: "app consumers id" in worker.log.read_text(), worker)
    proxy.half_open()
    time.sleep(SILENT_SECONDS)
    proxy.heal()
    works(worker, shell)


def works(worker: Worker, shell: Shell) -> None:
    """The worker becomes ready by itself, with all states, and resolves changes."""
    until(worker.ready, worker)
    # RocksDB counts twice what it was given again: of each partition a record, whenever its recovery starts.
    assert STATES + RESOLVED <= metric(worker, ENTITIES) < STATES + RESOLVED + 100
    publish(shell, "after")
    shell.out("wait", "--timeout", f"{PATIENCE_SECONDS:g}")
    assert json.loads(shell.out("get", "customer:1", "-o", "json"))["fields"] == {"name": "after"}


def publish(shell: Shell, name: str) -> None:
    """A change of each entity."""
    change = {"entity_type": "customer", "op": "update", "source": "crm", "fields": {"name": name}}
    lines = [json.dumps({**change, "entity_id": str(number)}) for number in range(RESOLVED)]
    shell.out("publish", "-", stdin="\n".join(lines).encode())


async def multiply(deployment: Deployment) -> None:
    """Write an entity's state to the changelog under many more keys."""
    changelog = TopicNames.with_prefix(deployment.topic_prefix).changelog
    state = folded(await read_log(deployment.kafka, changelog))[b"customer:1"]
    async with AIOKafkaProducer(bootstrap_servers=deployment.kafka, max_batch_size=BATCH_BYTES) as producer:
        for partition in range(PARTITIONS):
            batch = producer.create_batch()
            for number in range(partition, STATES, PARTITIONS):
                key = b"customer:filling-%06d" % number
                if batch.append(key=key, value=state, timestamp=None) is None:
                    await producer.send_batch(batch, changelog, partition=partition)
                    batch = producer.create_batch()
                    batch.append(key=key, value=state, timestamp=None)
            await (await producer.send_batch(batch, changelog, partition=partition))


def metric(worker: Worker, name: str) -> float:
    """One of its metrics, 0 before it tells any."""
    try:
        lines = get(worker.settings.web_port, "/metrics")[1].splitlines()
    except OSError:
        return 0.0
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


def until(condition: Callable[[], bool], worker: Worker) -> None:
    """Wait until it is true of the worker, which must not end meanwhile."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert worker.code is None and time.monotonic() < deadline, worker.log.read_text()
        time.sleep(0.05)
