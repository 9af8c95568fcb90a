"""`python -m benchmarks latency`: milliseconds from a change's send to its golden record and to the view in Redis.

Changes go out at moments fixed in advance, whatever the system does, so that a stall counts for every change that it
held up. Topics are read as an application reads them; Redis is watched by MONITOR, which tells each write with the
time by Redis's own clock, and disturbs it by one formatted line for each command.
"""

from __future__ import annotations

import asyncio
import gc
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from agents.deletions import deletion_offset
from benchmarks import report
from benchmarks.cluster import partition_of
from benchmarks.job import Event, Job, as_avro, as_json, events
from benchmarks.measure import RunFailed, last_lines, python_loop_ms, start, stop
from benchmarks.peers.deployment import Deployment
from benchmarks.peers.systems import STOCK_FAUST_REDIS, SYNCLINE, Peer
from benchmarks.sampling import machine, usage
from benchmarks.stage import Stage, say, stage
from schemas.codec import decode_record

#: The systems that write Redis, too.
MEASURED: Final = (SYNCLINE, STOCK_FAUST_REDIS)
POINTS: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}

FIRST_ANSWER_SECONDS: Final = 60.0
FIRST_PAUSE_SECONDS: Final = 0.25
#: For the answers to the last changes.
REST_SECONDS: Final = 3.0
FETCH_WAIT_MS: Final = 50
LINE_BYTES: Final = 1024 * 1024

#: The commands that write the view, as MONITOR shows them: Redis's time, the entity, what tells the change.
VIEW_LINES: Final = (
    re.compile(rb'\+([\d.]+) \S+ \S+ "HSET" "syncline:view:([^"]+)".* "v" "(\d+)'),
    re.compile(rb'\+([\d.]+) \S+ \S+ "SET" "syncline:guard:([^"]+)" "(\d+)'),
)
STOCK_LINE: Final = re.compile(rb'\+([\d.]+) \S+ \S+ "SET" "stock:[^"]+" .*event_id\\":\\"([^\\]+)\\"')

Seen = dict[bytes, list[tuple[int, float]]]
"""What came out: name -> (position, when). A change is visible once its name has its position or a later one."""


HEADINGS: Final = (
    "system",
    "output",
    "p50",
    "p90",
    "p99",
    "max",
    "changes",
    "missing",
    "CPU",
    "others",
    "stolen",
    "late",
    "loop ms",
)
METHOD: Final = """\
- Milliseconds from the moment before a change's send, one row for each output of each run. `record`: an application's
  consumer has the golden record (aiokafka, read as it comes). `view`: Redis has written the view, by its own clock,
  which is this machine's; resolution 1 us. `view heard`: the same write, when the benchmark's loop had read of it from
  MONITOR; the difference is the way of a line through a busy loop, and what a subscriber would add, too.
- A change is visible in Syncline's outputs once they reflect its offset in `changes` or a later one of the entity, in
  stock Faust's once its id is there. `missing`: those that never were.
- Changes are sent with linger 0 at moments fixed in advance, answered or not, so a stall counts for every change that
  it holds up. `late`: the most ms by which the benchmark itself missed such a moment; that is in no figure.
- Changes that repeat an earlier one are left out, since nothing comes out for them.
- Before that: changes now and then until the first golden record, then the same rate for 45 s, in which Java compiles
  what the broker needs (it takes four times the CPU until then).
- `CPU`: of the system's process tree, in cores. `others`: of processes that have no part in the run; `stolen`: what the
  host of this virtual machine gave to others. Where either is above 0.1, the figures say little.
- `loop ms`: of a fixed Python loop before the run, the speed of a core.
- Stock Faust is `benchmarks/peers/stock_faust.py`, whose linger of 5 ms is in its `record`; Syncline has none.
- All on one machine with the broker, Redis and the benchmark."""


