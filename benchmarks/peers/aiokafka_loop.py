"""The reference job as a loop by hand on aiokafka: what a careful programmer gets without a framework.

Whole polls in; one state and one golden record for each entity and poll out, in record batches made here; one MSET
for each poll. Offsets are committed when all that came before is acknowledged. Nothing happens at SIGTERM: what is
not committed is read again, and its duplicates add nothing.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Collection, Iterable
from typing import Any

import orjson
import redis.asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition

from benchmarks.peers import given
from benchmarks.peers.fold import VIEW_PREFIX, State, fold, golden, new_state

Touched = dict[bytes, tuple[State, dict[str, Any]]]
Rows = list[tuple[bytes, bytes]]


class States(ConsumerRebalanceListener):
    """The states of our partitions, in memory, restored from the changelog when a partition comes."""

    def __init__(self) -> None:
        self.of: dict[int, dict[bytes, State]] = {}

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """They may change elsewhere meanwhile."""
        self.of.clear()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Read their part of the changelog to its end."""
        self.of = {tp.partition: {} for tp in assigned}
        async with AIOKafkaConsumer(bootstrap_servers=given.KAFKA, auto_offset_reset="earliest") as reader:
            logs = [TopicPartition(given.CHANGELOG, number) for number in self.of]
            reader.assign(logs)
            ends = await reader.end_offsets(logs)
            while any([await reader.position(log) < end for log, end in ends.items()]):
                for log, records in (await reader.getmany(timeout_ms=200)).items():
                    self.of[log.partition].update((record.key, orjson.loads(record.value)) for record in records)


def resolve(states: dict[bytes, State], records: Iterable[ConsumerRecord[bytes, bytes]]) -> Touched:
    """Fold changes into the states; the states that changed, each with the last change that it accepted."""
    touched: Touched = {}
    for record in records:
        key, change = record.key, orjson.loads(record.value)
        state = states.get(key)
        if state is None:
            state = states[key] = new_state()
        if fold(state, change):
            touched[key] = state, change
    return touched


async def send(producer: AIOKafkaProducer, topic: str, partition: int, rows: Rows) -> list[asyncio.Future[Any]]:
    """Send rows to a partition in batches as large as may be; returns what their acknowledgements end."""
    sent, batch = [], producer.create_batch()
    for key, value in rows:
        if batch.append(key=key, value=value, timestamp=None) is None:
            sent.append(await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
            batch.append(key=key, value=value, timestamp=None)
    if batch.record_count():
        sent.append(await producer.send_batch(batch, topic, partition=partition))
    return sent


async def run(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, view: redis.asyncio.Redis | None) -> None:
    """Poll after poll, for ever."""
    states = States()
    consumer.subscribe([given.CHANGES], listener=states)
    sent: list[asyncio.Future[Any]] = []
    offsets: dict[TopicPartition, int] = {}
    committed = time.monotonic()
    while True:
        for tp, records in (await consumer.getmany(timeout_ms=100)).items():
            touched = resolve(states.of[tp.partition], records)
            goldens = [(key, orjson.dumps(golden(*both))) for key, both in touched.items()]
            saved = [(key, orjson.dumps(state)) for key, (state, _) in touched.items()]
            sent += await send(producer, given.CHANGELOG, tp.partition, saved)
            sent += await send(producer, given.RECORDS, tp.partition, goldens)
            if view is not None and goldens:
                await view.mset({VIEW_PREFIX + key: value for key, value in goldens})
            offsets[tp] = records[-1].offset + 1
        if offsets and time.monotonic() - committed >= given.COMMIT_SECONDS:
            await asyncio.gather(*sent)
            await consumer.commit({tp: offset for tp, offset in offsets.items() if tp.partition in states.of})
            sent.clear()
            offsets.clear()
            committed = time.monotonic()


async def main() -> None:
    """Connect and run."""
    gc.disable()  # nothing that stays has a cycle, and looking for one takes half of the time
    consumer = AIOKafkaConsumer(
        bootstrap_servers=given.KAFKA,
        group_id=given.APP_ID,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=given.FETCH_BYTES,
        max_poll_records=given.POLL_RECORDS,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=given.KAFKA,
        acks="all",
        enable_idempotence=True,
        linger_ms=given.LINGER_MS,
        max_batch_size=given.BATCH_BYTES,
    )
    view = redis.asyncio.Redis.from_url(given.REDIS) if given.REDIS else None
    async with consumer, producer:
        await run(consumer, producer, view)


if __name__ == "__main__":
    asyncio.run(main())
