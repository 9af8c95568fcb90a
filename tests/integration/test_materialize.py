"""The view equals `records`, whatever the hand-over missed and whatever became of Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis.asyncio
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from agents.deletions import deletion_headers
from agents.materialize import Materializer
from agents.view import START, RedisView, export
from schemas.canonical import canonical
from schemas.codec import encode_record
from schemas.golden_record import GoldenRecord
from schemas.record import Position
from streams.effects import ViewRow
from tests.awaiting import until
from tests.conftest import Deployment
from tests.servers.redis import RedisServer

PARTITIONS = 2


class World:
    """`records` of one deployment, filled by hand, and what the view must hold for it."""

    def __init__(self, deployment: Deployment, url: str) -> None:
        self.kafka = deployment.kafka
        self.url = url
        self.records = f"{deployment.topic_prefix}records"
        self.changes = f"{deployment.topic_prefix}changes"
        self.expected: dict[str, str] = {}
        self.offset = 0

    async def create_topic(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
        await admin.start()
        await admin.create_topics([NewTopic(self.records, PARTITIONS, 1)])
        await admin.close()

    def record(self, key: str, value: int | None, offset: int, partition: int) -> bytes | None:
        if value is None:
            return None
        entity_type, _, entity_id = key.partition(":")
        return encode_record(
            GoldenRecord(
                entity_type=entity_type,
                entity_id=entity_id,
                fields={"n": value, "list": [1, 1.0, "x"]},
                provenance={},
                clock={"crm": offset + 1},
                contested=["n"],
                pending=[],
                policy_version="p",
                position=Position(topic=self.changes, partition=partition, offset=offset),
            )
        )

    async def produce(
        self, values: dict[str, int | None], partition: int = 0, transaction: str | None = None
    ) -> tuple[int, list[ViewRow]]:
        """Send one record an entity; returns the offset of the first and the rows of the hand-over."""
        rows: list[ViewRow] = []
        sent = []
        async with AIOKafkaProducer(bootstrap_servers=self.kafka, transactional_id=transaction) as producer:
            if transaction:
                await producer.begin_transaction()
            for key, value in values.items():
                self.offset += 1
                body = self.record(key, value, self.offset, partition)
                headers = deletion_headers(partition, self.offset) if value is None else None
                sent.append(await producer.send(self.records, body, key.encode(), partition, headers=headers or []))
                doc = None if value is None else canonical({"n": value, "list": [1, 1.0, "x"]})
                rows.append(ViewRow(key.encode(), doc, canonical({"crm": self.offset + 1}), '["n"]', self.offset))
                self.expected.pop(key, None)
                if doc is not None:
                    self.expected[key] = doc
            await producer.flush()
            if transaction:
                await producer.commit_transaction()
            return (await sent[0]).offset, rows

    def view(self) -> RedisView:
        return RedisView(self.url, self.records, self.changes)

    @asynccontextmanager
    async def materializer(self, view: RedisView) -> AsyncIterator[Materializer]:
        made = Materializer(view, self.kafka, self.records)
        made.assigned(range(PARTITIONS))
        await made.start()
        try:
            yield made
        finally:
            await made.stop()
            await view.close()

    async def found(self) -> dict[str, str]:
        async with redis.asyncio.Redis.from_url(self.url) as client:
            return {key: doc async for key, doc, _ in export(client)}

    async def view_is_right(self) -> None:
        """Wait until the view holds what was produced, and nothing else."""
        await until(self.view_agrees, lambda: f"the view lacks something of {len(self.expected)} entities")

    async def view_agrees(self) -> bool:
        try:
            return await self.found() == self.expected
        except redis.exceptions.ConnectionError:
            return False


@pytest.fixture
async def world(deployment: Deployment) -> World:
    """Records and view of this test, on the shared servers."""
    made = World(deployment, deployment.redis)
    await made.create_topic()
    return made


async def test_view_follows_records(world: World) -> None:
    """Updates and deletes of every partition reach the view, those from before the start and those after."""
    await world.produce({f"e:{n}": n for n in range(700)}, 0)
    await world.produce({f"f:{n}": n for n in range(30)}, 1)
    view = world.view()
    async with world.materializer(view) as materializer:
        await world.view_is_right()
        await world.produce({f"e:{n}": None if n % 2 else n + 1 for n in range(40)}, 0)
        await world.view_is_right()
        await until(materializer.caught_up)
        await until(lambda: view_progress_is(view, {0: 740, 1: 30}))
        assert materializer.lag(0) == 0 and materializer.healthy and materializer.unreadable == 0


async def view_progress_is(view: RedisView, expected: dict[int, int]) -> bool:
    return await view.progress() == expected


async def test_what_was_handed_over_is_not_read(world: World) -> None:
    """While deliveries follow each other without a gap, nothing is consumed; a gap alone is read."""
    view = world.view()
    async with world.materializer(view) as materializer:
        await until(materializer.caught_up)
        for number in range(3):
            first, rows = await world.produce({f"e:{number}-{n}": n for n in range(20)})
            connection = await view.write(0, rows, None)
            materializer.delivered(0, first, first + len(rows), connection)
        await until(lambda: view_progress_is(view, {0: 60, 1: 0}))
        assert not materializer._consumer or not materializer._consumer.assignment()
        await world.view_is_right()
        await world.produce({"e:missed": 1})
        first, rows = await world.produce({"e:late": 1})
        materializer.delivered(0, first, first + 1, await view.write(0, rows, None))
        await world.view_is_right()
        await until(lambda: view_progress_is(view, {0: 62, 1: 0}))


async def test_wiped_redis_is_filled_again(world: World) -> None:
    """A Redis emptied under a running worker holds the whole view again, without anybody's help."""
    await world.produce({f"e:{n}": n for n in range(300)} | {"e:gone": None})
    async with world.materializer(world.view()) as materializer:
        await world.view_is_right()
        async with redis.asyncio.Redis.from_url(world.url) as client:
            await client.flushdb()
        await world.view_is_right()
        await until(materializer.caught_up)


