"""Lets time pass for trust: when a score has fallen below a rival's, a change of `syncline:clock` says so.

The moment follows from the state, and the change's dot, id and time from the moment: workers that both publish it
publish the same. So it goes the way of every change, and a replay of `changes` has it. All states of entity types that
weigh trust are looked through in turn, so nothing has to be remembered or recovered.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from aiokafka.errors import KafkaError
from mode import Service

from agents.kafka_producer import started_producer
from agents.states import PartitionStates
from schemas.change import Change
from schemas.codec import encode_change
from schemas.rules import CLOCK
from streams.held import Held
from streams.overtaking import next_overtaking, weighs_trust
from streams.policy import Policy

log = logging.getLogger(__name__)

ROUND_SECONDS: Final = 30.0
CHUNK_ENTITIES: Final = 200
PAUSE_SECONDS: Final = 0.05
KAFKA_TIMEOUT_SECONDS: Final = 10.0


class TrustClock(Service):
    """Publishes what is due. partitions: the states that this worker has, complete. policy: the one in force."""

    def __init__(
        self,
        kafka: str,
        topic: str,
        partitions: Callable[[], list[PartitionStates]],
        policy: Callable[[], Policy],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._kafka, self._topic, self._partitions, self._policy = kafka, topic, partitions, policy

    @Service.task
    async def _look(self) -> None:
        while not self.should_stop:
            await self.sleep(ROUND_SECONDS)
            policy = self._policy()
            if not any(map(weighs_trust, (policy.default, *policy.entities.values()))):
                continue
            for states in self._partitions():
                for keys in states.key_chunks(CHUNK_ENTITIES):
                    await self._publish(list(due(keys, states, policy, time.time_ns() // 1_000_000)))
                    await self.sleep(PAUSE_SECONDS)

    async def _publish(self, changes: list[Change]) -> None:
        if not changes:
            return
        try:
            async with asyncio.timeout(KAFKA_TIMEOUT_SECONDS):
                producer = await started_producer(self._kafka)
                try:
                    for change in changes:
                        await producer.send_and_wait(self._topic, encode_change(change), change.key.encode())
                finally:
                    await producer.stop()
        except (KafkaError, OSError) as error:  # TimeoutError is one
            log.warning(
                "%d entities have another winner by now, and %s cannot be told: %r", len(changes), self._topic, error
            )


def due(keys: list[bytes], states: Any, policy: Policy, now_ms: int) -> Iterator[Change]:
    """A change of the clock for each of the entities that has another winner by now. states: has `get`."""
    for key in keys:
        entity_type, _, entity_id = key.decode().partition(":")
        rules, stored = policy.of(entity_type), states.get(key)
        if stored is None or not weighs_trust(rules):
            continue
        overtaking = next_overtaking(Held(stored, rules).judgement, rules)
        if overtaking is not None and 0 < overtaking.at_ms <= now_ms:
            at_ms = overtaking.at_ms
            yield Change(
                event_id=f"{entity_type}:{entity_id}@{CLOCK}@{at_ms}",
                op="update",
                source=CLOCK,
                entity_type=entity_type,
                entity_id=entity_id,
                version=at_ms,
                occurred_at=at_ms,
                seen=None,
                before=None,
                fields=dict.fromkeys(overtaking.fields),
            )


def add_trust_clock(app: Any, policy: Callable[[], Policy]) -> None:
    """The service of an app that has its work. policy: gives the one in force."""
    data, names = app.work.table.data, app.work.names

    def partitions() -> list[PartitionStates]:
        return [data.partition(number) for number in sorted(data.recovered)]

    app.services.append(TrustClock(app.settings.kafka, names.changes, partitions, policy))
