"""The stage of a benchmark: servers of its own, the job's changes in memory, a fresh deployment for each run."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import redis.asyncio
import yaml

from benchmarks import checks
from benchmarks.cluster import Cluster
from benchmarks.job import POLICY, Event, Job, as_avro, as_json, events
from benchmarks.measure import Expected, Result, measure
from benchmarks.peers import Deployment, Peer
from tests.servers.kafka import LONG_RUN, KafkaServer
from tests.servers.redis import RedisServer

PARTITIONS = 4


def say(line: str) -> None:
    """One line of progress."""
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


@dataclass(slots=True)
class Stage:
    """Where runs take place. stock_changes: how many of the job's changes stock Faust is given."""

    kafka: KafkaServer
    redis: RedisServer
    cluster: Cluster
    directory: Path
    job: Job
    stock_changes: int
    _rows: dict[bool, list[tuple[bytes, bytes]]] = field(default_factory=dict)
    _expected: dict[bool, Expected] = field(default_factory=dict)
    _runs: int = 0

    def rows(self, stock: bool) -> list[tuple[bytes, bytes]]:
        """The input of one kind of system, as (key, value); made when first asked for."""
        if stock not in self._rows:
            count = self.stock_changes if stock else self.job.changes
            encode = as_json if stock else as_avro
            say(f"generating {count:,} changes as {'JSON' if stock else 'Avro'}")
            self._rows[stock] = [(event.key, encode(event)) for event in self._events(count)]
        return self._rows[stock]

    def _events(self, count: int) -> list[Event]:
        """The first of the job's changes."""
        return list(islice(events(self.job), count))

    async def run(self, peer: Peer, samples: Path | None = None) -> Result:
        """Preload a deployment's topics, run a system there and check what it wrote.

        samples: where Syncline's worker leaves what was sampled of it.
        """
        place = replace(await self._deploy(peer), samples=samples)
        expected = await self._expect(peer, place)
        say(f"{peer.name}: started on {expected.changes:,} changes")
        servers = {"broker": self.kafka.pid, "redis": self.redis.pid}
        return await measure(peer, place, self.cluster, expected, servers, self.directory)

    async def place(self, peer: Peer) -> Deployment:
        """A deployment of its own with empty topics, and an empty Redis."""
        self._runs += 1
        policy = self.directory / "policy.yaml"
        policy.write_text(yaml.safe_dump(POLICY))
        name = f"run{self._runs}"
        place = Deployment(name, self.kafka.address, self.redis.url(), PARTITIONS, str(policy))
        async with redis.asyncio.Redis.from_url(place.redis) as client:
            await client.flushall()
        await self.cluster.create(place.topics(peer))
        return place

    async def _deploy(self, peer: Peer) -> Deployment:
        place, rows = await self.place(peer), self.rows(peer.stock)
        await self.cluster.produce(place.names.changes, rows)
        return place

    async def _expect(self, peer: Peer, place: Deployment) -> Expected:
        """What the outputs must be; the same for every run, so it is found out once for each kind of system."""
        if peer.stock not in self._expected:
            say("folding the same changes to know what must come out")
            rows, changes = self.rows(peer.stock), place.names.changes
            digest = (
                checks.folded(rows)[0] if peer.stock else checks.replayed(await self.cluster.read(changes), changes)
            )
            self._expected[peer.stock] = Expected(len(rows), digest)
        return self._expected[peer.stock]


@asynccontextmanager
async def stage(job: Job, stock_changes: int) -> AsyncIterator[Stage]:
    """A stage with running servers, which end with it."""
    with TemporaryDirectory(prefix="syncline-bench-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        kafka, store = KafkaServer(directory, jvm_options=LONG_RUN), RedisServer(directory)
        try:
            kafka.start()
            store.start()
            async with Cluster(kafka.address, PARTITIONS) as cluster:
                yield Stage(kafka, store, cluster, directory, job, min(stock_changes, job.changes))
        finally:
            store.stop()
            kafka.stop()
