"""A long-lived deployment: its compacted topics hold what Kafka's cleaner left of them, and no more."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from redis import Redis

from agents.names import TopicNames
from agents.view import VIEW_PREFIX
from streams.topics import CHANGELOG, RECORDS
from tests.conftest import Deployment
from tests.faults.alterations import alter_settings
from tests.faults.ledger import Log, folded, read_log
from tests.faults.report import Report
from tests.faults.run import FaultRun
from tests.faults.waiting import published

pytestmark = pytest.mark.real_kafka

#: A record that comes half a second after the first one of its segment begins a new one. The cleaner takes all
#: segments but the newest, whenever there is anything to clean.
EAGER = {"segment.ms": "500", "min.cleanable.dirty.ratio": "0.01"}
COPY = """
local copy = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
    copy[#copy + 1] = key
    copy[#copy + 1] = redis.call('DUMP', key)
end
return copy
"""
NO_TOMBSTONES = {"delete.retention.ms": "0"}


def test_cold_start_on_compacted_topics(deployment: Deployment, tmp_path: Path, report: Report) -> None:
    """A cold start on compacted topics, with a view from an old copy, misses nothing and revives nothing."""
    kafka, prefix, names = deployment.kafka, deployment.topic_prefix, TopicNames.with_prefix(deployment.topic_prefix)
    settings = {"session_seconds": 3.0, "batch_records": 30}
    with (
        Redis.from_url(deployment.redis) as redis,
        FaultRun(deployment, tmp_path, seed=2328, changes=None, per_second=150, entities=500, settings=settings) as run,
    ):
        alter_settings(kafka, prefix, CHANGELOG, EAGER | NO_TOMBSTONES)
        alter_settings(kafka, prefix, RECORDS, EAGER)
        worker = run.start_worker()
        run.publish()
        run.until(lambda: run.progress.committed > 500, "the first changes are not resolved")
        copy = copied(redis)
        in_copy = {key.removeprefix(VIEW_PREFIX) for key in copy}
        run.until(lambda: deleted(contents(kafka, names.records)) & in_copy, "nothing that could be revived")
        states, records = contents(kafka, names.changelog), contents(kafka, names.records)
        # Under load, for a segment is closed by the next record.
        for before, topic in ((states, names.changelog), (records, names.records)):
            run.until(lambda: cleaned(before, contents(kafka, topic)), f"{topic} is not compacted")  # noqa: B023
        assert run.stop_worker(worker, signal.SIGKILL) == -signal.SIGKILL
        redis.flushdb()
        for key, value in copy.items():
            redis.restore(key, 0, value)
        run.fault()
        run.start_worker()
        run.drain()
        published(run, run.items)  # once more: duplicates, which a state that forgot a deletion would take for news
        run.drain()
        outcome = run.verify()
    report.add("F23", "cold start on compacted topics, view from an old copy", outcome)
    assert outcome.wrong == ()


def copied(redis: Redis) -> dict[bytes, bytes]:
    """All keys as they are at one moment: a worker goes on writing."""
    found = redis.eval(COPY, 0)
    return dict(zip(found[::2], found[1::2], strict=True))


def contents(kafka: str, topic: str) -> Log:
    """What a topic holds now."""
    return asyncio.run(read_log(kafka, topic))


def cleaned(before: Log, now: Log) -> bool:
    """Whether of all that was there before, each key has one record at most."""
    for partition, records in before.items():
        left = [record.key for record in now.get(partition, []) if record.offset <= records[-1].offset]
        if len(set(left)) < len(left):
            return False
    return True


def deleted(log: Log) -> set[bytes]:
    """The keys whose last record is a tombstone."""
    return {record.key for records in log.values() for record in records} - folded(log).keys()
