"""The table of entity states: a Faust table with one store per partition, which sends nothing itself.

The outbox sends the changelog records, in batches and in the right order with everything else of a
change; here they are only stored, recovered and dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from time import time
from typing import Any

import faust
from faust.stores.base import Store
from faust.types import TP, EventT

from agents.dead_letters import Row
from agents.ending import EX_SOFTWARE, end_process
from agents.outbox import OffsetRange
from agents.ranges import APPLIED_KEY
from agents.states import PartitionStates, PositionOf, fold, why_outdated

log = logging.getLogger(__name__)

EmptyState = Callable[[int, int], bytes]
OpenStates = Callable[[int], PartitionStates]


class EntityStore(Store[bytes, bytes]):
    """Entity key -> state, a store of its own for each partition (agents/states.py).

    One store per partition makes dropping a partition one step. (Faust's memory store learns the partition
    of a key only in recovery, so keys written since would stay behind and come back later as old states.)
    """

    table: EntityTable

    def __post_init__(self) -> None:
        self.partitions: dict[int, PartitionStates] = {}
        #: The partitions whose states are complete since the last rebalance.
        self.recovered: set[int] = set()
        #: How many changelog records were ever read.
        self.records_read = 0

    def partition(self, partition: int) -> PartitionStates:
        """The states of one partition; the very dict, so that a lookup costs no more than that."""
        states = self.partitions.get(partition)
        if states is None:
            states = self.partitions[partition] = self.table.open_states(partition)
        return states

    async def on_stop(self) -> None:
        for partition in list(self.partitions):
            self.partitions.pop(partition).close()

    # -- what Faust's recovery asks ------------------------------------------------------------------

    def persisted_offset(self, tp: TP) -> int | None:
        """Where recovery of a partition may start: after what we wrote or read ourselves, else at the start.

        A rebalance takes all partitions away and gives most of them back; those need only what others
        wrote in between.
        """
        contained = self.partition(tp.partition).contained
        return None if contained < 0 else contained

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        raise TypeError("how far states go is stored with them")

    def read_after(self, partition: int, log_start: int, log_end: int) -> int:
        """The offset after which a changelog with these ends is to be read.

        Forgets what is stored where reading on from there would not bring it up to date.
        """
        states = self.partition(partition)
        why = why_outdated(states, log_start, log_end, self.table.tombstone_seconds, time())
        if why is not None:
            name = f"{self.table.changelog_topic_name}[{partition}]"
            log.warning("%s: states up to offset %s are read anew: %s", name, states.contained, why)
            states.clear()
            self.table.on_replaced(partition)
        return max(states.contained, log_start - 1)

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        ours = {tp.partition for tp in assigned if tp.topic == self.table.changelog_topic_name}
        for partition in self.partitions.keys() - ours:
            self.partitions.pop(partition).close()
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
        changes, applied, deciders = fold(records, states, self.table.position_of)
        states.replace(changes)
        states.applied = max(states.applied, applied)
        states.deciders = deciders or states.deciders
        states.contained, states.contained_at = records[-1].offset, time()
        self.records_read += len(records)
        self.table.on_replaced(partition)

    async def backup_partition(self, tp: TP | int, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("the changelog topic is the backup")

    def restore_backup(self, tp: TP | int, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("recovery reads the changelog")

    def reset_state(self) -> None:
        for states in self.partitions.values():
            states.clear()

    # -- the mapping that Faust and readers see -------------------------------------------------------

    def __getitem__(self, key: bytes) -> bytes:
        for states in self.partitions.values():
            state = states.get(key)
            if state is not None:
                return state
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
    partition and an offset. on_replaced: called with a partition whose states recovery changed, so that whoever keeps
    decoded copies can forget them. open_states: gives the store of a partition. take_over: awaited with the partitions
    of each assignment before their states are recovered.
    """

    def __init__(
        self,
        *args: Any,
        position_of: PositionOf,
        empty_state: EmptyState,
        on_replaced: Callable[[int], None] = lambda partition: None,
        open_states: OpenStates,
        take_over: Callable[[set[int]], Awaitable[None]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.position_of = position_of
        self.empty_state = empty_state
        self.on_replaced = on_replaced
        self.take_over = take_over
        self.open_states = open_states
        #: How long Kafka keeps a null in the changelog at least.
        self.tombstone_seconds = 0.0
        self.assigned: set[int] = set()

    def _new_store(self) -> EntityStore:
        return EntityStore("memory://", self.app, self, table_name=self.name, loop=self.loop)

    def partition(self, partition: int) -> PartitionStates:
        """The states of one partition, for reading."""
        states: PartitionStates = self.data.partition(partition)
        return states

    def store(self, partition: int, states: Iterable[tuple[bytes, bytes]]) -> None:
        """Store states. Their changelog records are the outbox's to send."""
        self.data.partition(partition).store(states)

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
        return self.partition(partition).applied if partition in self.data.recovered else None

    def recovered(self, partition: int) -> bool:
        """Whether its states are complete since the last rebalance."""
        return partition in self.data.recovered

    def decided_by(self, partition: int, deciders: bytes) -> None:
        """Take note that the changelog says this of the policies now."""
        states = self.data.partitions.get(partition)
        if states is not None:
            states.deciders = deciders

    def progress(self, partition: int, said: int, last: int) -> list[Row]:
        """What the changelog needs besides the states of a batch up to offset `last`, of which the newest says `said`.

        With it, the changelog says how far the table reflects `changes`.
        """
        return [] if said >= last else [Row(APPLIED_KEY, self.empty_state(partition, last))]

    def written(self, partition: int, states: Iterable[tuple[bytes, bytes]], last: int, records: OffsetRange) -> None:
        """Take note that the changelog records of a batch up to offset `last` are acknowledged by Kafka."""
        held = self.data.partitions.get(partition)
        if held is None:  # given away meanwhile, and closed
            return
        held.keep(states)
        held.applied = max(held.applied, last)
        self.followed_by(partition, records)

    def followed_by(self, partition: int, records: OffsetRange) -> None:
        """Take note that these records of the changelog are our own.

        They count as contained only where they follow what the states contain already: between them may lie what
        another worker sent late, and a partition that comes back to us must read that.
        """
        held = self.data.partition(partition)
        if records.whole and records.first <= held.contained + 1:
            held.contained, held.contained_at = max(held.contained, records.next - 1), time()
