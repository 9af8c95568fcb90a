"""`python -m benchmarks recovery`: how long a worker takes from its start until it resolves its first change.

The changelog holds states that a fold of real changes gave, each under many keys; the group has committed all of
those changes, so that the worker has nothing to do but recover. One more change waits behind them.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents.ranges import APPLIED_KEY
from benchmarks import report
from benchmarks.checks import Records
from benchmarks.cluster import partition_of
from benchmarks.job import ENTITY_TYPE, POLICY, START_MS, Event, Job, as_avro
from benchmarks.measure import RunFailed, last_lines, python_loop_ms, start, stop
from benchmarks.peers.deployment import Deployment
from benchmarks.peers.systems import SYNCLINE
from benchmarks.sampling import MIB, machine, usage
from benchmarks.stage import Stage, say, stage
from streams.batch import BatchResolver
from streams.entity_codec import empty_state
from streams.policy import parse_policy

#: What the states are folded from; as many changes for each entity as the job of 200,000 has.
FOLDED: Final = Job(changes=40_000, entities=10_000)
FOLD_RECORDS: Final = 4_000
#: Runs beside the one that was asked for: what a start costs without states, and the common small table.
SMALLER: Final = (0, 100_000)
LIMIT_SECONDS: Final = 600.0
LOG_TIME: Final = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3})\]")

#: Lines of Faust's own log, each of which ends a phase.
BEGUN, READ, READY = "Restoring state from changelog", "Done reading from changelog", "Worker ready"

#: The store of a run; the third is the second's directory, which it closed in order.
MEMORY, ROCKSDB, ROCKSDB_AGAIN = "memory", "rocksdb, empty", "rocksdb, kept"

HEADINGS: Final = (
    "store",
    "states",
    "states/s",
    "reading from s",
    "all read s",
    "ready s",
    "first change s",
    "CPU s",
    "others",
    "stolen",
    "bytes each in Kafka",
    "in memory",
    "RSS MiB",
    "peak",
    "loop ms",
)
METHOD: Final = """\
- Seconds count from the start of the process. `reading from`: imports, verifying topics, joining the group and asking
  where the changelog begins and ends are done. `all read`: the last state is in the table. `ready`: Faust says so.
  All three are times of the worker's log. `first change`: the broker's append of the golden record of a change that
  waited behind the committed offset.
- `states/s`: over `reading from` to `all read`.
- States are those of a fold of changes of the benchmark's job, each under many keys of the same partition; the
  changelog has one record for each key, as after compaction. A changelog that is not compacted yet is longer.
- `rocksdb, empty`: from the changelog into an empty directory. `rocksdb, kept`: the same directory once more, after the
  worker was stopped in order; it reads only what is new.
- `in memory`: of a key and its state, the peak above that of a worker without states, by entity.
- `CPU s`: of the process until that first record. Meanwhile, in cores, `others`: of processes that have no part in the
  run; `stolen`: what the host of this virtual machine gave to others. Above 0.1, the figures say little.