async def test_rebuild_from_outside_is_followed(world: World) -> None:
    """When somebody drops the view while a worker runs, the worker fills it again."""
    await world.produce({f"e:{n}": n for n in range(300)})
    async with world.materializer(world.view()):
        await world.view_is_right()
        other = world.view()
        assert await other.rebuild() >= 300
        await other.close()
        await world.view_is_right()


async def test_killed_and_empty_redis_is_filled_again(deployment: Deployment, own_redis: RedisServer) -> None:
    """Redis dies, records go on, it comes back empty: the view equals the records again."""
    world = World(deployment, own_redis.url())
    await world.create_topic()
    await world.produce({f"e:{n}": n for n in range(300)})
    view = world.view()
    async with world.materializer(view) as materializer:
        await world.view_is_right()
        own_redis.kill()
        _, rows = await world.produce({f"e:{n}": n + 1000 for n in range(100)} | {"e:299": None})
        assert await view.write(0, rows, None) == 0
        await until(lambda: not materializer.healthy)
        assert not materializer.caught_up()
        own_redis.start()
        await world.view_is_right()
        await until(lambda: materializer.healthy and materializer.caught_up())


async def test_new_owner_goes_on_where_the_old_one_was(world: World) -> None:
    """Progress is in Redis: who gets a partition reads only what is missing there."""
    await world.produce({"e:1": 1, "e:2": 2})
    async with world.materializer(world.view()):
        await world.view_is_right()
        await until(lambda: view_progress_is_of(world, {0: 2, 1: 0}))
    await world.produce({"e:3": 3})
    async with redis.asyncio.Redis.from_url(world.url) as client:
        await client.unlink("syncline:view:e:1")
        world.expected.pop("e:1")
        async with world.materializer(world.view()) as second:
            await world.view_is_right()
            second.revoked([0])
            await until(second.caught_up)


async def view_progress_is_of(world: World, expected: dict[int, int]) -> bool:
    view = world.view()
    try:
        return await view_progress_is(view, expected)
    finally:
        await view.close()


async def test_unreadable_record_stops_nothing(world: World) -> None:
    """A record that is none of ours, and a null that does not say where from, are counted and passed."""
    async with AIOKafkaProducer(bootstrap_servers=world.kafka) as producer:
        await producer.send_and_wait(world.records, b"nonsense", b"e:1", 0)
        await producer.send_and_wait(world.records, None, b"e:1", 0)
    await world.produce({"e:2": 2})
    async with world.materializer(world.view()) as materializer:
        await world.view_is_right()
        await until(materializer.caught_up)
        assert materializer.unreadable == 2


async def test_records_made_anew_start_the_view_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """When `records` ends before what the view has seen, it is another log: the old view is dropped."""
    monkeypatch.setattr("agents.materialize.SHRUNK_SECONDS", 0.2)
    view = world.view()
    await view.write(0, [ViewRow(b"e:1", "{}", "{}", "[]", 900), ViewRow(b"e:old", "{}", "{}", "[]", 901)], None)
    await view.advance([(0, START, 900)])
    await world.produce({"e:1": 1})
    async with world.materializer(view) as materializer:
        await world.view_is_right()
        await until(materializer.caught_up)


@pytest.mark.real_kafka
async def test_offsets_without_records_are_passed(world: World) -> None:
    """Where the log starts later, or ends in what is no data, the materializer still reaches the end."""
    await world.produce({"e:1": 1, "e:2": 2})
    admin = AIOKafkaAdminClient(bootstrap_servers=world.kafka)
    await admin.start()
    await admin.delete_records({TopicPartition(world.records, 0): RecordsToDelete(before_offset=1)})
    await admin.close()
    world.expected.pop("e:1")
    await world.produce({"f:1": 1}, 1, transaction=world.records)
    async with world.materializer(world.view()) as materializer:
        await world.view_is_right()
        await until(materializer.caught_up)
        await until(lambda: view_progress_is_of(world, {0: 2, 1: 2}))
