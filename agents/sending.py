"""Sends many records to one partition at little cost: as batches, each acknowledged as one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from agents.dead_letters import Row


class OffsetRange(NamedTuple):
    """Offsets `first` to `next` - 1 of one partition. whole: nobody else's record lies between them."""

    first: int
    next: int
    whole: bool


async def send_rows(producer: AIOKafkaProducer, topic: str, partition: int, rows: Iterable[Row]) -> OffsetRange:
    """Send rows to one partition in their order, in as few batches as hold them, and await Kafka's acknowledgement.

    rows: at least one. Raises KafkaError; some of them may have been sent.
    """
    sent: list[tuple[int, asyncio.Future[Any]]] = []

    async def submit(batch: Any) -> None:
        batch.close()
        sent.append((batch.record_count(), await producer.send_batch(batch, topic, partition=partition)))

    batch = producer.create_batch()
    for key, value, headers in rows:
        if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
            await submit(batch)
            batch = producer.create_batch()
            # An empty batch takes any record, however large.
            batch.append(key=key, value=value, timestamp=None, headers=headers)
    await submit(batch)
    return _joined([(count, (await future).offset) for count, future in sent])


def _joined(parts: list[tuple[int, int]]) -> OffsetRange:
    """One range of what was sent in parts: (number of records, offset of the first)."""
    first, following = parts[0][1], parts[0][1]
    whole = first >= 0  # a broker that recognised a repeated send may not tell where the first one went
    for count, offset in parts:
        whole = whole and offset == following
        following = offset + count
    return OffsetRange(first, following, whole)
