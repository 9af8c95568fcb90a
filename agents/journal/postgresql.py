"""The change log in PostgreSQL: tables `syncline_journal_*`, made by alembic in the schema that the URL's user has.

A batch is one transaction, which begins by taking the partition's position from where it must be to where it will be.
That row's lock lets one writer after the other in, and the second finds that it came too late. So a commit of which
nobody knows whether it happened needs no more than to ask for the position again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import (
    ColumnElement,
    Connection,
    any_,
    bindparam,
    cast,
    delete,
    func,
    make_url,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.types import Text

from agents.journal.store import Batch, Page, Place, PositionMoved, Query, StoreUnavailable, page_of
from agents.journal.tables import COUNTERS, POSITIONS, ROWS, SPOT
from streams.journal import HOUR_MS, Dimension, Hour, JournalRow, newest_of_each_conflict

#: One that writes and one that cleans up.
CONNECTIONS: Final = 2
CLOSE_SECONDS: Final = 2.0
SCRIPTS: Final = str(Path(__file__).parent / "migrations")

T = TypeVar("T")


class PostgresqlStore:
    """url: `postgresql://…`. timeout_seconds: of one transaction, and of making a connection."""

    backlog: int | None = None
    #: Each step counts the rows.
    step_rows = 5_000

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._url = make_url(url).set(drivername="postgresql+asyncpg")
        self._timeout_seconds = timeout_seconds
        self._engine: AsyncEngine | None = None
        self._migrated = False

    async def open(self) -> None:
        """Connect, and bring the tables up to date."""
        if self._engine is None:
            timeout_ms = str(int(self._timeout_seconds * 1000))
            # What this end has given up must not hold its locks.
            limits = {"statement_timeout": timeout_ms, "idle_in_transaction_session_timeout": timeout_ms}
            self._engine = create_async_engine(
                self._url,
                pool_size=CONNECTIONS,
                max_overflow=0,
                pool_timeout=self._timeout_seconds,
                hide_parameters=True,
                connect_args={
                    "timeout": self._timeout_seconds,
                    "server_settings": {"application_name": "syncline journal", **limits},
                },
            )
        if self._migrated:
            # Alembic takes its time. Tables that are gone all the same are made by the next attempt.
            self._migrated = False
            await self.positions()
        else:
            await self._within_deadline(lambda connection: connection.run_sync(migrate))
        self._migrated = True

    async def close(self) -> None:
        """Close the connections."""
        engine, self._engine = self._engine, None
        if engine is not None:
            with contextlib.suppress(TimeoutError, SQLAlchemyError, OSError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await engine.dispose()

    async def positions(self) -> Mapping[Place, int]:
        """How far it is."""
        found = await self._within_deadline(lambda connection: connection.execute(select(POSITIONS)))
        return {(topic, partition): following for topic, partition, following in found}

    async def write(self, batch: Batch) -> None:
        """Take all of a batch."""
        await self._within_deadline(lambda connection: self._write(connection, batch))

    async def page(self, query: Query) -> Page:
        """Rows that match, the newest first."""
        statement = select(ROWS).where(*_conditions(query)).limit(query.limit + 1)
        statement = statement.order_by(*(column.desc() for column in SPOT))
        found = await self._within_deadline(lambda connection: connection.execute(statement))
        return page_of([_row(values) for values in found], query.limit)

    async def hours(self, topic: str, dimension: Dimension, since_ms: int | None, until_ms: int | None) -> list[Hour]:
        """Counters of a dimension."""
        hour = COUNTERS.c.hour
        statement = select(hour, COUNTERS.c.name, COUNTERS.c.records).where(
            COUNTERS.c.topic == topic,
            COUNTERS.c.dimension == dimension,
            *([hour * HOUR_MS >= since_ms] if since_ms is not None else []),
            *([hour * HOUR_MS < until_ms] if until_ms is not None else []),
        )
        found = await self._within_deadline(lambda connection: connection.execute(statement))
        return [Hour(hour, _read(name), records) for hour, name, records in found]

    async def rows(self, topic: str) -> int:
        """How many rows of a topic there are."""
        statement = select(func.count()).select_from(ROWS).where(ROWS.c.topic == topic)
        found = await self._within_deadline(lambda connection: connection.scalar(statement))
        return int(found or 0)

    async def expire(self, topic: str, before_ms: int | None, most: int | None, limit: int) -> int:
        """Delete the oldest, up to `limit` rows: first those that are too old, which needs no count of all."""
        oldest = select(*SPOT).where(ROWS.c.topic == topic).order_by(*SPOT)
        deleted = 0
        if before_ms is not None:
            deleted = await self._delete(topic, oldest.where(ROWS.c.at_ms < before_ms).limit(limit))
        if most is not None and deleted < limit:
            surplus = await self.rows(topic) - most
            if surplus > 0:
                deleted += await self._delete(topic, oldest.limit(min(surplus, limit - deleted)))
        return deleted

    async def forget_hours(self, topic: str, before_ms: int) -> None:
        """Delete counters."""
        ended = (COUNTERS.c.hour + 1) * HOUR_MS <= before_ms
        statement = delete(COUNTERS).where(COUNTERS.c.topic == topic, ended)
        await self._within_deadline(lambda connection: connection.execute(statement))

    async def _delete(self, topic: str, spots: Any) -> int:
        statement = delete(ROWS).where(ROWS.c.topic == topic, tuple_(*SPOT).in_(spots))
        done: Any = await self._within_deadline(lambda connection: connection.execute(statement))
        return int(done.rowcount)

    async def _write(self, connection: AsyncConnection, batch: Batch) -> None:
        topic, partition = batch.place
        place = {"topic": topic, "partition": partition, "next": batch.next}
        advance: Any = insert(POSITIONS).values(place).on_conflict_do_nothing()
        if batch.after is not None:
            advance = (
                update(POSITIONS)
                .where(POSITIONS.c.topic == topic, POSITIONS.c.partition == partition, POSITIONS.c.next == batch.after)
                .values(next=batch.next)
            )
        if (await connection.execute(advance)).rowcount != 1:
            raise PositionMoved(f"{batch.place} is not at {batch.after}")
        rows = newest_of_each_conflict(batch.rows)
        ids = [row.conflict_id for row in rows if row.conflict_id is not None]
        if ids:
            earlier = ROWS.c.conflict_id == any_(bindparam("ids", ids, ARRAY(Text)))
            await connection.execute(delete(ROWS).where(ROWS.c.topic == topic, earlier))
        if rows:
            await connection.execute(insert(ROWS).on_conflict_do_nothing(), [_values(row) for row in rows])
        if batch.tally:
            counted = insert(COUNTERS)
            counted = counted.on_conflict_do_update(
                index_elements=list(COUNTERS.primary_key),
                set_={"records": COUNTERS.c.records + counted.excluded.records},
            )
            # In one order, so that no two writers lock crosswise.
            counts = [
                {"topic": topic, "hour": hour, "dimension": dimension, "name": _written(name), "records": count}
                for (hour, dimension, name), count in sorted(batch.tally.items())
            ]
            await connection.execute(counted, counts)

    async def _within_deadline(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do something in a transaction. Raises StoreUnavailable."""
        if self._engine is None:
            raise StoreUnavailable("PostgreSQL: not connected")
        problem = f"no answer within {self._timeout_seconds:g} s"
        try:
            async with asyncio.timeout(self._timeout_seconds), self._engine.begin() as connection:
                return await work(connection)
        except TimeoutError:
            pass
        except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            problem = reason(error)
        # Not chained: the values of a row may be in what the driver says.
        raise StoreUnavailable(f"PostgreSQL: {problem}")


