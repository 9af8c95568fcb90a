"""The outbox: sends what a batch causes, in the order that loses nothing, and tells when Kafka has it all.

Of one batch, dead letters and conflicts are acknowledged before states and records are sent, and only
when those are acknowledged too may the batch be. Of one partition, the steps of a later batch never
overtake those of an earlier one. Partitions do not wait for each other, and while one batch is being sent
the next ones may already be resolved, `batches_in_flight` of them at most, which bounds the memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerFenced

from agents.dead_letters import Row
from agents.ending import EX_SOFTWARE, end_process
from agents.sending import OffsetRange, send_rows

CONFIRM_SECONDS = 0.1


class ReplacedError(Exception):
    """Nothing may be sent: another worker may have sent newer states already."""


@dataclass(slots=True)
class Parcel:
    """All that one batch sends. first: rows by topic, acknowledged before any of `second` is sent."""

    first: dict[str, list[Row]]
    second: dict[str, list[Row]]


@dataclass(slots=True)
class _Chain:
    """The order of one partition: asyncio's locks and semaphores are first come, first served."""

    room: asyncio.Semaphore
    first: asyncio.Lock = field(default_factory=asyncio.Lock)
    second: asyncio.Lock = field(default_factory=asyncio.Lock)


class Outbox:
    """Sends parcels, each partition in order; ends the process when Kafka does not take one in time.

    producer: gives the started idempotent producer. deadline_seconds: for each of the two steps.
    still_member: False when another worker may soon own our partitions; no send begins then. session_left: seconds
    in which that cannot be; no send lasts longer, since a process that has ended sends nothing. fail: never returns.
    """

    def __init__(
        self,
        producer: Callable[[], AIOKafkaProducer],
        *,
        deadline_seconds: float,
        batches_in_flight: int,
        still_member: Callable[[], bool] = lambda: True,
        session_left: Callable[[], float] = lambda: inf,
        fail: Callable[[int, str], Any] = end_process,
    ) -> None:
        self._producer = producer
        self._deadline = deadline_seconds
        self._in_flight = batches_in_flight
        self._still_member = still_member
        self._session_left = session_left
        self._fail = fail
        self._chains: dict[int, _Chain] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def room(self, partition: int) -> None:
        """Wait until the partition may have one more batch in flight, and take that place."""
        await self._chain(partition).room.acquire()

    def give_back(self, partition: int) -> None:
        """Give back a place that `room` gave and nothing is sent from."""
        self._chain(partition).room.release()

    def send(
        self,
        partition: int,
        parcel: Parcel,
        delivered: Callable[[dict[str, OffsetRange]], Awaitable[None]],
    ) -> None:
        """Send a parcel whose place `room` gave; then call `delivered` with the offsets of its second step.

        Returns at once. The calls of `delivered` come in the order of the parcels of a partition.
        """
        self._spawn(self._deliver(partition, self._chain(partition), parcel, delivered))

    async def drained(self) -> None:
        """Wait until nothing is in flight."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def __len__(self) -> int:
        return len(self._tasks)

    def _chain(self, partition: int) -> _Chain:
        chain = self._chains.get(partition)
        if chain is None:
            chain = self._chains[partition] = _Chain(asyncio.Semaphore(self._in_flight))
        return chain

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(
        self,
        partition: int,
        chain: _Chain,
        parcel: Parcel,
        delivered: Callable[[dict[str, OffsetRange]], Awaitable[None]],
    ) -> None:
        try:
            async with chain.first:
                await self._step(partition, parcel.first)
            # No other task can come between: taking a lock that is free does not give up control, and
            # one that is not free is given to those who wait in the order of their coming.
            async with chain.second:
                await delivered(await self._step(partition, parcel.second))
            chain.room.release()
        except asyncio.CancelledError:
            raise  # the loop is being closed; nothing was acknowledged
        except TimeoutError:
            line = (
                f"partition {partition}: Kafka did not acknowledge a batch's records within {self._deadline:g} s,"
                " or before the group's session may have ended"
            )
            self._fail(EX_SOFTWARE, line)
        except ProducerFenced:
            self._fail(EX_SOFTWARE, f"partition {partition}: another worker owns it by now, and this one is fenced off")
        except BaseException as error:
            # Whatever it is: acknowledging this batch, or sending a later one, could lose a change.
            self._fail(EX_SOFTWARE, f"partition {partition}: Kafka did not take a batch's records: {error!r}")

    async def _step(self, partition: int, rows_by_topic: dict[str, list[Row]]) -> dict[str, OffsetRange]:
        topics = [topic for topic, rows in rows_by_topic.items() if rows]
        if not topics:
            return {}
        sends = (self._send_rows(topic, partition, rows_by_topic[topic]) for topic in topics)
        loop = asyncio.get_running_loop()
        until = loop.time() + self._deadline
        await self._confirmed(until)
        async with asyncio.timeout_at(min(until, loop.time() + self._session_left())):
            ranges = await asyncio.gather(*sends)
        return dict(zip(topics, ranges, strict=True))

    async def _confirmed(self, until: float) -> None:
        """Wait until the group confirms that the partitions are ours; a short outage of Kafka ends so, too."""
        while not self._still_member():
            if asyncio.get_running_loop().time() > until:
                raise ReplacedError("the group no longer confirms this worker, another may own the partition")
            await asyncio.sleep(CONFIRM_SECONDS)

    async def _send_rows(self, topic: str, partition: int, rows: Iterable[Row]) -> OffsetRange:
        return await send_rows(self._producer(), topic, partition, rows)
