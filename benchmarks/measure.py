"""One run of one system: started, watched until all changes are done, its outputs read back and checked."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
import redis.asyncio

from agents.view import PROGRESS_KEY
from benchmarks import checks
from benchmarks.checks import Records
from benchmarks.cluster import Cluster
from benchmarks.peers.deployment import Deployment
from benchmarks.peers.systems import Peer
from benchmarks.progress import Moment, Output, moment_of
from benchmarks.sampling import Sampler
from schemas.codec import decode_record

POLL_SECONDS = 0.05
LIMIT_SECONDS = 900.0
STOP_SECONDS = 30.0
TOGETHER_SECONDS = 120.0
#: Of the changes, which warm up every system alike: a JVM compiles, states and caches grow.
WARM_UP = 0.5
#: Of the changes, up to which every system works as fast as it can: at the end, partitions run dry one by one.
LATE = 0.9


class RunFailed(Exception):
    """A system did not do the job: it ended, or was not done in time."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the outputs must be: their digest. changes: number of the input's.

    offsets: of the change with an event id, by which the peers name it; Syncline's records say the offset themselves.
    """

    changes: int
    digest: str
    offsets: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a run. changes: done in it."""

    changes: int
    seconds: float

    @property
    def rate(self) -> float:
        """Changes per second."""
        return self.changes / self.seconds

    @classmethod
    def between(cls, begin: Moment, end: Moment) -> Stretch:
        """What was done between two moments."""
        return cls(end.done - begin.done, round((end.at_ms - begin.at_ms) / 1_000, 3))


@dataclass(slots=True)
class Result:
    """Figures of one run. start_seconds: from the start of the process to its first output.

    steady: from the end of the warm-up to where the end comes into sight, so that what is under way counts at neither
    end; so are the CPU seconds, by process, and the cores that other work used or that this machine's host took away.
    committed: from the end of the warm-up until all is committed and in the view. cold: from the first output to the
    last. loop_ms: of `python_loop_ms` just before.
    """

    peer: str
    changes: int
    start_seconds: float
    steady: Stretch
    committed: Stretch
    cold: Stretch
    loop_ms: float
    cpu_seconds_per_million: dict[str, float]
    other_cores: float
    stolen_cores: float
    peak_rss_mib: float
    outputs: dict[str, int] = field(default_factory=dict)
    checks: dict[str, bool] = field(default_factory=dict)

    @property
    def right(self) -> bool:
        """Whether every digest was the expected one."""
        return all(self.checks.values())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Result:
        """From what `as_dict` gave."""
        stretches = {name: Stretch(**document[name]) for name in ("steady", "committed", "cold")}
        return cls(**{**document, **stretches})


@dataclass(frozen=True, slots=True)
class Team:
    """Several workers as one system: the changes come when all are members of the group and nothing is moving."""

    workers: int
    changes: Sequence[tuple[bytes, bytes]]


async def measure(
    peer: Peer,
    place: Deployment,
    cluster: Cluster,
    expected: Expected,
    servers: Mapping[str, int],
    team: Team | None = None,
) -> Result:
    """Run a system on what is in its topic of changes, or a team on its own. servers: name -> pid. Raises RunFailed."""
    logs = [place.directory / f"{place.name}-{number}.log" for number in range(team.workers if team else 1)]
    loop_ms = python_loop_ms()
    started = time.time()
    processes = [start(peer, place, log) for log in logs]
    sampler = Sampler({"peer": [process.pid for process in processes]} | {n: [pid] for n, pid in servers.items()})
    sampler.start()

    def alive() -> None:
        for process, log in zip(processes, logs, strict=True):
            if process.poll() is not None:
                raise RunFailed(f"{peer.name} ended with code {process.returncode}:\n{last_lines(log)}")

    try:
        if team:
            await wait_until_together(place, cluster, team.workers, alive)
            await cluster.produce(place.names.changes, team.changes)
        await wait_until_done(peer, place, cluster, expected.changes, alive)
        done = time.time()
        sampler.stop()
    finally:
        for process in processes:
            stop(process)
    records = await cluster.read(place.names.records)
    result = figures(peer, expected, records, sampler, (started, done), loop_ms)
    topics = sorted(name for name in await cluster.topics() if place.name in name)
    result.outputs = {
        name.replace(place.name, "").strip(".-_"): count
        for name, count in (await cluster.counts(topics)).items()
        if name != place.names.changes and count
    }
    result.checks = await check(peer, place, expected, records)
    await cluster.delete(topics)
    return result


