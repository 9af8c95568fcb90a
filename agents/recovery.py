"""Recovery of the entity table from its changelog: starts at once, tells how far it is, and never ends half-way.

Faust's own recovery ends for good when one of its questions to Kafka takes too long; the process then lives on,
keeps its partitions and does nothing. Here that recovery starts again.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple

from aiokafka.errors import KafkaError
from faust.tables.manager import TableManager
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped
from faust.types import TP
from mode import Service

TELL_SECONDS = 2.0
LOOK_SECONDS = 0.25
AGAIN_SECONDS = 1.0


class Sample(NamedTuple):
    """What is left, and how much was read in all, at a time (seconds)."""

    at: float
    remaining: int
    records: int


class Progress:
    """How far a recovery is. A compacted changelog has fewer records than offsets, and only those are known before.

    remaining, records: the offsets still to be read, and how many records were read in all, whenever they are asked.
    clock: seconds.
    """

    def __init__(
        self, remaining: Callable[[], int], records: Callable[[], int], clock: Callable[[], float] = monotonic
    ) -> None:
        self._remaining, self._records, self._clock = remaining, records, clock
        self._begin = self._before = self._told = self._now()

    @property
    def total(self) -> int:
        """Offsets to be read in all."""
        return self._begin.remaining

    @property
    def remaining(self) -> int:
        """Offsets still to be read."""
        return self._remaining()

    def due(self) -> bool:
        """Whether TELL_SECONDS have passed since the begin, or since it was last due."""
        now = self._now()
        if now.at - self._told.at < TELL_SECONDS:
            return False
        self._before, self._told = self._told, now
        return True

    def line(self) -> str:
        """What is done, how quickly it went of late, and how long the rest will take at that rate."""
        now = self._now()
        done, lately = self.total - now.remaining, self._before.remaining - now.remaining
        left = f"{(now.at - self._before.at) * now.remaining / lately:.0f} s left" if lately else "no progress"
        rate = _rate(self._before, now)
        return f"{done:,} of {self.total:,} offsets ({done * 100 // max(self.total, 1)} %), {rate}, {left}"

    def last_line(self) -> str:
        """What was done."""
        now = self._now()
        read = now.records - self._begin.records
        return f"{read:,} records in {now.at - self._begin.at:.1f} s, {_rate(self._begin, now)}"

    def _now(self) -> Sample:
        return Sample(self._clock(), self._remaining(), self._records())


def _rate(since: Sample, now: Sample) -> str:
    return f"{(now.records - since.records) / max(now.at - since.at, 0.001):,.0f} records/s"


class LaneRecovery(Recovery):
    """Faust's recovery service of one table, `EntityTable`."""

    progress: Progress | None = None

    async def _wait(self, coro: Any, timeout: Any = None) -> None:  # noqa: ASYNC109
        """Wait for a step. Raises RebalanceAgain when recovery is to start again, ServiceStopped at the end."""
        try:
            await super()._wait(coro, timeout)
            return
        except ServiceStopped:
            if self.should_stop:
                raise
            why = f"no answer within {timeout:g} s"
        except (KafkaError, TimeoutError) as error:
            why = repr(error)
        self.log.warning("Recovery starts again: %s", why)
        await self.sleep(AGAIN_SECONDS)
        self.signal_recovery_start.set()
        raise RebalanceAgain

    async def _build_offsets(self, consumer: Any, tps: set[TP], destination: Any, title: str) -> None:
        if not tps:
            return
        log_starts = await consumer.earliest_offsets(*tps)
        [table] = self.tables.values()
        for tp in tps:
            destination[tp] = table.data.read_after(tp.partition, log_starts[tp], self.active_highwaters[tp] + 1)
        self.progress = Progress(self.active_remaining_total, lambda: table.data.records_read)

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        if self.signal_recovery_start.is_set():
            # Faust comes here also when a rebalance has broken off the reading.
            raise RebalanceAgain
        if self.progress is not None and self.progress.total:
            self.log.info("Recovered %s", self.progress.last_line())
        self.progress = None
        await super().on_recovery_completed(generation_id)

    @Service.task
    async def _publish_stats(self) -> None:
        """Tell the progress, in place of Faust's tables of offsets."""
        while not self.should_stop:
            await self.sleep(LOOK_SECONDS)
            if self.progress is not None and self.in_recovery and self.progress.due():
                self.log.info("Recovering: %s", self.progress.line())


class LaneTables(TableManager):
    """Faust's tables, without the second that it sleeps at the start."""

    @property
    def recovery(self) -> LaneRecovery:
        if self._recovery is None:
            self._recovery = LaneRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()
