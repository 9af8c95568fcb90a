"""How far a target is, by what Kafka has: the function of records and acknowledgements that its worker computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from agents.control import tell
from agents.delivery.app import group_of
from agents.delivery.courier import delivery_of
from agents.delivery.notes import read_notes
from agents.log_ends import log_ends
from agents.names import TopicNames
from agents.reading import connected, read_between
from agents.settings import Settings
from schemas.target_document import TargetDocument
from schemas.target_orders import TargetOrders, subject
from streams.backlog import Backlog
from streams.sync_modes import Plan
from streams.target_mapping import TargetMapping
from syncline.places import newest_values
from syncline.topic_reader import partitions_of


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """end: of `records`. backlog: what is pending. status, backfill: what the worker last said, {} for nothing."""

    end: int
    backlog: Backlog
    status: Mapping[str, Any]
    backfill: Mapping[str, Any]


async def progress_of(
    settings: Settings, name: str, said: TargetDocument, orders: TargetOrders
) -> dict[int, PartitionProgress]:
    """The progress of a target by partition; {} where nothing was ever set up. Raises KafkaError."""
    names = TopicNames.with_prefix(settings.topic_prefix)
    numbers = [tp.partition for tp in await partitions_of(settings.kafka, names.records)]
    if not numbers or not await partitions_of(settings.kafka, names.deliveries):
        return {}
    group = group_of(settings.app_id, name)
    noted = await read_notes(settings.kafka, names, group, name, said.generation, numbers)
    plan, mapping = (
        Plan.of(said.delivery, lambda name, settings: lambda waiting, moment: ()),
        TargetMapping.of(name, said),
    )
    found = {}
    for number, known in noted.items():
        backlog = Backlog(plan, known.committed, known.acknowledged)
        backlog.clear(orders.cleared.get(number, -1))
        subjects = known.subjects
        found[number] = PartitionProgress(
            known.end, backlog, subjects.get("status") or {}, subjects.get("backfill") or {}
        )
    starts = {TopicPartition(names.records, number): known.committed for number, known in noted.items()}
    ends = {TopicPartition(names.records, number): known.end for number, known in noted.items()}
    async with connected(settings.kafka) as consumer, aclosing(read_between(consumer, starts, ends)) as batches:
        async for tp, records in batches:
            for record in records:
                try:
                    delivery = delivery_of(mapping, names.records, tp.partition, record)
                except (ValueError, LookupError, TypeError):
                    delivery = None  # the worker has said so in its log
                size = len(record.value or b"")
                found[tp.partition].backlog.read(record.offset, record.timestamp, size, delivery)
    return found


async def read_orders(settings: Settings, name: str) -> TargetOrders:
    """What topic `control` says of a target now. Raises KafkaError, and ValueError for what is no order."""
    names = TopicNames.with_prefix(settings.topic_prefix)
    key = subject(name).encode()
    value = (await newest_values(settings.kafka, names.control, key)).get(key)
    return TargetOrders.of(None if value is None else orjson.loads(value))


async def give_orders(
    settings: Settings, name: str, change: Callable[[TargetOrders], Mapping[str, Any]]
) -> TargetOrders:
    """Change the orders of a target; returns the new ones. change: what is different. Raises KafkaError.

    Where somebody else gave an order between our reading and our writing, ours is given again on top of theirs.
    """
    topic, key = TopicNames.with_prefix(settings.topic_prefix).control, subject(name)
    place = TopicPartition(topic, 0)
    async with connected(settings.kafka) as consumer:
        first = (await consumer.beginning_offsets([place]))[place]
        end = (await log_ends(settings.kafka, [place]))[place]
        last = await _last_between(consumer, place, key.encode(), first, end)
        while True:
            before = TargetOrders.of(None if last is None or last.value is None else orjson.loads(last.value))
            orders = TargetOrders.model_validate({**dict(before), **change(before)})
            told = await tell(settings.kafka, topic, key, orders.model_dump(mode="json", exclude_defaults=True) or None)
            last = await _last_between(consumer, place, key.encode(), end, told)
            if last is None:
                return orders
            end = told + 1


async def _last_between(
    consumer: AIOKafkaConsumer, place: TopicPartition, key: bytes, first: int, end: int
) -> ConsumerRecord | None:
    """The last record of a key between two offsets."""
    last = None
    async with aclosing(read_between(consumer, {place: first}, {place: end})) as batches:
        async for _, records in batches:
            last = next((record for record in reversed(records) if record.key == key), last)
    return last
