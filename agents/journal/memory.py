"""The change log in the memory of a worker: its newest records, within a bound, until it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agents.journal.store import Batch, Page, Place, PositionMoved, Query, Spot, page_of
from streams.journal import HOUR_MS, Dimension, Hour, JournalRow, newest_of_each_conflict

MIB: Final = 1024 * 1024
DEFAULT_BYTES: Final = 64 * MIB
#: A row without its texts.
ROW_BYTES: Final = 500
BACKLOG_RECORDS: Final = 10_000


class MemoryStore:
    """Rows in dicts. Beyond max_bytes, about, the oldest rows go, those of the topic with most rows first.

    backlog: as in `Store`.
    """

    step_rows = 5_000

    def __init__(self, max_bytes: int = DEFAULT_BYTES, backlog: int | None = BACKLOG_RECORDS) -> None:
        self.backlog = backlog
        self._max_bytes = max_bytes
        self._bytes = 0
        self._positions: dict[Place, int] = {}
        self._rows: dict[str, dict[tuple[int, int], JournalRow]] = {}
        self._conflicts: dict[tuple[str, str], tuple[int, int]] = {}
        self._counts: dict[tuple[str, int, Dimension, str], int] = {}

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do: whoever takes this store up again finds what was in it."""

    async def positions(self) -> Mapping[Place, int]:
        """How far it is."""
        return dict(self._positions)

    async def write(self, batch: Batch) -> None:
        """Take all of a batch."""
        if self._positions.get(batch.place) != batch.after:
            raise PositionMoved(f"{batch.place} is not at {batch.after}")
        topic = batch.place[0]
        for row in newest_of_each_conflict(batch.rows):
            if row.conflict_id is not None:
                earlier = self._conflicts.get((topic, row.conflict_id))
                if earlier is not None:
                    self._remove(topic, earlier)
                self._conflicts[topic, row.conflict_id] = (row.partition, row.offset)
            self._rows.setdefault(topic, {})[row.partition, row.offset] = row
            self._bytes += size(row)
        for (hour, dimension, name), count in batch.tally.items():
            counter = (topic, hour, dimension, name)
            self._counts[counter] = self._counts.get(counter, 0) + count
        self._positions[batch.place] = batch.next
        while self._bytes > self._max_bytes and any(self._rows.values()):
            largest = max(self._rows, key=lambda name: len(self._rows[name]))
            self._remove(largest, next(iter(self._rows[largest])))

    async def page(self, query: Query) -> Page:
        """Rows that match, the newest first."""
        found = [row for row in self._rows.get(query.topic, {}).values() if query.matches(row)]
        found.sort(key=Spot.of, reverse=True)
        return page_of(found[: query.limit + 1], query.limit)

    async def hours(self, topic: str, dimension: Dimension, since_ms: int | None, until_ms: int | None) -> list[Hour]:
        """Counters of a dimension."""
        return [
            Hour(hour, name, count)
            for (of, hour, by, name), count in self._counts.items()
            if of == topic
            and by == dimension
            and (since_ms is None or hour * HOUR_MS >= since_ms)
            and (until_ms is None or hour * HOUR_MS < until_ms)
        ]

    async def rows(self, topic: str) -> int:
        """How many rows of a topic there are."""
        return len(self._rows.get(topic, {}))

    async def expire(self, topic: str, before_ms: int | None, most: int | None, limit: int) -> int:
        """Delete the oldest."""
        held = sorted(self._rows.get(topic, {}).values(), key=Spot.of)
        surplus = 0 if most is None else len(held) - most
        gone = [row for at, row in enumerate(held[:limit]) if at < surplus or row.at_ms < (before_ms or 0)]
        for row in gone:
            self._remove(topic, (row.partition, row.offset))
        return len(gone)

    async def forget_hours(self, topic: str, before_ms: int) -> None:
        """Delete counters."""
        for counter in [one for one in self._counts if one[0] == topic and (one[1] + 1) * HOUR_MS <= before_ms]:
            del self._counts[counter]

    def _remove(self, topic: str, at: tuple[int, int]) -> None:
        row = self._rows[topic].pop(at)
        self._bytes -= size(row)
        if row.conflict_id is not None and self._conflicts.get((topic, row.conflict_id)) == at:
            del self._conflicts[topic, row.conflict_id]


def size(row: JournalRow) -> int:
    """About how many bytes of memory a row takes."""
    return ROW_BYTES + len(row.body) + len(row.entity) + len(row.source) + sum(map(len, row.fields))
