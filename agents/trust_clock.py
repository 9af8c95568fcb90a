"""Lets time pass for trust: when a score has fallen below a rival's, a change of `syncline:clock` says so.

The moment follows from the state, and the change's dot, id and time from the moment: workers that both publish it
publish the same. So it goes the way of every change, and a replay of `changes` has it. All states of entity types that
weigh trust are looked through in turn, so nothing has to be remembered or recovered.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
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

CHUNK_ENTITIES: Final = 200
PAUSE_SECONDS: Final = 0.05
KAFKA_TIMEOUT_SECONDS: Final = 10.0


class TrustClock(Service):
    """Publishes what is due.

    partitions: the states that this worker has now, complete, by number. policy: the one in force. round_seconds:
    between two looks at all states.
    """

    def __init__(
        self,
        kafka: str,
        topic: str,
        partitions: Callable[[], Mapping[int, PartitionStates]],
        policy: Callable[[], Policy],
        round_seconds: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._kafka, self._topic, self._partitions, self._policy = kafka, topic, partitions, policy
        self._round_seconds = round_seconds

    @Service.task
    async def _look(self) -> None:
        while not self.should_stop:
            await self.sleep(self._round_seconds)
            policy = self._policy()
            if any(map(weighs_trust, (policy.default, *policy.entities.values()))):
                for number, states in self._partitions().items():
                    await self._look_through(number, states, policy)

    async def _look_through(self, number: int, states: PartitionStates, policy: Policy) -> None:
        try:
            for keys in states.key_chunks(CHUNK_ENTITIES):
                await self._publish(list(due(keys, states, policy, time.time_ns() // 1_000_000)))
                await self.sleep(PAUSE_SECONDS)
                if self._partitions().get(number) is not states:
                    return  # a rebalance came; states that were given away are closed
        except Exception as error:  # a state that cannot be read must not end the worker
            log.error("Partition %d is not looked through for trust: %s", number, type(error).__name__)

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

    def partitions() -> dict[int, PartitionStates]:
        return {number: data.partition(number) for number in sorted(data.recovered)}

    clock = TrustClock(app.settings.kafka, names.changes, partitions, policy, app.settings.trust_seconds)
    app.services.append(clock)
