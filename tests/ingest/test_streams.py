"""A Redis Stream is copied into `changes`: nothing is lost, what cannot be read is put away, nothing stops."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agents.log_ends import log_ends
from agents.topics import prepare_topics
from streams.ingest import Dropped
from syncline.topic_reader import partitions_of
from tests.conftest import Deployment
from tests.ingest.arrivals import add, taken, until, update
from tests.ingest.reading import STREAM, Reading
from tests.servers.redis import RedisServer


@pytest.fixture
async def reading(deployment: Deployment) -> AsyncIterator[Reading]:
    """On the run's Redis."""
    reading = Reading(deployment, deployment.redis, min_idle="1s", read_entries=50)
    await prepare_topics(reading.settings)
    yield reading
    await reading.redis.aclose()


async def test_both_forms_are_read_and_what_is_neither_is_put_away(reading: Reading) -> None:
    """Whole and flat entries become changes; a bad one lies in the dead-letter stream, its fields and the reason."""
    flat = {b"entity_type": b"customer", b"entity_id": b"9", b"op": b"update", b"fields": b'{"big":9007199254740993}'}
    bad = {b"change": b'{"entity_type":"customer"', b"note": b"cut"}
    foreign = {b"change": b'{"entity_type":"customer","entity_id":"1","op":"delete","source":"crm"}'}
    binary = {**flat, b"event_id": b"\xff\xfe"}
    added = [flat, bad, foreign, binary]
    expected = [taken(await reading.redis.xadd(STREAM, fields), fields) for fields in added]  # type: ignore[arg-type]
    expected += await add(reading.redis, STREAM, [update(number % 7, {"n": number}) for number in range(200)])
    async with reading.worker():
        await reading.read_up()
    await reading.verify(expected)
    put_away: Any = await reading.redis.xrange(f"{STREAM}.dead")
    reasons = [fields.pop(b"syncline.reason") for _, fields in put_away]
    assert reasons == [b"bad_shape", b"foreign_source", b"not_utf8"]
    originals = [{k: v for k, v in fields.items() if not k.startswith(b"syncline.")} for _, fields in put_away]
    assert originals == [bad, foreign, binary]
    assert (await reading.state()).totals == {"copied": 201, "refused": 3}


async def test_what_a_dead_worker_left_is_taken_over(reading: Reading) -> None:
    """Entries that a consumer read and never acknowledged are copied by another one, and counted as claimed."""
    redis = reading.redis
    expected = await add(redis, STREAM, [update(number % 5, {"n": number}) for number in range(60)])
    await redis.xgroup_create(STREAM, reading.document.group, id="0")
    await redis.xreadgroup(reading.document.group, "dead-worker", {STREAM: ">"}, count=20)
    async with reading.worker():
        await reading.read_up()
    await reading.verify(expected)
    assert (await reading.state()).totals["claimed"] == 20


async def test_two_workers_share_a_stream(reading: Reading) -> None:
    """Each entry is copied once where nothing fails, whoever reads it, and the records are those of one reader."""
    async with reading.worker(), reading.worker():
        expected = await add(reading.redis, STREAM, [update(number % 5, {"n": number}) for number in range(400)])
        await reading.read_up()
        assert (await reading.state()).workers == 2
    await reading.verify(expected)
    assert (await reading.state()).totals == {"copied": 400}


async def test_an_echo_is_dropped_and_a_near_miss_is_not(reading: Reading) -> None:
    """What a target sends back as it was sent adds nothing; what differs from that is a write, and counted."""
    sent = {"key": "customer:1", "fields": {"n": 1, "name": "Ann"}, "clock": {"crm": 3}}
    forms = [update(1, {"n": 1}, in_reply_to=sent), update(1, {"n": 1.0, "name": "Ann"}, in_reply_to=sent)]
    expected = await add(reading.redis, STREAM, forms)
    async with reading.worker():
        await reading.read_up()
    await reading.verify(expected)
    assert expected[0] is Dropped.ECHO
    assert (await reading.state()).totals == {"copied": 1, "near_miss": 1, "echo": 1}


async def test_acknowledged_entries_are_deleted_and_others_never(reading: Reading) -> None:
    """With `keep`, what was copied goes; what a worker holds, and what comes after it, stays."""
    reading.document = reading.document.model_copy(update={"keep": 0, "min_idle": 600_000})
    redis, group = reading.redis, reading.document.group
    await add(redis, STREAM, [update(1, {"n": number}) for number in range(30)])
    await redis.xgroup_create(STREAM, group, id="0")
    await redis.xreadgroup(group, "quick", {STREAM: ">"}, count=10)
    await redis.xreadgroup(group, "slow", {STREAM: ">"}, count=5)
    pending: Any = await redis.xpending_range(STREAM, group, "-", "+", 10)
    await redis.xack(STREAM, group, *(one["message_id"] for one in pending))

    async def only_the_slow_ones_and_what_follows() -> bool:
        state = await reading.state()
        return (state.pending, state.unread, state.length) == (5, 0, 20)

    async with reading.worker():
        await until(only_the_slow_ones_and_what_follows)


