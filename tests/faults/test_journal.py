"""Faults of the change log's stores: whatever becomes of one, in the end it has each record exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from agents.journal.memory import MemoryStore
from agents.journal.postgresql import PostgresqlStore
from agents.journal.recorder import Recorder
from agents.journal.store import Batch, StoreUnavailable
from agents.log_ends import log_ends
from tests.awaiting import until
from tests.conftest import DATABASE_NUMBERS, Deployment
from tests.faults.journal_run import JournalRun, plan_of, taken
from tests.faults.proxy import Proxy
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer


@asynccontextmanager
async def run_of(deployment: Deployment, stores: dict[str, str], **said: object) -> AsyncIterator[JournalRun]:
    """Topics with something in them already."""
    run = JournalRun(deployment, plan_of(stores, **said))
    await run.prepare()
    await run.publish(300)
    yield run


async def goes_on(run: JournalRun, recorder: Recorder) -> None:
    """Wait until the recorder writes more than it has."""
    before = taken([recorder], run.names.changes)
    await until(lambda: taken([recorder], run.names.changes) > before, f"nothing more is written: {recorder.line()}")


async def stands(recorder: Recorder) -> None:
    """Wait until health says that the store takes nothing."""
    await until(lambda: recorder.trouble, "no word of it in health")


async def test_postgresql_slow_cut_silent_and_killed(deployment: Deployment, own_postgres: PostgresServer) -> None:
    """Under load PostgreSQL is slow, unreachable, silent, then killed: the recorder waits and goes on."""
    database = own_postgres.new_database().rpartition("/")[2]
    with Proxy(own_postgres.port) as proxy:
        behind = f"postgresql://postgres@{proxy.address}/{database}"
        async with run_of(deployment, {"main": behind}) as run, run.recording() as recorder, run.publishing():
            await goes_on(run, recorder)
            proxy.delay(0.02)
            await goes_on(run, recorder)
            for fault in (proxy.cut, proxy.half_open, proxy.drop_upstream):
                await asyncio.to_thread(fault)
                await stands(recorder)
                await asyncio.to_thread(proxy.heal)
                await goes_on(run, recorder)
            for _ in range(3):
                await asyncio.to_thread(proxy.reset)
                await goes_on(run, recorder)
            own_postgres.kill()
            await stands(recorder)
            await asyncio.to_thread(own_postgres.start)
            await goes_on(run, recorder)
        async with run.recording():
            await run.complete_in("main")


class Forgetful(PostgresqlStore):
    """Every third batch is committed, and its writer hears of a failure; of every fifth nothing is done."""

    batches = 0

    async def write(self, batch: Batch) -> None:
        """Write, and say something else."""
        self.batches += 1
        if self.batches % 5 == 0:
            raise StoreUnavailable("nothing was done")
        await super().write(batch)
        if self.batches % 3 == 0:
            raise StoreUnavailable("the answer to the commit was lost")


async def test_a_commit_whose_answer_is_lost(
    deployment: Deployment, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a batch was committed is asked of the store: no row is missing, none is there or counted twice."""
    made: list[Forgetful] = []

    def make(declared: object) -> Forgetful:
        made.append(Forgetful(run.plan.stores["main"].url, 5.0))
        return made[-1]

    monkeypatch.setattr("agents.journal.recorder.make_store", make)
    async with run_of(deployment, {"main": postgres_server.new_database()}) as run, run.recording():
        async with run.publishing():
            await until(lambda: made and made[0].batches > 7, "there are hardly any batches")
        await run.complete_in("main")


async def test_redis_emptied_and_killed(deployment: Deployment, own_redis: RedisServer) -> None:
    """A Redis that is emptied, or comes back empty, is filled again from the beginning of the topics."""
    async with run_of(deployment, {"quick": own_redis.url()}) as run, run.recording() as recorder:
        async with run.publishing():
            await goes_on(run, recorder)
            own_redis.wipe()
            await goes_on(run, recorder)
            own_redis.pause()
            await stands(recorder)
            own_redis.resume()
            await goes_on(run, recorder)
            own_redis.kill()
            await stands(recorder)
            own_redis.start()
            await goes_on(run, recorder)
        own_redis.wipe()  # when no record comes any more, the loss is noticed all the same
        await run.complete_in("quick")


async def test_workers_come_and_go(deployment: Deployment, postgres_server: PostgresServer) -> None:
    """While partitions move among recorders, and one ends without a word, each record is written once."""
    async with run_of(deployment, {"main": postgres_server.new_database()}) as run, run.recording() as first:
        async with run.publishing():
            await goes_on(run, first)
            async with AsyncExitStack() as stack:
                second = await stack.enter_async_context(run.recording())
                await goes_on(run, second)
            await goes_on(run, first)
        await run.complete_in("main")


