"""What ends by itself: pins are released and deferred conflicts come back, when their time has come.

Topic `control` says what ends when: `pin:<command id>` and `defer:<conflict id>`. The worker that owns the entity's
partition ends it; one that takes over finds it there again. A pin's end is a command like a person's, so it goes the
same way and a replay has it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from mode import Service

from agents.control import Control
from agents.kafka_producer import abandon, started_producer
from agents.names import TopicNames
from schemas.codec import encode_command
from schemas.command import Command
from streams.decisions import EXPIRY

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5
KAFKA_TIMEOUT_SECONDS: Final = 10.0
ARRIVAL_SECONDS: Final = 60.0
#: Before a release is asked for again; twice as long each time, until it is the longest.
AGAIN_SECONDS: Final = 10.0
MOST_SECONDS: Final = 3600.0
PINS: Final = "pin:"
DEFERRALS: Final = "defer:"


class Expiry(Service):
    """Ends what is over.

    owns: whether this worker has an entity key's state, complete. pins: the command ids of what is pinned in a field
    of such an entity. A release may be refused, by a worker that has not caught up for one, so a pin is asked to end
    until the state has it no more.
    """

    def __init__(
        self,
        control: Control,
        kafka: str,
        names: TopicNames,
        owns: Callable[[bytes], bool],
        pins: Callable[[bytes, str], set[str]],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._control, self._kafka, self._names, self._owns, self._pins = control, kafka, names, owns, pins
        #: Subject -> when its end is asked for again (time.monotonic), and the pause after that.
        self._asked: dict[str, tuple[float, float]] = {}

    @Service.task
    async def _look(self) -> None:
        while not self.should_stop:
            await self.sleep(LOOK_SECONDS)
            due = list(self._due(time.time_ns() // 1_000_000))
            if not due:
                continue
            try:
                async with asyncio.timeout(KAFKA_TIMEOUT_SECONDS):
                    await self._end(due)
            except (KafkaError, OSError) as error:  # TimeoutError is one
                log.warning("What is over in %s could not be ended: %r", self._names.control, error)

    def _due(self, now_ms: int) -> Iterator[tuple[str, dict[str, Any]]]:
        for subject, told in list(self._control.current.items()):
            ends = subject.startswith((PINS, DEFERRALS)) and isinstance(told, dict) and told.get("until", 0) <= now_ms
            if time.monotonic() < self._asked.get(subject, (0.0, 0.0))[0] and self._is_pinned(subject, told):
                continue
            if ends and self._owns(str(told.get("key", "")).encode()):
                yield subject, told

    def _is_pinned(self, subject: str, told: dict[str, Any]) -> bool:
        key = str(told.get("key", "")).encode()
        return self._owns(key) and subject.removeprefix(PINS) in self._pins(key, told["field"])

    async def _end(self, due: list[tuple[str, dict[str, Any]]]) -> None:
        producer = await started_producer(self._kafka)
        try:
            for subject, told in due:
                if subject.startswith(PINS) and not await self._released(producer, subject, told):
                    continue
                await producer.send_and_wait(self._names.control, None, subject.encode(), partition=0)
                self._control.current.pop(subject, None)
                self._asked.pop(subject, None)
        finally:
            await abandon(producer)

    async def _released(self, producer: AIOKafkaProducer, subject: str, told: dict[str, Any]) -> bool:
        """Whether the pin has ended; asks for it where it has not."""
        pin = subject.removeprefix(PINS)
        if pin not in self._pins(told["key"].encode(), told["field"]):
            # Where the pin itself is still on its way, it comes within this time.
            return time.time() > told["until"] / 1000 + ARRIVAL_SECONDS or subject in self._asked
        _, pause_seconds = self._asked.get(subject, (0.0, AGAIN_SECONDS))
        self._asked[subject] = (time.monotonic() + pause_seconds, min(2 * pause_seconds, MOST_SECONDS))
        await self._release(producer, pin, told)
        return False

    async def _release(self, producer: AIOKafkaProducer, pin: str, told: dict[str, Any]) -> None:
        entity_type, _, entity_id = told["key"].partition(":")
        command = Command(
            command_id=f"{EXPIRY}{pin}",
            kind="release",
            entity_type=entity_type,
            entity_id=entity_id,
            requested_by=told["by"],
            requested_at=told["until"],
            field=told["field"],
            decision=pin,
            note="its time was over",
        )
        await producer.send_and_wait(self._names.commands, encode_command(command), told["key"].encode())
