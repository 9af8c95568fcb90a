"""A producer that loses nothing and reorders nothing, on whatever broker there is."""

from __future__ import annotations

from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownError, UnsupportedVersionError

BATCH_BYTES = 256 * 1024
REQUEST_BYTES = 1024 * 1024


async def started_producer(kafka: str) -> AIOKafkaProducer:
    """A started producer: idempotent, and every send acknowledged by all in-sync replicas; the caller stops it.

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
            max_request_size=REQUEST_BYTES,
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
