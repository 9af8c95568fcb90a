"""The agent on `changes`: gather a batch, let `streams` decide, and perform the effects in their order."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

from faust.types import TP

from agents.dead_letters import Row, dead_letter_row
from agents.deletions import deletion_headers
from agents.ending import EX_SOFTWARE, end_process
from agents.entity_table import EntityTable
from agents.handover import HandOver
from agents.metrics import Metrics
from agents.names import TopicNames
from agents.outbox import OffsetRange, Outbox, Parcel
from streams.effects import BatchEffects, InputRecord

log = logging.getLogger(__name__)

#: Kafka's number for "the broker stamped this record when it appended it".
LOG_APPEND_TIME = 1

Acknowledge = Callable[[], Awaitable[None]]


class StoredStates(Protocol):
    """Encoded states of one partition by entity key."""

    def get(self, key: bytes, /) -> bytes | None: ...


class Kernel(Protocol):
    """What decides (streams/batch.py): pure, and the same for the same records and states."""

    def resolve_batch(self, partition: int, records: Sequence[InputRecord], states: StoredStates) -> BatchEffects: ...

    def reemit(self, partition: int, key: bytes, stored: bytes) -> BatchEffects: ...

    def forget(self, partition: int) -> None: ...


class Deciding(Protocol):
    """Which kernel decides in a partition, where policies may change (agents/reresolve.py)."""

    async def entered(self, partition: int) -> None:
        """Wait until what the partition sends from here on may be decided by the policy that is now in force."""

    def kernel(self, partition: int) -> Kernel: ...

    def forget(self, partition: int) -> None:
        """It is no longer ours."""


@dataclass(slots=True)
class Work:
    """What the agents need, handed to them by the composition root.

    resolved: offset after the last change of a partition whose outcome is in the table, since the last rebalance.
    deciding: None where `kernel` decides as long as the worker runs.
    """

    kernel: Kernel
    table: EntityTable
    outbox: Outbox
    hand_over: HandOver
    metrics: Metrics
    names: TopicNames
    resolved: dict[int, int] = field(default_factory=dict)
    deciding: Deciding | None = None

    async def turn(self, partition: int) -> Kernel:
        """Wait for the partition's place in the outbox; who decides what is sent from it."""
        if self.deciding is None:
            await self.outbox.room(partition)
            return self.kernel
        await self.deciding.entered(partition)
        await self.outbox.room(partition)
        return self.deciding.kernel(partition)

    def forget(self, partition: int) -> None:
        """Nothing that was decoded of a partition is true any more."""
        self.kernel.forget(partition)
        if self.deciding is not None:
            self.deciding.forget(partition)

    def perform(
        self,
        source: TP,
        records: Sequence[Any],
        effects: BatchEffects,
        acknowledge: Acknowledge,
        progress: Sequence[Row] = (),
        decided: Sequence[Row] = (),
        hand_over: bool = True,
    ) -> None:
        """Store the states, start the sends and the hand-over, and return; acknowledge when Kafka has it all.

        The caller has taken a place with `turn(partition)` before it asked the kernel. source: where the
        records came from. progress: what the changelog gets after the states. decided: changes that people's commands
        become. hand_over: False where the view cannot tell from the rows alone that they are newer, and gets them from
        `records`.
        """
        partition = source.partition
        # Before the sends: the next batch may be resolved while they are under way. Should one fail,
        # the process ends, and with it what is stored here.
        self.table.store(partition, effects.states)
        names, metrics = self.names, self.metrics
        started = monotonic()
        written = self.hand_over.offer(partition, effects.view) if hand_over else None
        parcel = Parcel(
            first={
                names.dead_letters: [dead_letter_row(*source, records[dl.place], dl) for dl in effects.dead_letters],
                names.conflicts: [Row(key, body) for key, body in effects.conflicts],
            },
            second={
                names.changelog: [*(Row(key, state) for key, state in effects.states), *progress],
                names.records: _record_rows(partition, effects),
                names.changes: list(decided),
            },
        )

        async def delivered(ranges: dict[str, OffsetRange]) -> None:
            if names.changelog in ranges:
                last = records[-1].offset if records else -1
                self.table.written(partition, effects.states, last, ranges[names.changelog])
            await acknowledge()
            if names.records in ranges:
                self.hand_over.confirm(partition, written, ranges[names.records])
            metrics.effects.observe(monotonic() - started)
            self._count(effects)

        self.outbox.send(partition, parcel, delivered)

    def _count(self, effects: BatchEffects) -> None:
        metrics = self.metrics
        for name, times in effects.counts.items():
            kind, _, detail = name.partition(":")
            if kind == "conflict":
                metrics.conflicts.count(detail, times)
            elif kind == "resolver_failed":
                reason, _, resolver = detail.partition(":")
                metrics.changes.labels(kind).inc(times)
                log.warning("%s %s: %d changes left its field pending", resolver, reason, times)
            elif kind != "refused":  # counted by what was really sent, below
                metrics.changes.labels(name).inc(times)
        for letter in effects.dead_letters:
            metrics.dead_letters.labels(letter.reason).inc()
        metrics.records.inc(len(effects.records))
        metrics.batches.inc()


def _record_rows(partition: int, effects: BatchEffects) -> list[Row]:
    """The golden records; a null has its position in a header, since it has no other place for it."""
    offsets = {row.key: row.offset for row in effects.view if row.doc is None}
    return [
        Row(key, None, deletion_headers(partition, offsets[key])) if body is None else Row(key, body)
        for key, body in effects.records
    ]


def resolver_agent(work: Work) -> Callable[[Any], Awaitable[None]]:
    """The agent's body, to be registered on `changes` by name."""

    async def resolve(stream: Any) -> None:
        # noack: Faust would acknowledge a batch when the next one is asked for, and also when the body
        # raises. Here a batch is acknowledged by hand once Kafka has all that it causes, or never.
        batches = stream.noack()
        try:
            async for event in batches.events():
                await resolve_one(batches, event)
        except Exception as error:
            end_process(EX_SOFTWARE, f"resolving failed, nothing of the batch is acknowledged: {error!r}")

    warned: set[str] = set()

    async def resolve_one(batches: Any, event: Any) -> None:
        partition, records = event.message.partition, event.value
        if records[-1].timestamp_type != LOG_APPEND_TIME and not warned:
            # The records tell, not the topic's settings: the embedded broker reports what it was given.
            warned.add(work.names.changes)
            log.warning("This broker keeps the producers' own times: the clock guard trusts them")
        kernel = await work.turn(partition)
        effects = kernel.resolve_batch(partition, records, work.table.partition(partition))

        async def acknowledge() -> None:
            await batches.ack(event)

        progress = work.table.progress(partition, effects.applied, records[-1].offset)
        work.perform(event.message.tp, records, effects, acknowledge, progress)
        work.resolved[partition] = records[-1].offset + 1

    return resolve
