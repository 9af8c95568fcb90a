"""The change log in Redis: a hash of rows, and a sorted set for each name that rows are looked for by.

All keys begin with `{syncline:journal}:`, so that a Redis Cluster keeps them in one slot. Of a topic:
`rows` (member -> row), `all` and `entity:…`, `kind:…`, `source:…`, `field:…`, `target:…` (members by time), `ids`
(conflict -> member), `hour:…` and `hours` (counters). `positions` lies beside them, so that a Redis that was emptied
has lost it, too, and is filled again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson
from redis.exceptions import ResponseError

from agents.journal.store import Batch, Page, Place, PositionMoved, Query, Spot, StoreUnavailable, page_of
from agents.redis_connection import UNAVAILABLE, RedisConnection, Script
from streams.journal import HOUR_MS, Dimension, Hour, JournalRow, newest_of_each_conflict, tally

PREFIX: Final = "{syncline:journal}:"
WRITE, EXPIRE = Script("journal/write.lua"), Script("journal/expire.lua")
#: Redis does nothing else while a script runs.
CHUNK_ROWS: Final = 100
CHUNK_BYTES: Final = 1024 * 1024
SCANNED_ROWS: Final = 200
#: Offsets are 63 bits, partitions 31: so many digits make members of one time sort as numbers do.
PARTITION_DIGITS, OFFSET_DIGITS = 10, 19


class RedisStore:
    """Over one connection of its own. timeout_seconds: of one call."""

    backlog: int | None = None
    #: Redis does nothing else while a script runs.
    step_rows = 500

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._redis = RedisConnection(url, timeout_seconds)

    async def open(self) -> None:
        """See whether it answers."""
        await self._asked(self._redis.call("PING"))

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.close()

    async def positions(self) -> Mapping[Place, int]:
        """How far it is."""
        places: dict[Place, int] = {}
        for name, value in _pairs(await self._asked(self._redis.call("HGETALL", f"{PREFIX}positions"))):
            topic, _, partition = name.decode().rpartition(":")
            places[topic, int(partition)] = int(value)
        return places

    async def write(self, batch: Batch) -> None:
        """Take all of a batch, in steps each of which is whole: what a later step lacks is written again from there."""
        topic, partition = batch.place
        after = batch.after
        steps = list(_steps(batch))
        for number, (rows, counted) in enumerate(steps, 1):
            upto = batch.next if number == len(steps) else rows[-1].offset + 1
            arguments: list[Any] = [1, PREFIX, topic, partition, "" if after is None else after, upto]
            kept = newest_of_each_conflict(rows)
            arguments.append(len(kept))
            for row in kept:
                arguments += _row_arguments(row)
            for (hour, dimension, name), count in counted.items():
                arguments += (hour, _counter(dimension, name), count)
            if not await self._asked(self._redis.run(WRITE, *arguments)):
                raise PositionMoved(f"{batch.place} is not at {after}")
            after = upto

    async def page(self, query: Query) -> Page:
        """Rows that match, the newest first: from the shortest of the sets that all of them are in."""
        base = _base(query.topic)
        sets = [base + name for name in _asked_for(query)] or [f"{base}all"]
        sizes = [int(await self._asked(self._redis.call("ZCARD", name))) for name in sets]
        shortest = sets[sizes.index(min(sizes))]
        newest = f"({query.until_ms}" if query.until_ms is not None else "+inf"
        if query.before is not None and (query.until_ms is None or query.before.at_ms < query.until_ms):
            newest = str(query.before.at_ms)
        oldest = "-inf" if query.since_ms is None else str(query.since_ms)
        found: list[JournalRow] = []
        last, skipped = query.before, 0
        while len(found) <= query.limit:
            range_ = ("ZREVRANGEBYSCORE", shortest, newest, oldest, "LIMIT", skipped, SCANNED_ROWS)
            members = await self._asked(self._redis.call(*range_))
            if not members:
                break
            texts = await self._asked(self._redis.call("HMGET", f"{base}rows", *members))
            rows = [_row(query.topic, text) for text in texts if text is not None]
            found += [row for row in rows if (last is None or Spot.of(row) < last) and query.matches(row)]
            # On from the time of the last row, and not from a place in the set, which moves when rows come.
            if rows:
                last = min(last or Spot.of(rows[-1]), Spot.of(rows[-1]))
                skipped = (skipped if newest == str(last.at_ms) else 0) + sum(row.at_ms == last.at_ms for row in rows)
                newest = str(last.at_ms)
            else:
                skipped += len(members)
        return page_of(found[: query.limit + 1], query.limit)

    async def hours(self, topic: str, dimension: Dimension, since_ms: int | None, until_ms: int | None) -> list[Hour]:
        """Counters of a dimension."""
        base, wanted = _base(topic), _counter(dimension, "").encode()
        first = "-inf" if since_ms is None else str(-(-since_ms // HOUR_MS))
        last = "+inf" if until_ms is None else f"({-(-until_ms // HOUR_MS)}"
        found: list[Hour] = []
        for hour in await self._asked(self._redis.call("ZRANGEBYSCORE", f"{base}hours", first, last)):
            counters = _pairs(await self._asked(self._redis.call("HGETALL", f"{base}hour:{hour.decode()}")))
            found += [
                Hour(int(hour), name[len(wanted) :].decode(), int(count))
                for name, count in counters
                if name.startswith(wanted)
            ]
        return found

    async def rows(self, topic: str) -> int:
        """How many rows of a topic there are."""
        return int(await self._asked(self._redis.call("HLEN", f"{_base(topic)}rows")))

    async def expire(self, topic: str, before_ms: int | None, most: int | None, limit: int) -> int:
        """Delete the oldest."""
        said = ("" if before_ms is None else before_ms, "" if most is None else most)
        return int(await self._asked(self._redis.run(EXPIRE, 1, _base(topic), *said, limit)))

    async def forget_hours(self, topic: str, before_ms: int) -> None:
        """Delete counters."""
        base, last = _base(topic), f"{before_ms // HOUR_MS - 1}"
        for hour in await self._asked(self._redis.call("ZRANGEBYSCORE", f"{base}hours", "-inf", last)):
            await self._asked(self._redis.call("UNLINK", f"{base}hour:{hour.decode()}"))
            await self._asked(self._redis.call("ZREM", f"{base}hours", hour))

    async def _asked(self, answer: Awaitable[Any]) -> Any:
        """What Redis answers. Raises StoreUnavailable."""
        try:
            return await answer
        except UNAVAILABLE as error:
            # Its first word says what it is; the rest may quote what was sent.
            said = str(error).partition(" ")[0] if isinstance(error, ResponseError) else type(error).__name__
            raise StoreUnavailable(f"Redis: {said}") from None


def _base(topic: str) -> str:
    return f"{PREFIX}{topic}:"


def _counter(dimension: Dimension, name: str) -> str:
    return f"{dimension}:{name}"


def _member(row: JournalRow) -> str:
    return f"{row.partition:0{PARTITION_DIGITS}}:{row.offset:0{OFFSET_DIGITS}}"


def _names(row: JournalRow) -> list[str]:
    """The sets that a row is in."""
    return [
        "all",
        f"entity:{row.entity}",
        f"kind:{row.kind}",
        f"source:{row.source}",
        *(f"field:{name}" for name in row.fields),
        *(f"target:{name}" for name in row.targets),
    ]


def _asked_for(query: Query) -> list[str]:
    """The sets that all rows of a query are in."""
    said = {
        "entity": query.entity,
        "kind": query.kind,
        "source": query.source,
        "field": query.field,
        "target": query.target,
    }
    return [f"{name}:{value}" for name, value in said.items() if value is not None]


def _row_arguments(row: JournalRow) -> list[Any]:
    # The first two are for the scripts, which take a row out of its sets again.
    names = _names(row)
    text = orjson.dumps([names, row.conflict_id or "", *row[1:]])
    return [_member(row), row.at_ms, row.conflict_id or "", text, len(names), *names]


def _row(topic: str, text: bytes) -> JournalRow:
    _, _, partition, offset, at_ms, entity, kind, source, fields, targets, conflict_id, body = orjson.loads(text)
    return JournalRow(
        topic, partition, offset, at_ms, entity, kind, source, tuple(fields), tuple(targets), conflict_id, body
    )


def _pairs(reply: Any) -> Iterator[tuple[bytes, bytes]]:
    """A hash as RESP3 (a dict) or RESP2 (a flat list) returns it."""
    yield from reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)


def _steps(batch: Batch) -> Iterator[tuple[Sequence[JournalRow], Mapping[tuple[int, Dimension, str], int]]]:
    """A batch in parts that Redis takes at once; what is counted of rows that are not kept comes with the last."""
    parts: list[list[JournalRow]] = [[]]
    size = 0
    for row in batch.rows:
        if len(parts[-1]) == CHUNK_ROWS or (size + len(row.body) > CHUNK_BYTES and parts[-1]):
            parts.append([])
            size = 0
        parts[-1].append(row)
        size += len(row.body)
    rest = dict(batch.tally)
    for number, part in enumerate(parts, 1):
        counted = tally(part)
        for counter, count in counted.items():
            rest[counter] -= count
        if number == len(parts):
            counted = {key: counted.get(key, 0) + rest[key] for key in rest if counted.get(key, 0) + rest[key]}
        yield part, counted
