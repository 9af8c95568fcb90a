"""Where the logs of partitions end, on every broker."""

from __future__ import annotations

from collections.abc import Collection
from time import monotonic

from aiokafka import AIOKafkaConsumer, TopicPartition

FETCH_WAIT_MS = 50
FETCH_BYTES = 1024  # a broker sends at least one batch, whatever its size; more is not wanted


async def log_ends(
    kafka: str, partitions: Collection[TopicPartition], deadline_seconds: float = 10.0
) -> dict[TopicPartition, int]:
    """The offset after the last record of each partition.

    Kafka tells it when it is asked (ListOffsets). The embedded broker then tells the offset after the
    *first* record of the last batch, so the answer to a fetch at that place is heard as well: the high
    watermark in it is right on both. Raises KafkaError when no broker answers.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="latest",
        fetch_max_wait_ms=FETCH_WAIT_MS,
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    await consumer.start()
    try:
        listed = await consumer.end_offsets(list(partitions))
        consumer.assign(list(partitions))
        for tp, end in listed.items():
            consumer.seek(tp, max(end - 1, 0))
        until = monotonic() + deadline_seconds
        while monotonic() < until and any(consumer.highwater(tp) is None for tp in listed):
            await consumer.getmany(timeout_ms=FETCH_WAIT_MS, max_records=1)
        return {tp: max(end, consumer.highwater(tp) or 0) for tp, end in listed.items()}
    finally:
        await consumer.stop()
