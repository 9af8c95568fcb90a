"""The table of entity states: recovery keeps the newest, and what is revoked is gone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import faust
from faust.types import TP

from agents.entity_table import EntityTable
from agents.outbox import OffsetRange
from tests.agents.counting_kernel import empty_state, position_of

CHANGELOG = "t.changelog"


def new_table() -> tuple[EntityTable, list[int]]:
    """A table of an app that is not started, and the partitions it was told are replaced."""
    app = faust.App("table-test", store="memory://")
    replaced: list[int] = []
    table = EntityTable(
        app,
        name="entities",
        key_type=bytes,
        value_type=bytes,
        changelog_topic=app.topic(CHANGELOG),
        position_of=position_of,
        empty_state=empty_state,
        on_replaced=replaced.append,
    )
    return table, replaced


def fetched(partition: int, *records: tuple[int, bytes, bytes | None]) -> Any:
    """One event of recovery: a whole fetch of (offset, key, value)."""
    value = [SimpleNamespace(offset=offset, key=key, value=value) for offset, key, value in records]
    return SimpleNamespace(message=SimpleNamespace(partition=partition), value=value)


async def test_an_older_record_never_overwrites_a_newer_one() -> None:
    """A state that a replaced worker wrote late is older by position, wherever it lies in the log."""
    table, replaced = new_table()
    table.assigned = {0}
    table.apply_changelog_batch([fetched(0, (0, b"k", b"7 new"), (1, b"k", b"5 old"), (2, b"l", b"1 x"))])
    table.apply_changelog_batch([fetched(0, (3, b"k", b"7 same"), (4, b"l", None), (5, b"l", b"0 again"))])
    assert table.partition(0) == {b"k": b"7 same", b"l": b"0 again"}
    assert replaced == [0, 0]


async def test_a_tombstone_removes() -> None:
    """A null in the changelog removes the key, also one that was never there."""
    table, _ = new_table()
    table.assigned = {0}
    table.apply_changelog_batch([fetched(0, (0, b"k", b"7 new"), (1, b"k", None), (2, b"m", None))])
    assert table.partition(0) == {}


async def test_a_partition_of_somebody_else_is_not_applied() -> None:
    """What arrives late for a partition that is not ours is not stored."""
    table, _ = new_table()
    table.assigned = {0}
    table.apply_changelog_batch([fetched(1, (0, b"k", b"7 new"))])
    assert len(table.data) == 0


async def test_what_others_wrote_between_is_read_when_the_partition_comes_back() -> None:
    """Our own records count as contained only where nobody else's lie between them and what is contained."""
    table, _ = new_table()
    table.written(0, OffsetRange(0, 3, whole=True))
    table.written(0, OffsetRange(4, 6, whole=True))
    table.written(0, OffsetRange(3, 9, whole=False))
    assert table.persisted_offset(TP(CHANGELOG, 0)) == 2
    table.written(0, OffsetRange(3, 4, whole=True))
    assert table.persisted_offset(TP(CHANGELOG, 0)) == 3


async def test_revoked_partitions_are_dropped_and_kept_ones_go_on_where_they_are() -> None:
    """After a rebalance the lost partition's states are gone, and recovery of the kept one starts at its end."""
    table, _ = new_table()
    for partition in (0, 1):
        table.store(partition, b"k%d" % partition, b"1 x")
        table.written(partition, OffsetRange(0, 10, whole=True))
    await table.on_rebalance({TP(CHANGELOG, 1), TP("t.changes", 1)}, {TP(CHANGELOG, 0)}, set())
    assert list(table.data) == [b"k1"]
    assert table.persisted_offset(TP(CHANGELOG, 0)) is None
    assert table.persisted_offset(TP(CHANGELOG, 1)) == 9
    assert table.assigned == {1}
