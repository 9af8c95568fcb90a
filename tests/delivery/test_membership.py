"""A process that delivers and is no member of its group any more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from agents.delivery.app import watchdog
from agents.settings import Settings


def test_one_that_the_group_no_longer_confirms_ends() -> None:
    """It says so after progress_seconds; while confirmations come, it stays."""
    settings = Settings(progress_seconds=120.0, stall_seconds=1_000.0)
    app: Any = SimpleNamespace(settings=settings, rebalancing=False, consumer=SimpleNamespace(confirmed_at=0.0))
    guard = watchdog(app)
    begun = guard._beat_at
    for second in range(0, 300, 10):
        app.consumer.confirmed_at = float(second)
        guard.beat(begun + second)
        assert guard.fault(begun + second) is None
    for second in range(300, 430, 10):
        guard.beat(begun + second)
    assert guard.fault(begun + 400) is None
    assert guard.fault(begun + 430) == "membership in the consumer group: no progress for 140 s"
