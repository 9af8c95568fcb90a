"""Measures what a fault does to plain Faust: it shows that the same test bites."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from agents.settings import Settings
from agents.topics import prepare_topics
from syncline.topic_reader import read_topic
from tests.conftest import Deployment
from tests.faults.load import Load
from tests.faults.loaded_run import LoadedRun
from tests.faults.plain_faust import changelog_topic, sink_topic
from tests.faults.progress import Sample
from tests.faults.worker import Worker
from tests.integration.shell import worker_settings

PROGRAM = ("-m", "tests.faults.plain_faust")
#: It is left alone when it has committed nothing more for so long: it may never reach the end.
QUIET_SECONDS = 20.0


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


class PlainRun(LoadedRun):
    """Workers of plain Faust under load, to be used with `with`; the test injects faults, then measures.

    worker_kafka: what the workers are told instead of the deployment's Kafka (a proxy). load: as in Load.
    """

    def __init__(
        self,
        deployment: Deployment,
        directory: Path,
        *,
        session_seconds: float = 6.0,
        partitions: int = 8,
        worker_kafka: str | None = None,
        **load: Any,
    ) -> None:
        own = replace(deployment, app_id=f"{deployment.app_id}-plain", topic_prefix=f"{deployment.topic_prefix}plain.")
        more = {"partitions": partitions, "session_seconds": session_seconds}
        steady = Load(**load)
        # A record without a value is no event for Faust.
        events = (item for item in steady.items() if item.value is not None)
        super().__init__(worker_settings(own, **more), directory, steady, events)
        self._told = worker_settings(replace(own, kafka=worker_kafka or own.kafka), **more)

    def create_topics(self) -> None:
        """Ours, and the two of plain Faust."""
        asyncio.run(create_topics(self.settings))

    def begin(self, workers: int) -> None:
        """Start so many workers, begin to publish, and return once something is committed."""
        for number in range(workers):
            self.supervisor.keep(number, self.new_worker(number))
        self.publish()
        self.until_progress()

    def until_progress(self) -> None:
        """Wait until the group commits more than it has now, or seems to stand still for good."""
        before, over_at = self.progress.committed, time.monotonic() + QUIET_SECONDS
        self.until(lambda: self.progress.committed > before or time.monotonic() > over_at, "nothing was committed")

    def new_worker(self, number: int) -> Worker:
        """Start the process of a worker."""
        place = ("--datadir", str(self.directory / f"data-{number}"))
        return Worker(self._told, self.log_file(number), (*PROGRAM, *place, "worker", "--without-web"), {})

    def measure(self) -> PlainOutcome:
        """Wait until all is published and it is at the end, or stands still; then count what its topics hold."""
        self.until_published()
        moved_at, known = time.monotonic(), -1
        while time.monotonic() < moved_at + QUIET_SECONDS and self.progress.uncommitted():
            if self.progress.committed != known:
                moved_at, known = time.monotonic(), self.progress.committed
        return asyncio.run(measured(self.settings, self.progress.samples[-1]))


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
