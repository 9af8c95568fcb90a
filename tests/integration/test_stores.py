"""A worker on each store: what it reads when it starts again, however it ended, and that it is the same."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from agents.log_ends import log_ends
from agents.names import TopicNames
from tests.conftest import Deployment
from tests.faults.worker import NORMAL, Worker
from tests.integration.shell import Shell, worker_settings

PARTITIONS = 2
#: With these a worker begins, one for each partition (agents/fencing.py; not on the embedded broker).
MARKS = PARTITIONS
PLACES = ("table", "records", "view", "replay")
PATIENCE_SECONDS = 60.0


class Place:
    """A deployment with one worker at a time; `log` is what the last one wrote."""

    def __init__(self, deployment: Deployment, directory: Path) -> None:
        self.deployment, self.directory = deployment, directory
        self.shell = Shell(deployment)
        self.changelog = TopicNames.with_prefix(deployment.topic_prefix).changelog
        self.log = ""
        self._workers = 0

    def publish(self, numbers: Iterable[int], **fields: object) -> None:
        """Two changes of each of these entities, newer than any before."""
        fields = fields or {"name": time.time_ns()}
        changes = [
            {"entity_type": "customer", "entity_id": str(number), "op": "update", "source": source, "fields": fields}
            for number in numbers
            for source in ("crm", "web")
        ]
        self.shell.out("publish", "-", stdin="\n".join(map(json.dumps, changes)).encode())

    def work(self, how: signal.Signals, **settings: object) -> int:
        """Start a worker, have it do all there is, and end it; returns its code."""
        self._workers += 1
        log = self.directory / f"worker-{self._workers}.log"
        worker = Worker(worker_settings(self.deployment, partitions=PARTITIONS, **settings), log, NORMAL, {})
        try:
            until = time.monotonic() + PATIENCE_SECONDS
            while not worker.ready():
                assert worker.code is None and time.monotonic() < until, log.read_text()
                time.sleep(0.1)
            self.shell.out("wait", "--timeout", f"{PATIENCE_SECONDS:g}")
        finally:
            code = worker.end(how)
            self.log = log.read_text()
        return code

    def written(self) -> int:
        """How many records the changelog has."""
        tps = [TopicPartition(self.changelog, number) for number in range(PARTITIONS)]
        return sum(asyncio.run(log_ends(self.deployment.kafka, tps)).values())

    async def erase(self, number: int, transactional_id: str | None) -> None:
        """Write a null for an entity to the changelog, as somebody does who has to erase it."""
        producer = AIOKafkaProducer(bootstrap_servers=self.deployment.kafka, transactional_id=transactional_id)
        async with producer, producer.transaction() if transactional_id else nullcontext():
            await producer.send_and_wait(self.changelog, None, b"customer:%d" % number)

    def recovered(self) -> int:
        """How many records the last worker read from the changelog."""
        told = re.findall(r"Recovered ([\d,]+) records", self.log)
        return sum(int(number.replace(",", "")) for number in told)


@pytest.fixture
def place(deployment: Deployment, tmp_path: Path) -> Place:
    """A deployment with 100 entities, which a worker on RocksDB has resolved and was stopped."""
    place = Place(deployment, tmp_path)
    place.shell.out("doctor")
    place.publish(range(100))
    assert place.work(signal.SIGTERM, **rocksdb(tmp_path)) == 0
    return place


def rocksdb(directory: Path) -> dict[str, object]:
    """Settings for the store on disk."""
    return {"store": "rocksdb", "data_dir": directory / "data"}


def test_stopped_in_order_it_reads_only_what_is_new(place: Place) -> None:
    """A worker on RocksDB that ended by SIGTERM reads what another one, in memory, wrote since; all places agree."""
    before = place.written()
    place.publish(range(60, 130))
    assert place.work(signal.SIGTERM, store="memory") == 0
    assert before <= place.recovered() <= before + MARKS
    new = place.written() - before
    place.publish(range(125, 140))
    assert place.work(signal.SIGTERM, **rocksdb(place.directory)) == 0
    # Faust begins with the last record that is known already, of each partition.
    assert new <= place.recovered() <= new + PARTITIONS + MARKS
    place.shell.out("digest", *PLACES)
    assert place.work(signal.SIGTERM, **rocksdb(place.directory)) == 0
    assert place.recovered() == 0
    assert "removed" not in place.log


def test_killed_it_reads_all(place: Place) -> None:
    """A worker on RocksDB that was killed builds its database anew from the changelog and says so; all places agree."""
    place.publish(range(60, 130))
    assert place.work(signal.SIGKILL, **rocksdb(place.directory)) == -signal.SIGKILL
    written = place.written()
    place.publish(range(125, 140))
    assert place.work(signal.SIGTERM, **rocksdb(place.directory)) == 0
    assert written <= place.recovered() <= written + MARKS
    assert place.log.count("they were not closed in order") == PARTITIONS
    place.shell.out("digest", *PLACES)


@pytest.mark.real_kafka
@pytest.mark.parametrize("transactional_id", [None, "eraser"])
def test_what_was_erased_stays_away(place: Place, transactional_id: str | None) -> None:
    """A null in the changelog removes a state from each store, also when marks of a transaction are the log's end."""
    stores = {7: {"store": "memory"}, 8: rocksdb(place.directory)}
    for number in stores:
        asyncio.run(place.erase(number, transactional_id))
    for number, store in stores.items():
        place.publish([number], since=time.time_ns())
        assert place.work(signal.SIGTERM, **store) == 0
        record = json.loads(place.shell.out("get", f"customer:{number}", "-o", "json"))
        assert record["fields"].keys() == {"since"}
