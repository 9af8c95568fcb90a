"""Faults of Redis: resolution never waits for the view, and afterwards the view is what the records are."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis

from agents.materialize import view_row
from agents.names import TopicNames
from agents.view import RedisView
from streams.effects import ViewRow
from syncline.embedded import LOOPBACK, free_port
from syncline.topic_reader import read_topic
from tests.conftest import Deployment
from tests.faults.loaded_run import PATIENCE_SECONDS
from tests.faults.report import Report
from tests.faults.run import FaultRun
from tests.integration.shell import Shell
from tests.servers.redis import RedisServer

#: Many, so that what a fault keeps out of the view is not covered by a later change of the same entity.
ENTITIES = 3000

WHAT = "Redis paused, full, read-only, killed, emptied"

Fault = Callable[[RedisServer], AbstractContextManager[None]]


@contextmanager
def paused(server: RedisServer) -> Iterator[None]:
    """Connections stay and no command is carried out."""
    server.pause()
    yield
    server.resume()


@contextmanager
def full(server: RedisServer) -> Iterator[None]:
    """No memory for any write, and nothing may be evicted."""
    with Redis.from_url(server.url()) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        yield
        client.config_set("maxmemory", 0)


@contextmanager
def read_only(server: RedisServer) -> Iterator[None]:
    """A replica of a server that is not there."""
    with Redis.from_url(server.url()) as client:
        client.replicaof(LOOPBACK, free_port())
        yield
        client.replicaof("NO", "ONE")


@contextmanager
def killed(server: RedisServer) -> Iterator[None]:
    """kill -9, and then an empty one on the same port."""
    server.kill()
    yield
    server.start()


def readiness(run: FaultRun) -> str:
    """What the worker says of itself."""
    port = run.workers[0].settings.web_port
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/readyz?verbose", timeout=10) as answer:
        return str(answer.read().decode())


def without_redis(deployment: Deployment) -> Shell:
    """A shell of the deployment that knows of no view."""
    shell = Shell(deployment)
    del shell.environment["SYNCLINE_REDIS"]
    return shell


def inject(run: FaultRun, server: RedisServer, faults: Mapping[str, Fault]) -> None:
    """Each fault in turn, under load; within each, what is published meanwhile must be resolved."""
    shell = without_redis(run.deployment)
    for name, fault in faults.items():
        run.fault()
        with fault(server):
            run.until(lambda: "fail view" in readiness(run), f"{name}: no word of it in the worker's health")
            run.until_progress()
            shell.out("wait", "--timeout", f"{PATIENCE_SECONDS:g}")
        run.shell.out("wait", "--timeout", f"{PATIENCE_SECONDS:g}")


@pytest.mark.parametrize(
    "faults",
    [{"paused": paused, "full": full, "read-only": read_only}, {"killed": killed}],
    ids=["that keep the view", "that lose it"],
)
def test_redis_fails_under_load(
    faults: Mapping[str, Fault], deployment: Deployment, own_redis: RedisServer, tmp_path: Path, report: Report
) -> None:
    """F19: while Redis takes nothing, changes are resolved all the same; afterwards the view has all of them."""
    deployment = replace(deployment, redis=own_redis.url(0))
    with FaultRun(deployment, tmp_path, seed=19, changes=None, per_second=200, entities=ENTITIES) as run:
        run.begin(1)
        inject(run, own_redis, faults)
        run.drain()
        outcome = run.verify()
    report.add("F19", WHAT, outcome, " ".join(faults))
    assert run.codes() == []
    assert outcome.wrong == ()


def test_redis_emptied_under_load(
    deployment: Deployment, own_redis: RedisServer, tmp_path: Path, report: Report
) -> None:
    """F19: a Redis that is emptied in the middle of the load holds all of the view again in the end."""
    deployment = replace(deployment, redis=own_redis.url(0))
    with FaultRun(deployment, tmp_path, seed=20, changes=None, per_second=400, entities=ENTITIES) as run:
        run.begin(1)
        for rows in (600, 1200):
            run.until(lambda rows=rows: run.progress.committed > rows, "there is not much to lose")  # type: ignore[misc]
            own_redis.wipe()
        run.drain()
        outcome = run.verify()
    report.add("F19", WHAT, outcome, "emptied")
    assert outcome.wrong == ()


def test_old_rows_written_again(deployment: Deployment, tmp_path: Path, report: Report) -> None:
    """F20: every row that was ever written, written once more by a zombie, leaves the view as it is."""
    with FaultRun(deployment, tmp_path, seed=21, changes=None, per_second=200) as run:
        run.begin(1)
        run.until(lambda: run.progress.committed > 800, "there are hardly any old rows")
        some = asyncio.run(write_again(run))
        run.drain()
        before = dump(deployment)
        assert len({key for key in before if key.startswith(b"syncline:guard:")}) > 0, "no deleted entity among them"
        assert asyncio.run(write_again(run)) > some > 0
        assert dump(deployment) == before
        outcome = run.verify()
    report.add("F20", "every old row written into the view again", outcome)
    assert outcome.wrong == ()


async def write_again(run: FaultRun) -> int:
    """Write all rows of `records` into the view: as a hand-over, as a materializer, the newest first; their number."""
    names = TopicNames.with_prefix(run.deployment.topic_prefix)
    rows: list[tuple[int, int, ViewRow]] = []
    async with aclosing(read_topic(run.deployment.kafka, names.records)) as batches:
        async for partition, records in batches:
            rows += [(partition, record.offset, view_row(record)) for record in records]
    zombie = RedisView(run.deployment.redis, names.records, names.changes, timeout_seconds=10.0)
    for partition, offset, row in rows:
        await zombie.write(partition, [row], None)
        await zombie.write(partition, [row], [offset])
    for partition, offset, row in reversed(rows):
        await zombie.write(partition, [row], [offset])
    await zombie.close()
    return len(rows)


def dump(deployment: Deployment) -> dict[bytes, object]:
    """What Redis holds of the view and its guards; of versions the first part, since the second may be filled in."""
    held: dict[bytes, object] = {}
    with Redis.from_url(deployment.redis) as client:
        for key in client.scan_iter(match=b"syncline:view:*"):
            held[key] = client.hmget(key, "doc", "clock", "contested", "position")
        for key in client.scan_iter(match=b"syncline:guard:*"):
            held[key] = client.get(key).split(b":")[0]
    return held