@dataclass(frozen=True, slots=True)
class Load:
    """Changes a second, for how long they are measured, and for how long before that they are not.

    A broker that has just started takes a whole core for 200 changes a second until Java has compiled what they need.
    """

    rate: int
    seconds: int
    warm_seconds: int = 45


class Sent(NamedTuple):
    """One change: when it was sent (seconds since the epoch), how late that was, and what Kafka answers."""

    event: Event
    at: float
    late: float
    answer: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class Latency:
    """One run. ms: of each output, percentiles. missing: changes that never came out there.

    cpu: of the system, in cores; others: of what has no part in the run; stolen: what this machine's host took away.
    """

    peer: str
    rate: int
    changes: int
    ms: dict[str, dict[str, float]]
    missing: dict[str, int]
    cpu: float
    others: float
    stolen: float
    late_ms: float
    loop_ms: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Cores(NamedTuple):
    """CPU in cores while a run was measured: of the system, of what has no part in it, taken by the host."""

    system: float
    others: float
    stolen: float


class RecordWatch:
    """Reads a topic as it grows. records: each with the time at which it was there."""

    def __init__(self, kafka: str, topic: str, partitions: int) -> None:
        self.records: list[tuple[ConsumerRecord[Any, Any], float]] = []
        self._places = [TopicPartition(topic, number) for number in range(partitions)]
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=kafka, auto_offset_reset="earliest", fetch_max_wait_ms=FETCH_WAIT_MS
        )

    async def run(self) -> None:
        """Read until cancelled."""
        await self._consumer.start()
        try:
            self._consumer.assign(self._places)
            while True:
                fetched = await self._consumer.getmany(timeout_ms=1_000)
                now = time.time()
                self.records += [(record, now) for records in fetched.values() for record in records]
        finally:
            await self._consumer.stop()


class ViewWatch:
    """Hears what Redis does. lines: what MONITOR says, with the time at which it was heard."""

    def __init__(self, address: str) -> None:
        self.lines: list[tuple[bytes, float]] = []
        self._host, _, self._port = address.rpartition(":")

    async def run(self) -> None:
        """Listen until cancelled."""
        reader, writer = await asyncio.open_connection(self._host, int(self._port), limit=LINE_BYTES)
        writer.write(b"MONITOR\r\n")
        try:
            async for line in reader:
                self.lines.append((line, time.time()))
        finally:
            writer.close()


async def latency(job: Job, load: Load, rounds: int) -> list[Latency]:
    """All runs; every other round backwards."""
    results = []
    async with stage(job, 0) as here:
        for number in range(rounds):
            for peer in MEASURED if number % 2 == 0 else reversed(MEASURED):
                result = await one(here, peer, load)
                results.append(result)
                parts = (f"{name} {ms['p50']:.2f} / {ms['p99']:.2f} ms" for name, ms in result.ms.items())
                say(f"{peer.name}, p50 / p99: {', '.join(parts)}; missing {sum(result.missing.values())}")
    return results


async def one(here: Stage, peer: Peer, load: Load) -> Latency:
    """One run of one system in a deployment of its own."""
    loop_ms = python_loop_ms()
    place = await here.place(peer)
    encoded = to_send(here.job, peer, load)
    log = here.directory / f"{place.name}.log"
    process = start(peer, place, log)
    try:
        async with watching(here, place) as (records, view):

            def alive() -> None:
                if process.poll() is not None:
                    raise RunFailed(f"{peer.name} ended with code {process.returncode}:\n{last_lines(log)}")

            ours = (process.pid, here.kafka.pid, here.redis.pid)
            sent, cores = await publish(place, load, encoded, records, ours, alive)
            await asyncio.sleep(REST_SECONDS)
    finally:
        stop(process)
    await here.cluster.delete(name for name in await here.cluster.topics() if name.startswith(place.name))
    measured = sent[-load.rate * load.seconds :]
    seen = outputs_of_stock(records, view) if peer.stock else outputs(records, view)
    waits = {name: await waiting(peer, measured, found) for name, found in seen.items()}
    return Latency(
        peer=peer.name,
        rate=load.rate,
        changes=len(measured),
        ms={name: percentiles(found) for name, found in waits.items()},
        missing={name: len(measured) - len(found) for name, found in waits.items()},
        cpu=cores.system,
        others=cores.others,
        stolen=cores.stolen,
        late_ms=round(max(change.late for change in measured) * 1000, 2),
        loop_ms=loop_ms,
    )


