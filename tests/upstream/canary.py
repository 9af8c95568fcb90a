"""What every canary says when it falls silent, and the apps that they sing to: never started, with no broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faust
from faust.events import Event
from faust.types import TP
from faust.types.tuples import ConsumerMessage

TOPIC, PARTITION = "t", TP("t", 0)


@contextmanager
def canary(*places: str) -> Iterator[None]:
    """Around an assertion of what upstream does today. places: what here works around it."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"upstream changed: review the workaround in {', '.join(places)} ({error!r})") from error


def new_app(kind: type[faust.App] = faust.App, **settings: Any) -> Any:
    """An app of stock Faust at its default settings."""
    app = kind("canary", broker="kafka://127.0.0.1:1", store="memory://", autodiscover=False, **settings)
    app.finalize()
    return app


def flowing_app(kind: type[faust.App] = faust.App) -> Any:
    """An app whose streams give out what is put into a channel, and whose consumer accepts acknowledgements."""
    app = new_app(kind)
    app.flow_control.resume()
    app.consumer_generation_id = 1
    app.topics._acking_topics.add(TOPIC)
    return app


def message(offset: int, *, value: bytes = b"1", headers: Any = None, generation: int = 1) -> ConsumerMessage:
    """A consumed message."""
    return ConsumerMessage(
        TOPIC, 0, offset, 0.0, 0, headers or [], b"k", value, None, tp=PARTITION, generation_id=generation
    )


async def stream_of(app: Any, *messages: ConsumerMessage) -> Any:
    """A stream over these messages; their values are their offsets."""
    channel = app.topic(TOPIC, value_type=int).clone(is_iterator=True)
    for one in messages:
        one.incref(1)
        await channel.queue.put(Event(app, b"k", one.offset, dict(one.headers), one))
    return app.stream(channel)
