"""A table in PostgreSQL: one row for each entity that exists.

Beside it, in the same schema, table `syncline_guard` has the order of the newest delivery of every entity of every
target, of deleted ones, too. A batch is one transaction, in which the guard comes first: its row decides whether a
delivery is newer, and holds its lock until the row of the table is written.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import asyncpg
from sqlalchemy import URL, BigInteger, Column, MetaData, Table, Text, any_, bindparam, delete, make_url, text, tuple_
from sqlalchemy.dialects.postgresql import ARRAY, Insert, insert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql.dml import ReturningInsert

from agents.targets.bisection import Refused, deliver_what_passes
from agents.targets.postgresql_columns import COLUMN_TYPES, Unfit, column_value, json_text, misfits, size
from agents.targets.target import Receipt, TargetUnavailable, TargetUnusable
from schemas.target_document import PostgresqlDocument
from streams.delivery import Delivery

GUARD: Final = "syncline_guard"
CONNECTIONS: Final = 4
CLOSE_SECONDS: Final = 2.0
SSLMODE: Final = "sslmode"
#: Classes of SQLSTATE: of a row (data, constraints), and of what a person has to put right (rights, names).
REFUSING: Final = ("22", "23")
UNUSABLE: Final = ("28", "3D", "3F", "42")


@dataclass(frozen=True, slots=True)
class Row:
    """What becomes of an entity. values: by column, None: deleted. changed: columns to write in a row that is there."""

    key: str
    order: tuple[int, int]
    values: Mapping[str, Any] | None
    changed: frozenset[str] | None

    @property
    def size(self) -> int:
        """About how many bytes it has."""
        return len(self.key) + sum(map(size, (self.values or {}).values()))


class PostgresqlTarget:
    """Writes one table. name: of the target, under which it keeps its guard. secret: the password."""

    def __init__(self, name: str, said: PostgresqlDocument, secret: str | None = None) -> None:
        self._name = name
        self._said = said
        self._timeout_seconds = said.timeout / 1000
        self._url = driver_url(said.url, secret)
        schema, _, table = said.table.rpartition(".")
        metadata = MetaData(schema=schema or None)
        self._guard = Table(
            GUARD,
            metadata,
            Column("target", Text, primary_key=True),
            Column("key", Text, primary_key=True),
            Column("generation", BigInteger, nullable=False),
            Column("record_offset", BigInteger, nullable=False),
        )
        self._columns = said.columns or {"entity_type": "text", "entity_id": "text", "fields": "jsonb"}
        self._table = Table(
            table,
            metadata,
            Column("key", Text, primary_key=True),
            *(Column(column, COLUMN_TYPES[kind].sql) for column, kind in self._columns.items()),
        )
        self._engine: AsyncEngine | None = None
        self.healthy = True

    async def open(self) -> None:
        """Connect, make the two tables if they are missing, and look whether they fit if they are there."""
        if self._engine is None:
            server_settings = {
                "application_name": f"syncline target {self._name}",
                # What this end has given up must not hold its locks.
                "statement_timeout": str(self._said.timeout),
                "idle_in_transaction_session_timeout": str(self._said.timeout),
            }
            self._engine = create_async_engine(
                self._url,
                pool_size=CONNECTIONS,
                max_overflow=0,
                pool_timeout=self._timeout_seconds,
                json_serializer=json_text,
                hide_parameters=True,
                connect_args={"timeout": self._timeout_seconds, "server_settings": server_settings},
            )
        await self._within_deadline(self._prepare)

    async def deliver(self, batch: Sequence[Delivery]) -> Receipt:
        """One transaction, and more of them where PostgreSQL refuses a row."""
        refused: dict[int, str] = {}
        rows: list[tuple[int, Row]] = []
        for place, delivery in enumerate(batch):
            try:
                rows.append((place, self._row(delivery)))
            except Unfit as error:
                refused[place] = str(error)

        async def send(part: Sequence[tuple[int, Row]]) -> Receipt:
            newer = newest([row for _, row in part])
            await self._within_deadline(lambda connection: self._write(connection, newer))
            return Receipt(sent_bytes=sum(row.size for row in newer))

        receipt = await deliver_what_passes(rows, send)
        refused |= {rows[at][0]: reason for at, reason in receipt.refused.items()}
        return Receipt(refused, receipt.sent_bytes)

    async def close(self) -> None:
        """Close the connections."""
        engine, self._engine = self._engine, None
        if engine is not None:
            with contextlib.suppress(TimeoutError, SQLAlchemyError, OSError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await engine.dispose()

    def _row(self, delivery: Delivery) -> Row:
        """Raises Unfit."""
        fields = delivery.fields
        if fields is None:
            return Row(delivery.key, delivery.order, None, None)
        if self._said.columns is None:
            place = {"entity_type": delivery.entity_type, "entity_id": delivery.entity_id}
            return Row(delivery.key, delivery.order, {**place, "fields": fields}, None)
        values = {column: column_value(column, kind, fields.get(column)) for column, kind in self._columns.items()}
        changed = None if delivery.changed is None else delivery.changed.intersection(values)
        return Row(delivery.key, delivery.order, values, changed)

    async def _prepare(self, connection: AsyncConnection) -> None:
        # Two workers that start at once would both make the tables, and one of them would fail.
        await connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:guard))"), {"guard": GUARD})
        await connection.run_sync(self._guard.metadata.create_all)
        problems = await connection.run_sync(misfits, self._table, self._columns)
        if problems:
            raise TargetUnusable(f"table {self._said.table}: {'; '.join(problems)}")

    async def _write(self, connection: AsyncConnection, rows: Sequence[Row]) -> None:
        """Write those of the rows, one for each entity, that are not older than what there is."""
        places = [
            {"target": self._name, "key": row.key, "generation": row.order[0], "record_offset": row.order[1]}
            for row in rows
        ]
        newer: set[str] = set((await connection.scalars(advance(self._guard), places)).all())
        upserts: dict[frozenset[str] | None, list[Mapping[str, Any]]] = defaultdict(list)
        gone: list[str] = []
        for row in rows:
            if row.key in newer and row.values is None:
                gone.append(row.key)
            elif row.key in newer:
                upserts[row.changed].append({"key": row.key, **(row.values or {})})
        if gone:
            keys = bindparam("keys", gone, ARRAY(Text))
            await connection.execute(delete(self._table).where(self._table.c.key == any_(keys)))
        for changed, values in upserts.items():
            await connection.execute(upsert(self._table, changed), values)

    async def _within_deadline(self, work: Callable[[AsyncConnection], Awaitable[None]]) -> None:
        """Do something in a transaction. Raises Refused, TargetUnavailable, TargetUnusable."""
        assert self._engine is not None, "open comes before deliver"
        problem: Exception | None = None
        try:
            async with asyncio.timeout(self._timeout_seconds), self._engine.begin() as connection:
                await work(connection)
        except TimeoutError:
            problem = TargetUnavailable(f"no answer within {self._timeout_seconds:g} s")
        except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            problem = judged(error)
        self.healthy = problem is None or isinstance(problem, Refused)
        if problem is not None:
            # Not chained: the values of a row may be in what the driver says.
            raise problem


def driver_url(said: str, secret: str | None) -> URL:
    """The URL as the driver wants it. Raises TargetUnusable."""
    url = make_url(said)
    if url.query.keys() - {SSLMODE}:
        raise TargetUnusable(f"url: nothing but {SSLMODE} may follow the question mark")
    url = url.set(drivername="postgresql+asyncpg", query={"ssl": url.query[SSLMODE]} if url.query else {})
    return url if secret is None else url.set(password=secret)


def newest(rows: Sequence[Row]) -> list[Row]:
    """Of each entity the newest row, with all that changed, in the order of keys: so no two batches lock crosswise."""
    found: dict[str, Row] = {}
    for row in rows:
        held = found.get(row.key)
        if held is not None:
            changed = None if held.changed is None or row.changed is None else held.changed | row.changed
            row = replace(row if row.order >= held.order else held, changed=changed)
        found[row.key] = row
    return [found[key] for key in sorted(found)]


def advance(guard: Table) -> ReturningInsert[str]:
    """Take a guard to the order of a delivery that is not older; returns the keys of those that are not."""
    statement = insert(guard)
    told = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=[guard.c.target, guard.c.key],
        set_={"generation": told.generation, "record_offset": told.record_offset},
        where=tuple_(guard.c.generation, guard.c.record_offset) <= tuple_(told.generation, told.record_offset),
    ).returning(guard.c.key)


def upsert(table: Table, changed: frozenset[str] | None) -> Insert:
    """Write a whole row where there is none, and the changed columns of one that is there."""
    statement = insert(table)
    columns = [column.name for column in table.columns if column.name != "key"]
    written = {name: statement.excluded[name] for name in columns if changed is None or name in changed}
    if not written:
        return statement.on_conflict_do_nothing(index_elements=[table.c.key])
    return statement.on_conflict_do_update(index_elements=[table.c.key], set_=written)


def judged(error: Exception) -> Exception:
    """What is to be raised for what PostgreSQL, or the way to it, says; without the values that may be in it."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    code = getattr(cause, "sqlstate", None) or ""
    constraint = getattr(cause.__cause__ or cause, "constraint_name", None)
    said = f"PostgreSQL {code} {type(cause.__cause__ or cause).__name__}{f' {constraint}' if constraint else ''}"
    if code[:2] in REFUSING:
        return Refused(said)
    if code[:2] in UNUSABLE:
        return TargetUnusable(f"{said}: look at url, secret_env, table and the rights of the user")
    return TargetUnavailable(said if code else f"no connection: {type(cause).__name__}")