- `loop ms`: of a fixed Python loop before the run.
- All on one machine with the broker, whose pages are still in memory, and so are those of the database."""

PAYLOAD: Final = {"name": "Ada Okafor", "tier": "gold"}


@dataclass(frozen=True, slots=True)
class Recovery:
    """One run. All seconds count from the start of the process; begun and read are None where nothing was read.

    store: one of the three above. state_bytes: of a key and its state, on average. cpu_seconds: of the process, until
    its first record. Meanwhile, in cores: others, what has no part in the run; stolen, what this machine's host took.
    """

    store: str
    entities: int
    state_bytes: float
    begun: float | None
    read: float | None
    ready: float
    first_change: float
    cpu_seconds: float
    others: float
    stolen: float
    peak_rss_mib: float
    rss_mib: float
    loop_ms: float

    @property
    def rate(self) -> float | None:
        """States recovered a second, while they were read."""
        if not self.entities or self.store == ROCKSDB_AGAIN or self.begun is None or self.read is None:
            return None
        return self.entities / (self.read - self.begun)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"rate": self.rate and round(self.rate)}


async def recovery(entities: int, rounds: int) -> list[Recovery]:
    """All runs: of each number of entities, on each store, `rounds` times."""
    results = []
    async with stage(FOLDED, 0) as here:
        for number in (*(smaller for smaller in SMALLER if smaller < entities), entities):
            place = await prepared(here, number)
            for round_number in range(rounds):
                on_disk = replace(place, data_dir=here.directory / f"{place.name}-{round_number}")
                for store, where in ((MEMORY, place), (ROCKSDB, on_disk), (ROCKSDB_AGAIN, on_disk)):
                    result = await one(here, where, number, store)
                    results.append(result)
                    rate = "" if result.rate is None else f" at {result.rate:,.0f}/s"
                    say(f"{number:,} states, {store}{rate}: first change {result.first_change:.1f} s")
            await here.cluster.delete(name for name in await here.cluster.topics() if name.startswith(place.prefix))
    return results


async def prepared(here: Stage, entities: int) -> Deployment:
    """A deployment whose changelog has so many states, and whose group has read all of `changes`."""
    place = await here.place(SYNCLINE)
    changes = place.names.changes
    await here.cluster.produce(changes, here.rows(stock=False))
    states = folded(await here.cluster.read(changes), changes)
    say(f"writing {entities:,} states to the changelog")
    numbers: list[list[int]] = [[] for _ in range(place.partitions)]
    for number in range(entities):
        numbers[partition_of(key_of(number), place.partitions)].append(number)
    ends = await here.cluster.ends(changes)
    # The last row says that the table reflects all of `changes`: with it, no worker takes the commit back.
    reflected = {partition: (APPLIED_KEY, empty_state(partition, end - 1)) for partition, end in ends.items()}
    parts = [chain(rows(part, states[number]), [reflected[number]]) for number, part in enumerate(numbers)]
    await here.cluster.produce_parts(place.names.changelog, parts)
    await commit(place, ends)
    return place


def folded(changes: Records, topic: str) -> dict[int, list[bytes]]:
    """The states of each partition after a fold of `changes`."""
    resolver = BatchResolver(parse_policy(POLICY), topic)
    states: dict[int, list[bytes]] = {}
    for partition, records in changes.items():
        held: dict[bytes, bytes] = {}
        for first in range(0, len(records), FOLD_RECORDS):
            held.update(resolver.resolve_batch(partition, records[first : first + FOLD_RECORDS], held).states)
        states[partition] = list(held.values())
    return states


def key_of(number: int) -> bytes:
    """Keys as long as those of the job, none of which it has."""
    return f"{ENTITY_TYPE}:r-{number:08d}".encode()


def rows(numbers: Sequence[int], states: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """A partition's part of the changelog: the states over and over, each time under a new key."""
    for place, number in enumerate(numbers):
        yield key_of(number), states[place % len(states)]


async def commit(place: Deployment, ends: Mapping[int, int]) -> None:
    """Commit for the worker's group that it has done all of `changes`."""
    async with AIOKafkaConsumer(
        bootstrap_servers=place.kafka, group_id=place.name, enable_auto_commit=False
    ) as consumer:
        offsets = {TopicPartition(place.names.changes, partition): end for partition, end in ends.items()}
        consumer.assign(list(offsets))
        await consumer.commit(offsets)


async def one(here: Stage, place: Deployment, entities: int, store: str) -> Recovery:
    """Start a worker on the deployment and wait for what it makes of one more change."""
    loop_ms = python_loop_ms()
    names = place.names
    records = sum((await here.cluster.ends(names.records)).values())
    moment = round(time.time() * 1000)
    change = Event(moment % 10**8, "crm", 1, START_MS, False, PAYLOAD)
    await here.cluster.produce(names.changes, [(change.key, as_avro(change))])
    log = here.directory / f"{place.name}-{moment}.log"
    size = await mean_bytes(here, place, entities)
    servers = [psutil.Process(here.kafka.pid), psutil.Process(here.redis.pid), psutil.Process()]
    before, before_stolen = machine()
    before -= sum(usage(server, tree=False)[0] for server in servers)
    started = time.time()
    process = start(SYNCLINE, place, log)
    try:
        appended = await first_append(here, place, records, process, log)
        after, stolen = machine()
        lasted = time.time() - started
        peak, resident = memory_mib(process.pid)
        cpu_seconds = usage(psutil.Process(process.pid), tree=True)[0]
        after -= cpu_seconds + sum(usage(server, tree=False)[0] for server in servers)
    finally:
        stop(process)
    text = log.read_text(errors="replace")
    begun, read, ready = (moment_of(line, text) for line in (BEGUN, READ, READY))
    assert ready is not None, "a record came out of a worker that was never ready"
    return Recovery(
        store=store,
        entities=entities,
        state_bytes=size,
        begun=since(started, begun),
        read=since(started, read),
        ready=round(ready - started, 3),
        first_change=round(appended - started, 3),
        cpu_seconds=round(cpu_seconds, 2),
        others=round((after - before) / lasted, 2),
        stolen=round((stolen - before_stolen) / lasted, 2),
        peak_rss_mib=peak,
        rss_mib=resident,
        loop_ms=loop_ms,
    )