def python_loop_ms() -> float:
    """How fast a core is just now: the least time of a fixed loop, in ms. Rates of other machines scale with it."""
    best = float("inf")
    for _ in range(7):
        begun, counts = time.perf_counter(), dict[int, int]()
        for number in range(200_000):
            counts[number & 1023] = counts.get(number & 511, 0) + number
        best = min(best, time.perf_counter() - begun)
    return round(best * 1000, 1)


def start(peer: Peer, place: Deployment, log: Path) -> subprocess.Popen[bytes]:
    """Start a system's process; what it says goes to a file."""
    command = peer.command(place)
    with log.open("wb") as output:
        return subprocess.Popen(command, env=peer.environment(place), stdout=output, stderr=subprocess.STDOUT)


async def wait_until_together(place: Deployment, cluster: Cluster, workers: int, alive: Callable[[], None]) -> None:
    """Return when so many workers share the partitions."""
    until = time.monotonic() + TOGETHER_SECONDS
    while await cluster.members(place.name) < workers:
        alive()
        if time.monotonic() > until:
            raise RunFailed(f"{workers} workers were not together after {TOGETHER_SECONDS:.0f} s")
        await asyncio.sleep(POLL_SECONDS)


async def wait_until_done(
    peer: Peer, place: Deployment, cluster: Cluster, changes: int, alive: Callable[[], None]
) -> None:
    """Return when the group has committed every change and, for Syncline's view, Redis has every record."""
    until = time.monotonic() + LIMIT_SECONDS
    ends: int | None = None
    async with redis.asyncio.Redis.from_url(place.redis) as client:
        while time.monotonic() < until:
            alive()
            if ends is None and await cluster.committed(place.name, place.names.changes) >= changes:
                if peer.stock or not peer.view:
                    return  # the peers commit after the answer of Redis, or send it the last of a pipeline as they end
                ends = sum((await cluster.ends(place.names.records)).values())
            if ends is not None and sum(map(int, (await client.hgetall(PROGRESS_KEY)).values())) >= ends:
                return
            await asyncio.sleep(POLL_SECONDS)
    raise RunFailed(f"{peer.name} was not done after {LIMIT_SECONDS:.0f} s")


def last_lines(log: Path) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-40:])


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL if that does not end it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def figures(
    peer: Peer, expected: Expected, records: Records, sampler: Sampler, span: tuple[float, float], loop_ms: float
) -> Result:
    """The figures of a run; span: the times of its start and of its end as it was seen from outside."""
    started, done = span
    changes = expected.changes
    written = list(outputs(peer, records, expected.offsets))
    first, warm, late = (moment_of(written, wanted) for wanted in (1, round(changes * WARM_UP), round(changes * LATE)))
    if late.at_ms == warm.at_ms:
        raise RunFailed(f"{peer.name} was too quick to be measured: give it more changes")
    last = Moment(max(output.at_ms for output in written), changes)
    committed = Moment(max(round(done * 1_000), last.at_ms), changes)
    steady = Stretch.between(warm, late)
    cpu = {name: sampler.cpu_seconds(name, warm.at_ms / 1_000, late.at_ms / 1_000) for name in sampler.names}
    stolen = cpu.pop("stolen")
    others = cpu["machine"] - sum(seconds for name, seconds in cpu.items() if name != "machine")
    return Result(
        peer=peer.name,
        changes=changes,
        start_seconds=round(first.at_ms / 1_000 - started, 3),
        steady=steady,
        committed=Stretch.between(warm, committed),
        cold=Stretch.between(first, last),
        loop_ms=loop_ms,
        cpu_seconds_per_million={name: round(seconds / steady.changes * 1e6, 2) for name, seconds in cpu.items()},
        other_cores=round(others / steady.seconds, 2),
        stolen_cores=round(stolen / steady.seconds, 2),
        peak_rss_mib=round(sampler.peak_mib("peer"), 1),
    )


def outputs(peer: Peer, records: Records, offsets: Mapping[str, int]) -> Iterator[Output]:
    """What was written, with the change that it came from; a removal does not say which it was."""
    for partition, rows in records.items():
        for row in rows:
            if row.value is None:
                continue
            if peer.stock:
                offset = offsets[orjson.loads(row.value)["event_id"]]
            else:
                offset = decode_record(row.value).position.offset
            yield Output(row.timestamp, partition, offset)


async def check(peer: Peer, place: Deployment, expected: Expected, records: Records) -> dict[str, bool]:
    """Each output that is compared, and whether it is what it must be."""
    found = {"records": checks.of_stock_records(records) if peer.stock else checks.of_records(records)}
    if peer.view:
        found["view"] = await (checks.of_stock_view if peer.stock else checks.of_view)(place.redis)
    return {name: digest == expected.digest for name, digest in found.items()}
