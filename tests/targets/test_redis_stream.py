"""Delivery to a Redis Stream: one entry for each new state, and its bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import redis.asyncio

from agents.targets.redis_stream import RedisStreamTarget, guard_key
from agents.targets.secret_url import with_password
from agents.targets.target import TargetUnavailable, TargetUnusable
from schemas.target_document import RedisStreamDocument
from tests.conftest import DATABASE_NUMBERS
from tests.servers.redis import RedisServer
from tests.targets.deliveries import delivery

STREAM = "crm-records"


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    """A Redis database of this test's own."""
    return redis_server.url(next(DATABASE_NUMBERS))


@pytest.fixture
async def client(url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of it."""
    async with redis.asyncio.Redis.from_url(url) as connected:
        yield connected


async def opened(url: str, secret: str | None = None, **said: Any) -> RedisStreamTarget:
    """A target that appends to the stream."""
    made = RedisStreamTarget(RedisStreamDocument(kind="redis_stream", url=url, stream=STREAM, **said), secret)
    await made.open()
    return made


async def test_one_entry_for_each_new_state(url: str, client: redis.asyncio.Redis) -> None:
    """What comes again or late appends nothing; a consumer group reads each state once, in order."""
    appending = await opened(url)
    await client.xgroup_create(STREAM, "crm", id="0", mkstream=True)
    batch = [delivery("customer:1", 5, {"a": 1}), delivery("customer:1", 6, None), delivery("customer:2", 7, {"a": 2})]
    for again in (batch, batch, batch[:1], batch[::-1]):
        await appending.deliver(again)
    await client.script_flush()
    await appending.deliver([*batch, delivery("customer:1", 8, {"a": 3})])
    await appending.close()
    ((_, entries),) = await client.xreadgroup("crm", "one", {STREAM: ">"})
    messages = [orjson.loads(entry[b"delivery"]) for _, entry in entries]
    assert [(one["key"], one["fields"]) for one in messages] == [
        ("customer:1", {"a": 1}),
        ("customer:1", None),
        ("customer:2", {"a": 2}),
        ("customer:1", {"a": 3}),
    ]


async def test_the_stream_is_bounded(url: str, client: redis.asyncio.Redis) -> None:
    """Old entries go when there are more than `max_entries`, about; the guard still knows their states."""
    bounded = await opened(url, max_entries=100)
    batch = [delivery(f"customer:{at}", at, {"a": at}) for at in range(1000)]
    await bounded.deliver(batch)
    assert 100 <= await client.xlen(STREAM) <= 300
    last = await client.xinfo_stream(STREAM)
    await bounded.deliver(batch)
    assert (await client.xinfo_stream(STREAM))["last-generated-id"] == last["last-generated-id"]
    assert await client.hlen(guard_key(STREAM)) == 1000
    await bounded.close()


async def test_what_a_person_must_put_right(url: str, client: redis.asyncio.Redis) -> None:
    """Something else under the stream's name, and a user that may not, are no outage."""
    await client.set(STREAM, "x")
    with pytest.raises(TargetUnusable, match=f"stream: key {STREAM} is a string; name another one"):
        await opened(url)
    await client.delete(STREAM)
    steady = await opened(url)
    await client.set(STREAM, "x")
    with pytest.raises(TargetUnusable, match="Redis WRONGTYPE"):
        await steady.deliver([delivery("customer:1", 1, {})])
    await steady.close()


def test_what_follows_the_question_mark() -> None:
    """What Redis's client does not know is refused when the target is made."""
    with pytest.raises(TargetUnusable, match=r"^url: "):
        RedisStreamTarget(RedisStreamDocument(kind="redis_stream", url="redis://host/0?tls=1", stream=STREAM))


async def test_a_password(own_redis: RedisServer) -> None:
    """It comes from the environment; one that is wrong is no outage, and is in no message."""
    async with redis.asyncio.Redis.from_url(own_redis.url()) as client:
        await client.execute_command("ACL", "SETUSER", "ana", "on", ">p@ss/w:rd", "~*", "+@all")
    url = own_redis.url().replace("redis://", "redis://ana@")
    right = await opened(url, "p@ss/w:rd")
    await right.deliver([delivery("customer:1", 1, {})])
    await right.close()
    with pytest.raises(TargetUnusable) as raised:
        await opened(url, "tell-nobody")
    assert "tell-nobody" not in str(raised.value)


async def test_a_redis_that_is_killed(own_redis: RedisServer) -> None:
    """While it is away the target is unavailable; a wiped one begins with what comes."""
    steady = await opened(own_redis.url())
    await steady.deliver([delivery("customer:1", 1, {"a": 1})])
    own_redis.kill()
    with pytest.raises(TargetUnavailable, match="Redis ConnectionError"):
        await steady.deliver([delivery("customer:1", 2, {"a": 2})])
    await asyncio.to_thread(own_redis.start)
    await steady.deliver([delivery("customer:1", 2, {"a": 2})])
    await steady.close()
    async with redis.asyncio.Redis.from_url(own_redis.url()) as client:
        assert await client.xlen(STREAM) == 1


@pytest.mark.parametrize(
    ("url", "joined"),
    [
        ("redis://host:1/0", "redis://:p%40ss%2F@host:1/0"),
        ("redis://ana@host:1/0", "redis://ana:p%40ss%2F@host:1/0"),
        ("rediss://ana@[::1]:1/0?a=b", "rediss://ana:p%40ss%2F@[::1]:1/0?a=b"),
    ],
)
def test_a_url_gets_its_password(url: str, joined: str) -> None:
    """Signs that mean something in a URL are quoted."""
    assert with_password(url, "p@ss/") == joined
