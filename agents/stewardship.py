"""What people decide, put together: commands on this worker's entities, and what ends by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiokafka.partitioner import DefaultPartitioner
from faust.types import TP

from agents.decisions import Decisions, Reading
from agents.expiry import Expiry
from streams.decisions import pins_of
from streams.entity_codec import decode_entity
from streams.policy import Policy


def add_stewardship(app: Any, policy: Callable[[], Policy]) -> Decisions:
    """Decisions of an app that has its work and its control; the expiry service is added to it.

    policy: gives the one in force.
    """
    work, names, kafka = app.work, app.work.names, app.settings.kafka

    def reading(partition: int) -> Reading | None:
        tp = TP(names.changes, partition)
        known = app.consumer._thread.positions().get(tp)
        if known is None:
            return None
        position, end = known
        if position >= end and not app.consumer.ledgers.get(tp):
            return Reading(end, end)  # a log may end with marks, which nobody resolves
        applied = work.table.applied(partition)
        return Reading(max(work.resolved.get(partition, 0), 0 if applied is None else applied + 1), end)

    def partition_of(key: bytes) -> int | None:
        # Every topic of entities has as many; this is the one that a worker writes to first.
        numbers = sorted(app.producer._ensure_producer().client.cluster.partitions_for_topic(names.changelog) or ())
        return int(DefaultPartitioner()(key, numbers, numbers)) if numbers else None

    def owns(key: bytes) -> bool:
        return partition_of(key) in work.table.data.recovered

    def pins(key: bytes, field: str) -> set[str]:
        partition = partition_of(key)
        stored = None if partition is None else work.table.partition(partition).get(key)
        return set() if stored is None else pins_of(decode_entity(stored), field)

    decisions = Decisions(work.table.partition, reading, policy, kafka, names.control)
    app.services.append(Expiry(app.control, kafka, names, owns, pins))

    @app.on_partitions_revoked.connect
    async def forget(sender: Any, revoked: set[TP], **_: Any) -> None:
        for tp in revoked:
            decisions.forget(tp.partition)
            work.resolved.pop(tp.partition, None)

    return decisions
