"""Plain Faust under the same load: an agent, a table with its changelog and a sink topic, at default settings.

`python -m tests.faults.plain_faust worker` reads the SYNCLINE_* variables of a worker, which say where. The
session alone is not Faust's default (60 s), so that a dead worker's partitions move as soon as ours do. What it
keeps of an entity is its newest change and the places of all of them, so that each loss and each double count can
be seen, and so that what it sends is about as long as what we send.
"""

from __future__ import annotations

from typing import Any

import faust

from agents.names import TopicNames
from agents.settings import Settings, load_settings


def sink_topic(settings: Settings) -> str:
    """Where it sends the place of each change."""
    return f"{settings.topic_prefix}plain-sink"


def changelog_topic(settings: Settings) -> str:
    """The changelog of its table, as Faust names it."""
    return f"{settings.app_id}-states-changelog"


def build(settings: Settings) -> faust.App:
    """The app; nothing is started yet."""
    app = faust.App(
        settings.app_id,
        broker=f"kafka://{settings.kafka}",
        store="memory://",
        topic_partitions=settings.partitions,
        broker_session_timeout=settings.session_seconds,
        broker_heartbeat_interval=settings.session_seconds / 5,
        web_enabled=False,
        key_serializer="raw",
    )
    changes = app.topic(
        TopicNames.with_prefix(settings.topic_prefix).changes,
        key_type=bytes,
        value_type=bytes,
        value_serializer="raw",
        allow_empty=True,
    )
    sink = app.topic(
        sink_topic(settings),
        key_type=bytes,
        value_type=bytes,
        value_serializer="raw",
        partitions=settings.partitions,
    )
    states = app.Table("states", key_type=bytes, partitions=settings.partitions)

    @app.agent(changes, name="count")
    async def count(stream: Any) -> None:
        async for event in stream.events():
            place = f"{event.message.partition}:{event.message.offset}"
            known = states.get(event.key) or {"places": []}
            states[event.key] = {"places": [*known["places"], place], "newest": event.value.hex()}
            await sink.send(key=event.key, value=place.encode())

    return app


if __name__ == "__main__":
    build(load_settings()).main()
