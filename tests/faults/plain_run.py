"""Measures what a fault does to plain Faust: it shows that the same test bites."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from agents.names import TopicNames
from agents.settings import Settings
from agents.topics import prepare_topics
from syncline.topic_reader import read_topic
from tests.conftest import Deployment
from tests.faults.load import Feed, Generator
from tests.faults.plain_faust import changelog_topic, sink_topic
from tests.faults.progress import Progress, Sample
from tests.faults.worker import Supervisor, Worker
from tests.integration.shell import worker_settings

PROGRAM = ("-m", "tests.faults.plain_faust")
#: It is left alone when it has committed nothing more for so long: it may never reach the end.
QUIET_SECONDS = 20.0
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class PlainOutcome:
    """Of the `committed` offsets: lost are those missing in table or sink, doubled those counted again.

    published: records in `changes`. unread: offsets that were not committed when nothing moved any more; they are
    not counted as lost.
    """

    published: int
    committed: int
    lost: int
    doubled: int
    unread: int


class PlainRun:
    """Two workers of plain Faust under load, to be used with `with`; kill and pause them, then measure.

    worker_kafka: what the workers are told instead of the deployment's Kafka (a proxy).
    """

    def __init__(
        self,
        deployment: Deployment,
        directory: Path,
        *,
        seed: int = 1,
        changes: int = 4000,
        per_second: float = 400.0,
        session_seconds: float = 6.0,
        partitions: int = 8,
        worker_kafka: str | None = None,
    ) -> None:
        self._directory = directory
        own = replace(deployment, app_id=f"{deployment.app_id}-plain", topic_prefix=f"{deployment.topic_prefix}plain.")
        more = {"partitions": partitions, "session_seconds": session_seconds}
        self._settings = worker_settings(own, **more)
        self._told = worker_settings(replace(own, kafka=worker_kafka or own.kafka), **more)
        topic = TopicNames.with_prefix(own.topic_prefix).changes
        # A record without a value is no event for Faust.
        self.items = [item for item in Generator(seed, 1000).items(changes) if item.value is not None]
        self._feed = Feed(own.kafka, own.topic_prefix, self.items, per_second)
        self.progress = Progress(own.kafka, own.app_id, topic, partitions)
        self._supervisor = Supervisor(self._new)

    def __enter__(self) -> Self:
        """Start everything, and return once the workers have committed something."""
        asyncio.run(create_topics(self._settings))
        self.progress.start()
        self._supervisor.start()
        for number in range(2):
            self._supervisor.keep(number, self._new(number))
        self._feed.start()
        self.until_progress()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._feed.cancel()
        self._supervisor.over()
        self.progress.over()

    def until_progress(self) -> None:
        """Wait until the group commits more than it has now."""
        before, deadline = self.progress.committed, time.monotonic() + PATIENCE_SECONDS
        while self.progress.committed <= before:
            assert time.monotonic() < deadline, f"plain Faust resolves nothing: {self._log(0).read_text()[-1500:]}"
            time.sleep(0.1)

    def kill_worker(self, number: int) -> None:
        """kill -9; it is started again at once."""
        self._supervisor.workers[number].send(signal.SIGKILL)

    def pause_worker(self, number: int) -> None:
        """SIGSTOP."""
        self._supervisor.workers[number].send(signal.SIGSTOP)

    def resume_worker(self, number: int) -> None:
        """SIGCONT."""
        self._supervisor.workers[number].send(signal.SIGCONT)

    def until_published(self) -> None:
        """Wait until the whole load is in Kafka."""
        self._feed.join(PATIENCE_SECONDS)
        assert not self._feed.is_alive(), "the load is not published"
        assert self._feed.failure is None, f"publishing failed: {self._feed.failure!r}"

    def measure(self) -> PlainOutcome:
        """Wait until all is published and it is at the end, or stands still; then count what its topics hold."""
        self.until_published()
        self._until_still()
        return asyncio.run(measured(self._settings, self.progress.samples[-1]))

    def _until_still(self) -> None:
        moved_at, known = time.monotonic(), -1
        while time.monotonic() < moved_at + QUIET_SECONDS and self.progress.uncommitted():
            if self.progress.committed != known:
                moved_at, known = time.monotonic(), self.progress.committed

    def _new(self, number: int) -> Worker:
        place = ("--datadir", str(self._directory / f"data-{number}"))
        return Worker(self._told, self._log(number), (*PROGRAM, *place, "worker", "--without-web"), {})

    def _log(self, number: int) -> Path:
        return self._directory / f"plain-{number}.log"


async def create_topics(settings: Settings) -> None:
    """Ours, and the two of plain Faust, which does not create the topic that it only sends to."""
    await prepare_topics(settings)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    try:
        await admin.start()
        wanted = (sink_topic(settings), changelog_topic(settings))
        await admin.create_topics([NewTopic(name, settings.partitions, 1) for name in wanted])
    finally:
        await admin.close()


async def measured(settings: Settings, reached: Sample) -> PlainOutcome:
    """What the table's changelog, folded, and the sink hold of each offset of `changes`."""
    committed = {f"{number}:{offset}" for number, end in enumerate(reached.committed) for offset in range(end)}
    newest: dict[bytes, list[str]] = {}
    async with aclosing(read_topic(settings.kafka, changelog_topic(settings))) as batches:
        async for _, records in batches:
            newest.update((record.key, json.loads(record.value)["places"]) for record in records)
    counted = Counter(place for places in newest.values() for place in places)
    sent: set[str] = set()
    async with aclosing(read_topic(settings.kafka, sink_topic(settings))) as batches:
        async for _, records in batches:
            sent.update(record.value.decode() for record in records)
    lost = committed - (counted.keys() & sent)
    doubled = sum(times - 1 for times in counted.values())
    published = sum(reached.ends)
    return PlainOutcome(published, len(committed), len(lost), doubled, published - len(committed))
