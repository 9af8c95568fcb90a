"""The table of entity states: recovery keeps the newest, and what is revoked is gone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faust
from faust.types import TP

from agents.entity_table import EntityTable
from agents.outbox import OffsetRange
from agents.states import Home
from tests.agents.counting_kernel import empty_state, position_of
from tests.agents.homes import CHANGELOG, rocksdb_home


def new_table(home: Home) -> tuple[EntityTable, list[int]]:
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
        open_states=home.open,
    )
    return table, replaced


def fetched(partition: int, *records: tuple[int, bytes, bytes | None]) -> Any:
    """One event of recovery: a whole fetch of (offset, key, value)."""
    value = [SimpleNamespace(offset=offset, key=key, value=value) for offset, key, value in records]
    return SimpleNamespace(message=SimpleNamespace(partition=partition), value=value)


def held(table: EntityTable, partition: int) -> dict[bytes, bytes | None]:
    """The states of a partition."""
    states = table.partition(partition)
    return {key: states.get(key) for key in states}


async def test_an_older_record_never_overwrites_a_newer_one(home: Home) -> None:
    """A state that a replaced worker wrote late is older by position, wherever it lies in the log."""
    table, replaced = new_table(home)
    table.assigned = {0}
    table.apply_changelog_batch([fetched(0, (0, b"k", b"7 new"), (1, b"k", b"5 old"), (2, b"l", b"1 x"))])
    table.apply_changelog_batch([fetched(0, (3, b"k", b"7 same"), (4, b"l", None), (5, b"l", b"0 again"))])
    assert held(table, 0) == {b"k": b"7 same", b"l": b"0 again"}
    assert replaced == [0, 0]


async def test_a_tombstone_removes(home: Home) -> None:
    """A null in the changelog removes the key, also one that was never there."""
    table, _ = new_table(home)
    table.assigned = {0}
    table.apply_changelog_batch([fetched(0, (0, b"k", b"7 new"), (1, b"k", None), (2, b"m", None))])
    assert held(table, 0) == {}


async def test_a_partition_of_somebody_else_is_not_applied(home: Home) -> None:
    """What arrives late for a partition that is not ours is not stored."""
    table, _ = new_table(home)
    table.assigned = {0}
    table.apply_changelog_batch([fetched(1, (0, b"k", b"7 new"))])
    assert len(table.data) == 0


async def test_what_others_wrote_between_is_read_when_the_partition_comes_back(home: Home) -> None:
    """Our own records count as contained only where nobody else's lie between them and what is contained."""
    table, _ = new_table(home)
    table.followed_by(0, OffsetRange(0, 3, whole=True))
    table.followed_by(0, OffsetRange(4, 6, whole=True))
    table.followed_by(0, OffsetRange(3, 9, whole=False))
    assert table.persisted_offset(TP(CHANGELOG, 0)) == 2
    table.followed_by(0, OffsetRange(3, 4, whole=True))
    assert table.persisted_offset(TP(CHANGELOG, 0)) == 3


async def test_revoked_partitions_are_dropped_and_kept_ones_go_on_where_they_are(home: Home) -> None:
    """After a rebalance the lost partition's states are gone, and recovery of the kept one starts at its end."""
    table, _ = new_table(home)
    for partition in (0, 1):
        states = [(b"k%d" % partition, b"1 x")]
        table.store(partition, states)
        table.written(partition, states, 1, OffsetRange(0, 10, whole=True))
    await table.on_rebalance({TP(CHANGELOG, 1), TP("t.changes", 1)}, {TP(CHANGELOG, 0)}, set())
    assert list(table.data) == [b"k1"]
    assert list(table.data.partitions) == [1]
    assert table.persisted_offset(TP(CHANGELOG, 1)) == 9
    assert table.assigned == {1}


async def test_a_partition_that_comes_back_needs_what_is_new(tmp_path: Path) -> None:
    """With RocksDB a partition that was away goes on where it was, and reads only what others wrote since."""
    table, _ = new_table(rocksdb_home(tmp_path))
    states = [(b"k", b"4 ours")]
    await table.on_rebalance({TP(CHANGELOG, 0)}, set(), set())
    table.store(0, states)
    table.written(0, states, 4, OffsetRange(0, 10, whole=True))
    await table.on_rebalance(set(), {TP(CHANGELOG, 0)}, set())
    assert not table.data.partitions
    await table.on_rebalance({TP(CHANGELOG, 0)}, set(), set())
    assert table.persisted_offset(TP(CHANGELOG, 0)) == 9
    table.tombstone_seconds = 60.0
    assert table.data.read_after(0, log_start=0, log_end=12) == 9
    table.apply_changelog_batch([fetched(0, (10, b"l", b"5 theirs"), (11, b"m", b"6 theirs"))])
    assert held(table, 0) == {b"k": b"4 ours", b"l": b"5 theirs", b"m": b"6 theirs"}
    assert table.partition(0).applied == 6


async def test_what_is_acknowledged_late_stays_away(tmp_path: Path) -> None:
    """An acknowledgement for a partition that is given away opens no database that is another worker's by now."""
    table, _ = new_table(rocksdb_home(tmp_path))
    states = [(b"k", b"4 ours")]
    table.store(0, states)
    await table.on_rebalance(set(), {TP(CHANGELOG, 0)}, set())
    table.written(0, states, 4, OffsetRange(0, 1, whole=True))
    assert not table.data.partitions
    assert held(table, 0) == {}
    assert table.partition(0).contained == -1


async def test_a_changelog_that_cannot_be_read_on_is_read_anew(home: Home) -> None:
    """States of a log that was made anew are forgotten, decoded copies too."""
    table, replaced = new_table(home)
    table.assigned = {0}
    table.apply_changelog_batch([fetched(0, *((offset, b"k", b"1 x") for offset in range(5)))])
    assert table.data.read_after(0, log_start=0, log_end=5) == 4
    assert table.data.read_after(0, log_start=0, log_end=3) == -1
    assert held(table, 0) == {}
    assert replaced == [0, 0]
    assert table.data.read_after(0, log_start=2, log_end=3) == 1
