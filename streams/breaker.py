"""The circuit breaker of one target: how long it is left alone, and how much is tried at once.

States as in M. Nygard, Release It!: closed, open after failures in a row, half open when the pause is over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

FAILURES_TO_OPEN = 3
FIRST_PAUSE_MS = 200
State = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True)
class Breaker:
    """max_batch: most deliveries of one call. max_pause_ms: longest pause, unless the target asks for more.

    batch: deliveries of the next call: half as many after each failure, so that a delivery that makes calls fail ends
    up alone, and twice as many after each success.
    """

    max_batch: int
    max_pause_ms: int
    batch: int = 0
    failures: int = 0
    open_until_ms: int = 0

    def __post_init__(self) -> None:
        if not self.batch:
            object.__setattr__(self, "batch", self.max_batch)

    def state(self, now_ms: int) -> State:
        """closed: calls are made, after a short pause where the last one failed."""
        if self.failures < FAILURES_TO_OPEN:
            return "closed"
        return "open" if now_ms < self.open_until_ms else "half_open"

    def pause_ms(self, now_ms: int) -> int:
        """How long no call may be made."""
        return max(0, self.open_until_ms - now_ms)

    def failed(self, now_ms: int, jitter: float, retry_after_ms: int | None = None) -> Breaker:
        """After a call that failed. jitter: from 0 to 1, by chance, so that workers do not come back all at once."""
        pause = min(self.max_pause_ms, FIRST_PAUSE_MS * 2 ** min(self.failures, 30))
        pause = pause // 2 + int(pause / 2 * jitter)
        return replace(
            self,
            failures=self.failures + 1,
            batch=max(1, self.batch // 2),
            open_until_ms=now_ms + max(pause, retry_after_ms or 0),
        )

    def succeeded(self) -> Breaker:
        """After a call that the target answered."""
        return replace(self, failures=0, batch=min(self.max_batch, self.batch * 2), open_until_ms=0)
