"""What every store of the change log is: memory, Redis, PostgreSQL.

A store keeps rows, counters, and for each partition of a topic how far it has got. It takes records, counters and the
new position together or not at all: so it can be killed at any moment and nothing is lost or there twice.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import orjson

from schemas.canonical import INT_MAX, canonical
from streams.journal import Dimension, Hour, JournalRow, Tally

Place = tuple[str, int]
"""Full name of a topic, and a partition of it."""


class StoreUnavailable(Exception):
    """The same may be tried again later; one line without values of records and without secrets."""


class PositionMoved(Exception):
    """Nothing was written: the store is not where the writer took it to be. Somebody wrote, or emptied it."""


class BadCursor(ValueError):
    """A cursor that no page came with."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What follows each other in one partition. after: where the store must be, None: where it has nothing of it.

    next: where it is afterwards, the offset after the last record. rows: those to keep, in the order of offsets; tally:
    of all records, those too old to keep among them.
    """

    place: Place
    after: int | None
    next: int
    rows: Sequence[JournalRow]
    tally: Tally


class Spot(NamedTuple):
    """Where a row stands in the order of a topic's pages. Unlike a page's number it stays right when rows come."""

    at_ms: int
    partition: int
    offset: int

    @classmethod
    def of(cls, row: JournalRow) -> Spot:
        """The spot of a row."""
        return cls(row.at_ms, row.partition, row.offset)


@dataclass(frozen=True, slots=True)
class Query:
    """Which rows of a topic, the newest first. since_ms is within, until_ms is not. before: rows beyond this spot.

    Names are as `streams.journal.indexed` makes them; None: any.
    """

    topic: str
    entity: str | None = None
    source: str | None = None
    target: str | None = None
    kind: str | None = None
    field: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    before: Spot | None = None
    limit: int = 50

    def matches(self, row: JournalRow) -> bool:
        """Whether a row is one of those."""
        return (
            row.topic == self.topic
            and self.entity in (None, row.entity)
            and self.source in (None, row.source)
            and (self.target is None or self.target in row.targets)
            and self.kind in (None, row.kind)
            and (self.field is None or self.field in row.fields)
            and (self.since_ms is None or row.at_ms >= self.since_ms)
            and (self.until_ms is None or row.at_ms < self.until_ms)
            and (self.before is None or Spot.of(row) < self.before)
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, and the cursor with which the next page is asked for; None: these are the last."""

    rows: list[JournalRow] = field(default_factory=list)
    cursor: str | None = None


class Store(Protocol):
    """A place for the change log. Every call ends within a deadline, and may raise StoreUnavailable.

    tests of the contract: tests/contract/test_journal.py. `write` and `expire` may overlap; nothing else does.
    """

    #: Of a partition it has nothing of: how many records before its end it begins with, None for all.
    backlog: int | None
    #: How many rows it had better delete at once.
    step_rows: int

    async def open(self) -> None:
        """Connect, and make what is missing; once more after StoreUnavailable."""

    async def positions(self) -> Mapping[Place, int]:
        """How far it is: the next offset of each partition that it has anything of."""

    async def write(self, batch: Batch) -> None:
        """Take all of a batch. Raises PositionMoved; after StoreUnavailable all of it is there, or nothing."""

    async def page(self, query: Query) -> Page:
        """Rows that match, the newest first."""

    async def hours(self, topic: str, dimension: Dimension, since_ms: int | None, until_ms: int | None) -> list[Hour]:
        """Counters of a dimension, of the hours that begin in this time."""

    async def rows(self, topic: str) -> int:
        """How many rows of a topic there are."""

    async def expire(self, topic: str, before_ms: int | None, most: int | None, limit: int) -> int:
        """Delete rows from before a time, and the oldest beyond `most`: up to `limit` of them. Returns how many."""

    async def forget_hours(self, topic: str, before_ms: int) -> None:
        """Delete the counters of hours that ended before a time."""

    async def close(self) -> None:
        """Let go of connections; never raises."""


def page_of(rows: Sequence[JournalRow], limit: int) -> Page:
    """A page of the rows that a store found, of which it was asked for one more than the limit."""
    shown = list(rows[:limit])
    return Page(shown, cursor_of(Spot.of(shown[-1])) if len(rows) > limit and shown else None)


def cursor_of(spot: Spot) -> str:
    """A spot as users hand it back."""
    return base64.urlsafe_b64encode(canonical(list(spot)).encode()).decode().rstrip("=")


def spot_of(cursor: str) -> Spot:
    """The spot of a cursor. Raises BadCursor."""
    try:
        parts = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except ValueError:
        parts = None
    if (
        not isinstance(parts, list)
        or len(parts) != len(Spot._fields)
        or not all(type(part) is int and 0 <= part <= INT_MAX for part in parts)
    ):
        raise BadCursor(f"{cursor[:64]!r} is no cursor; take the one that the page before ended with")
    return Spot(*parts)