async def mean_bytes(here: Stage, place: Deployment, entities: int) -> float:
    """Bytes of a key and its state, of the first ones in partition 0."""
    if not entities:
        return 0.0
    tp = TopicPartition(place.names.changelog, 0)
    async with AIOKafkaConsumer(bootstrap_servers=place.kafka, auto_offset_reset="earliest") as consumer:
        consumer.assign([tp])
        found = (await consumer.getmany(tp, timeout_ms=5_000, max_records=FOLD_RECORDS))[tp]
    return round(sum(len(record.key) + len(record.value) for record in found) / len(found), 1)


async def first_append(
    here: Stage, place: Deployment, before: int, process: subprocess.Popen[bytes], log: Path
) -> float:
    """When the broker appended the first new golden record. before: number of records until now."""
    topic = place.names.records
    until = time.monotonic() + LIMIT_SECONDS
    while sum((ends := await here.cluster.ends(topic)).values()) <= before:
        if process.poll() is not None:
            raise RunFailed(f"the worker ended with code {process.returncode}:\n{last_lines(log)}")
        if time.monotonic() > until:
            raise RunFailed(f"no golden record within {LIMIT_SECONDS:.0f} s:\n{last_lines(log)}")
        await asyncio.sleep(0.2)
    assert sum(ends.values()) == before + 1, "one change, one golden record"
    found = await here.cluster.read(topic)
    return max(record.timestamp for part in found.values() for record in part) / 1000


def moment_of(line: str, log: str) -> float | None:
    """The time of the last line of the log that has this in it; None when there is none."""
    for written in reversed(log.splitlines()):
        stamp = LOG_TIME.match(written) if line in written else None
        if stamp:
            return time.mktime(time.strptime(stamp[1], "%Y-%m-%d %H:%M:%S")) + int(stamp[2]) / 1000
    return None


def since(started: float, moment: float | None) -> float | None:
    """Seconds from the start to a moment, if there was one."""
    return None if moment is None else round(moment - started, 3)


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident memory of a process: the most that it ever had, and what it has now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kilobytes = dict(line.split()[:2] for line in lines if line.startswith(("VmHWM:", "VmRSS:")))
    peak, now = (round(int(kilobytes[name]) * 1024 / MIB, 1) for name in ("VmHWM:", "VmRSS:"))
    return peak, now


def bytes_an_entity(result: Recovery, results: Sequence[Recovery]) -> float | None:
    """Bytes that a state takes in the process at its peak, above a worker without states."""
    empty = [other.peak_rss_mib for other in results if not other.entities and other.store == result.store]
    if not result.entities or not empty:
        return None
    return (result.peak_rss_mib - min(empty)) * MIB / result.entities


def cells(results: Sequence[Recovery]) -> list[list[str]]:
    """Rows of the table, one for each run."""
    return [
        [
            result.store,
            f"{result.entities:,}",
            optional(result.rate, 0),
            *(optional(figure, 1) for figure in (result.begun, result.read, result.ready, result.first_change)),
            f"{result.cpu_seconds:.1f}",
            f"{result.others:.2f}",
            f"{result.stolen:.2f}",
            f"{result.state_bytes:.0f}",
            optional(bytes_an_entity(result, results), 0),
            f"{result.rss_mib:.0f}",
            f"{result.peak_rss_mib:.0f}",
            f"{result.loop_ms}",
        ]
        for result in results
    ]


def optional(figure: float | None, digits: int) -> str:
    """A number, or a dash where there is none."""
    return "-" if figure is None else f"{figure:,.{digits}f}"


def write(name: str, results: Sequence[Recovery], facts: dict[str, Any]) -> Path:
    """Print the table and write results/<name>.md and .json; returns the path of the first."""
    title = "Recovery of a worker from its changelog"
    report.show_table(title, HEADINGS, cells(results))
    lines = [f"# {title}", "", *report.markdown(HEADINGS, cells(results)), ""]
    lines += [*(f"- {what}: {fact}" for what, fact in facts.items()), "", "## How it is measured", "", METHOD, ""]
    return report.save(name, lines, facts, [result.as_dict() for result in results])
