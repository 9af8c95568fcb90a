"""Fencing: once a partition has a new owner that wrote to it, Kafka refuses what a replaced worker still sends.

A worker asks the group before each send whether it is still a member (agents/app.py). Stopped by SIGSTOP between that
question and the socket, it would go on, perhaps hours later, and put an older state on top of a newer one, which
compaction then drops. So each partition has a transactional id. Its owner takes the id's next epoch (InitProducerId,
KIP-98) and sends everything for the partition with it, outside of any transaction: from the first record of an epoch
on, a partition's leader refuses all older ones. The owner's first record is a mark in the changelog, and then it
recovers: what it finds is all that anybody before it ever gets there. Transactions would do the same, at several round
trips for each batch (docs/performance.md has both).

Where it ends: Kafka forgets a transactional id that nobody asked for in `transactional.id.expiration.ms` (7 days), and
the next owner's epochs then have nothing to do with the last one's. The question to the group remains.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import KafkaError, NoError, TransactionalIdAuthorizationFailed, for_code
from aiokafka.producer.transaction_manager import PidAndEpoch, TransactionManager
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.structs import TopicPartition

#: The changelog's key of that mark. Its value is null, so that compaction drops it and recovery stores nothing.
FENCE_KEY: Final = b"fence"

RETRY_SECONDS: Final = 0.1
#: Where aiokafka's producer, its sender and its accumulator keep what numbers their batches.
NUMBERED_BY: Final = "_txn_manager"
#: Kafka wants to know it; no transaction is ever begun.
TRANSACTION_MS: Final = 60_000


class PartitionIdentities(TransactionManager):
    """An idempotent producer's id and epoch, one for each partition that was claimed, and its own for the others.

    aiokafka asks for the sequence number of a batch and then, before anything else can happen, for id and epoch.
    """

    def __init__(self) -> None:
        super().__init__(None, TRANSACTION_MS)
        self._claimed: dict[int, PidAndEpoch] = {}
        self._sending: int | None = None

    def claim(self, partition: int, identity: PidAndEpoch) -> None:
        """Send to this partition of every topic under this identity. Nothing may be under way to it."""
        self._claimed[partition] = identity
        for place in [place for place in self._sequence_numbers if place.partition == partition]:
            del self._sequence_numbers[place]  # each epoch counts from 0

    def sequence_number(self, tp: TopicPartition) -> int:
        self._sending = tp.partition
        number: int = super().sequence_number(tp)
        return number

    @property
    def producer_id(self) -> int:
        return int(self._identity().pid)

    @property
    def producer_epoch(self) -> int:
        return int(self._identity().epoch)

    def _identity(self) -> PidAndEpoch:
        return self._claimed.get(self._sending, self._pid_and_epoch)


def with_identities(producer: AIOKafkaProducer) -> PartitionIdentities:
    """Give an idempotent producer that was not started yet its identities."""
    identities = PartitionIdentities()
    for part in (producer, producer._sender, producer._message_accumulator):
        setattr(part, NUMBERED_BY, identities)
    return identities


async def next_epoch(client: AIOKafkaClient, transactional_id: str) -> PidAndEpoch:
    """The next epoch of a transactional id. Asks until Kafka answers; raises KafkaError where that is of no use."""
    request = InitProducerIdRequest(transactional_id=transactional_id, transaction_timeout_ms=TRANSACTION_MS)
    while True:
        try:
            node = await client.coordinator_lookup(CoordinationType.TRANSACTION, transactional_id)
            if await client.ready(node, group=ConnectionGroup.COORDINATION):
                answer = await client.send(node, request, group=ConnectionGroup.COORDINATION)
                error = for_code(answer.error_code)
                if error is NoError:
                    return PidAndEpoch(answer.producer_id, answer.producer_epoch)
                raise error
        except TransactionalIdAuthorizationFailed as error:
            raise TransactionalIdAuthorizationFailed(
                f"Kafka refuses the transactional id {transactional_id!r}, which fences off replaced workers:"
                " allow this worker to Write to transactional ids that begin with its app id"
            ) from error
        except KafkaError as error:
            if not error.retriable:
                raise
        await asyncio.sleep(RETRY_SECONDS)
