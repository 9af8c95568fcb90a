"""What the change log costs: each store alone beside the resolver alone, and the whole worker with it and without.

- *Alone*: in one process, the job's changes and the conflicts that the engine finds in them, in batches as the worker
  has them. The resolver: `BatchResolver` on the same changes. A store: making the rows and writing them, on a server of
  its own on this machine. CPU: of this process alone.
- *Together*: one worker on the job as in `throughput`, with the view, without a change log and with each store, one
  after the other in one run, every other round backwards. The change log runs in the same process, so on the same core.
  *taken*: how many of all records it had when the last change was resolved; what is left it takes afterwards.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from agents.journal.loading import Declared, make_store
from agents.journal.memory import MIB, MemoryStore
from agents.journal.store import Batch, Store
from agents.journal.transcribe import transcriptions
from agents.names import TopicNames
from benchmarks import report
from benchmarks.cluster import by_partition
from benchmarks.job import POLICY, Job, as_avro, events
from benchmarks.measure import Result
from benchmarks.peers.deployment import Deployment
from benchmarks.peers.systems import SYNCLINE, Peer
from benchmarks.stage import PARTITIONS, Stage, say, stage
from streams.batch import BatchResolver
from streams.journal import tally
from streams.policy import parse_policy
from tests.servers.postgres import PostgresServer

ALONE_HEADINGS: Final = ("what", "records/s", "CPU us/record", "times the resolver's rate")
TOGETHER_HEADINGS: Final = (
    "change log",
    "changes/s",
    "times without",
    "CPU s/million",
    "times without",
    "taken",
    "right",
)
BATCH: Final = 2_000
ALONE_CHANGES: Final = 60_000
NONE: Final = "none"
#: Batches small enough that a short job has many, and deadlines that a busy machine does not miss.
PATIENT: Final = {"SYNCLINE_BATCH_RECORDS": str(BATCH), "SYNCLINE_REBALANCE_SECONDS": "240"}


class Sent(NamedTuple):
    """One record."""

    offset: int
    timestamp: int
    key: bytes
    value: bytes


Parts = Mapping[str, Sequence[Sequence[Sent]]]
"""By topic the records of each partition."""


@dataclass(frozen=True, slots=True)
class Alone:
    """records: that it took."""

    what: str
    records: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Records per second."""
        return self.records / self.seconds


@dataclass(frozen=True, slots=True)
class Logged(Peer):
    """Syncline's worker with a change log in this store; empty: without."""

    changelog: str = ""

    def _settings(self, place: Deployment) -> Mapping[str, str]:
        # Not by super(): a dataclass with slots is another class than the one that it was defined as.
        settings = {**Peer._settings(self, place), **PATIENT}
        return settings | ({"SYNCLINE_CHANGELOG": self.changelog} if self.changelog else {})


def resolved(job: Job, names: TopicNames) -> tuple[Parts, Alone]:
    """The job's records, the conflicts that the engine finds in them, and what that took."""
    now = time.time_ns() // 1_000_000
    rows = [(event.key, as_avro(event)) for event in events(job)]
    changes = [
        [Sent(offset, now, key, value) for offset, (key, value) in enumerate(part)]
        for part in by_partition(rows, PARTITIONS)
    ]
    engine, conflicts = BatchResolver(parse_policy(POLICY), names.changes), defaultdict[int, list[Sent]](list)
    begun, used = time.perf_counter(), time.process_time()
    found = []
    for partition, part in enumerate(changes):
        states: dict[bytes, bytes] = {}
        for start in range(0, len(part), BATCH):
            effects = engine.resolve_batch(partition, part[start : start + BATCH], states)
            states.update(effects.states)
            found += [(partition, key, body) for key, body in effects.conflicts]
    cost = Alone("resolver", len(rows), time.perf_counter() - begun, time.process_time() - used)
    for partition, key, body in found:
        conflicts[partition].append(Sent(len(conflicts[partition]), now, key, body))
    return {names.changes: changes, names.conflicts: [conflicts[number] for number in range(PARTITIONS)]}, cost


async def written(what: str, store: Store, names: TopicNames, parts: Parts) -> Alone:
    """What it takes to write all records into a store."""
    policy = parse_policy(POLICY)
    transcribed = transcriptions(names, lambda: policy, None)
    await store.open()
    records = 0
    begun, used = time.perf_counter(), time.process_time()
    for topic, of_topic in parts.items():
        for partition, part in enumerate(of_topic):
            for start in range(0, len(part), BATCH):
                rows = [transcribed[topic](partition, record) for record in part[start : start + BATCH]]
                await store.write(Batch((topic, partition), start or None, start + len(rows), rows, tally(rows)))
                records += len(rows)
    cost = Alone(what, records, time.perf_counter() - begun, time.process_time() - used)
    await store.close()
    return cost


