"""The services that syncline.yaml's sources ask for; none when it declares no place where changes arrive."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from mode import Service
from redis.asyncio import Redis

from agents.config_file import load_sources
from agents.control import Control, tell
from agents.ending import EX_CONFIG, end_process
from agents.ingest.changes_producer import ChangesProducer
from agents.ingest.stream_ingest import StreamIngest
from agents.ingest.stream_state import connect
from agents.ingest.topic_ingest import TopicIngest, TopicSource
from agents.metrics import Metrics
from agents.names import TopicNames
from agents.settings import Settings
from agents.web import Check
from schemas.ingest_document import IngestDocument, StreamSourceDocument
from schemas.policy_document import PolicyError
from schemas.refusal import Limits
from streams.envelopes import envelope_of
from streams.topics import TOPICS

CONTROL_SECONDS: Final = 10.0


class IngestUnusable(Exception):
    """A source cannot be read before a person has changed something; the message says what and how."""


def group_of(app_id: str) -> str:
    """The consumer group that reads the topics of single sources."""
    return f"{app_id}-ingest"


def topics_of(sources: Mapping[str, IngestDocument]) -> dict[str, str]:
    """Full name of a topic -> the source whose it is."""
    return {body.topic: name for name, body in sources.items() if body.topic is not None}


def streams_of(sources: Mapping[str, IngestDocument]) -> dict[str, StreamSourceDocument]:
    """Source -> its Redis Stream."""
    return {name: body.redis_stream for name, body in sources.items() if body.redis_stream is not None}


def redis_of(settings: Settings, source: str, document: StreamSourceDocument) -> Redis:
    """A client for the Redis that a stream is in. Raises IngestUnusable when nobody says which, or its password."""
    url, variable = document.url or settings.redis, document.secret_env
    if url is None:
        raise IngestUnusable(
            f"sources.{source}.redis_stream has no url and SYNCLINE_REDIS is not set; give one of them"
        )
    if variable is not None and not os.environ.get(variable):
        raise IngestUnusable(f"sources.{source}.redis_stream.secret_env: the variable {variable} is not set")
    return connect(url, None if variable is None else os.environ[variable])


def ingest_services_or_end(
    settings: Settings,
    names: TopicNames,
    limits: Callable[[], Limits],
    metrics: Metrics,
    control: Control,
    ready: Callable[[], bool],
) -> list[Service]:
    """Services that copy into `changes` what the settings' file says, once `ready` says that the topics are there.

    limits: of the policy in force. Ends the process with code 78 for what cannot be read as it is written.
    """
    try:
        sources = load_sources(settings.config)
        return ingest_services(settings, sources, names, limits, metrics, control, ready)
    except (PolicyError, IngestUnusable) as error:
        end_process(EX_CONFIG, str(error))


def ingest_services(
    settings: Settings,
    sources: Mapping[str, IngestDocument],
    names: TopicNames,
    limits: Callable[[], Limits],
    metrics: Metrics,
    control: Control,
    ready: Callable[[], bool],
) -> list[Service]:
    """The same for sources given by name. Raises IngestUnusable."""
    topics, found = topics_of(sources), streams_of(sources)
    if not topics and not found:
        return []
    for topic, source in topics.items():
        if topic in {own.full_name(settings.topic_prefix) for own in TOPICS}:
            raise IngestUnusable(f"sources.{source}.topic: {topic} is Syncline's own; a source's topic is another one")
    producer = ChangesProducer(settings.kafka, names, settings.send_deadline_seconds)
    services: list[Service] = [producer]
    if topics:
        group, session = group_of(settings.app_id), settings.session_seconds
        read = {topic: TopicSource(name, envelope_of(sources[name])) for topic, name in topics.items()}
        services.append(TopicIngest(settings.kafka, group, read, producer, limits, metrics, ready, session))
    for source, document in found.items():
        mark = _Mark(settings.kafka, names.control, control, source, document)
        services.append(
            StreamIngest(
                source,
                document,
                envelope_of(sources[source]),
                redis_of(settings, source, document),
                producer,
                limits,
                metrics,
                ready,
                mark.is_there,
                mark.make,
            )
        )
    return services


def ingest_checks(services: Iterable[Service]) -> list[Check]:
    """What /readyz tells of the sources that are read here."""
    return [
        Check(one.what, one.healthy, False, "all went well" if one.healthy else "tried again")
        for one in services
        if isinstance(one, TopicIngest | StreamIngest)
    ]


class _Mark:
    """Remembers in topic `control` that a group was made: a Redis that was emptied cannot tell."""

    def __init__(self, kafka: str, topic: str, control: Control, source: str, document: StreamSourceDocument) -> None:
        self._kafka, self._topic, self._control = kafka, topic, control
        self._subject = f"ingest:{source}"
        self._value = {"group": document.group, "stream": document.stream}

    async def is_there(self) -> bool:
        """Whether a worker has made the group before, in this process or another. Raises TimeoutError."""
        async with asyncio.timeout(CONTROL_SECONDS):
            await self._control.read.wait()
        return bool(self._control.current.get(self._subject) == self._value)

    async def make(self) -> None:
        """The group is there. Raises KafkaError, TimeoutError."""
        if not await self.is_there():
            await tell(self._kafka, self._topic, self._subject, self._value)
