"""The agent on `target-dead-letters`: what somebody asks for is delivered out of its turn, unless something newer is.

What was asked is acknowledged once it is delivered, so a worker that ends before leaves it to the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from agents.delivery.courier import Courier, all_settled
from agents.delivery.letters import Letter, letter_key, read_letter
from agents.delivery.notes import Notebook
from agents.reading import connected, read_between
from streams.backlog import Backlog
from streams.pending import Pending

log = logging.getLogger(__name__)

WAIT_SECONDS: Final = 0.5
AGAIN_SECONDS: Final = 1.0


class Redriver:
    """Delivers letters. kafka: host:port."""

    def __init__(self, courier: Courier, notebook: Notebook, kafka: str) -> None:
        self._courier, self._notebook, self._kafka = courier, notebook, kafka
        #: Partition of the letters -> the offset before which all are done.
        self._done: dict[int, int] = {}

    def committable(self, partition: int) -> int | None:
        """The offset of the letters that may be committed."""
        return self._done.get(partition)

    def dropped(self) -> None:
        """The partitions are somebody else's, or come again."""
        self._done.clear()

    async def take(self, partition: int, records: Sequence[Any], generation_id: int) -> None:
        """Carry out what a fetch of letters asks for; returns when all of it is done, or the partition is let go."""
        backlog = await self._courier.backlog(partition, generation_id)
        if backlog is None:
            return
        asked = {letter.key: letter for letter in self._asked(partition, records)}
        while asked and self._courier.backlogs.get(partition) is backlog:
            try:
                await self._drive(partition, backlog, asked)
                break
            except (KafkaError, OSError) as error:  # TimeoutError is one
                log.warning("Letters of target %s are tried again: %r", self._courier.name, error)
                await asyncio.sleep(AGAIN_SECONDS)
        if self._courier.backlogs.get(partition) is backlog:
            self._done[partition] = records[-1].offset + 1

    def _asked(self, partition: int, records: Iterable[Any]) -> Iterable[Letter]:
        topic = self._courier.names.target_dead_letters
        for record in records:
            if record.value is None or not (record.key or b"").startswith(f"{self._courier.name}/".encode()):
                continue
            try:
                letter = read_letter(record.value)
            except ValueError:
                log.error("%s:%d offset %d is no letter", topic, partition, record.offset)
                continue
            if letter.redrive:
                yield letter

    async def _drive(self, partition: int, backlog: Backlog, asked: dict[str, Letter]) -> None:
        newest = await self._newest(partition, backlog, asked.values())
        driven: dict[str, Pending | None] = {}
        for key, letter in asked.items():
            older = newest.get(key, -1) > letter.position.offset
            driven[key] = None if older else backlog.again(letter.delivery, letter.recorded_ms, letter.size)
        self._courier.changed()
        items = [item for item in driven.values() if item is not None]
        while not all_settled(items):
            if self._courier.backlogs.get(partition) is not backlog:
                return
            await self._courier.until_changed(WAIT_SECONDS)
        # Of one that was refused again there is a new letter under the same key.
        done = {
            letter_key(self._courier.name, key): None for key, item in driven.items() if not (item and item.refused)
        }
        await self._notebook.write(self._courier.names.target_dead_letters, partition, done)

    async def _newest(self, partition: int, backlog: Backlog, letters: Iterable[Letter]) -> dict[str, int]:
        """The newest offset of what was read since somebody looked, by key, where something newer came."""
        tp = TopicPartition(self._courier.names.records, partition)
        start, end = min(letter.read_until for letter in letters), backlog.next
        newest: dict[str, int] = {}
        async with connected(self._kafka) as consumer, aclosing(read_between(consumer, {tp: start}, {tp: end})) as read:
            async for _, records in read:
                newest.update((record.key.decode(errors="replace"), record.offset) for record in records if record.key)
        return newest


def receiving(
    take: Callable[[int, Sequence[Any], int], Awaitable[None]], fail: Callable[[str], Any]
) -> Callable[[Any], Awaitable[None]]:
    """An agent's body that hands each fetch to `take`. fail: called with what went wrong; never returns."""

    async def receive(stream: Any) -> None:
        batches = stream.noack()
        try:
            async for event in batches.events():
                message = event.message
                # Taken in, so that no rebalance waits for it; what is committed is the backlog's to say.
                await batches.ack(event)
                await take(message.partition, event.value, message.generation_id)
        except Exception as error:
            fail(f"{type(error).__name__}: {error}")

    return receive
