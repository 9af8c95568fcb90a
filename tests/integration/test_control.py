"""Workers are told while they run what is to be different: topic `control`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from agents.control import Control, tell
from agents.settings import Settings
from agents.topics import prepare_topics
from tests.conftest import Deployment

DEADLINE_SECONDS = 60.0


@asynccontextmanager
async def control(deployment: Deployment) -> AsyncIterator[Control]:
    """A follower of the deployment's topic that has read all there is."""
    follower = Control(deployment.kafka, topic(deployment))
    async with asyncio.timeout(DEADLINE_SECONDS):
        await follower.start()
        await follower.read.wait()
    try:
        yield follower
    finally:
        await follower.stop()


def topic(deployment: Deployment) -> str:
    """Full name of the deployment's `control`."""
    return f"{deployment.topic_prefix}control"


async def prepare(deployment: Deployment) -> None:
    """Make the deployment's topics."""
    await prepare_topics(Settings(kafka=deployment.kafka, topic_prefix=deployment.topic_prefix, partitions=3))


async def test_what_was_told_before_a_start_is_known_after_it(deployment: Deployment) -> None:
    """The newest value of a subject counts, and one that was taken back is gone."""
    await prepare(deployment)
    for subject, value in (("journal", "old"), ("target:crm", {"paused": True}), ("journal", "new"), ("gone", 1)):
        await tell(deployment.kafka, topic(deployment), subject, value)
    await tell(deployment.kafka, topic(deployment), "gone", None)
    async with control(deployment) as follower:
        assert follower.current == {"journal": "new", "target:crm": {"paused": True}}


async def test_a_listener_hears_what_is_there_and_what_comes(deployment: Deployment) -> None:
    """Of its own subjects alone, in the order in which they were told."""
    await prepare(deployment)
    await tell(deployment.kafka, topic(deployment), "target:crm", 1)
    heard: list[tuple[str, Any]] = []
    last = asyncio.Event()

    def listener(subject: str, value: Any) -> None:
        heard.append((subject, value))
        if value is None:
            last.set()

    async with control(deployment) as follower:
        follower.listen("target:", listener)
        await tell(deployment.kafka, topic(deployment), "journal", "other")
        await tell(deployment.kafka, topic(deployment), "target:crm", 2)
        await tell(deployment.kafka, topic(deployment), "target:crm", None)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await last.wait()
    assert heard == [("target:crm", 1), ("target:crm", 2), ("target:crm", None)]
