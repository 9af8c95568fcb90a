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
from agents.kafka_producer import started_producer
from agents.names import TopicNames
from schemas.codec import encode_command
from schemas.command import Command
from streams.decisions import EXPIRY

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5
KAFKA_TIMEOUT_SECONDS: Final = 10.0
PINS: Final = "pin:"
DEFERRALS: Final = "defer:"


class Expiry(Service):
    """Ends what is over. owns: whether this worker has an entity key's state, complete."""

    def __init__(
        self, control: Control, kafka: str, names: TopicNames, owns: Callable[[bytes], bool], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._control, self._kafka, self._names, self._owns = control, kafka, names, owns

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
            if ends and self._owns(str(told.get("key", "")).encode()):
                yield subject, told

    async def _end(self, due: list[tuple[str, dict[str, Any]]]) -> None:
        producer = await started_producer(self._kafka)
        try:
            for subject, told in due:
                if subject.startswith(PINS):
                    await self._release(producer, subject.removeprefix(PINS), told)
                await producer.send_and_wait(self._names.control, None, subject.encode(), partition=0)
                self._control.current.pop(subject, None)
        finally:
            await producer.stop()

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
