"""F27: topics that somebody altered. Workers refuse to start on them, and those that run end and touch nothing new."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from agents.ending import EX_CONFIG, EX_SOFTWARE
from agents.names import TopicNames
from streams.topics import CHANGELOG
from syncline.topic_reader import connected
from tests.conftest import Deployment
from tests.faults.alterations import add_partitions, alter_settings
from tests.faults.ledger import places_of_letters, read_log
from tests.faults.run import FaultRun
from tests.faults.waiting import ended
from tests.faults.worker import NORMAL

pytestmark = pytest.mark.real_kafka

PARTITIONS = 8
NEW = PARTITIONS  # the number of the ninth
#: How it notices -> how it is started, the code it ends with, and its reason.
LAUNCHERS = {
    "next look": (NORMAL, EX_CONFIG, "changes has 9 partitions, and must have 8"),
    "assignment": (("-m", "tests.faults.altered_worker"), EX_SOFTWARE, "are assigned apart"),
}


@pytest.fixture
def prepared(deployment: Deployment, tmp_path: Path) -> FaultRun:
    """A run whose topics a worker can be started on, before anybody alters them."""
    return FaultRun(deployment, tmp_path, seed=2701, changes=600, per_second=300, partitions=PARTITIONS)


def refusal(run: FaultRun, environment: Mapping[str, str] | None = None) -> str:
    """The last line of a worker that must refuse to start."""
    number = run.start_worker(environment=environment)
    assert ended(run, run.supervisor.release(number)) == EX_CONFIG
    return run.log_of(number).splitlines()[-1]


def test_more_partitions_are_refused_at_the_start(prepared: FaultRun) -> None:
    """A worker does not start when `changes` has more partitions than the other topics."""
    with prepared as run:
        changes = TopicNames.with_prefix(run.deployment.topic_prefix).changes
        add_partitions(run.deployment.kafka, changes, PARTITIONS + 1)
        assert f"topic {changes} has 9 partitions, and must have 8" in refusal(run)


def test_another_cleanup_is_refused_at_the_start(prepared: FaultRun) -> None:
    """A worker does not start on a changelog that Kafka would cut."""
    with prepared as run:
        prefix = run.deployment.topic_prefix
        alter_settings(run.deployment.kafka, prefix, CHANGELOG, {"cleanup.policy": "delete"})
        expected = f"topic {CHANGELOG.full_name(prefix)} has cleanup.policy=delete, and must have compact"
        assert expected in refusal(run)


def test_too_few_replicas_are_refused_at_the_start(prepared: FaultRun) -> None:
    """A worker that is told to keep two replicas does not start on topics that have one."""
    with prepared as run:
        line = refusal(run, {"SYNCLINE_REPLICATION_FACTOR": "2"})
        assert "has a replication factor of 1, and must have 2 or more" in line


@pytest.mark.parametrize("how", LAUNCHERS)
def test_running_worker_and_more_partitions(how: str, prepared: FaultRun) -> None:
    """A running worker ends when `changes` grows: at its next look, or when the new partition is assigned."""
    launcher, code, reason = LAUNCHERS[how]
    with prepared as run:
        names = TopicNames.with_prefix(run.deployment.topic_prefix)
        number = run.start_worker(launcher)
        run.publish()
        run.drain()
        worker = run.supervisor.release(number)
        add_partitions(run.deployment.kafka, names.changes, PARTITIONS + 1)
        asyncio.run(send_to_new_partition(run.deployment.kafka, names.changes))
        assert ended(run, worker) == code
        assert reason in run.log_of(number).splitlines()[-1]
        assert asyncio.run(committed_of_new_partition(run)) is None
        letters = asyncio.run(read_log(run.deployment.kafka, names.dead_letters))
        assert NEW not in {partition for partition, _ in places_of_letters(letters)}
        assert f"topic {names.changes} has 9 partitions, and must have 8" in refusal(run)


async def send_to_new_partition(kafka: str, topic: str) -> None:
    """Publish what whoever read it would have to put into dead letters."""
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        while NEW not in await producer.partitions_for(topic):
            await producer.client.force_metadata_update()
        await producer.send_and_wait(topic, b"no change", key=b"customer:1", partition=NEW)


async def committed_of_new_partition(run: FaultRun) -> int | None:
    """The offset that the workers committed there."""
    async with connected(run.deployment.kafka, run.deployment.app_id) as consumer:
        changes = TopicNames.with_prefix(run.deployment.topic_prefix).changes
        committed: int | None = await consumer.committed(TopicPartition(changes, NEW))
        return committed
