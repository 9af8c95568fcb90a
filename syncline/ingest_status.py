"""How far the sources are that have a topic or a Redis Stream of their own (`syncline ingest status`)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from agents.ingest.compose import group_of, redis_of, streams_of, topics_of
from agents.ingest.stream_state import StreamState, look
from agents.ingest.topic_ingest import committed
from agents.log_ends import log_ends
from agents.settings import Settings
from schemas.ingest_document import IngestDocument, StreamSourceDocument
from syncline.topic_reader import connected, partitions_of

TIMEOUT_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How far one source is. waiting: records or entries not copied yet, None where nobody knows.

    per_second: copied while we looked, None for one look. note: what a person should know, empty if nothing.
    details: of a stream alone, see `StreamState`.
    """

    source: str
    place: str
    waiting: int | None
    per_second: float | None = None
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {**asdict(self), "details": dict(self.details)}


async def ingest_status(
    settings: Settings, sources: Mapping[str, IngestDocument], seconds: float
) -> list[SourceStatus]:
    """Look at each source, twice if `seconds` is above 0, which gives the rate. Raises KafkaError, OSError."""
    looks = [_topic(settings, topic, source, seconds) for topic, source in topics_of(sources).items()]
    looks += [_stream(settings, source, document, seconds) for source, document in streams_of(sources).items()]
    return await asyncio.gather(*looks)


async def _topic(settings: Settings, topic: str, source: str, seconds: float) -> SourceStatus:
    async with asyncio.timeout(TIMEOUT_SECONDS + seconds):
        waiting, read = await _lag(settings, topic)
        if waiting is None:
            return SourceStatus(source, f"topic {topic}", None, note="the topic is not there yet")
        rate = None
        if seconds > 0:
            await asyncio.sleep(seconds)
            waiting, again = await _lag(settings, topic)
            rate = (again - read) / seconds
        return SourceStatus(source, f"topic {topic}", waiting, rate)


async def _lag(settings: Settings, topic: str) -> tuple[int | None, int]:
    """Records that the group has not read, None for no topic; and the sum of its offsets."""
    partitions = await partitions_of(settings.kafka, topic)
    if not partitions:
        return None, 0
    held = await committed(settings.kafka, group_of(settings.app_id), partitions)
    ends = await log_ends(settings.kafka, partitions)
    async with connected(settings.kafka) as consumer:
        starts = await consumer.beginning_offsets(partitions)
    reached = {tp: max(held[tp].offset if tp in held else 0, starts[tp]) for tp in partitions}
    return sum(max(0, ends[tp] - reached[tp]) for tp in partitions), sum(reached.values())


async def _stream(settings: Settings, source: str, document: StreamSourceDocument, seconds: float) -> SourceStatus:
    place, redis = f"stream {document.stream}", redis_of(settings, source, document)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS + seconds):
            state = await look(redis, document)
            if state is None:
                return SourceStatus(source, place, None, note=f"no stream with group {document.group} there yet")
            rate = None
            if seconds > 0:
                before = _acknowledged(state)
                await asyncio.sleep(seconds)
                state = await look(redis, document) or state
                rate = (_acknowledged(state) - before) / seconds
    finally:
        await redis.aclose()
    waiting = None if state.unread is None else state.unread + state.pending
    note = "entries were deleted before they were read" if state.deleted_unread else ""
    return SourceStatus(source, place, waiting, rate, note, _details(state))


def _acknowledged(state: StreamState) -> int:
    return sum(state.totals.get(outcome, 0) for outcome in ("copied", "echo", "tombstone", "refused"))


def _details(state: StreamState) -> dict[str, Any]:
    return {
        "length": state.length,
        "pending": state.pending,
        "oldest_pending_seconds": state.oldest_pending_ms / 1000,
        "dead": state.dead,
        "workers": state.workers,
        **{name: state.totals.get(name, 0) for name in ("copied", "near_miss", "echo", "refused", "claimed")},
    }
