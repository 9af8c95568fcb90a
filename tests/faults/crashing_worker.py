"""A worker that is gone at one boundary between two effects: `python -m tests.faults.crashing_worker NAME N`.

The product has no hooks for it: its methods are wrapped here, and the process ends (os._exit, as kill -9 does)
at the N-th time that it comes to the boundary; with a third argument, `stop`, it stands still there (SIGSTOP) until
somebody lets it go on. Of changelog and records, which are sent together, the other
is held back where only one may have arrived.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from agents.lane import LaneConsumer
from agents.names import TopicNames
from agents.outbox import Outbox
from agents.settings import load_settings
from agents.worker import main

CRASHED = 137
HELD_SECONDS = 60.0
BOUNDARIES = (
    "before_changelog",
    "after_changelog",
    "after_records",
    "after_conflicts",
    "before_ack",
    "after_ack",
    "after_commit",
)


class Crash:
    """Ends or stops the process when `reached` is called for the `times`-th time."""

    def __init__(self, times: int, *, stop: bool) -> None:
        self._left, self._stop = times, stop

    @property
    def next(self) -> bool:
        """Whether the next time is the one."""
        return self._left == 1

    def reached(self) -> None:
        """Count one arrival at the boundary."""
        self._left -= 1
        if self._left == 0 and self._stop:
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self._left == 0:
            os.write(2, b"crashing_worker: gone\n")
            os._exit(CRASHED)


def crash_in_sends(when: str, topic: str, held: str | None, crash: Crash) -> None:
    """Crash before or after the n-th send to a topic; then `held` is not sent beside it."""
    send_rows: Callable[..., Awaitable[Any]] = Outbox._send_rows

    async def sending(self: Outbox, to: str, partition: int, rows: Any) -> Any:
        if to == held and crash.next:
            await asyncio.sleep(HELD_SECONDS)
        if to == topic and when == "before":
            crash.reached()
        sent = await send_rows(self, to, partition, rows)
        if to == topic and when == "after":
            crash.reached()
        return sent

    Outbox._send_rows = sending  # type: ignore[method-assign, assignment]


def crash_in_acks(when: str, changes: str, crash: Crash) -> None:
    """Crash before or after the n-th batch of `changes` is acknowledged to the consumer."""
    ack = LaneConsumer.ack

    def acking(self: LaneConsumer, message: Any) -> bool:
        ours = message.tp.topic == changes
        if ours and when == "before":
            crash.reached()
        acked = ack(self, message)
        if ours and when == "after":
            crash.reached()
        return acked

    LaneConsumer.ack = acking  # type: ignore[method-assign]


def crash_in_commits(crash: Crash) -> None:
    """Crash after the n-th commit that Kafka confirmed."""
    commit: Callable[..., Awaitable[bool]] = LaneConsumer._commit

    async def committing(self: LaneConsumer, offsets: Any) -> bool:
        done = await commit(self, offsets)
        crash.reached()
        return done

    LaneConsumer._commit = committing  # type: ignore[method-assign, assignment]


def arm(boundary: str, crash: Crash, names: TopicNames) -> None:
    """Wrap what belongs to the boundary."""
    when, _, effect = boundary.partition("_")
    if effect == "ack":
        crash_in_acks(when, names.changes, crash)
    elif effect == "commit":
        crash_in_commits(crash)
    else:
        topic = getattr(names, effect)
        held = {names.changelog: names.records, names.records: names.changelog}.get(topic)
        crash_in_sends(when, topic, held if when == "after" else None, crash)


if __name__ == "__main__":
    settings = load_settings()
    crash = Crash(int(sys.argv[2]), stop=sys.argv[3:] == ["stop"])
    arm(sys.argv[1], crash, TopicNames.with_prefix(settings.topic_prefix))
    main(settings)
