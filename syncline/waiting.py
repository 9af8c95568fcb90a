"""Waits until what was published is resolved and visible (SPEC section 7, `wait`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic

from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.exceptions import RedisError

from agents.log_ends import log_ends
from agents.names import TopicNames
from agents.settings import Settings
from agents.view import RedisView
from syncline.topic_reader import connected, partitions_of

POLL_SECONDS = 0.05
#: So few offsets may be marks, one of each transactional producer that ended at the same time. (Or changes.)
FEW_OFFSETS = 100
FETCH_MS = 600  # a broker holds back an empty answer for 500


class NotInTime(Exception):
    """The time-out passed first; the message says what is left, and where to look."""


async def wait_until_visible(settings: Settings, timeout_seconds: float) -> None:
    """Return once the workers have committed all that `changes` holds now, and the view has the records of it.

    Without a Redis in the settings only the first. Raises NotInTime.
    """
    names = TopicNames.with_prefix(settings.topic_prefix)
    deadline = monotonic() + timeout_seconds
    async with connected(settings.kafka, settings.app_id) as consumer:
        changes = await _ends(settings.kafka, consumer, names.changes)

        async def committed() -> dict[TopicPartition, int]:
            return await _resolved(consumer, changes)

        hint = f"is a worker of group {settings.app_id} running?"
        await _until(changes, committed, deadline, f"{names.changes} not resolved in {timeout_seconds:g} s; {hint}")
        if settings.redis is None:
            return
        records = await _ends(settings.kafka, consumer, names.records)
    view = RedisView(settings.redis, names.records, names.changes)

    async def progress() -> dict[TopicPartition, int]:
        held = await view.progress()
        return {tp: held.get(tp.partition, 0) for tp in records}

    try:
        hint = "do the workers have this SYNCLINE_REDIS?"
        await _until(records, progress, deadline, f"{names.records} not in the view in {timeout_seconds:g} s; {hint}")
    finally:
        await view.close()


async def _ends(kafka: str, consumer: AIOKafkaConsumer, topic: str) -> dict[TopicPartition, int]:
    """The ends of the partitions that hold anything."""
    partitions = await partitions_of(kafka, topic)
    if not partitions:
        return {}
    starts = await consumer.beginning_offsets(partitions)
    return {tp: end for tp, end in (await log_ends(kafka, partitions)).items() if end > starts[tp]}


async def _resolved(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """The group's committed offsets; the end where only a transactional producer's marks are left before it."""
    resolved = {tp: await consumer.committed(tp) or 0 for tp in ends}
    near = [tp for tp, offset in resolved.items() if 0 < ends[tp] - offset <= FEW_OFFSETS]
    if near:
        # Nobody commits a mark, for nobody gets it to see. Reading goes over it.
        consumer.assign(near)
        for tp in near:
            consumer.seek(tp, resolved[tp])
        records = await consumer.getmany(timeout_ms=FETCH_MS)
        resolved |= {tp: ends[tp] for tp in near if tp not in records and await consumer.position(tp) >= ends[tp]}
    return resolved


async def _until(
    ends: Mapping[TopicPartition, int],
    reached: Callable[[], Awaitable[Mapping[TopicPartition, int]]],
    deadline: float,
    trouble: str,
) -> None:
    left = sum(ends.values())
    while left:
        try:
            async with asyncio.timeout(max(0.5, deadline - monotonic())):
                now = await reached()
        except (RedisError, OSError) as error:  # TimeoutError is one; whatever is away may come back in time
            unanswered = f" ({type(error).__name__}: no answer)"
        else:
            unanswered = ""
            left = sum(max(0, end - now[tp]) for tp, end in ends.items())
        if left and monotonic() > deadline:
            raise NotInTime(f"{left} offsets of {trouble}{unanswered}")
        if left:
            await asyncio.sleep(POLL_SECONDS)
