"""Delivery to a table: what fits, what does not, and who wins when two deliver at once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from agents.targets.postgresql import GUARD, PostgresqlTarget
from agents.targets.postgresql_columns import COLUMN_TYPES, Unfit, column_value, json_text
from agents.targets.target import TargetUnavailable, TargetUnusable
from schemas.target_document import PostgresqlDocument
from tests.faults.proxy import Proxy
from tests.servers.postgres import PostgresServer
from tests.targets.deliveries import delivery

NUMBERS = itertools.count(1)
COLUMNS = {"name": "text", "age": "bigint"}


@dataclass(frozen=True)
class Place:
    """A schema of a database, for one test."""

    url: str
    schema: str

    def target(
        self, name: str = "crm", table: str = "customers", url: str | None = None, **said: Any
    ) -> PostgresqlTarget:
        """A target for a table there."""
        given = {"url": url or self.url, "table": f"{self.schema}.{table}", "timeout": 30_000, **said}
        return PostgresqlTarget(name, PostgresqlDocument(kind="postgresql", **given))

    async def opened(self, **said: Any) -> PostgresqlTarget:
        """The same, ready."""
        made = self.target(**said)
        await made.open()
        return made


@pytest.fixture(scope="module")
def database_url(postgres_server: PostgresServer) -> str:
    """A database for all tests of this file."""
    return postgres_server.new_database()


@pytest.fixture
def place(database_url: str) -> Place:
    """A schema that is made with the first connection of the test."""
    return Place(database_url, f"s{next(NUMBERS)}")


@pytest.fixture
async def database(place: Place) -> AsyncIterator[asyncpg.Connection]:
    """A connection to it."""
    connection = await asyncpg.connect(place.url)
    await connection.execute(f"CREATE SCHEMA {place.schema}; SET search_path TO {place.schema}")
    yield connection
    await connection.close()


async def rows(database: asyncpg.Connection, table: str = "customers") -> list[tuple[Any, ...]]:
    """All rows."""
    return [tuple(row) for row in await database.fetch(f"SELECT * FROM {table} ORDER BY key")]


async def test_a_table_is_made(place: Place, database: asyncpg.Connection) -> None:
    """Two workers that start at once make one table with the columns of the file, and open it again as it is."""
    targets = [place.target(columns=COLUMNS) for _ in range(4)]
    await asyncio.gather(*(one.open() for one in targets))
    await targets[0].deliver([delivery("customer:1", 1, {"name": "Ana", "age": 7, "left out": 1})])
    for one in targets:
        await one.close()
    await (await place.opened(columns=COLUMNS)).close()
    assert await rows(database) == [("customer:1", "Ana", 7)]


async def test_a_column_of_every_type(place: Place, database: asyncpg.Connection) -> None:
    """A table that was made with all types is opened again as it is, and a value of each comes through."""
    kinds = {kind: kind for kind in COLUMN_TYPES}
    values = {
        "text": "x",
        "bigint": 1,
        "double": 0.5,
        "boolean": True,
        "jsonb": [1],
        "json": {"a": "\0"},
        "timestamptz": 1500,
    }
    for at in range(2):
        typed = await place.opened(columns=kinds)
        assert (await typed.deliver([delivery("customer:1", at, values)])).refused == {}
        await typed.close()
    (row,) = await database.fetch("SELECT * FROM customers")
    assert {**row, "timestamptz": row["timestamptz"].timestamp(), "key": ""} == {
        **values, "timestamptz": 1.5, "jsonb": "[1]", "json": '{"a":"\\u0000"}', "key": ""
    }  # fmt: skip


@pytest.mark.parametrize(
    ("ddl", "problem"),
    [
        ("key text PRIMARY KEY, name text", "it has no column age: ALTER TABLE {}.customers ADD COLUMN age bigint"),
        ("key text PRIMARY KEY, name integer, age bigint", "column name is integer, it must be text"),
        ("key text PRIMARY KEY, name text, age timestamptz", "age is timestamp with time zone, it must be bigint"),
        ("key text, name text, age bigint", "column key is neither primary key nor UNIQUE"),
        ("name text, age bigint", "it has no column key: ALTER TABLE {}.customers ADD COLUMN key text"),
        ("key text PRIMARY KEY, name text, age bigint, born date NOT NULL", "born is NOT NULL without a default"),
    ],
)  # fmt: skip
async def test_a_table_that_does_not_fit(place: Place, database: asyncpg.Connection, ddl: str, problem: str) -> None:
    """What is wrong with a table that is there is told when it is opened, with what would be right."""
    await database.execute(f"CREATE TABLE customers ({ddl})")
    unfit = place.target(columns=COLUMNS)
    with pytest.raises(TargetUnusable) as raised:
        await unfit.open()
    await unfit.close()
    assert problem.format(place.schema) in str(raised.value)


async def test_a_table_of_ones_own(place: Place, database: asyncpg.Connection) -> None:
    """Other columns are left alone, narrower types are used as they are, and constraints refuse records."""
    await database.execute(
        "CREATE TABLE customers (id bigserial PRIMARY KEY, key varchar(40) UNIQUE, name varchar(10) UNIQUE,"
        " born timestamp(3) with time zone, age integer CHECK (age < 100), noted text DEFAULT 'by hand')"
    )
    own = await place.opened(columns={**COLUMNS, "born": "timestamptz"})
    states = [{"name": "Ana", "age": 7}, {"name": "Ana"}, {"age": 100}, {"age": 2**40}, {"name": "x" * 11}, {"age": 8}]
    receipt = await own.deliver([delivery(f"customer:{at}", at, state) for at, state in enumerate(states)])
    await own.close()
    assert receipt.refused == {
        1: "PostgreSQL 23505 UniqueViolationError customers_name_key",
        2: "PostgreSQL 23514 CheckViolationError customers_age_check",
        3: "PostgreSQL 22003 NumericValueOutOfRangeError",
        4: "PostgreSQL 22001 StringDataRightTruncationError",
    }
    found = await database.fetch("SELECT key, name, age, noted FROM customers ORDER BY key")
    assert [tuple(row) for row in found] == [("customer:0", "Ana", 7, "by hand"), ("customer:5", None, 8, "by hand")]


async def test_values_that_do_not_fit_their_column(place: Place, database: asyncpg.Connection) -> None:
    """The record is refused by the name of its field and the two types, without its value."""
    typed = await place.opened(columns=COLUMNS)
    batch = [delivery("customer:1", 1, {"age": "seven"}), delivery("customer:2", 2, {"age": True, "name": "Eve"})]
    receipt = await typed.deliver([*batch, delivery("customer:3", 3, {"age": 3})])
    await typed.close()
    assert receipt.refused == {
        0: "field 'age': a value of type str does not fit its column, which is bigint",
        1: "field 'age': a value of type bool does not fit its column, which is bigint",
    }
    assert await rows(database) == [("customer:3", None, 3)]


async def test_what_did_not_change_is_not_written(place: Place, database: asyncpg.Connection) -> None:
    """In a row that is there only the columns of changed fields are written; a new row gets all."""
    incremental = await place.opened(columns=COLUMNS)
    await incremental.deliver([delivery("customer:1", 1, {"name": "Ana", "age": 7})])
    await database.execute("UPDATE customers SET name = 'by hand'")
    changed = [delivery("customer:1", 2, {"name": "Ana", "age": 8}, ["age"]), delivery("customer:1", 3, {"age": 9}, [])]
    await incremental.deliver([*changed, delivery("customer:2", 4, {"name": "Eve", "age": 1}, ["age"])])
    await incremental.deliver([delivery("customer:1", 5, {"age": 10}, ["other"])])
    await incremental.close()
    assert await rows(database) == [("customer:1", "by hand", 9), ("customer:2", "Eve", 1)]


async def test_the_same_position_again_mends_a_row(place: Place, database: asyncpg.Connection) -> None:
    """What was altered or deleted by hand is as it was after the same record is delivered once more."""
    forced = await place.opened(columns=COLUMNS)
    batch = [delivery("customer:1", 1, {"age": 7}), delivery("customer:2", 2, {"age": 8})]
    await forced.deliver(batch)
    await database.execute("UPDATE customers SET age = 0 WHERE key = 'customer:1'")
    await database.execute("DELETE FROM customers WHERE key = 'customer:2'")
    await forced.deliver(batch)
    await forced.close()
    assert await rows(database) == [("customer:1", None, 7), ("customer:2", None, 8)]


async def test_two_targets_share_a_guard_table(place: Place, database: asyncpg.Connection) -> None:
    """Each target has its own rows there, so that what one was given does not hold back the other."""
    first, second = await place.opened(name="crm"), await place.opened(name="erp", table="clients")
    await first.deliver([delivery("customer:1", 9, {"a": 1})])
    await second.deliver([delivery("customer:1", 1, {"a": 1})])
    await first.close()
    await second.close()
    assert len(await rows(database, "clients")) == 1
    assert await database.fetchval(f"SELECT count(DISTINCT target) FROM {GUARD}") == 2


async def test_an_old_worker_and_a_new_one_at_once(place: Place, database: asyncpg.Connection) -> None:
    """Whoever is quicker, of two batches with the same entities the newer states and deletes stay."""
    old, new = await place.opened(), await place.opened()
    keys = [f"customer:{number}" for number in range(20)]
    for turn in range(15):
        late = [delivery(key, 2 * turn, {"old": turn}) for key in keys]
        fresh = [delivery(key, 2 * turn + 1, {"new": turn} if at % 2 else None) for at, key in enumerate(keys)]
        await asyncio.gather(old.deliver(late), new.deliver(fresh[::-1]))
        found = await database.fetch("SELECT key, fields FROM customers")
        assert {row["key"]: row["fields"] for row in found} == dict.fromkeys(keys[1::2], f'{{"new": {turn}}}')
    await old.close()
    await new.close()


async def test_connections_that_the_server_ends(place: Place, database: asyncpg.Connection) -> None:
    """A restarted server is one attempt that fails, and nothing more."""
    steady = await place.opened()
    await steady.deliver([delivery("customer:1", 1, {"a": 1})])
    await database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'syncline target crm'"
    )
    with pytest.raises(TargetUnavailable):
        await steady.deliver([delivery("customer:1", 2, {"a": 2})])
    await steady.deliver([delivery("customer:1", 2, {"a": 2})])
    await steady.close()
    assert (await database.fetchval("SELECT fields FROM customers")) == '{"a": 2}'


async def test_a_server_that_is_away(
    postgres_server: PostgresServer, place: Place, database: asyncpg.Connection
) -> None:
    """Refused and reset connections make the target unavailable, and it recovers."""
    with Proxy(postgres_server.port) as proxy:
        steady = await place.opened(url=urlsplit(place.url)._replace(netloc=f"postgres@{proxy.address}").geturl())
        for trouble in (proxy.reset, proxy.cut):
            await asyncio.to_thread(trouble)
            with pytest.raises(TargetUnavailable):
                await steady.deliver([delivery("customer:1", 1, {"a": 1})])
        await asyncio.to_thread(proxy.heal)
        await steady.deliver([delivery("customer:1", 1, {"a": 1})])
        await steady.close()


async def test_what_a_person_must_put_right(place: Place, database: asyncpg.Connection) -> None:
    """A database, schema or table that is not there, and rights that are missing, are no outage."""
    for lost in (place.target(url=f"{place.url}x"), Place(place.url, "nowhere").target()):
        with pytest.raises(TargetUnusable, match=r"PostgreSQL 3[DF]000"):
            await lost.open()
        await lost.close()
    dropped = await place.opened()
    await database.execute("DROP TABLE customers")
    with pytest.raises(TargetUnusable, match="PostgreSQL 42P01 UndefinedTableError"):
        await dropped.deliver([delivery("customer:1", 1, {"a": 1})])
    await dropped.close()


async def test_what_follows_the_question_mark(place: Place, database: asyncpg.Connection) -> None:
    """sslmode is what psql makes of it; anything else is refused when the target is made."""
    await (await place.opened(url=f"{place.url}?sslmode=prefer")).close()
    encrypted = place.target(url=f"{place.url}?sslmode=require")
    with pytest.raises(TargetUnavailable):
        await encrypted.open()
    await encrypted.close()
    with pytest.raises(TargetUnusable, match="url: nothing but sslmode may follow"):
        place.target(url=f"{place.url}?sslmod=require")


@pytest.mark.parametrize(
    ("kind", "value", "bound"),
    [
        ("text", "x", "x"),
        ("text", 1, Unfit),
        ("bigint", 2**63 - 1, 2**63 - 1),
        ("bigint", 1.0, Unfit),
        ("double", 1, 1.0),
        ("double", 2**53 + 1, Unfit),
        ("double", True, Unfit),
        ("boolean", 1, Unfit),
        ("timestamptz", 0, "1970-01-01T00:00:00+00:00"),
        ("timestamptz", "2026-01-31T12:00:00.5+01:00", "2026-01-31T11:00:00.500000+00:00"),
        ("timestamptz", "2026-01-31", Unfit),
        ("timestamptz", 2**62, Unfit),
        ("jsonb", [1, 1.0], [1, 1.0]),
    ],
)
def test_column_values(kind: str, value: Any, bound: Any) -> None:
    """A value goes into a column that can hold it exactly, or nowhere."""
    assert kind in COLUMN_TYPES
    if bound is Unfit:
        with pytest.raises(Unfit):
            column_value("c", kind, value)
    else:
        made = column_value("c", kind, value)
        assert (made.isoformat() if kind == "timestamptz" else made) == bound


def test_large_floats_stay_floats() -> None:
    """jsonb keeps the digits of a number, so one that has an exponent in canonical JSON is written with its point."""
    assert json_text({"a": [1e21, 1, "1e+21"], "b": -1.5e300}) == (
        '{"a":[1000000000000000000000.0,1,"1e+21"],"b":' + f"{-1.5e300:.1f}" + "}"
    )
    assert json_text({"a": [0.1, 1.0]}) == '{"a":[0.1,1.0]}'
