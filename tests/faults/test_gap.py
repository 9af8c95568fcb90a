"""F28: holes in the offsets, of millions, cost no memory, and commits go on behind them."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from agents.app import new_app
from agents.lane import BROKER_WAIT_MS
from agents.names import TopicNames
from agents.offsets import PartitionLedger
from agents.topics import prepare_topics
from syncline.topic_reader import connected
from tests.conftest import Deployment
from tests.faults.alterations import delete_records
from tests.faults.run import FaultRun
from tests.faults.waiting import published
from tests.integration.shell import worker_settings

pytestmark = pytest.mark.real_kafka

GAP = 5_000_000
MIB = 1024 * 1024
PARTITIONS = range(2)


@dataclass
class Batch:
    """A delivered batch; offset is the one of its last record."""

    offset: int
    acked: bool = False


@contextmanager
def less_than_a_mebibyte() -> Iterator[None]:
    """At no moment inside is more memory taken."""
    tracemalloc.start()
    try:
        yield
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MIB


def test_ledger_with_holes() -> None:
    """A ledger that skips five million offsets, again and again, keeps nothing of them and commits behind them."""
    with less_than_a_mebibyte():
        ledger = PartitionLedger(0)
        for hole in range(1, 101):
            batch = Batch(hole * GAP + 9)
            assert ledger.register(hole * GAP, batch) == GAP - (10 if hole > 1 else 0)
            batch.acked = True
            ledger.settle()
            assert ledger.committable == hole * GAP + 10
    assert len(ledger) == 0


async def test_consumer_with_a_hole(deployment: Deployment) -> None:
    """The lane's consumer takes batches on both sides of five million offsets in the same memory and commits both."""
    settings = worker_settings(deployment)
    await prepare_topics(settings)
    app = new_app(settings, TopicNames.with_prefix(settings.topic_prefix))
    tp = TP(TopicNames.with_prefix(settings.topic_prefix).changes, 0)
    app.topics.add(app.topic(tp.topic))
    await app.topics._update_indices()
    consumer = app.consumer
    await consumer._thread.maybe_start()  # it asks the broker what became of the offsets between
    try:
        with less_than_a_mebibyte():
            for first in (0, GAP, 2 * GAP):
                message = consumer._to_message(tp, [record_at(tp, first), record_at(tp, first + 9)])
                await consumer._add_gap(tp, first + 10, first + GAP)
                consumer.ack(message)
                assert consumer._new_offset(tp) == first + 10
        assert not consumer._acked[tp]
        await asyncio.gather(*consumer._futures)
    finally:
        await consumer._thread.stop()


def record_at(tp: TP, offset: int) -> ConsumerRecord:
    """A record."""
    return ConsumerRecord(tp.topic, tp.partition, offset, 0, 1, b"k", b"v", None, 1, 1, ())


def test_changes_deleted_before_the_eyes_of_a_worker(deployment: Deployment, tmp_path: Path) -> None:
    """A running worker whose next changes are deleted names them in an alarm, and commits what comes behind them."""
    with FaultRun(
        deployment, tmp_path, seed=2801, changes=900, partitions=len(PARTITIONS), settings={"session_seconds": 30.0}
    ) as run:
        changes = TopicNames.with_prefix(deployment.topic_prefix).changes
        items = list(run.load.items())
        number = run.start_worker()
        published(run, items[:300])
        run.drain()
        first = asyncio.run(ends_of(deployment.kafka, changes))
        run.pause_worker(number)
        time.sleep(5 * BROKER_WAIT_MS / 1000)  # until the broker has answered the fetch that waits for more
        published(run, items[300:600])
        following = asyncio.run(ends_of(deployment.kafka, changes))
        delete_records(deployment.kafka, following)
        published(run, items[600:])
        run.resume_worker(number)
        run.drain()
        said = run.log_of(number)
        for tp, offset in first.items():
            assert f"ALARM: {changes}[{tp.partition}]: offsets {offset} to {following[tp] - 1} were deleted" in said
        assert run.progress.uncommitted() == 0
        assert run.shell.run("digest", "table", "records", "view").returncode == 0
        assert run.codes() == []


def test_changes_of_a_transactional_producer(deployment: Deployment, tmp_path: Path) -> None:
    """The marks of a transactional producer are no changes: all else is resolved, and no one waits for a mark."""
    settings = {"progress_seconds": 3.0, "batch_records": 30}
    with FaultRun(deployment, tmp_path, seed=2802, changes=400, partitions=len(PARTITIONS), settings=settings) as run:
        run.start_worker()
        asyncio.run(publish_in_transactions(run, of_records=20))
        run.drain()
        outcome = run.verify()
        assert (outcome.lost, outcome.golden_differ, outcome.conflicts_differ) == (0, 0, 0)
        assert outcome.digests_equal
        assert outcome.uncommitted == len(PARTITIONS)  # the last mark of each, which nobody gets to see
        assert run.codes() == []


async def ends_of(kafka: str, topic: str) -> dict[TopicPartition, int]:
    """The ends of its partitions."""
    async with connected(kafka) as consumer:
        ends: dict[TopicPartition, int] = await consumer.end_offsets([TopicPartition(topic, p) for p in PARTITIONS])
        return ends


async def publish_in_transactions(run: FaultRun, of_records: int) -> None:
    """Publish everything, so many records in each transaction."""
    changes = TopicNames.with_prefix(run.deployment.topic_prefix).changes
    async with AIOKafkaProducer(
        bootstrap_servers=run.deployment.kafka, transactional_id=run.deployment.app_id, partitioner=DefaultPartitioner()
    ) as producer:
        run.items += run.load.items()
        for first in range(0, len(run.items), of_records):
            async with producer.transaction():
                for item in run.items[first : first + of_records]:
                    await producer.send(changes, item.value, key=item.key)
