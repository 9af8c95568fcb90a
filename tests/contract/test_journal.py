"""Every store of the change log, on a real server, does what a store must do."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import count
from typing import Any

import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.journal.memory import MemoryStore, size
from agents.journal.postgresql import PostgresqlStore
from agents.journal.redis import PREFIX, RedisStore
from agents.journal.store import Batch, Page, PositionMoved, Query, Spot, Store, spot_of
from streams.journal import DIMENSIONS, HOUR_MS, Hour, JournalRow, indexed, tally
from tests.conftest import DATABASE_NUMBERS
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer

TIMEOUT_SECONDS = 10.0
TOPICS = count(1)
#: Names that have bitten others: what steers, quotes, escapes, sorts oddly, or is no text for PostgreSQL.
HARD = ["crm", "a\0b", "a\\0b", "\\", "é", "'; --", '"', "{x}", "*", "", "x" * 500, "\n"]
BODIES = ["{}", '{"v":9007199254740993}', '{"v":"\\u0000"}', '{"v":1.0}', '{"é":"\\"\\\\"}']
SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
EXAMPLES = settings(max_examples=12, deadline=None, database=None, suppress_health_check=SHARED)

NAMES = st.sampled_from(HARD)


def row(offset: int, **said: Any) -> JournalRow:
    """A row of partition 0 of topic `t`, unless it is said otherwise."""
    return JournalRow(
        **{
            "topic": "t",
            "partition": 0,
            "offset": offset,
            "at_ms": 1_000 + offset,
            "entity": "customer:1",
            "kind": "update",
            "source": "crm",
            "fields": ("tier",),
            "targets": (),
            "conflict_id": None,
            "body": "{}",
            **said,
        }
    )


ROWS = st.lists(
    st.builds(
        lambda **said: said,
        partition=st.integers(0, 1),
        at_ms=st.sampled_from([0, 5, 6, HOUR_MS, 2 * HOUR_MS + 1, 2**52]),
        entity=NAMES,
        kind=st.sampled_from(["update", "refused"]),
        source=NAMES,
        fields=st.lists(NAMES, max_size=3, unique=True).map(tuple),
        targets=st.lists(NAMES, max_size=2, unique=True).map(tuple),
        conflict_id=st.none() | st.sampled_from(["one", "two"]),
        body=st.sampled_from(BODIES),
    ),
    min_size=1,
    max_size=12,
)


def numbered(drawn: Sequence[dict[str, Any]], topic: str) -> list[JournalRow]:
    """Rows with offsets of their own; a conflict, as its entity, is in one partition."""
    rows = [row(offset, topic=topic, **said) for offset, said in enumerate(drawn)]
    return [one if one.conflict_id is None else one._replace(partition=0) for one in rows]


async def put(store: Store, rows: Iterable[JournalRow], at_once: int = 1_000) -> None:
    """Write rows of one topic, each partition in batches of so many."""
    rows = list(rows)
    for partition in sorted({one.partition for one in rows}):
        mine = [one for one in rows if one.partition == partition]
        for start in range(0, len(mine), at_once):
            part = mine[start : start + at_once]
            place = (part[0].topic, partition)
            after = (await store.positions()).get(place)
            await store.write(Batch(place, after, part[-1].offset + 1, part, tally(part)))


async def walk(store: Store, query: Query) -> list[JournalRow]:
    """All rows of a query, page by page."""
    found: list[JournalRow] = []
    page = Page(cursor="")
    while page.cursor is not None:
        before = spot_of(page.cursor) if page.cursor else None
        page = await store.page(
            Query(**{name: getattr(query, name) for name in query.__slots__ if name != "before"}, before=before)
        )
        assert len(page.rows) <= query.limit
        found += page.rows
    return found


def newest_first(rows: Iterable[JournalRow]) -> list[JournalRow]:
    """In the order of pages."""
    return sorted(rows, key=lambda one: (-one.at_ms, -one.partition, -one.offset))


def surviving(rows: Sequence[JournalRow]) -> list[JournalRow]:
    """Rows without those of conflicts that come again."""
    return [
        one
        for at, one in enumerate(rows)
        if one.conflict_id is None or all(later.conflict_id != one.conflict_id for later in rows[at + 1 :])
    ]


class StoreContract:
    """What every store does. The fixture `store` is open and shared with nobody."""

    async def test_it_begins_with_nothing(self, store: Store) -> None:
        """A new store knows no place, no row and no counter."""
        assert (await store.positions(), await store.page(Query("t")), await store.rows("t")) == ({}, Page(), 0)
        assert await store.hours("t", "kind", None, None) == []

    async def test_what_is_written_comes_back_as_it_was(self, store: Store) -> None:
        """Names and bodies of any kind, long ones, too."""
        rows = [
            row(at, entity=name, source=name, fields=(name, "other"), targets=(name,), body=BODIES[at % len(BODIES)])
            for at, name in enumerate([*HARD, indexed("y" * 100_000)])
        ]
        await put(store, rows)
        assert await walk(store, Query("t")) == newest_first(rows)
        assert await store.positions() == {("t", 0): len(rows)}
        for one in rows:
            for asked in ({"entity": one.entity}, {"source": one.source}, {"field": one.fields[0]}):
                assert await walk(store, Query("t", **asked)) == [one]
            assert await walk(store, Query("t", target=one.targets[0])) == [one]
        assert {hour.name for hour in await store.hours("t", "source", None, None)} == {one.source for one in rows}

    async def test_a_batch_is_taken_once(self, store: Store) -> None:
        """Written again, or from a place where the store is not, it changes nothing at all."""
        first, second = [row(0), row(1)], [row(2)]
        await put(store, first)
        before = await everything(store)
        for after, rows in ((None, first), (1, second), (3, second), (None, second)):
            with pytest.raises(PositionMoved):
                await store.write(Batch(("t", 0), after, 9, rows, tally(rows)))
            assert await everything(store) == before
        await put(store, second)
        assert len(await walk(store, Query("t"))) == 3

    async def test_counters_have_what_rows_have_not(self, store: Store) -> None:
        """Records too old to keep are counted, and the store is beyond them."""
        rows = [row(0), row(1, kind="delete"), row(2, at_ms=HOUR_MS)]
        await store.write(Batch(("t", 0), None, 7, rows[2:], tally(rows)))
        assert await store.positions() == {("t", 0): 7}
        assert await walk(store, Query("t")) == rows[2:]
        assert sorted(await store.hours("t", "kind", None, None)) == [
            Hour(0, "delete", 1),
            Hour(0, "update", 1),
            Hour(1, "update", 1),
        ]
        assert await store.hours("t", "field", HOUR_MS, None) == [Hour(1, "tier", 1)]
        assert await store.hours("t", "field", None, HOUR_MS) == [Hour(0, "tier", 2)]
        await store.write(Batch(("t", 0), 7, 8, [], tally(rows[:1])))
        assert await store.hours("t", "source", None, HOUR_MS) == [Hour(0, "crm", 3)]

    @EXAMPLES
    @given(
        drawn=ROWS,
        at_once=st.integers(1, 5),
        limit=st.integers(1, 4),
        asked=st.fixed_dictionaries(
            {},
            optional={
                "entity": NAMES,
                "source": NAMES,
                "target": NAMES,
                "kind": st.sampled_from(["update", "refused"]),
                "field": NAMES,
                "since_ms": st.sampled_from([0, 6, HOUR_MS]),
                "until_ms": st.sampled_from([1, 6, 2**52]),
            },
        ),
    )
    async def test_any_query_finds_what_a_list_does(
        self, store: Store, drawn: list[dict[str, Any]], at_once: int, limit: int, asked: dict[str, Any]
    ) -> None:
        """However rows were batched and pages are cut, each match comes once, the newest first; counters agree."""
        topic = f"q{next(TOPICS)}"
        rows = numbered(drawn, topic)
        await put(store, rows, at_once)
        wanted = [
            one
            for one in surviving(rows)
            if all(getattr(one, name) == asked.get(name, getattr(one, name)) for name in ("entity", "source", "kind"))
            and asked.get("field", "none") in (*one.fields, "none")
            and asked.get("target", "none") in (*one.targets, "none")
            and asked.get("since_ms", 0) <= one.at_ms < asked.get("until_ms", 2**60)
        ]
        assert await walk(store, Query(topic, **asked, limit=limit)) == newest_first(wanted)
        assert await store.rows(topic) == len(surviving(rows))
        for dimension in DIMENSIONS:
            counted = {(hour, name): records for (hour, by, name), records in tally(rows).items() if by == dimension}
            found = await store.hours(topic, dimension, None, None)
            assert {(one.hour, one.name): one.records for one in found} == counted

    async def test_pages_are_stable_under_new_rows(self, store: Store) -> None:
        """Rows that come between two pages, above or below, neither move nor double those of the next page."""
        old = [row(at, partition=at % 2, at_ms=1_000 + at // 4) for at in range(40)]
        await put(store, old)
        found: list[JournalRow] = []
        before, offset = None, 100
        while True:
            page = await store.page(Query("t", kind="update", before=before, limit=7))
            found += page.rows
            if page.cursor is None:
                break
            before = spot_of(page.cursor)
            await put(store, [row(at, at_ms=at_ms) for at, at_ms in ((offset, 5_000), (offset + 1, before.at_ms + 1))])
            offset += 2
        assert found == newest_first(old)

    async def test_a_conflict_that_comes_again_replaces_the_earlier(self, store: Store) -> None:
        """Within a batch and across two, of its own topic alone; no index leads to the earlier one any more."""
        await put(store, [row(0, conflict_id="a", source="web", topic="other")])
        await put(store, [row(0, conflict_id="a", source="web"), row(1, conflict_id="b"), row(2, conflict_id="b")])
        await put(store, [row(3, conflict_id="a", kind="insert_exists")])
        assert [(one.offset, one.conflict_id) for one in await walk(store, Query("t"))] == [(3, "a"), (2, "b")]
        assert await walk(store, Query("t", source="web")) == []
        assert len(await walk(store, Query("other", source="web"))) == 1
        assert await store.rows("t") == 2

    async def test_cleanup_takes_the_oldest_in_small_steps(self, store: Store) -> None:
        """By time and by number, no more than asked for at once, and a conflict that is gone may come again."""
        order = list(range(20))
        random.Random(1).shuffle(order)
        rows = [row(at, at_ms=1_000 + when, conflict_id=f"c{at}") for at, when in enumerate(order)]
        await put(store, rows)
        assert await store.expire("t", None, None, 10) == 0
        assert await store.expire("t", 1_005, None, 3) == 3
        assert await store.expire("t", 1_005, None, 3) == 2
        assert await store.expire("t", 1_005, 10, 100) == 5
        assert await store.expire("t", 1_005, 10, 100) == 0
        left = [one for one in rows if one.at_ms >= 1_010]
        assert await walk(store, Query("t", source="crm")) == newest_first(left)
        gone = next(one for one in rows if one.at_ms == 1_000)
        await put(store, [row(30, conflict_id=gone.conflict_id)])
        assert await store.rows("t") == 11

    async def test_counters_outlive_rows_and_end_too(self, store: Store) -> None:
        """Cleaning up rows leaves counters alone; hours that ended before a time are forgotten."""
        await put(store, [row(0), row(1, at_ms=HOUR_MS), row(2, at_ms=3 * HOUR_MS)])
        await store.expire("t", 10 * HOUR_MS, None, 100)
        assert (await store.rows("t"), len(await store.hours("t", "kind", None, None))) == (0, 3)
        await store.forget_hours("t", 2 * HOUR_MS - 1)
        assert sorted(one.hour for one in await store.hours("t", "kind", None, None)) == [1, 3]
        assert await store.positions() == {("t", 0): 3}

    async def test_it_is_there_after_closing(self, store: Store) -> None:
        """Closed and opened again it goes on where it was."""
        await put(store, [row(0)])
        before = await everything(store)
        await store.close()
        await store.open()
        assert await everything(store) == before
        await put(store, [row(1)])
        assert await store.rows("t") == 2


async def everything(store: Store) -> object:
    """All that a store has of topic `t`."""
    hours = [sorted(await store.hours("t", dimension, None, None)) for dimension in DIMENSIONS]
    return await store.positions(), await walk(store, Query("t")), hours, await store.rows("t")


class TestMemory(StoreContract):
    """In a dict."""

    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        """A store with room for all of a test."""
        yield MemoryStore()

    async def test_memory_is_bounded(self, store: Store) -> None:
        """Beyond its bytes the oldest rows go, and counters keep all."""
        rows = [row(at, conflict_id=f"c{at}") for at in range(100)]
        small = MemoryStore(max_bytes=10 * size(rows[0]) + 100)
        await put(small, rows)
        assert await walk(small, Query("t")) == newest_first(rows[-10:])
        assert await small.hours("t", "kind", None, None) == [Hour(0, "update", 100)]


class TestRedis(StoreContract):
    """In Redis."""

    @pytest.fixture
    def url(self, redis_server: RedisServer) -> str:
        """A database of its own."""
        return redis_server.url(next(DATABASE_NUMBERS))

    @pytest.fixture
    async def store(self, url: str) -> AsyncIterator[Store]:
        """A store in it."""
        made = RedisStore(url, TIMEOUT_SECONDS)
        await made.open()
        yield made
        await made.close()

    async def test_what_is_gone_leaves_nothing(self, store: Store, url: str) -> None:
        """Of rows that were replaced or deleted no set, hash or id is left."""
        await put(store, [row(at, conflict_id=f"c{at % 5}", targets=("web",)) for at in range(9)])
        async with redis.asyncio.Redis.from_url(url) as client:
            assert await client.zcard(f"{PREFIX}t:all") == await client.zcard(f"{PREFIX}t:target:web") == 5
            assert await store.expire("t", 10_000, None, 100) == 5
            await store.forget_hours("t", HOUR_MS)
            assert await client.keys() == [f"{PREFIX}positions".encode()]


class TestPostgresql(StoreContract):
    """In PostgreSQL."""

    @pytest.fixture
    async def store(self, postgres_server: PostgresServer) -> AsyncIterator[Store]:
        """A store in a database of its own."""
        made = PostgresqlStore(postgres_server.new_database(), TIMEOUT_SECONDS)
        await made.open()
        yield made
        await made.close()


def test_a_cursor_is_a_spot() -> None:
    """What a page ends with is read back as it was, whatever the numbers are."""
    from agents.journal.store import cursor_of

    for spot in (Spot(0, 0, 0), Spot(2**52, 2**31 - 1, 2**63 - 1)):
        assert spot_of(cursor_of(spot)) == spot


@pytest.mark.parametrize("cursor", ["x", "W10", "bnVsbA", "WzEsMiwtM10", "WzEsMiwiMyJd", "é"])
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    """Nonsense, other JSON, a negative number and a text in place of one."""
    from agents.journal.store import BadCursor

    with pytest.raises(BadCursor):
        spot_of(cursor)
