"""The stage of a benchmark: servers of its own, the job's changes in memory, a fresh deployment for each run."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import redis.asyncio
import yaml

from benchmarks import checks
from benchmarks.cluster import Cluster, by_partition
from benchmarks.job import POLICY, Job, as_avro, as_json, events
from benchmarks.measure import Expected, Result, Team, measure
from benchmarks.peers.deployment import Deployment
from benchmarks.peers.systems import Peer
from tests.servers.kafka import LONG_RUN, KafkaServer
from tests.servers.redis import RedisServer

PARTITIONS = 4


def say(line: str) -> None:
    """One line of progress, beside the tables."""
    print(f"{time.strftime('%H:%M:%S')}  {line}", file=sys.stderr, flush=True)


@dataclass(slots=True)
class Stage:
    """Where runs take place. slow_changes: how many of the job's changes the slow systems are given."""

    kafka: KafkaServer
    redis: RedisServer
    cluster: Cluster
    directory: Path
    job: Job
    slow_changes: int
    _rows: dict[bool, list[tuple[bytes, bytes]]] = field(default_factory=dict)
    _expected: dict[tuple[bool, bool], Expected] = field(default_factory=dict)
    _runs: int = 0

    def rows(self, stock: bool) -> list[tuple[bytes, bytes]]:
        """The input of one kind of system, as (key, value); made when first asked for."""
        if stock not in self._rows:
            encode = as_json if stock else as_avro
            say(f"generating {self.job.changes:,} changes as {'JSON' if stock else 'Avro'}")
            self._rows[stock] = [(event.key, encode(event)) for event in events(self.job)]
        return self._rows[stock]

    async def run(self, peer: Peer, samples: Path | None = None, workers: int | None = None) -> Result:
        """Run a system in a deployment of its own and check what it wrote.

        samples: where Syncline's worker leaves what was sampled of it. workers: so many of them, and the changes when
        all are there; else one, and the changes before it.
        """
        rows = self.rows(peer.stock)[: self.slow_changes if peer.slow else None]
        expected = self._expect(peer, rows)
        place = replace(await self.place(peer), samples=samples)
        team = Team(workers, rows) if workers else None
        if team is None:
            await self.cluster.produce(place.names.changes, rows)
        say(f"{peer.name}: started on {expected.changes:,} changes")
        servers = {"broker": self.kafka.pid, "redis": self.redis.pid}
        return await measure(peer, place, self.cluster, expected, servers, team)

    async def place(self, peer: Peer) -> Deployment:
        """A deployment of its own with empty topics, and an empty Redis."""
        self._runs += 1
        policy = self.directory / "policy.yaml"
        policy.write_text(yaml.safe_dump(POLICY))
        name = f"run{self._runs:04}"  # of one length, so that none is a part of another
        place = Deployment(
            name, self.kafka.address, self.redis.url(), self.cluster.partitions, str(policy), self.directory
        )
        async with redis.asyncio.Redis.from_url(place.redis) as client:
            await client.flushall()
        await self.cluster.create(peer.topics(place))
        return place

    def _expect(self, peer: Peer, rows: Sequence[tuple[bytes, bytes]]) -> Expected:
        """What the outputs must be; the same for every run, so it is found out once for each kind of system."""
        kind = peer.stock, peer.slow
        if kind not in self._expected:
            say("folding the same changes to know what must come out")
            parts = [checks.incoming(part) for part in by_partition(rows, self.cluster.partitions)]
            if peer.stock:
                self._expected[kind] = Expected(len(rows), checks.folded(rows), checks.offsets(parts))
            else:
                self._expected[kind] = Expected(len(rows), checks.replayed(parts, "changes"), {})
        return self._expected[kind]


@asynccontextmanager
async def stage(job: Job, slow_changes: int, partitions: int = PARTITIONS) -> AsyncIterator[Stage]:
    """A stage with running servers, which end with it."""
    with TemporaryDirectory(prefix="syncline-bench-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        kafka, store = KafkaServer(directory, jvm_options=LONG_RUN), RedisServer(directory)
        try:
            kafka.start()
            store.start()
            async with Cluster(kafka.address, partitions) as cluster:
                yield Stage(kafka, store, cluster, directory, job, slow_changes)
        finally:
            store.stop()
            kafka.stop()
