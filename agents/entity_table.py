"""The table of entity states: a Faust table that keeps one dict per partition and writes nothing itself.

The outbox sends the changelog records, in batches and in the right order with everything else of a
change; here they are only stored, recovered and dropped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import faust
from faust.stores.base import Store
from faust.types import TP, EventT

from agents.dead_letters import Row
from agents.ending import EX_SOFTWARE, end_process
from agents.outbox import OffsetRange
from agents.ranges import APPLIED_KEY

PositionOf = Callable[[bytes], int]
EmptyState = Callable[[int, int], bytes]


class EntityStore(Store[bytes, bytes]):
    """Entity key -> state, one dict for each partition, in memory.

    One dict per partition makes dropping a partition one step. (Faust's memory store learns the partition
    of a key only in recovery, so keys written since would stay behind and come back later as old states.)
    """

    table: EntityTable

    def __post_init__(self) -> None:
        self.partitions: dict[int, dict[bytes, bytes]] = {}
        #: Per partition, the offset of the last changelog record that these states contain.
        self.contained: dict[int, int] = {}
        #: Per partition, the offset of the last change that these states reflect.
        self.applied: dict[int, int] = {}
        #: The partitions whose states are complete since the last rebalance.
        self.recovered: set[int] = set()

    def partition(self, partition: int) -> dict[bytes, bytes]:
        """The states of one partition; the very dict, so that a lookup costs no more than that."""
        return self.partitions.setdefault(partition, {})

    def drop(self, partition: int) -> None:
        """Forget a partition that is no longer ours."""
        self.partitions.pop(partition, None)
        self.contained.pop(partition, None)
        self.applied.pop(partition, None)

    # -- what Faust's recovery asks ------------------------------------------------------------------

    def persisted_offset(self, tp: TP) -> int | None:
        """Where recovery of a partition may start: after what we wrote or read ourselves, else at the start.

        A rebalance takes all partitions away and gives most of them back; those need only what others
        wrote in between.
        """
        return self.contained.get(tp.partition)

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        self.contained[tp.partition] = max(offset, self.contained.get(tp.partition, -1))

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        ours = {tp.partition for tp in assigned if tp.topic == self.table.changelog_topic_name}
        for partition in [p for p in self.partitions if p not in ours]:
            self.drop(partition)
        self.table.assigned = ours
        self.recovered = set()

    def apply_changelog_batch(
        self, batch: Iterable[EventT], to_key: Callable[[Any], Any], to_value: Callable[[Any], Any]
    ) -> None:
        # Faust only logs an exception from here, keeps the batch and tries it for ever: recovery hangs.
        try:
            for event in batch:
                if event.message.partition in self.table.assigned:
                    self._apply(event.message.partition, event.value)
        except Exception as error:
            end_process(EX_SOFTWARE, f"{self.table.changelog_topic_name} cannot be read: {error!r}")

    def _apply(self, partition: int, records: list[Any]) -> None:
        states = self.partition(partition)
        position_of = self.table.position_of
        applied = self.applied.get(partition, -1)
        for record in records:
            key, value = record.key, record.value
            if value is None:
                states.pop(key, None)
                continue
            position = position_of(value)
            applied = max(applied, position)
            if key == APPLIED_KEY:
                continue
            known = states.get(key)
            # A worker that was stopped beyond its session and then went on may have written an older
            # state after the new owner's: the one that reflects more of `changes` stays.
            if known is None or position >= position_of(known):
                states[key] = value
        self.applied[partition] = applied
        if records:
            self.contained[partition] = records[-1].offset
            self.table.on_replaced(partition)

    async def backup_partition(self, tp: TP | int, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("states in memory have no file to copy; the changelog topic is the backup")

    def restore_backup(self, tp: TP | int, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("states in memory have no file to restore; recovery reads the changelog")

    def reset_state(self) -> None:
        self.partitions.clear()
        self.contained.clear()
        self.applied.clear()

    # -- the mapping that Faust and readers see -------------------------------------------------------

    def __getitem__(self, key: bytes) -> bytes:
        for states in self.partitions.values():
            if key in states:
                return states[key]
        raise KeyError(key)

    def __setitem__(self, key: bytes, value: bytes) -> None:
        raise TypeError("states of entities are stored with EntityTable.store(partition, key, value)")

    def __delitem__(self, key: bytes) -> None:
        raise TypeError("the state of an entity is never deleted: a deleted entity keeps its tombstones")

    def __contains__(self, key: object) -> bool:
        return any(key in states for states in self.partitions.values())

    def __iter__(self) -> Iterator[bytes]:
        for states in list(self.partitions.values()):
            yield from states

    def __len__(self) -> int:
        return sum(map(len, self.partitions.values()))


class EntityTable(faust.Table):
    """The Faust table over `EntityStore`; its changelog is read in whole fetches, like the lane's topics.

    position_of: the position in `changes` that a state reflects. empty_state: a state of nothing but a position, for a
    partition and an offset. on_replaced: called with a partition
    whose states recovery changed, so that whoever keeps decoded copies can forget them. take_over: awaited with the
    partitions of each assignment before their states are recovered.
    """

    def __init__(
        self,
        *args: Any,
        position_of: PositionOf,
        empty_state: EmptyState,
        on_replaced: Callable[[int], None] = lambda partition: None,
        take_over: Callable[[set[int]], Awaitable[None]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.position_of = position_of
        self.empty_state = empty_state
        self.on_replaced = on_replaced
        self.take_over = take_over
        self.assigned: set[int] = set()

    def _new_store(self) -> EntityStore:
        return EntityStore("memory://", self.app, self, table_name=self.name, loop=self.loop)

    def partition(self, partition: int) -> dict[bytes, bytes]:
        """The states of one partition, for reading."""
        states: dict[bytes, bytes] = self.data.partition(partition)
        return states

    def store(self, partition: int, key: bytes, state: bytes) -> None:
        """Store a state in memory only. Its changelog record is the outbox's to send."""
        self.data.partition(partition)[key] = state

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        ours = {tp.partition for tp in assigned if tp.topic == self.changelog_topic_name}
        if ours and self.take_over is not None:
            await self.take_over(ours)
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        self.data.recovered = {tp.partition for tp in active_tps}
        await super().on_recovery_completed(active_tps, standby_tps)

    def applied(self, partition: int) -> int | None:
        """Offset of the last change that the states reflect, -1 for none; None while they are being recovered."""
        return self.data.applied.get(partition, -1) if partition in self.data.recovered else None

    def advance(self, partition: int, said: int, last: int) -> list[Row]:
        """Take note that a batch up to offset `last` is in the states, of which the newest says `said`.

        Returns what the changelog needs besides the states, to say so too.
        """
        self.data.applied[partition] = last
        return [] if said >= last else [Row(APPLIED_KEY, self.empty_state(partition, last))]

    def written(self, partition: int, records: OffsetRange) -> None:
        """Take note that our own changelog records are acknowledged by Kafka.

        Only where they follow what the states contain already: between them may lie what another worker sent
        late, and a partition that comes back to us must read that.
        """
        if records.whole and records.first <= self.data.contained.get(partition, -1) + 1:
            self.data.set_persisted_offset(TP(self.changelog_topic_name, partition), records.next - 1)
