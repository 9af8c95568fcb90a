"""F24 to F26: offsets and logs that were changed behind the workers' backs, on a real Kafka."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from agents.names import TopicNames
from syncline.processes import WorkerProcess
from tests.conftest import Deployment
from tests.integration.shell import Shell, worker_settings

pytestmark = pytest.mark.real_kafka
PARTITIONS = range(2)
PLACES = ("table", "records", "view", "replay")
ENTITIES = 60
LIMIT_SECONDS = 60.0


class Place:
    """One deployment: publishes rounds of changes, and runs a worker whose log can be read."""

    def __init__(self, deployment: Deployment, directory: Path) -> None:
        self.deployment = deployment
        self.shell = Shell(deployment)
        self.names = TopicNames.with_prefix(deployment.topic_prefix)
        self.log = directory / "worker.log"
        self.worker: WorkerProcess | None = None
        self.version = 0

    def publish(self) -> None:
        """A newer version of a field of every entity."""
        self.version += 1
        lines = [
            json.dumps(
                {
                    "event_id": f"{number}@{self.version}",
                    "entity_type": "customer",
                    "entity_id": str(number),
                    "op": "update",
                    "source": "crm",
                    "version": self.version,
                    "occurred_at": 1_700_000_000_000 + self.version,
                    "fields": {"round": self.version, f"only_in_{self.version}": number},
                }
            )
            for number in range(ENTITIES)
        ]
        self.shell.out("publish", "-", stdin="\n".join(lines).encode())

    def start(self) -> None:
        """Start the worker."""
        settings = worker_settings(self.deployment, partitions=len(PARTITIONS))
        self.worker = WorkerProcess(settings, self.log)

    def stop(self) -> int:
        """Stop the worker; its code."""
        assert self.worker is not None
        return self.worker.stop()

    def resolved(self) -> None:
        """Run until every change is resolved and visible, then stop."""
        self.start()
        self.shell.out("wait", "--timeout", str(LIMIT_SECONDS))
        assert self.stop() == 0

    async def ended(self, code: int) -> None:
        """Wait until the worker has ended by itself, with this code."""
        assert self.worker is not None
        async with asyncio.timeout(LIMIT_SECONDS):
            while self.worker.code is None:  # noqa: ASYNC110  (a process sets no event)
                await asyncio.sleep(0.1)
        assert self.worker.code == code

    def digests(self, *places: str) -> dict[str, str]:
        """Digest by place."""
        done = self.shell.run("digest", *places, "-o", "json")
        return {row["place"]: row["sha256"] for row in json.loads(done.stdout)}

    def until_equal(self, *places: str) -> None:
        """Wait until these places hold the same, which `wait` cannot tell when offsets were tampered with."""
        until = monotonic() + LIMIT_SECONDS
        while len(set(self.digests(*places).values())) > 1:
            assert monotonic() < until, self.digests(*places)
            sleep(0.5)

    async def ends(self) -> dict[TopicPartition, int]:
        """The ends of `changes`."""
        async with self._consumer() as consumer:
            return await consumer.end_offsets([TopicPartition(self.names.changes, p) for p in PARTITIONS])

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        """Commit offsets of `changes` for the workers' group, which has no members now."""
        async with self._consumer() as consumer:
            consumer.assign(list(offsets))
            await consumer.commit(offsets)

    async def truncate(self, before: dict[TopicPartition, int]) -> None:
        """Have Kafka delete the changes before these offsets."""
        async with self._admin() as admin:
            await admin.delete_records({tp: RecordsToDelete(before_offset=at) for tp, at in before.items()})

    async def delete_topic(self, topic: str) -> None:
        """Delete a topic, and wait until it is gone."""
        async with self._admin() as admin:
            await admin.delete_topics([topic])
            while topic in await admin.list_topics():  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.deployment.kafka)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self.deployment.kafka, group_id=self.deployment.app_id, enable_auto_commit=False
        )


@pytest.fixture
def place(deployment: Deployment, tmp_path: Path) -> Iterator[Place]:
    """A deployment in which one round of changes is resolved and no worker runs."""
    place = Place(deployment, tmp_path)
    place.shell.out("doctor")
    place.publish()
    place.resolved()
    yield place
    if place.worker is not None:
        place.worker.stop()


async def test_a_commit_ahead_of_the_table_is_taken_back(place: Place) -> None:
    """F26: offsets committed past what the table reflects skip nothing: the worker says so and reads those changes."""
    place.publish()
    await place.commit(await place.ends())
    place.start()
    place.until_equal(*PLACES)
    assert place.log.read_text().count("is ahead of the table") == len(PARTITIONS)


async def test_a_commit_wound_back_changes_nothing(place: Place) -> None:
    """F26: changes that are read again leave every place as it was."""
    before = place.digests(*PLACES)
    await place.commit({TopicPartition(place.names.changes, p): 0 for p in PARTITIONS})
    place.resolved()
    assert place.digests(*PLACES) == before
    assert len(set(before.values())) == 1


async def test_a_table_whose_changelog_is_gone_is_built_again(place: Place) -> None:
    """F24: without its changelog the table is rebuilt from the changes, although their offsets were committed."""
    before = place.digests("view")["view"]
    await place.delete_topic(place.names.changelog)
    place.start()
    place.until_equal(*PLACES)
    assert place.digests("table")["table"] == before
    assert "is ahead of the table" in place.log.read_text()


async def test_changes_deleted_unread_raise_an_alarm_with_their_range(place: Place) -> None:
    """F25: a range that Kafka deleted before it was read is named, first and last offset, and the rest is resolved."""
    first = await place.ends()
    place.publish()
    following = await place.ends()
    await place.truncate(following)
    place.publish()
    place.resolved()
    said = place.log.read_text()
    for tp, offset in first.items():
        assert f"ALARM: {tp.topic}[{tp.partition}]: offsets {offset} to {following[tp] - 1} were deleted" in said
    place.until_equal("table", "records", "view")


async def test_changes_made_anew_are_refused(place: Place) -> None:
    """F24: where the table reflects changes that the topic never had, the worker ends and says what to do."""
    await place.delete_topic(place.names.changes)
    place.start()
    await place.ended(78)
    assert "deleted and made anew" in place.log.read_text()


async def test_a_record_that_is_no_state_ends_the_worker(place: Place) -> None:
    """F24: what is in the changelog and is no state is named with its place, and nothing is built on it."""
    async with AIOKafkaProducer(bootstrap_servers=place.deployment.kafka) as producer:
        await producer.send_and_wait(place.names.changelog, b"garbage", key=b"customer:1", partition=0)
    place.start()
    await place.ended(70)
    assert "cannot be read" in place.log.read_text()
