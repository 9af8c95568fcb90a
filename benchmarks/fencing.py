"""`python -m benchmarks fencing`: what it costs a batch that a replaced worker's records are refused.

Each way sends what a worker sends for a small batch, one record to the changelog and one to `records`, and waits until
it may be acknowledged: at a low and steady rate for latency, and as fast as it goes, one after the other, for CPU.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from agents.fencing import next_epoch, with_identities
from benchmarks import report
from benchmarks.job import Job
from benchmarks.latency import percentiles
from benchmarks.stage import Stage, say, stage

TOPICS: Final = ("fencing.changelog", "fencing.records")
STATE, RECORD = b"s" * 400, b"r" * 300
HEADINGS: Final = ("way", "p50 ms", "p90 ms", "p99 ms", "max ms", "batches/s", "CPU ms a batch")

Send = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Cost:
    """One way. ms: percentiles of a batch's time at the steady rate; rate, cpu_ms: one batch after the other."""

    way: str
    ms: dict[str, float]
    rate: float
    cpu_ms: float


async def send_both(producer: AIOKafkaProducer) -> None:
    """One record to each topic, both acknowledged."""
    pending = [await producer.send(topic, value, b"k", 0) for topic, value in zip(TOPICS, (STATE, RECORD), strict=True)]
    await asyncio.gather(*pending)


@asynccontextmanager
async def idempotent(kafka: str, *, fenced: bool) -> AsyncIterator[Send]:
    """As a worker sends; fenced: under an epoch of the partition's own."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True)
    identities = with_identities(producer)
    async with producer:
        if fenced:
            identities.claim(0, await next_epoch(producer.client, "fencing-0"))
        yield lambda: send_both(producer)


@asynccontextmanager
async def transactional(kafka: str) -> AsyncIterator[Send]:
    """Each batch in a transaction of its own, as Kafka's exactly-once producers do."""
    async with AIOKafkaProducer(bootstrap_servers=kafka, acks="all", transactional_id="transactions-0") as producer:

        async def send() -> None:
            async with producer.transaction():
                await send_both(producer)

        yield send


async def measured(here: Stage, way: str, rate: int, seconds: int) -> Cost:
    """The cost of one way, after a tenth of the time that counts for nothing."""
    kafka = here.kafka.address
    sending = transactional(kafka) if way == "transactions" else idempotent(kafka, fenced=way == "epochs")
    async with sending as send:
        waits = await steadily(send, rate, seconds)
        used, begun, batches = time.process_time(), time.perf_counter(), rate * seconds
        for _ in range(batches):
            await send()
        took, cpu = time.perf_counter() - begun, time.process_time() - used
    return Cost(way, percentiles(waits), round(batches / took), round(cpu / batches * 1000, 3))


async def steadily(send: Send, rate: int, seconds: int) -> list[float]:
    """Seconds that each batch took, one at a time, begun no faster than the rate."""
    waits = []
    for _ in range(rate * seconds * 11 // 10):
        begun = time.perf_counter()
        await send()
        waits.append(time.perf_counter() - begun)
        await asyncio.sleep(max(0.0, 1 / rate - waits[-1]))
    return waits[-rate * seconds :]


async def fencing(rate: int, seconds: int, rounds: int) -> list[Cost]:
    """All ways; every other round backwards."""
    ways = ("no fence", "epochs", "transactions")
    costs = []
    async with stage(Job(0), 0) as here:
        await here.cluster.create({topic: {} for topic in TOPICS})
        for number in range(rounds):
            for way in ways if number % 2 == 0 else reversed(ways):
                costs.append(await measured(here, way, rate, seconds))
                say(f"{way}: p50 {costs[-1].ms['p50']:.2f} ms, {costs[-1].rate:.0f} batches/s")
    return costs


def write(name: str, costs: list[Cost], facts: dict[str, Any]) -> Path:
    """Print the table and write results/<name>.md and .json; returns the path of the first."""
    title = "What fencing costs a batch"
    cells = [[c.way, *(f"{ms:.2f}" for ms in c.ms.values()), f"{c.rate:,.0f}", f"{c.cpu_ms:.2f}"] for c in costs]
    report.show_table(title, HEADINGS, cells)
    method = (__doc__ or "").partition("\n\n")[2]
    lines = [f"# {title}", "", *report.markdown(HEADINGS, cells), "", method]
    lines += [f"- {what}: {fact}" for what, fact in facts.items()]
    return report.save(name, [*lines, ""], facts, [asdict(cost) for cost in costs])
