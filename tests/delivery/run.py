"""One target over HTTP that misbehaves as it is told, golden records for it, and workers that deliver them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import yaml
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner

from agents.deletions import deletion_headers
from agents.delivery.app import group_of
from agents.delivery.notes import read_notes
from agents.names import TopicNames
from agents.settings import Settings
from agents.topics import prepare_topics
from schemas.codec import encode_record
from schemas.policy_document import read_document
from schemas.target_document import TargetDocument
from syncline.cli import app
from syncline.processes import environment_of
from syncline.target_letters import letters_of
from syncline.target_progress import PartitionProgress, progress_of, read_orders
from tests.conftest import Deployment
from tests.faults.worker import Worker
from tests.integration.shell import worker_settings
from tests.targets.deliveries import golden
from tests.targets.web_service import Service, running_service

PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.05
PARTITIONS = 2
#: Key -> fields, None: deleted.
Rows = Iterable[tuple[str, dict[str, Any] | None]]


@dataclass
class DeliveryRun:
    """A deployment with target `crm`. held: what `records` has now, by key."""

    deployment: Deployment
    directory: Path
    service: Service
    producer: AIOKafkaProducer
    settings: Settings
    said: TargetDocument
    held: dict[str, dict[str, Any]] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)
    written: int = 0

    async def write(self, rows: Rows, at_ms: int | None = None) -> None:
        """Append golden records to `records`, and wait until Kafka has them. at_ms: their recorded time."""
        sent = []
        for key, fields in rows:
            self.written += 1
            value = None if fields is None else encode_record(golden(key, self.written, fields))
            headers = deletion_headers(0, self.written) if fields is None else []
            sent.append(
                await self.producer.send(
                    f"{self.deployment.topic_prefix}records", value, key.encode(), timestamp_ms=at_ms, headers=headers
                )
            )
            self.held.pop(key, None)
            if fields is not None:
                self.held[key] = fields
        await asyncio.gather(*sent)

    def start(self, arguments: Sequence[str] = ("-m", "syncline", "deliver", "crm")) -> Worker:
        """Start a worker that delivers."""
        log = self.directory / f"deliver-{len(self.workers)}.log"
        worker = Worker(self.settings, log, arguments, {})
        self.workers.append(worker)
        return worker

    async def until(self, holds: Callable[[], bool], trouble: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + seconds
        while not holds():
            crashed = [worker.code for worker in self.workers if worker.code not in (None, 0, -9)]
            assert time.monotonic() < deadline and not crashed, f"{trouble}: {self.logs()}"
            await asyncio.sleep(LOOK_SECONDS)

    async def until_delivered(self) -> None:
        """Wait until the target has what `records` has."""
        await self.until(lambda: self.service.reader.contents == self.held, "the target lacks something")

    def messages(self, since: int = 0) -> list[dict[str, Any]]:
        """What the target was told, in order, from a request on, taken or not."""
        bodies = (orjson.loads(body) for _, body in self.service.requests[since:])
        return [message for body in bodies for message in body["deliveries"]]

    def assert_in_order(self, since: int = 0) -> None:
        """No state of an entity came after a newer one, not even one that was refused or had no answer."""
        newest: dict[str, int] = {}
        for message in self.messages(since):
            offset = message["position"]["offset"]
            assert offset >= newest.get(message["key"], 0), message["key"]
            newest[message["key"]] = offset

    async def until_status(self, holds: Callable[[list[PartitionProgress]], bool], trouble: str) -> None:
        """Wait until the progress of all partitions meets a condition."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds(found := await self.status()):
            assert time.monotonic() < deadline, f"{trouble}: {[one.status for one in found]} {self.logs()}"
            await asyncio.sleep(LOOK_SECONDS)

    async def status(self) -> list[PartitionProgress]:
        """The progress of all partitions."""
        orders = await read_orders(self.settings, "crm")
        return list((await progress_of(self.settings, "crm", self.said, orders)).values())

    async def until_pending(self, count: int) -> None:
        """Wait until so many deliveries are pending, by what the worker and by what Kafka say."""

        def holds(found: list[PartitionProgress]) -> bool:
            told = sum(one.status.get("pending", 0) for one in found)
            return told == count == sum(len(one.backlog) for one in found)

        await self.until_status(holds, f"not {count} pending")

    async def until_waiting(self, least: int) -> None:
        """Wait until the worker says that so many deliveries are pending, or more."""
        names, deadline = TopicNames.with_prefix(self.deployment.topic_prefix), time.monotonic() + PATIENCE_SECONDS
        group = group_of(self.deployment.app_id, "crm")
        while True:
            noted = await read_notes(self.deployment.kafka, names, group, "crm", 1, range(PARTITIONS))
            told = [(one.subjects.get("status") or {}).get("pending", 0) for one in noted.values()]
            if sum(told) >= least:
                return
            assert time.monotonic() < deadline, f"{told} of {least} pending: {self.logs()}"
            await asyncio.sleep(LOOK_SECONDS)

    async def until_letters(self, count: int) -> None:
        """Wait until there are so many dead letters, none of which is still to be driven."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(letters := await letters_of(self.settings, "crm")) != count or any(one.redrive for one in letters):
            assert time.monotonic() < deadline, f"not {count} letters: {letters} {self.logs()}"
            await asyncio.sleep(LOOK_SECONDS)

    async def until_called(self, calls: int) -> None:
        """Wait for so many requests in all."""
        await self.until(lambda: len(self.service.requests) >= calls, f"no {calls} requests")

    async def cli(self, *arguments: str) -> str:
        """Stdout of a command that must succeed without a message."""
        names = {name: None for name in os.environ if name.startswith("SYNCLINE_")}
        environment = {**names, **environment_of(self.settings)}
        done = await asyncio.to_thread(CliRunner().invoke, app, list(arguments), env=environment)
        assert (done.exit_code, done.stderr) == (0, ""), done.output
        return done.stdout

    async def told(self, *arguments: str) -> Any:
        """The same of a command that says JSON."""
        return orjson.loads(await self.cli(*arguments, "-o", "json"))

    async def end(self, worker: Worker, how: signal.Signals = signal.SIGTERM) -> int:
        """End a worker; returns its code."""
        return await asyncio.to_thread(worker.end, how)

    def logs(self) -> str:
        """The ends of the workers' logs."""
        return "\n".join(worker.log.read_text(errors="replace")[-1500:] for worker in self.workers)


@asynccontextmanager
async def delivering(
    deployment: Deployment, directory: Path, delivery: Mapping[str, Any] | None = None, **target: Any
) -> AsyncIterator[DeliveryRun]:
    """A target with such modes, and no worker yet. target: more keys of its section."""
    async with running_service() as service:
        said = {"kind": "http", "url": service.url, "timeout": "2s", "delivery": dict(delivery or {}), **target}
        config = directory / "syncline.yaml"
        config.write_text(yaml.safe_dump({"targets": {"crm": said}}))
        settings = worker_settings(deployment, config=str(config), partitions=PARTITIONS)
        await prepare_topics(settings)
        producer = AIOKafkaProducer(bootstrap_servers=deployment.kafka, enable_idempotence=deployment.real_kafka)
        await producer.start()
        run = DeliveryRun(
            deployment,
            directory,
            service,
            producer,
            settings,
            read_document({"targets": {"crm": said}}).targets["crm"],
        )
        try:
            yield run
        finally:
            await producer.stop()
            for worker in run.workers:
                if worker.code is None:
                    await run.end(worker, signal.SIGKILL)
