"""Whether the systems that syncline.yaml names can be reached: sources with a place of their own, and targets.

Nothing is written and nothing is made: a target is given a connection, which is closed again.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from agents.config_file import load_sources, load_targets
from agents.ingest.compose import IngestUnusable
from agents.settings import Settings
from agents.targets.loading import load_target
from agents.targets.target import TargetUnusable
from schemas.ingest_document import IngestDocument
from schemas.policy_document import PolicyError
from schemas.target_document import CustomDocument, JsonLinesDocument, KafkaDocument, TargetDocument
from syncline.finding import Finding, bounded, takes_connections
from syncline.ingest_status import ingest_status

DEFAULT_PORTS: Final = {"http": 80, "https": 443, "postgresql": 5432, "redis": 6379, "rediss": 6379}


async def examine_systems(settings: Settings) -> list[Finding]:
    """A finding for each source that is copied, and for each target; none where the file cannot be read."""
    try:
        sources, targets = load_sources(settings.config), load_targets(settings.config)
    except PolicyError:
        return []  # the policy's finding says so
    copied = {name: said for name, said in sources.items() if said.topic is not None or said.redis_stream is not None}
    return list(
        await asyncio.gather(
            *(bounded(f"source {name}", _source(settings, name, said)) for name, said in copied.items()),
            *(bounded(f"target {name}", _target(name, said)) for name, said in targets.items()),
        )
    )


async def _source(settings: Settings, name: str, said: IngestDocument) -> tuple[bool, str]:
    try:
        (status,) = await ingest_status(settings, {name: said}, 0)
    except IngestUnusable as error:
        return False, str(error)
    waiting = "" if status.waiting is None else f", {status.waiting} wait"
    return True, f"{status.place}{waiting}{f': {status.note}' if status.note else ''}"


async def _target(name: str, said: TargetDocument) -> tuple[bool, str]:
    try:
        load_target(name, said)
    except TargetUnusable as error:
        return False, str(error)
    match said:
        case CustomDocument():
            return True, f"{said.kind}, a target of your own: not examined"
        case JsonLinesDocument():
            return _file(said)
        case KafkaDocument():
            places = [urlsplit(f"kafka://{address}") for address in said.kafka.split(",")]
        case _:
            places = [urlsplit(said.url)]  # type: ignore[attr-defined]
    for place in places:
        port = place.port or DEFAULT_PORTS[place.scheme]
        await takes_connections(place.hostname or "", port)
    named = ", ".join(f"{place.hostname}:{place.port or DEFAULT_PORTS[place.scheme]}" for place in places)
    return True, f"{said.kind} at {named} takes connections"  # type: ignore[attr-defined]


def _file(said: JsonLinesDocument) -> tuple[bool, str]:
    directory = Path(said.path).absolute().parent
    if not os.access(directory, os.W_OK):
        return False, f"json_lines: {directory} must be a directory that this user may write to"
    return True, f"json_lines in {directory}"
