"""A producer that loses nothing and reorders nothing, on whatever broker there is."""

from __future__ import annotations

import asyncio
import contextlib

from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownError, UnsupportedVersionError

BATCH_BYTES = 256 * 1024
REQUEST_BYTES = 1024 * 1024


REQUEST_SECONDS = 40.0
ABANDON_SECONDS = 2.0


async def started_producer(
    kafka: str, request_seconds: float = REQUEST_SECONDS, request_bytes: int = REQUEST_BYTES
) -> AIOKafkaProducer:
    """A started producer: idempotent, and every send acknowledged by all in-sync replicas; the caller stops it.

    request_seconds: after which a send that is not acknowledged fails. request_bytes: of the largest record.

    A broker without idempotent producers (the embedded one) gets a plain one: a send that is repeated may then
    arrive twice, which counts once, and a partition has one send under way at a time, so nothing is reordered.
    Raises KafkaConnectionError when no broker answers.
    """
    for idempotent in (True, False):
        producer = AIOKafkaProducer(
            bootstrap_servers=kafka,
            acks="all",
            enable_idempotence=idempotent,
            max_batch_size=BATCH_BYTES,
            max_request_size=request_bytes,
            request_timeout_ms=int(request_seconds * 1000),
        )
        try:
            await producer.start()
            return producer
        except (UnknownError, UnsupportedVersionError):
            await producer.stop()
            if not idempotent:
                raise
        except BaseException:
            await producer.stop()
            raise
    raise AssertionError("unreachable: the second attempt returns or raises")


async def abandon(producer: AIOKafkaProducer) -> None:
    """End a producer at once, as its `stop` does, which would first wait for all to be sent: what it has not sent yet
    is never sent, and nobody may wait for it. Raises nothing.
    """
    producer._closed = True
    with contextlib.suppress(Exception):
        async with asyncio.timeout(ABANDON_SECONDS):
            # The task may not have begun, so it is not awaited itself: it would raise that it was cancelled.
            producer._sender.sender_task.cancel()
            await asyncio.wait([producer._sender.sender_task])
            await producer.client.close()
