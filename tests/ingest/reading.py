"""Services that read a source's Redis Stream in the process of a test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from agents.ingest.changes_producer import ChangesProducer
from agents.ingest.stream_ingest import StreamIngest
from agents.ingest.stream_state import StreamState, connect, look
from agents.metrics import Metrics
from agents.names import TopicNames
from agents.settings import Settings
from schemas.ingest_document import StreamSourceDocument
from schemas.refusal import DEFAULT_LIMITS
from streams.policy import parse_policy
from tests.conftest import Deployment
from tests.ingest.arrivals import Arrived, digest_of, folded, until

STREAM = "shop.changes"


class Reading:
    """One deployment whose source `shop` has a stream, and services that read it, as workers would."""

    def __init__(self, deployment: Deployment, url: str, **document: Any) -> None:
        self.settings = Settings(kafka=deployment.kafka, topic_prefix=deployment.topic_prefix, partitions=2)
        self.names = TopicNames.with_prefix(deployment.topic_prefix)
        self.document = StreamSourceDocument(stream=STREAM, **document)
        self.url = url
        self.redis = Redis.from_url(url, protocol=2)
        self.was_there = False
        self.metrics = Metrics()

    @asynccontextmanager
    async def worker(self, deadline_seconds: float = 15.0) -> AsyncIterator[StreamIngest]:
        """A service that reads the stream, until the end of the block. deadline_seconds: of a send."""
        producer = ChangesProducer(self.settings.kafka, self.names, deadline_seconds)

        async def was_there() -> bool:
            return self.was_there

        async def made() -> None:
            self.was_there = True

        service = StreamIngest(
            "shop", self.document, None, connect(self.url, None), producer, lambda: DEFAULT_LIMITS, self.metrics,
            lambda: True, was_there, made,
        )  # fmt: skip
        await service.start()
        try:
            yield service
        finally:
            await service.stop()
            await producer.stop()

    async def state(self) -> StreamState:
        """What the stream looks like."""
        state = await look(self.redis, self.document)
        assert state is not None
        return state

    async def read_up(self) -> None:
        """Wait until everything is copied and acknowledged."""

        async def done() -> bool:
            state = await look(self.redis, self.document)
            return state is not None and state.last == state.last_read and state.pending == 0

        await until(done)

    async def answers(self) -> bool:
        """Whether Redis has read its data from disk."""
        return bool(await self.redis.ping())

    async def verify(self, expected: list[Arrived]) -> None:
        """What is in `changes` comes to the records that the arrivals come to without a fault."""
        assert await digest_of("replay", self.settings) == folded(expected, parse_policy({}))
