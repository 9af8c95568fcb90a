"""Looks at the topics again while a worker runs: whoever runs the broker may alter them at any time.

Nothing of Kafka or Faust stops a worker then. Once its metadata are refreshed, in five minutes at most, Faust
spreads the partitions of a topic that has grown apart from those of the others, and a worker merges changes into
a table that does not have their states.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from aiokafka.errors import KafkaError
from faust.types import TP
from mode import Service

from agents.ending import EX_CONFIG, EX_SOFTWARE, end_process
from agents.settings import Settings
from agents.topics import FoundTopics, find_topics, topic_faults, topics_admin
from streams.topics import CHANGES

LOOK_EVERY_SECONDS = 10.0
ANSWER_SECONDS = 10.0


class TopicWatch(Service):
    """Ends the process with code 78 when the topics no longer are what they must be, or have grown together."""

    def __init__(self, settings: Settings, end: Callable[[int, str], Any] = end_process, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._settings = settings
        self._end = end
        self._changes = CHANGES.full_name(settings.topic_prefix)
        self._partitions: int | None = None

    @Service.task
    async def _look(self) -> None:
        while not self.should_stop:
            try:
                async with asyncio.timeout(ANSWER_SECONDS), topics_admin(self._settings) as admin:
                    found = await find_topics(admin, self._settings.topic_prefix)
            except (KafkaError, OSError):  # TimeoutError is one
                pass  # what an outage of the broker means is for others to judge
            else:
                faults = self.faults(found)
                if faults:
                    self._end(EX_CONFIG, "\n".join(faults))
            await self.sleep(LOOK_EVERY_SECONDS)

    def faults(self, found: FoundTopics) -> list[str]:
        """What is wrong now, one line each; nothing where the broker does not tell all of its topics."""
        if not all(found.partitions.values()):
            return []
        count = found.partitions[self._changes]
        self._partitions = self._partitions or count
        faults = topic_faults(found, self._settings)
        if not faults and count != self._partitions:
            faults = [
                f"topic {self._changes} has {count} partitions, and must have {self._partitions} as when this worker"
                " started: keys have moved away from their states; move to a new prefix and app id"
            ]
        return faults


def refuse_apart(assigned: Collection[TP], topics: Collection[str]) -> None:
    """End the process with code 70 when not the same partitions of all topics are assigned to this worker.

    Some topic has another number of partitions then; the next start finds out which.
    """
    numbers = {topic: sorted(tp.partition for tp in assigned if tp.topic == topic) for topic in sorted(topics)}
    if len({tuple(ours) for ours in numbers.values()}) > 1:
        told = ", ".join(f"{topic} {ours}" for topic, ours in numbers.items())
        end_process(EX_SOFTWARE, f"partitions of topics that belong together are assigned apart: {told}")