@pytest.mark.real_redis
@pytest.mark.parametrize("how", ["trimmed", "deleted"])
async def test_entries_that_were_deleted_unread_raise_an_alarm(
    reading: Reading, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """A producer that trims a stream which nobody reads is told about; what is left is read."""
    redis = reading.redis
    async with reading.worker():
        expected = await add(redis, STREAM, [update(1, {"n": number}) for number in range(3)])
        await reading.read_up()
    await add(redis, STREAM, [update(1, {"n": number}) for number in range(10)])
    if how == "trimmed":
        await redis.xtrim(STREAM, maxlen=0, approximate=False)
    else:
        unread: Any = await redis.xrevrange(STREAM, count=10)
        await redis.xdel(STREAM, *(id for id, _ in unread))
    expected += await add(redis, STREAM, [update(2, {"n": 1})])
    with caplog.at_level(logging.ERROR):
        async with reading.worker():
            await reading.read_up()
    assert "deleted before they were read" in caplog.text
    await reading.verify(expected)


@pytest.mark.parametrize("durable", [True, False], ids=["with its data", "without its data"])
async def test_redis_killed_and_back(
    deployment: Deployment, server_directory: Path, caplog: pytest.LogCaptureFixture, durable: bool
) -> None:
    """The stream is read on; where Redis lost it, the group is made anew, and an alarm says what that may mean."""
    server = RedisServer(server_directory, durable=durable)
    server.start()
    try:
        reading = Reading(deployment, server.url(), min_idle="1s")
        await prepare_topics(reading.settings)
        async with reading.worker() as worker:
            expected = await add(reading.redis, STREAM, [update(number % 5, {"n": number}) for number in range(50)])
            await reading.read_up()
            server.kill()

            async def noticed() -> bool:
                return not worker.healthy

            await until(noticed)
            server.start()
            await until(reading.answers)
            expected += await add(reading.redis, STREAM, [update(number % 5, {"m": number}) for number in range(50)])
            await reading.read_up()
            assert worker.healthy
        await reading.verify(expected)
        await reading.redis.aclose()
    finally:
        server.stop()
    assert ("is made anew" in caplog.text) is not durable


async def test_a_redis_that_is_full_has_nothing_copied_twice(deployment: Deployment, own_redis: RedisServer) -> None:
    """What Kafka has is only acknowledged again and again, until Redis takes that."""
    reading = Reading(deployment, own_redis.url(), min_idle="10m")
    await prepare_topics(reading.settings)
    expected = await add(reading.redis, STREAM, [update(1, {"n": number}) for number in range(10)])
    await reading.redis.xgroup_create(STREAM, reading.document.group, id="0")
    await reading.redis.config_set("maxmemory", 1)
    async with reading.worker() as worker:

        async def refused_twice() -> bool:
            refused: Any = (await reading.redis.info("errorstats")).get("errorstat_EXECABORT")
            return refused is not None and refused["count"] >= 2

        await until(refused_twice)
        assert not worker.healthy
        await reading.redis.config_set("maxmemory", 0)
        await reading.read_up()
    await reading.verify(expected)
    ends = await log_ends(deployment.kafka, await partitions_of(deployment.kafka, reading.names.changes))
    assert sum(ends.values()) == 10
    await reading.redis.aclose()


async def test_a_stream_that_was_wiped_while_nobody_looked(reading: Reading, caplog: pytest.LogCaptureFixture) -> None:
    """A worker that finds no group although one was made before raises the alarm; the first of all does not."""
    async with reading.worker():
        expected = await add(reading.redis, STREAM, [update(1, {"n": 1})])
        await reading.read_up()
    assert "ALARM" not in caplog.text
    await reading.redis.delete(STREAM)
    async with reading.worker():
        expected += await add(reading.redis, STREAM, [update(1, {"n": 2})])
        await reading.read_up()
    assert "is made anew" in caplog.text
    await reading.verify(expected)


async def test_consumers_that_hold_nothing_are_forgotten(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's name does not stay for ever; one that still holds entries keeps them."""
    monkeypatch.setattr("agents.ingest.stream_ingest.FORGET_MS", 0)
    reading.document = reading.document.model_copy(update={"min_idle": 100})
    redis, group = reading.redis, reading.document.group
    await add(redis, STREAM, [update(1, {"n": 1})])
    await redis.xgroup_create(STREAM, group, id="0")
    await redis.xgroup_createconsumer(STREAM, group, "long-gone")
    async with reading.worker():
        await reading.read_up()

        async def forgotten() -> bool:
            consumers: Any = await redis.xinfo_consumers(STREAM, group)
            return b"long-gone" not in {one["name"] for one in consumers}

        await until(forgotten)