def to_send(job: Job, peer: Peer, load: Load) -> list[tuple[Event, bytes]]:
    """Changes of the job, encoded; without those that repeat an earlier one, since nothing comes out for them."""
    encode = as_json if peer.stock else as_avro
    known: set[tuple[int, str, int]] = set()
    changes = []
    first_answer = int(FIRST_ANSWER_SECONDS / FIRST_PAUSE_SECONDS)
    wanted = first_answer + load.rate * (load.seconds + load.warm_seconds)
    for event in events(Job(2 * wanted, job.entities, job.seed)):
        dot = (event.number, event.source, event.version)
        if dot not in known:
            known.add(dot)
            changes.append((event, encode(event)))
        if len(changes) == wanted:
            break
    return changes


@asynccontextmanager
async def watching(here: Stage, place: Deployment) -> AsyncIterator[tuple[RecordWatch, ViewWatch]]:
    """Both outputs, watched until the end."""
    records = RecordWatch(place.kafka, place.names.records, place.partitions)
    view = ViewWatch(here.redis.address)
    tasks = [asyncio.create_task(watch.run()) for watch in (records, view)]
    gc.collect()
    gc.disable()  # a collection would hold back sends and answers alike
    try:
        yield records, view
    finally:
        gc.enable()
        for task in tasks:
            task.cancel()
        failed = [e for e in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(e, Exception)]
    if failed:
        raise RunFailed(f"an output could not be watched: {failed[0]!r}")


async def publish(
    place: Deployment,
    load: Load,
    changes: Sequence[tuple[Event, bytes]],
    records: RecordWatch,
    pids: Sequence[int],
    alive: Callable[[], None],
) -> tuple[list[Sent], Cores]:
    """Send slowly until something comes out, then at the load's rate. pids: of the system, and of the servers."""
    sent: list[Sent] = []
    async with AIOKafkaProducer(bootstrap_servers=place.kafka, acks="all", linger_ms=0) as producer:

        async def send(late: float = 0.0) -> None:
            event, value = changes[len(sent)]
            partition = partition_of(event.key, place.partitions)
            at = time.time()
            answer = await producer.send(place.names.changes, value, event.key, partition=partition)
            sent.append(Sent(event, at, late, answer))

        await until_answered(send, records, alive)
        await steadily(load.rate, load.warm_seconds, send)
        alive()
        before = cpu_seconds(pids)
        await steadily(load.rate, load.seconds, send)
        alive()
        used = [(end - begin) / load.seconds for begin, end in zip(before, cpu_seconds(pids), strict=True)]
    ours, system, busy, stolen = used
    return sent, Cores(round(system, 3), round(busy - ours, 3), round(stolen, 3))


def cpu_seconds(pids: Sequence[int]) -> tuple[float, float, float, float]:
    """So far: of these processes and this one, of the first of them, of the whole machine, stolen from it."""
    each = [usage(psutil.Process(pid), tree=True)[0] for pid in pids]
    here = usage(psutil.Process(), tree=False)[0]
    return sum(each) + here, each[0], *machine()


async def until_answered(send: Callable[[], Awaitable[None]], records: RecordWatch, alive: Callable[[], None]) -> None:
    """Send a change now and then until the first golden record is there. Raises RunFailed."""
    until = time.monotonic() + FIRST_ANSWER_SECONDS - 1
    while not records.records:
        alive()
        if time.monotonic() > until:
            raise RunFailed(f"no golden record within {FIRST_ANSWER_SECONDS:.0f} s")
        await send()
        await asyncio.sleep(FIRST_PAUSE_SECONDS)


