"""A thread that ends a worker which does nothing any more but keeps its partitions.

Faust only logs such states: its consumer has a thread of its own and goes on sending heartbeats while the
event loop stands still, and one time-out during recovery ends the recovery for good without an error.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable, Mapping
from time import monotonic
from typing import Any

from mode import Service

from agents.ending import EX_SOFTWARE, end_process

BEAT_SECONDS = 1.0


class Watchdog(Service):
    """Ends the process when it does nothing any more.

    That is: the loop stalls for stall_seconds, `ready` stays False for recovery_seconds in which `restored` (how many
    records recovery has read) does not grow, or a number in `unfinished` (what waits, and how far it is) stays the same
    for progress_seconds.
    """

    def __init__(
        self,
        ready: Callable[[], bool],
        restored: Callable[[], int] = lambda: 0,
        unfinished: Callable[[], Mapping[Any, int]] = dict,
        *,
        stall_seconds: float,
        recovery_seconds: float,
        progress_seconds: float,
        end: Callable[[int, str], Any] = end_process,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._ready, self._restored = ready, restored
        self._restored_before = 0
        self._stall = stall_seconds
        self._recovery = recovery_seconds
        self._unfinished = unfinished
        self._progress = progress_seconds
        self._standing: dict[Hashable, tuple[int, float]] = {}
        self._end = end
        self._beat_at = self._ready_at = monotonic()
        self._ended = threading.Event()

    async def on_start(self) -> None:
        self._beat_at = self._ready_at = monotonic()
        threading.Thread(target=self._watch, name="syncline-watchdog", daemon=True).start()

    async def on_stop(self) -> None:
        self._ended.set()

    @Service.task
    async def _beat(self) -> None:
        while not self.should_stop:
            self.beat(monotonic())
            await asyncio.sleep(BEAT_SECONDS)

    def _watch(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            fault = self.fault(monotonic())
            if fault is not None:
                self._end(EX_SOFTWARE, fault)

    def beat(self, now: float) -> None:
        """Take note that the loop lives at `now` (monotonic seconds), and of how far it is."""
        self._beat_at = now
        ready, restored = self._ready(), self._restored()
        if ready or restored > self._restored_before:
            self._ready_at, self._restored_before = now, restored
        self.note(self._unfinished() if ready else {}, now)

    def note(self, unfinished: Mapping[Any, int], now: float) -> None:
        """Take note of what is unfinished at `now` (monotonic seconds)."""
        before = self._standing
        self._standing = {
            key: before[key] if key in before and before[key][0] == number else (number, now)
            for key, number in unfinished.items()
        }

    def fault(self, now: float) -> str | None:
        """What is wrong at `now` (monotonic seconds), or None."""
        if now - self._beat_at > self._stall:
            return f"the event loop has stood still for {now - self._beat_at:.0f} s"
        if now - self._ready_at > self._recovery:
            return f"the worker is not ready, and its recovery has read nothing for {self._recovery:.0f} s"
        for key, (_, since) in list(self._standing.items()):
            if now - since > self._progress:
                return f"{key}: no progress for {now - since:.0f} s"
        return None
