"""`python -m benchmarks sync`: golden records on their way to a target over HTTP, in realtime, in windows, and by name.

latency: changes are published at moments fixed in advance, a worker resolves them, another process delivers them.
windows: the same golden records once in realtime and once in windows, at a steady rate. forced: entities that are asked
for by name, all at once. The web service and what publishes run in the benchmark's own process, on the same machine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiokafka import AIOKafkaConsumer

from benchmarks import report
from benchmarks.job import Job
from benchmarks.latency import percentiles
from benchmarks.stage import Stage, say, stage
from schemas.codec import decode_record
from syncline import Publisher
from syncline.target_letters import forced, write_letters
from tests.conftest import Deployment
from tests.delivery.run import DeliveryRun, delivering
from tests.targets.web_service import Service, accepting

HEADINGS: Final = ("what", "p50 ms", "p90 ms", "p99 ms", "max ms", "a second", "deliveries", "calls")
ENTITIES: Final = 5_000
CHANGING: Final = 2_000
PER_SECOND: Final = 2_000
BURST: Final = 20
WINDOW: Final = "5s"
FORCED: Final = 100
WAIT_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One run. ms: percentiles where single deliveries were timed. rate: deliveries a second, from first to last."""

    what: str
    ms: dict[str, float] | None
    rate: float
    deliveries: int
    calls: int


@asynccontextmanager
async def target(
    here: Stage, name: str, modes: Mapping[str, Any]
) -> AsyncIterator[tuple[DeliveryRun, dict[str, float]]]:
    """A target in such a mode and its worker, ready; and when each value of field `n` arrived."""
    place = Deployment(here.kafka.address, here.redis.url(), f"{name}.", name, real_kafka=True)
    directory = here.directory / name
    directory.mkdir()
    arrived: dict[str, float] = {}

    async def timed(service: Service, request: web.Request, messages: list[dict[str, Any]]) -> web.StreamResponse:
        now = time.perf_counter()
        for message in messages:
            arrived[f"{message['key']}={message['fields']['n']}"] = now
        return await accepting(service, request, messages)

    async with delivering(place, directory, modes) as run:
        run.service.always = timed
        worker = run.start()
        await run.until(worker.ready, "the worker is not ready", WAIT_SECONDS)
        yield run, arrived


async def watch(kafka: str, topic: str, seen: dict[str, float]) -> None:
    """Note when an application's consumer has each golden record, as the worker that delivers it may have it."""
    async with AIOKafkaConsumer(topic, bootstrap_servers=kafka) as consumer:
        async for message in consumer:
            record = decode_record(message.value)
            seen[f"{record.key}={record.fields['n']}"] = time.perf_counter()