async def alone(job: Job, urls: Mapping[str, str]) -> list[Alone]:
    """The resolver, and each store."""
    names = TopicNames.with_prefix("alone.")
    parts, resolver = resolved(Job(min(job.changes, ALONE_CHANGES), job.entities, job.seed), names)
    costs = [resolver]
    for what, url in urls.items():
        store = MemoryStore(1024 * MIB) if what == "memory" else make_store(Declared(what, url, 60.0))
        costs.append(await written(what, store, names, parts))
        say(f"{what} alone: {costs[-1].rate:,.0f} records/s")
    return costs


async def together(here: Stage, urls: Mapping[str, str], rounds: int) -> list[tuple[Result, float | None]]:
    """Runs of the worker, each with the share of all records that its change log had in the end."""
    runs = []
    stores = {NONE: "", **urls}
    for number in range(rounds):
        for what in stores if number % 2 == 0 else reversed(stores):
            fields = {name: getattr(SYNCLINE, name) for name in SYNCLINE.__slots__}
            result = await here.run(Logged(**{**fields, "name": what}, changelog=stores[what]))
            share = None
            if what in ("redis", "postgresql"):
                share = await taken(Declared(what, stores[what], 60.0)) / (
                    result.changes + result.outputs.get("conflicts", 0)
                )
            runs.append((result, share))
            say(f"{what}: {result.steady.rate:,.0f} changes/s, {result.checks}")
    return runs


async def taken(declared: Declared) -> int:
    """How many records of the newest run a store has."""
    store = make_store(declared)
    await store.open()
    positions = await store.positions()
    await store.close()
    newest = max((topic.partition(".")[0] for topic, _ in positions), default="")
    return sum(at for (topic, _), at in positions.items() if topic.startswith(f"{newest}."))


async def journal(job: Job, rounds: int) -> tuple[list[Alone], list[tuple[Result, float | None]]]:
    """Everything, on servers of its own."""
    with tempfile.TemporaryDirectory(prefix="syncline-bench-", ignore_cleanup_errors=True) as directory:
        server = PostgresServer(Path(directory))
        server.start()
        try:
            async with stage(job, 0) as here:
                urls = {"memory": "memory://", "redis": here.redis.url(1), "postgresql": server.new_database()}
                return await alone(job, urls), await together(here, urls, rounds)
        finally:
            server.stop()


def write(
    name: str, costs: Sequence[Alone], runs: Sequence[tuple[Result, float | None]], facts: dict[str, Any]
) -> Path:
    """Print the tables and write results/<name>.md and .json; returns the path of the first."""
    base = costs[0].rate
    cells = [
        [cost.what, f"{cost.rate:,.0f}", f"{cost.cpu_seconds / cost.records * 1e6:.1f}", f"{cost.rate / base:.2f}"]
        for cost in costs
    ]
    report.show_table("Alone", ALONE_HEADINGS, cells)
    rows = together_rows(runs)
    report.show_table("Together", TOGETHER_HEADINGS, rows)
    warning = report.disturbed((result.peer, result.other_cores + result.stolen_cores) for result, _ in runs)
    lines = ["# What the change log costs", "", *([f"**{warning}**", ""] if warning else [])]
    lines += [*report.markdown(ALONE_HEADINGS, cells), "", *report.markdown(TOGETHER_HEADINGS, rows), ""]
    lines += [(__doc__ or "").partition("\n\n")[2], *(f"- {what}: {fact}" for what, fact in facts.items()), ""]
    figures = [asdict(cost) for cost in costs] + [{**result.as_dict(), "taken": share} for result, share in runs]
    return report.save(name, lines, facts, figures)


def together_rows(runs: Sequence[tuple[Result, float | None]]) -> list[list[str]]:
    """One row for each store; of several runs the medians."""
    by_store: dict[str, list[tuple[Result, float | None]]] = defaultdict(list)
    for result, share in runs:
        by_store[result.peer].append((result, share))

    def rate(what: str) -> float:
        return statistics.median(result.steady.rate for result, _ in by_store[what])

    def cpu(what: str) -> float:
        return statistics.median(result.cpu_seconds_per_million["peer"] for result, _ in by_store[what])

    rows = []
    for what, of_store in by_store.items():
        shares = [share for _, share in of_store if share is not None]
        rows.append(
            [
                what,
                f"{rate(what):,.0f}",
                f"{rate(what) / rate(NONE):.2f}",
                f"{cpu(what):.1f}",
                f"{cpu(what) / cpu(NONE):.2f}",
                f"{statistics.median(shares):.0%}" if shares else "",
                "ok" if all(result.right for result, _ in of_store) else "DIFFERS",
            ]
        )
    return rows
