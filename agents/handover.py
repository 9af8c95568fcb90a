"""Hands view rows to Redis while Kafka is still acknowledging; what misses is the materializer's to catch up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from agents.metrics import Metrics
from agents.outbox import OffsetRange
from streams.effects import ViewRow

log = logging.getLogger(__name__)


class View(Protocol):
    """Where rows are written: agents/view.py, or nothing when no Redis is configured."""

    async def write(self, partition: int, rows: Sequence[ViewRow], record_offsets: Sequence[int] | None) -> bool:
        """True when every row is in the view, or something newer is. May raise."""

    async def invalidate(self, key: bytes) -> None:
        """Delete the view's entry of an entity."""


class Deliveries(Protocol):
    """Who follows `records` and catches up what the hand-over misses: agents/materialize.py."""

    def delivered(self, partition: int, first: int, next: int) -> None:
        """The records `first` to `next` - 1 are in the view already."""


class HandOver:
    """The quick way into the view, one write at a time for each partition, `waiting` of them at most.

    A view that is slow, gone or full never holds back resolution: the hand-over then misses, and those
    records reach the view through the materializer, which reads them from Kafka.
    """

    def __init__(self, view: View | None, deliveries: Deliveries | None, metrics: Metrics, waiting: int) -> None:
        self.view = view
        self.deliveries = deliveries
        self._metrics = metrics
        self._room = waiting
        self._tails: dict[int, asyncio.Task[bool]] = {}
        self._working = True

    def offer(self, partition: int, rows: Sequence[ViewRow]) -> asyncio.Task[bool] | None:
        """Start to write the rows; None when there is nothing to do or no room. Never waits."""
        if self.view is None or not rows:
            return None
        if self._room <= 0:
            self._metrics.view_writes.labels("missed").inc()
            return None
        self._room -= 1
        before = self._tails.get(partition)
        task = asyncio.get_running_loop().create_task(self._write(self.view, before, partition, rows))
        self._tails[partition] = task
        task.add_done_callback(self._finished)
        return task

    def confirm(self, partition: int, written: asyncio.Task[bool] | None, records: OffsetRange) -> None:
        """Kafka has the records: tell the materializer, once the rows are written, that it may skip them."""
        if written is None or self.deliveries is None or not records.whole:
            return
        deliveries = self.deliveries

        def tell(task: asyncio.Task[bool]) -> None:
            if not task.cancelled() and task.result():
                deliveries.delivered(partition, records.first, records.next)

        written.add_done_callback(tell)

    async def _write(
        self, view: View, before: asyncio.Task[bool] | None, partition: int, rows: Sequence[ViewRow]
    ) -> bool:
        # One after the other for a partition. No deadline here: cancelling a Redis command in the middle
        # leaves its reply to the next caller; the client's own socket time-outs end it instead.
        if before is not None and not before.done():
            await asyncio.wait([before])
        try:
            ok = await view.write(partition, rows, None)
        except Exception as error:
            if self._working:
                log.warning("The view takes no writes, its rows follow from Kafka later: %r", error)
            ok = False
        self._working = ok
        self._metrics.view_writes.labels("written" if ok else "missed").inc()
        return ok

    def _finished(self, task: asyncio.Task[bool]) -> None:
        self._room += 1
        for partition, tail in list(self._tails.items()):
            if tail is task:
                del self._tails[partition]