async def latency(here: Stage, rate: int, seconds: int) -> list[Figure]:
    """From the publish of a change to the target, after a tenth of the time that counts for nothing.

    And of it the part from the golden record on, which is what delivering takes.
    """
    async with target(here, "latency", {}) as (run, arrived):
        resolver = run.start(("-m", "syncline", "worker"))
        await run.until(resolver.ready, "the worker is not ready", WAIT_SECONDS)
        sent: dict[str, float] = {}
        recorded: dict[str, float] = {}
        watching = asyncio.create_task(watch(here.kafka.address, "latency.records", recorded))
        async with Publisher(run.deployment.kafka, run.deployment.topic_prefix, partitions=2) as publisher:

            async def publish(number: int) -> None:
                key = f"customer:{number}"
                sent[f"{key}={number}"] = time.perf_counter()
                await publisher.publish(
                    {
                        "entity_type": "customer",
                        "entity_id": str(number),
                        "op": "update",
                        "source": "crm",
                        "fields": {"n": number},
                    }
                )

            begun, tasks = time.perf_counter(), set()
            for number in range(rate * seconds * 11 // 10):
                await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
                tasks.add(asyncio.create_task(publish(number)))
            await asyncio.gather(*tasks)
        await run.until(lambda: sent.keys() <= arrived.keys(), "changes did not arrive", WAIT_SECONDS)
        counted = list(sent)[-rate * seconds :]
        watching.cancel()
        whole = [arrived[name] - sent[name] for name in counted]
        # Both hear of a record at about the same time; the target may even be first.
        part = [max(0.0, arrived[name] - recorded[name]) for name in counted if name in recorded]
        took = max(arrived.values()) - min(sent.values())
        calls = len(run.service.requests)
        return [
            Figure(what, percentiles(waits), len(sent) / took, len(arrived), calls)
            for what, waits in ((f"publish to target at {rate}/s", whole), ("of it, from the golden record on", part))
        ]


async def windows(here: Stage, what: str, modes: Mapping[str, Any], changes: int) -> Figure:
    """The same changes of the same entities at a steady rate, until the target has the last of them."""
    async with target(here, what.replace(" ", "-"), modes) as (run, _):
        begun = time.perf_counter()
        for first in range(0, changes, BURST):
            await asyncio.sleep(max(0.0, begun + first / PER_SECOND - time.perf_counter()))
            await run.write(
                (f"customer:{n * 7919 % CHANGING}", {"n": n}) for n in range(first, min(changes, first + BURST))
            )
        await run.until(lambda: run.service.reader.contents == run.held, "the target lacks something", WAIT_SECONDS)
        took = time.perf_counter() - begun
        delivered = len(run.messages())
        return Figure(f"{changes:,} changes, {what}", None, delivered / took, delivered, len(run.service.requests))


async def by_name(here: Stage) -> Figure:
    """Entities among many, asked for all at once: until each of them has arrived."""
    async with target(here, "forced", {"mode": "manual"}) as (run, arrived):
        await run.write((f"customer:{n}", {"n": n}) for n in range(ENTITIES))
        await run.until_waiting(ENTITIES)
        keys = {f"customer:{n * 37 % ENTITIES}".encode() for n in range(FORCED)}
        begun = time.perf_counter()
        letters = await forced(run.settings, "crm", run.said, keys)
        await write_letters(run.settings, ((letter, True) for letter in letters))
        await run.until(lambda: len(arrived) >= FORCED, "they did not arrive", WAIT_SECONDS)
        waits = [at - begun for at in arrived.values()]
        calls = len(run.service.requests)
        return Figure(
            f"{FORCED} of {ENTITIES:,} forced at once", percentiles(waits), FORCED / max(waits), FORCED, calls
        )


async def sync(rate: int, seconds: int, changes: int) -> list[Figure]:
    """All of it, one after the other."""
    figures = []
    async with stage(Job(0), 0) as here:
        figures += await latency(here, rate, seconds)
        figures.append(await windows(here, "realtime", {}, changes))
        batch = {"mode": "windowed_batch", "window": WINDOW}
        figures.append(await windows(here, f"windows of {WINDOW}", batch, changes))
        figures.append(await by_name(here))
    for figure in figures:
        say(f"{figure.what}: {figure.deliveries:,} deliveries in {figure.calls:,} calls")
    return figures


def write(name: str, figures: list[Figure], facts: dict[str, Any]) -> Path:
    """Print the table and write results/<name>.md and .json; returns the path of the first."""
    title = "Golden records on their way to a target"
    cells = [
        [
            figure.what,
            *(["", "", "", ""] if figure.ms is None else [f"{ms:.1f}" for ms in figure.ms.values()]),
            f"{figure.rate:,.0f}",
            f"{figure.deliveries:,}",
            f"{figure.calls:,}",
        ]
        for figure in figures
    ]
    report.show_table(title, HEADINGS, cells)
    method = (__doc__ or "").partition("\n\n")[2]
    lines = [f"# {title}", "", *report.markdown(HEADINGS, cells), "", method]
    lines += [f"- {what}: {fact}" for what, fact in facts.items()]
    return report.save(name, [*lines, ""], facts, [asdict(figure) for figure in figures])
