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

    async def write(self, partition: int, rows: Sequence[ViewRow], record_offsets: Sequence[int] | None) -> int:
        """The number of the connection over which every row, or something newer, got into the view; else 0."""

    async def invalidate(self, key: bytes) -> None:
        """Delete the view's entry of an entity."""


class Deliveries(Protocol):
    """Who follows `records` and catches up what the hand-over misses: agents/materialize.py."""

    def delivered(self, partition: int, first: int, next: int, connection: int | None = None) -> None:
        """The records `first` to `next` - 1 are in the view already, written over this connection."""


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
        self._tails: dict[int, asyncio.Task[int]] = {}

    def offer(self, partition: int, rows: Sequence[ViewRow]) -> asyncio.Task[int] | None:
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

    def confirm(self, partition: int, written: asyncio.Task[int] | None, records: OffsetRange) -> None:
        """Kafka has the records: tell the materializer, once the rows are written, that it may skip them."""
        if written is None or self.deliveries is None or not records.whole:
            return
        deliveries = self.deliveries

        def tell(task: asyncio.Task[int]) -> None:
            if not task.cancelled() and task.result():
                deliveries.delivered(partition, records.first, records.next, task.result())

        written.add_done_callback(tell)

    async def _write(
        self, view: View, before: asyncio.Task[int] | None, partition: int, rows: Sequence[ViewRow]
    ) -> int:
        # One after the other for a partition. No deadline here: cancelling a Redis command in the middle
        # leaves its reply to the next caller; the client's own socket time-outs end it instead.
        if before is not None and not before.done():
            await asyncio.wait([before])
        try:
            connection = await view.write(partition, rows, None)
        except Exception as error:
            log.warning("The view took no rows, they follow from Kafka later: %r", error)
            connection = 0
        self._metrics.view_writes.labels("written" if connection else "missed").inc()
        return connection

    def _finished(self, task: asyncio.Task[int]) -> None:
        self._room += 1
        for partition, tail in list(self._tails.items()):
            if tail is task:
                del self._tails[partition]
