"""One run of one system: started on preloaded changes, watched until all is done, its outputs read back and checked."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import redis.asyncio

from agents.view import PROGRESS_KEY
from benchmarks import checks
from benchmarks.checks import Records
from benchmarks.cluster import Cluster
from benchmarks.peers import Deployment, Peer
from benchmarks.sampling import Sampler
from schemas.codec import decode_record

POLL_SECONDS = 0.05
LIMIT_SECONDS = 900.0
STOP_SECONDS = 30.0


class RunFailed(Exception):
    """A system did not do the job: it ended, or was not done in time."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the outputs must be: their digest. changes: number of the input's."""

    changes: int
    digest: str


@dataclass(slots=True)
class Result:
    """Figures of one run. head: changes done when the first output was appended, which no rate counts.

    start_seconds: from the start of the process to that. to_output_seconds: from then to the append of the last
    output. to_done_seconds: from then until offsets were committed to the end and the view was complete.
    loop_ms: of `python_loop_ms` just before.
    """

    peer: str
    changes: int
    head: int
    start_seconds: float
    to_output_seconds: float
    to_done_seconds: float
    loop_ms: float
    cpu_seconds_per_million: dict[str, float]
    other_cores: float
    peak_rss_mib: float
    outputs: dict[str, int]
    checks: dict[str, bool] = field(default_factory=dict)

    @property
    def output_rate(self) -> float:
        """Changes per second until the last output."""
        return (self.changes - self.head) / self.to_output_seconds

    @property
    def done_rate(self) -> float:
        """Changes per second until all is committed and in the view."""
        return (self.changes - self.head) / self.to_done_seconds

    @property
    def right(self) -> bool:
        """Whether every digest was the expected one."""
        return all(self.checks.values())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"output_rate": round(self.output_rate), "done_rate": round(self.done_rate)}


async def measure(
    peer: Peer, place: Deployment, cluster: Cluster, expected: Expected, servers: Mapping[str, int], directory: Path
) -> Result:
    """Run a system on what is in its topic of changes. servers: name -> pid. Raises RunFailed."""
    log = directory / f"{place.name}.log"
    loop_ms = python_loop_ms()
    started = time.time()
    process = start(peer, place, log)
    sampler = Sampler({"peer": process.pid, **servers})
    sampler.start()
    try:
        await wait_until_done(peer, place, cluster, expected.changes, process, log)
        done = time.time()
        sampler.stop()
    finally:
        stop(process)
    records = await cluster.read(place.names.records)
    result = figures(peer, expected.changes, records, sampler, (started, done), loop_ms)
    topics = [name for name in await cluster.topics() if name.startswith((place.prefix, f"{place.name}-"))]
    result.outputs = {
        name.removeprefix(place.name).lstrip(".-"): count
        for name, count in (await cluster.counts(sorted(topics))).items()
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
    with log.open("wb") as output:
        return subprocess.Popen(
            place.command(peer), env=place.environment(peer), stdout=output, stderr=subprocess.STDOUT
        )


async def wait_until_done(
    peer: Peer, place: Deployment, cluster: Cluster, changes: int, process: subprocess.Popen[bytes], log: Path
) -> None:
    """Return when the group has committed every change and, for Syncline's view, Redis has every record."""
    until = time.monotonic() + LIMIT_SECONDS
    ends: int | None = None
    async with redis.asyncio.Redis.from_url(place.redis) as client:
        while time.monotonic() < until:
            if process.poll() is not None:
                raise RunFailed(f"{peer.name} ended with code {process.returncode}:\n{last_lines(log)}")
            if ends is None and await cluster.committed(place.name, place.names.changes) >= changes:
                if peer.stock or not peer.view:
                    return  # stock Faust commits after the answer of Redis
                ends = sum((await cluster.ends(place.names.records)).values())
            if ends is not None and sum(map(int, (await client.hgetall(PROGRESS_KEY)).values())) >= ends:
                return
            await asyncio.sleep(POLL_SECONDS)
    raise RunFailed(f"{peer.name} was not done after {LIMIT_SECONDS:.0f} s:\n{last_lines(log)}")


def last_lines(log: Path) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


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
    peer: Peer, changes: int, records: Records, sampler: Sampler, span: tuple[float, float], loop_ms: float
) -> Result:
    """The figures of a run; span: the times of its start and of its end as it was seen from outside."""
    started, done = span
    first, last, head = appends(peer, records)
    done = max(done, last)
    millions = (changes - head) / 1e6
    cpu = {name: sampler.cpu_seconds(name, first, done) for name in sampler.names}
    ours = sum(seconds for name, seconds in cpu.items() if name != "machine")
    return Result(
        peer=peer.name,
        changes=changes,
        head=head,
        start_seconds=round(first - started, 3),
        to_output_seconds=last - first,
        to_done_seconds=done - first,
        loop_ms=loop_ms,
        cpu_seconds_per_million={name: round(seconds / millions, 2) for name, seconds in cpu.items()},
        other_cores=round((cpu["machine"] - ours) / (done - first), 2),
        peak_rss_mib=round(sampler.peak_mib("peer"), 1),
        outputs={},
    )


def appends(peer: Peer, records: Records) -> tuple[float, float, int]:
    """Times of the first and the last append, and how many changes the first ones stand for."""
    stamps = [record.timestamp for partition in records.values() for record in partition]
    first, last = min(stamps), max(stamps)
    earliest = {number: [r for r in rows if r.timestamp == first] for number, rows in records.items()}
    if peer.stock:
        return first / 1000, last / 1000, sum(map(len, earliest.values()))
    # One record of Syncline may stand for many changes, and its first batch was resolved before any output.
    positions = [[decode_record(r.value).position.offset for r in rows if r.value] for rows in earliest.values()]
    return first / 1000, last / 1000, sum(max(offsets) + 1 for offsets in positions if offsets)


async def check(peer: Peer, place: Deployment, expected: Expected, records: Records) -> dict[str, bool]:
    """Each output that is compared, and whether it is what it must be."""
    found = {"records": checks.of_stock_records(records) if peer.stock else checks.of_records(records)}
    if peer.view:
        found["view"] = await (checks.of_stock_view if peer.stock else checks.of_view)(place.redis)
    return {name: digest == expected.digest for name, digest in found.items()}
