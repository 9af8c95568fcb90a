"""How far the group has come, noted several times a second: from it follows how long a recovery took."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from syncline.topic_reader import connected

EVERY_SECONDS = 0.25
ANSWER_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Committed offsets and log ends of `changes`, by partition. at: time.monotonic() when they were asked for."""

    at: float
    committed: tuple[int, ...]
    ends: tuple[int, ...]


class Progress(threading.Thread):
    """Asks Kafka in the background; what it does not answer in time is left out."""

    def __init__(self, kafka: str, group: str, topic: str, partitions: int) -> None:
        super().__init__(name="progress", daemon=True)
        self.samples: list[Sample] = []
        self._kafka, self._group = kafka, group
        self._tps = [TopicPartition(topic, number) for number in range(partitions)]
        self._over = threading.Event()

    def run(self) -> None:
        asyncio.run(self._follow())

    def over(self) -> None:
        """End it."""
        self._over.set()
        self.join(3 * ANSWER_SECONDS)

    def recovery_seconds(self, fault_at: float) -> float | None:
        """Seconds from a fault until all that was in the log then was resolved and committed; None: not seen.

        fault_at: time.monotonic() of the fault.
        """
        later = [sample for sample in self.samples if sample.at >= fault_at]
        for sample in later:
            if all(done >= end for done, end in zip(sample.committed, later[0].ends, strict=True)):
                return sample.at - fault_at
        return None

    @property
    def committed(self) -> int:
        """How many offsets are committed, as far as known."""
        return sum(self.samples[-1].committed) if self.samples else 0

    def uncommitted(self) -> int:
        """Offsets between what is committed and the log ends, once somebody has asked after this call."""
        asked_at, deadline = time.monotonic(), time.monotonic() + 10 * ANSWER_SECONDS
        while not self.samples or self.samples[-1].at < asked_at:
            assert time.monotonic() < deadline, "Kafka does not tell committed offsets and log ends"
            time.sleep(EVERY_SECONDS)
        last = self.samples[-1]
        return sum(abs(end - done) for end, done in zip(last.ends, last.committed, strict=True))

    async def _follow(self) -> None:
        now = asyncio.get_running_loop().time
        while not self._over.is_set():
            try:
                async with asyncio.timeout(ANSWER_SECONDS) as limit, connected(self._kafka, self._group) as consumer:
                    while not self._over.is_set():
                        limit.reschedule(now() + ANSWER_SECONDS)
                        at = time.monotonic()
                        ends = await consumer.end_offsets(self._tps)
                        committed = [await consumer.committed(tp) or 0 for tp in self._tps]
                        self.samples.append(Sample(at, tuple(committed), tuple(ends[tp] for tp in self._tps)))
                        await asyncio.sleep(EVERY_SECONDS)
            except (KafkaError, OSError):  # TimeoutError is one
                await asyncio.sleep(EVERY_SECONDS)
