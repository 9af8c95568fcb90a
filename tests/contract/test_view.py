"""The Redis view on a real Redis: it agrees with a dict, step by step, whatever is sent in which order."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import pytest
import redis.asyncio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from agents.redis_connection import UNAVAILABLE, RedisConnection
from agents.view import START, RedisView, export, read
from streams.effects import ViewRow
from tests.conftest import DATABASE_NUMBERS
from tests.servers.redis import RedisServer

RECORDS, CHANGES = "t.records", "t.changes"
KEYS = ("customer:1", "customer:ü", "order:7")

T = TypeVar("T")
Version = tuple[int, int]


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    """A Redis database of this test's own."""
    return redis_server.url(next(DATABASE_NUMBERS))


@pytest.fixture
async def client(url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of that database, as an application has one."""
    async with redis.asyncio.Redis.from_url(url) as connected:
        yield connected


@pytest.fixture
async def view(url: str) -> AsyncIterator[RedisView]:
    """A view without time to live."""
    made = RedisView(url, RECORDS, CHANGES)
    yield made
    await made.close()


def row(key: str, offset: int, doc: str | None = '{"a":1}') -> ViewRow:
    return ViewRow(key.encode(), doc, f'{{"crm":{offset}}}', '["a"]', offset)


def fields(offset: int, doc: str = '{"a":1}', partition: int = 3) -> dict[str, str]:
    position = f'{{"offset":{offset},"partition":{partition},"topic":"{CHANGES}"}}'
    return {"doc": doc, "clock": f'{{"crm":{offset}}}', "contested": '["a"]', "position": position}


class ViewAgrees(RuleBasedStateMachine):
    """Writes of any age in any order, as hand-over and as materializer, beside a dict of the newest.

    What a version of an entity says is drawn once: two writers of one version say the same.
    """

    url: str
    ttl_ms: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.client = redis.asyncio.Redis.from_url(self.url)
        self.view = RedisView(self.url, RECORDS, CHANGES, self.ttl_ms, timeout_seconds=30)
        self.run(self.client.flushdb())
        self.said: dict[tuple[str, Version], str | None] = {}
        self.newest: dict[str, Version] = {}
        self.visible: dict[str, int] = {}

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @rule(
        entries=st.lists(
            st.tuples(
                st.sampled_from(KEYS),
                st.integers(0, 6),
                st.integers(0, 8),
                st.none() | st.sampled_from(["{}", '{"a":9007199254740993}', '{"é":"\\n"}']),
            ),
            min_size=1,
            max_size=6,
        ),
        known=st.booleans(),
    )
    def write(self, entries: list[tuple[str, int, int, str | None]], known: bool) -> None:
        rows: list[ViewRow] = []
        judged = True
        for key, change, record, drawn in entries:
            version = (change, record if known else -1)
            doc = self.said.setdefault((key, version), drawn)
            rows.append(row(key, change, doc))
            judged = self.expect(key, version, doc) and judged
        offsets = [record for _, _, record, _ in entries] if known else None
        connection = self.run(self.view.write(3, rows, offsets))
        assert connection == (self.view.connection if judged else 0)

    def expect(self, key: str, version: Version, doc: str | None) -> bool:
        """Put it into the dict if it is the newest; False if nobody can say whether it is."""
        held = self.newest.get(key)
        if held is not None and version[1] < 0 and held[0] == version[0]:
            return False
        if held is None or version >= held:
            self.newest[key] = version
            self.visible.pop(key, None)
            if doc is not None:
                self.visible[key] = version[0]
        return True

    @rule(key=st.sampled_from(KEYS))
    def invalidate(self, key: str) -> None:
        self.run(self.view.invalidate(key.encode()))
        self.visible.pop(key, None)

    @rule(key=st.sampled_from(KEYS))
    def expire(self, key: str) -> None:
        if self.ttl_ms is not None:
            self.run(self.client.unlink(f"syncline:view:{key}"))
            self.visible.pop(key, None)

    @rule()
    def forget_scripts(self) -> None:
        self.run(self.client.script_flush())

    @rule()
    def reconnect(self) -> None:
        self.run(self.view.close())

    @invariant()
    def agrees(self) -> None:
        expected = {key: fields(change, self.said[key, self.newest[key]] or "") for key, change in self.visible.items()}
        found = {key: self.run(read(self.client, key)) for key in KEYS}
        assert {key: value for key, value in found.items() if value is not None} == expected

    def teardown(self) -> None:
        self.run(self.view.close())
        self.run(self.client.aclose())
        self.runner.close()


@pytest.mark.parametrize("ttl_ms", [None, 3_600_000])
def test_view_agrees_with_a_dict(url: str, ttl_ms: int | None) -> None:
    """Late, repeated and zombie writes in any order leave what a dict of the greatest position holds."""
    machine = type("Machine", (ViewAgrees,), {"url": url, "ttl_ms": ttl_ms})
    run_state_machine_as_test(machine, settings=settings(max_examples=30, stateful_step_count=25, deadline=None))


async def test_every_order_of_writes_ends_equal(url: str, client: redis.asyncio.Redis) -> None:
    """All orders of the same writes, with a delete among them, end in the same view."""
    writes = [(1, 10, '{"a":1}'), (3, 12, None), (2, 11, '{"a":2}'), (3, -1, None), (4, 13, '{"a":4}')]
    for order in itertools.permutations(writes):
        await client.flushdb()
        view = RedisView(url, RECORDS, CHANGES)
        for change, record, doc in order:
            await view.write(3, [row("e:1", change, doc)], None if record < 0 else [record])
        assert await read(client, "e:1") == fields(4, '{"a":4}')
        await view.close()


async def test_deleted_stays_deleted(view: RedisView, client: redis.asyncio.Redis) -> None:
    """After a delete nothing is held of the entity but its guard, and an older update does not return it."""
    assert await view.write(3, [row("e:1", 5)], None)
    assert await view.write(3, [row("e:1", 6, None)], None)
    assert await view.write(3, [row("e:1", 5)], [99])
    assert await read(client, "e:1") is None
    assert await client.keys("*") == [b"syncline:guard:e:1"]
    assert await view.write(3, [row("e:1", 7)], None)
    assert await read(client, "e:1") == fields(7)


async def test_same_change_again_is_left_to_the_records(view: RedisView, client: redis.asyncio.Redis) -> None:
    """A second hand-over of one change is not claimed to be in the view; its place in `records` decides."""
    assert await view.write(3, [row("e:1", 5)], None)
    assert await view.write(3, [row("e:1", 5, '{"a":2}')], None) == 0
    assert await view.write(3, [row("e:1", 5, '{"a":2}')], [20])
    assert await view.write(3, [row("e:1", 5)], [19])
    assert await read(client, "e:1") == fields(5, '{"a":2}')


async def test_invalidated_entry_returns_with_its_record(view: RedisView, client: redis.asyncio.Redis) -> None:
    """An invalidated entry is gone until its own record, or a newer one, comes; an older one does not count."""
    assert await view.write(3, [row("e:1", 5)], [20])
    await view.invalidate(b"e:1")
    assert await view.write(3, [row("e:1", 4)], [19])
    assert await read(client, "e:1") is None
    assert await view.write(3, [row("e:1", 5)], [20])
    assert await read(client, "e:1") == fields(5)


async def test_ttl_ends_the_entry_and_not_the_guard(url: str, client: redis.asyncio.Redis) -> None:
    """With a time to live the key goes by itself, the guard stays, and a newer write without one lasts."""
    brief, lasting = RedisView(url, RECORDS, CHANGES, ttl_ms=1), RedisView(url, RECORDS, CHANGES)
    assert await brief.write(3, [row("e:1", 5)], None)
    await asyncio.sleep(0.05)
    assert await brief.write(3, [row("e:1", 4)], [4])
    assert await read(client, "e:1") is None
    slow = RedisView(url, RECORDS, CHANGES, ttl_ms=60_000)
    assert await slow.write(3, [row("e:1", 6)], [6])
    assert 0 < await client.pttl("syncline:view:e:1") <= 60_000
    assert await lasting.write(3, [row("e:1", 7)], None)
    assert await client.pttl("syncline:view:e:1") == -1
    for each in (brief, slow, lasting):
        await each.close()


async def test_large_batch_goes_in_chunks(view: RedisView, client: redis.asyncio.Redis) -> None:
    """More rows, and more text, than one script call takes are all written, each with its own offset."""
    doc = '{"a":"' + "x" * 3_000_000 + '"}'
    rows = [row(f"e:{n}", n) for n in range(2500)] + [row(f"large:{n}", 9000 + n, doc) for n in range(4)]
    assert await view.write(3, rows, list(range(len(rows))))
    assert [key async for key, _, _ in export(client)] == sorted(r.key.decode() for r in rows)
    assert await read(client, "e:2499") == fields(2499)
    assert await read(client, "large:3") == fields(9003, doc)
    assert await client.hget("syncline:view:e:2000", "v") == b"2000:2000"


async def test_progress_notices_a_wipe(view: RedisView, client: redis.asyncio.Redis) -> None:
    """Progress moves on only where Redis still holds what the caller knew, and a wiped one says so."""
    assert await view.progress() == {}
    assert await view.advance([(3, 10, 20)]) == [START]
    assert await view.advance([(3, START, 10)]) == [10]
    assert await view.advance([(3, 10, 20)]) == [20]
    assert await view.advance([(3, 10, 15)]) == [20]
    await client.hset("syncline:view-progress", "other.records:3", "7")
    assert await view.progress() == {3: 20}
    await client.flushdb()
    assert await view.advance([(3, 20, 30)]) == [START]
    assert await view.progress() == {}


async def test_progress_needs_the_connection_of_the_writes(view: RedisView) -> None:
    """What was written over a connection lost since is not made progress, for it may be lost as well."""
    await view.advance([(3, START, 0)])
    connection = await view.write(3, [row("e:1", 5)], None)
    await view.close()
    with pytest.raises(UNAVAILABLE):
        await view.advance([(3, 0, 1)], connection)
    assert await view.progress() == {3: 0}
    assert await view.write(3, [row("e:2", 6)], None) == connection + 1


async def test_late_redis_is_given_up_and_right_afterwards(url: str, client: redis.asyncio.Redis) -> None:
    """After a time-out the next reply read is the next command's; hand-overs wait for nobody meanwhile."""
    view = RedisView(url, RECORDS, CHANGES, timeout_seconds=0.05)
    assert await view.write(3, [row("e:1", 1)], None)
    await client.execute_command("CLIENT", "PAUSE", 300)
    assert await view.write(3, [row("e:1", 2)], None) == 0
    assert not view.healthy
    assert await view.write(3, [row("e:1", 3)], None) == 0
    assert view.connection == 1  # not even tried
    await client.ping()  # answered when the pause is over
    assert await view.progress() == {}
    assert await view.write(3, [row("e:1", 4)], None) == 2
    assert await read(client, "e:1") == fields(4)
    await view.close()


async def test_cancelled_calls_leave_no_reply_behind(url: str) -> None:
    """Whenever a call is cancelled, every later one gets its own reply."""
    connection = RedisConnection(url, timeout_seconds=5)
    for number in range(300):
        task = asyncio.create_task(connection.call("ECHO", f"lost {number}"))
        for _ in range(number % 12):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if number % 5 == 0:
            assert await connection.call("ECHO", str(number)) == str(number).encode()
    await connection.close()


async def test_refusing_redis_is_no_error(own_redis: RedisServer) -> None:
    """A full, a read-only and a dead Redis take nothing, say so by 0, and are used again when they can."""
    view = RedisView(own_redis.url(), RECORDS, CHANGES, timeout_seconds=5)
    async with redis.asyncio.Redis.from_url(own_redis.url()) as client:
        for setting in (("maxmemory", "1"), ("min-replicas-to-write", "1")):
            await client.config_set(*setting)
            assert await view.write(3, [row("e:1", 1)], [1]) == 0
            await client.config_set(setting[0], "0")
        assert await view.write(3, [row("e:1", 1)], [1])
    own_redis.kill()
    assert await view.write(3, [row("e:1", 2)], [2]) == 0
    own_redis.start()
    assert await view.write(3, [row("e:1", 3)], [3])
    await view.close()


async def test_rebuild_drops_what_is_ours(view: RedisView, client: redis.asyncio.Redis) -> None:
    """Rebuild drops every view and guard key and the progress, nothing else, and tells how far it is."""
    await view.write(3, [row(f"e:{n}", n, None if n % 2 else "{}") for n in range(3000)], None)
    await view.advance([(3, START, 10)])
    await client.set("somebody:else", "1")
    told: list[int] = []
    assert await view.rebuild(told.append) == 3000
    assert told[-1] == 3000 and told == sorted(told)
    assert await client.keys("*") == [b"somebody:else"]


async def test_export_is_sorted_and_complete(view: RedisView, client: redis.asyncio.Redis) -> None:
    """Export gives key, doc and contested of each entity there is, by key, and nothing of deleted ones."""
    await view.write(3, [row("e:2", 1), row("e:10", 2), row("e:3", 3), row("d:1", 4, "{}")], None)
    await view.write(3, [row("e:3", 5, None)], None)
    found = [entry async for entry in export(client)]
    assert found == [("d:1", "{}", '["a"]'), ("e:10", '{"a":1}', '["a"]'), ("e:2", '{"a":1}', '["a"]')]