@pytest.mark.parametrize("order", [("memory", "postgresql", "redis"), ("redis", "postgresql", "memory")])
async def test_switches_under_load(
    deployment: Deployment, postgres_server: PostgresServer, redis_server: RedisServer, order: tuple[str, ...]
) -> None:
    """From store to store while two workers write: the last has all rows once, with those from before the switches."""
    urls = {
        "memory": "memory://",
        "postgresql": postgres_server.new_database(),
        "redis": redis_server.url(next(DATABASE_NUMBERS)),
    }
    async with run_of(deployment, {name: urls[name] for name in order}) as run, AsyncExitStack() as stack:
        recorders = [await stack.enter_async_context(run.recording()) for _ in range(2)]
        async with run.publishing():
            for number, name in enumerate(order):
                if number:
                    await run.switch(name)
                await until(wrote(recorders, name), f"nobody writes {name}")
                for recorder in recorders:
                    await goes_on(run, recorder)
        last = order[-1]
        if last == "memory":
            await until(lambda: all(not recorder.lag(run.names.changes) for recorder in recorders), "memory lacks rows")
            held = [store for recorder in recorders if isinstance(store := recorder.store, MemoryStore)]
            rows, _ = await run.expected()
            for topic, wanted in rows.items():
                assert sum([await store.rows(topic) for store in held]) == len(wanted)
        else:
            await run.complete_in(last)
            await run.switch(order[1])  # and back: it goes on from where it was
            await run.publish(100)
            await run.complete_in(order[1])


def wrote(recorders: list[Recorder], name: str) -> Callable[[], bool]:
    """Whether all recorders write a store by now."""
    return lambda: all(recorder._open is not None and recorder._open.name == name for recorder in recorders)


async def test_cleanup_goes_by_itself(deployment: Deployment, redis_server: RedisServer) -> None:
    """A worker deletes what is too much, while it writes; conflicts stay, and counters keep all."""
    url = redis_server.url(next(DATABASE_NUMBERS))
    async with (
        run_of(deployment, {"quick": url}, most_changes=100, clean_every=100) as run,
        run.recording() as recorder,
    ):
        rows, records = await run.expected()
        topic = run.names.changes
        await until(lambda: taken([recorder], topic) == records[topic], "not all is written")
        store = recorder.store
        assert store is not None

        async def cleaned() -> bool:
            return await store.rows(topic) == 100

        await until(cleaned, "nothing is deleted")
        await until(lambda: not recorder.lag(run.names.conflicts), "conflicts are missing")
        assert await store.rows(run.names.conflicts) == len(rows[run.names.conflicts])
        assert sum(one.records for one in await store.hours(topic, "kind", None, None)) == records[topic]


@pytest.mark.real_kafka
async def test_a_topic_made_anew_is_not_mixed_with_the_old(deployment: Deployment, redis_server: RedisServer) -> None:
    """A store that is beyond the end of a topic takes nothing more, and health says what to do."""
    run = JournalRun(deployment, plan_of({"quick": redis_server.url(next(DATABASE_NUMBERS))}))
    await run.prepare()
    await run.publish(50)
    async with run.recording() as recorder:
        store = await until_open(recorder)
        await until(lambda: recorder.healthy, "nothing is written")
        place = (run.names.changes, 0)
        await until_there(store, place)
        at = (await store.positions())[place]
        await store.write(Batch(place, at, at + 1000, [], {}))
        await until(lambda: "was made anew" in (recorder.trouble or ""), "it goes on as if nothing had happened")


@pytest.mark.real_kafka
async def test_offsets_without_records_are_passed(deployment: Deployment, redis_server: RedisServer) -> None:
    """Where the log begins later, or ends in the mark of a transaction, the store still reaches the end."""
    run = JournalRun(deployment, plan_of({"quick": redis_server.url(next(DATABASE_NUMBERS))}))
    await run.prepare()
    await run.publish(100)
    changes = run.names.changes
    admin = AIOKafkaAdminClient(bootstrap_servers=deployment.kafka)
    await admin.start()
    await admin.delete_records({TopicPartition(changes, 0): RecordsToDelete(before_offset=-1)})
    await admin.close()
    async with (
        AIOKafkaProducer(bootstrap_servers=deployment.kafka, transactional_id=changes) as producer,
        producer.transaction(),
    ):
        await producer.send(changes, b"no change", b"customer:1", 1)
    partitions = [TopicPartition(changes, number) for number in range(3)]
    ends = {(tp.topic, tp.partition): end for tp, end in (await log_ends(deployment.kafka, partitions)).items()}
    async with run.recording() as recorder:
        store = await until_open(recorder)

        async def at_the_ends() -> bool:
            positions = await store.positions()
            return all(positions.get(place) == end for place, end in ends.items())

        await until(at_the_ends, "the store does not reach the ends")
        await until(lambda: recorder.lag(changes) == 0, "there is a lag of nothing")


async def until_open(recorder: Recorder) -> MemoryStore:
    """The recorder's store, once it is open."""
    await until(lambda: recorder.store is not None, "no store is open")
    store: MemoryStore | None = recorder.store  # type: ignore[assignment]
    assert store is not None
    return store


async def until_there(store: MemoryStore, place: tuple[str, int]) -> None:
    """Wait until the store has something of a place."""

    async def there() -> bool:
        return place in await store.positions()

    await until(there, f"nothing of {place}")