def migrate(connection: Connection) -> None:
    """Bring the tables up to date; two workers that start at once do it one after the other."""
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('syncline_journal'))"))
    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def reason(error: Exception) -> str:
    """What PostgreSQL, or the way to it, says, without the values that may be in it."""
    cause: Any = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    code = getattr(cause, "sqlstate", None) or ""
    return " ".join(filter(None, (type(cause.__cause__ or cause).__name__, code)))


def _conditions(query: Query) -> list[ColumnElement[bool]]:
    columns = ROWS.c
    equal = ((columns.entity, query.entity), (columns.source, query.source), (columns.kind, query.kind))
    within = ((columns.fields, query.field), (columns.targets, query.target))
    found: list[ColumnElement[bool]] = [columns.topic == query.topic]
    found += [column == _written(name) for column, name in equal if name is not None]
    found += [column.contains(cast([_written(name)], ARRAY(Text))) for column, name in within if name is not None]
    if query.since_ms is not None:
        found.append(columns.at_ms >= query.since_ms)
    if query.until_ms is not None:
        found.append(columns.at_ms < query.until_ms)
    if query.before is not None:
        found.append(tuple_(*SPOT) < tuple_(*query.before))
    return found


def _values(row: JournalRow) -> dict[str, Any]:
    values = row._asdict()
    values["record_offset"] = values.pop("offset")
    for name in ("entity", "source"):
        values[name] = _written(values[name])
    for name in ("fields", "targets"):
        values[name] = [_written(one) for one in values[name]]
    return values


def _row(values: Any) -> JournalRow:
    return JournalRow(
        topic=values.topic,
        partition=values.partition,
        offset=values.record_offset,
        at_ms=values.at_ms,
        entity=_read(values.entity),
        kind=values.kind,
        source=_read(values.source),
        fields=tuple(map(_read, values.fields)),
        targets=tuple(map(_read, values.targets)),
        conflict_id=values.conflict_id,
        body=values.body,
    )


def _written(name: str) -> str:
    """A name as PostgreSQL takes it: its texts have no NUL."""
    return name.replace("\\", "\\\\").replace("\0", "\\0") if "\0" in name or "\\" in name else name


def _read(name: str) -> str:
    """The name that was written."""
    parts = name.split("\\\\")
    return "\\".join(part.replace("\\0", "\0") for part in parts)
