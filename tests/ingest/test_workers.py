"""Whole workers with sources of their own: what a crash repeats is absorbed, and the records are those without one."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis.asyncio import Redis

from agents.ingest.stream_state import look
from agents.ingest.topic_ingest import committed
from agents.log_ends import log_ends
from agents.settings import Settings
from agents.topics import prepare_topics
from schemas.canonical import canonical
from schemas.ingest_document import StreamSourceDocument
from streams.policy import parse_policy
from syncline.topic_reader import partitions_of, read_topic
from tests.conftest import Deployment
from tests.faults.worker import NORMAL, Worker
from tests.ingest.arrivals import Arrived, add, digest_of, folded, make_topic, produce, taken_records, until, update
from tests.integration.shell import Shell, worker_settings
from tests.servers.redis import RedisServer

STREAM = "shop.changes"
CRASHING = ("-m", "tests.ingest.crashing_worker")
CRASHED = 137


class Site:
    """A deployment with a policy, a topic of source `crm` and a stream of source `shop`."""

    def __init__(self, deployment: Deployment, directory: Path, stream_redis: str) -> None:
        self.deployment, self.directory = deployment, directory
        self.topic = f"crm-{deployment.topic_prefix}changes"
        self.stream = StreamSourceDocument(stream=STREAM, url=stream_redis, min_idle="1s", read_entries=40)
        stream = {"stream": STREAM, "url": stream_redis, "min_idle": "1s", "read_entries": 40}
        sources = {"crm": {"topic": self.topic}, "shop": {"redis_stream": stream}}
        self.document = {"priority": ["shop", "crm"], "sources": sources}
        config = directory / "syncline.yaml"
        config.write_text(yaml.safe_dump(self.document))
        self.settings: Settings = worker_settings(deployment, config=str(config), partitions=2)
        self.shell = Shell(deployment, SYNCLINE_CONFIG=str(config))
        self.redis = Redis.from_url(stream_redis, protocol=2)
        self.added: list[Arrived] = []

    def worker(self, name: str, *arguments: str) -> Worker:
        """Start a worker; its log is named so."""
        return Worker(self.settings, self.directory / f"{name}.log", arguments or NORMAL, {})

    async def topic_lines(self, first: int, last: int) -> None:
        """Changes `first` to `last` - 1 of nine customers, on the topic of `crm`."""
        rows = [(n % 3, b"", canonical(update(n % 9, {"crm": n, "both": n})).encode()) for n in range(first, last)]
        await produce(self.deployment.kafka, self.topic, list(rows))

    async def stream_entries(self, first: int, last: int) -> None:
        """The same for the stream of `shop`."""
        self.added += await add(self.redis, STREAM, [update(n % 9, {"shop": n, "both": n}) for n in range(first, last)])

    async def copied(self) -> bool:
        """Whether all that arrived is copied and acknowledged."""
        kafka = self.deployment.kafka
        state = await look(self.redis, self.stream)
        if state is None or state.last != state.last_read or state.pending:
            return False
        ends = await log_ends(kafka, await partitions_of(kafka, self.topic))
        held = await committed(kafka, f"{self.deployment.app_id}-ingest", ends)
        return all(end == 0 or (tp in held and held[tp].offset >= end) for tp, end in ends.items())

    async def has_copied_more_than(self, entries: int) -> bool:
        """Whether so many entries of the stream, and another one, are acknowledged."""
        state = await look(self.redis, self.stream)
        return state is not None and state.totals.get("copied", 0) > entries

    async def verify(self) -> None:
        """In every place there are the records that the arrivals come to without a fault."""
        await until(self.copied)
        self.shell.out("wait", "--timeout", "60")
        arrived: list[Any] = []
        async with aclosing(read_topic(self.deployment.kafka, self.topic)) as batches:
            async for _, records in batches:
                arrived += records
        policy = parse_policy(self.document)
        # In another order than any worker had: it must not matter.
        expected = folded([*reversed(self.added), *taken_records(arrived, "crm")], policy)
        for place in ("records", "view", "table", "replay"):
            assert await digest_of(place, self.settings, policy) == expected, place


@pytest.fixture
async def site(deployment: Deployment, tmp_path: Path) -> AsyncIterator[Site]:
    """With its topics, and nothing in them."""
    site = Site(deployment, tmp_path, deployment.redis)
    await prepare_topics(site.settings)
    await make_topic(deployment.kafka, site.topic, 3)
    yield site
    await site.redis.aclose()


async def test_a_worker_killed_between_two_acknowledgements(site: Site) -> None:
    """Kafka has the changes and the source does not know it: another worker repeats them, and nothing counts twice."""
    await site.topic_lines(0, 200)
    await site.stream_entries(0, 200)
    doomed = site.worker("doomed", *CRASHING, "3")
    await until(lambda: ended(doomed))
    assert doomed.end() == CRASHED
    survivor = site.worker("survivor")
    await site.topic_lines(200, 250)
    await site.stream_entries(200, 250)
    await site.verify()
    state = await look(site.redis, site.stream)
    assert state is not None
    status = json.loads(site.shell.out("ingest", "status", "-o", "json", "--seconds", "0"))
    assert [(one["source"], one["waiting"]) for one in status] == [("crm", 0), ("shop", 0)]
    assert survivor.end() == 0


async def ended(worker: Worker) -> bool:
    """Whether a worker has ended by itself."""
    return worker.code is not None


async def test_one_of_two_workers_is_killed(site: Site) -> None:
    """Two workers copy; one is killed by SIGKILL in the middle of it, and the other one copies on."""
    victim, survivor = site.worker("victim"), site.worker("survivor")
    await site.topic_lines(0, 300)
    await site.stream_entries(0, 300)
    await until(partial(site.has_copied_more_than, 0))
    victim.end(signal.SIGKILL)
    await site.topic_lines(300, 600)
    await site.stream_entries(300, 600)
    await site.verify()
    assert survivor.end() == 0


async def test_resolving_goes_on_while_the_streams_redis_is_away(
    deployment: Deployment, own_redis: RedisServer, tmp_path: Path
) -> None:
    """What comes by other ways is resolved and served; when Redis is back, the stream is read on."""
    site = Site(deployment, tmp_path, own_redis.url())
    await prepare_topics(site.settings)
    await make_topic(deployment.kafka, site.topic, 3)
    worker = site.worker("worker")
    await site.stream_entries(0, 50)
    await site.topic_lines(0, 50)
    await until(site.copied)
    own_redis.kill()
    await site.topic_lines(50, 100)

    async def resolved() -> bool:
        return b'"crm":99' in site.shell.run("get", "customer:0", "-o", "json").stdout

    await until(resolved)
    own_redis.start()
    await site.stream_entries(50, 100)
    await site.verify()
    assert "is made anew" in worker.log.read_text()
    assert worker.end() == 0
    await site.redis.aclose()