async def steadily(rate: int, seconds: int, send: Callable[[float], Awaitable[None]]) -> None:
    """Send at moments that are fixed in advance; what is late is sent at once, and nothing is left out."""
    begun = time.perf_counter()
    for number in range(rate * seconds):
        due = begun + number / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        await send(time.perf_counter() - due)


def outputs(records: RecordWatch, view: ViewWatch) -> dict[str, Seen]:
    """Syncline's: by entity, the offset in `changes` that each output reflects."""
    seen: dict[str, Seen] = {"record": {}, "view": {}, "view heard": {}}
    for record, at in records.records:
        deleted = record.value is None
        offset = deletion_offset(record.headers) if deleted else decode_record(record.value).position.offset
        seen["record"].setdefault(record.key, []).append((offset, at))
    for line, at in view.lines:
        found = next(filter(None, (pattern.match(line) for pattern in VIEW_LINES)), None)
        if found:
            written, key, offset = float(found[1]), found[2], int(found[3])
            seen["view"].setdefault(key, []).append((offset, written))
            seen["view heard"].setdefault(key, []).append((offset, at))
    return seen


def outputs_of_stock(records: RecordWatch, view: ViewWatch) -> dict[str, Seen]:
    """Stock Faust's: it writes one record for each change, which bears the change's id."""
    seen: dict[str, Seen] = {"record": {}, "view": {}, "view heard": {}}
    for record, at in records.records:
        seen["record"].setdefault(orjson.loads(record.value)["event_id"].encode(), []).append((0, at))
    for line, at in view.lines:
        if found := STOCK_LINE.match(line):
            seen["view"].setdefault(found[2], []).append((0, float(found[1])))
            seen["view heard"].setdefault(found[2], []).append((0, at))
    return seen


async def waiting(peer: Peer, sent: Sequence[Sent], seen: Mapping[bytes, list[tuple[int, float]]]) -> list[float]:
    """Seconds from the send of each change until it was visible, of those that ever were."""
    waits = []
    for change in sent:
        name, position = change.event.event_id.encode(), 0
        if not peer.stock:
            name, position = change.event.key, (await change.answer).offset
        visible = [at for reached, at in seen.get(name, ()) if reached >= position]
        if visible:
            waits.append(min(visible) - change.at)
    return waits


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """In ms: the least value that so many are not above."""
    ordered = sorted(seconds)
    if not ordered:
        return dict.fromkeys(POINTS, math.nan)
    places = {name: max(0, math.ceil(share * len(ordered)) - 1) for name, share in POINTS.items()}
    return {name: round(ordered[place] * 1000, 3) for name, place in places.items()}


def cells(results: Sequence[Latency]) -> list[list[str]]:
    """Rows of the table: each output of each run."""
    return [
        [
            result.peer,
            output,
            *(f"{ms[point]:.2f}" for point in POINTS),
            f"{result.changes:,}",
            str(result.missing[output]),
            f"{result.cpu:.2f}",
            f"{result.others:.2f}",
            f"{result.stolen:.2f}",
            f"{result.late_ms:.1f}",
            f"{result.loop_ms}",
        ]
        for result in results
        for output, ms in result.ms.items()
    ]


def write(name: str, results: Sequence[Latency], facts: dict[str, Any]) -> Path:
    """Print the table and write results/<name>.md and .json; returns the path of the first."""
    title = f"Latency at {results[0].rate} changes a second"
    report.show_table(title, HEADINGS, cells(results))
    lines = [f"# {title}", "", *report.markdown(HEADINGS, cells(results)), ""]
    lines += [*(f"- {what}: {fact}" for what, fact in facts.items()), "", "## How it is measured", "", METHOD, ""]
    return report.save(name, lines, facts, [result.as_dict() for result in results])
