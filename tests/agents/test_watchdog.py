"""The watchdog knows a worker that hangs from one that works."""

from __future__ import annotations

from time import monotonic

from agents.watchdog import Watchdog


def test_faults() -> None:
    """A loop that stands still and a recovery that never ends are faults; anything shorter is none."""
    watchdog = Watchdog(lambda: True, stall_seconds=30, recovery_seconds=600)
    now = monotonic()
    assert watchdog.fault(now + 29) is None
    assert "stood still" in (watchdog.fault(now + 32) or "")
    patient = Watchdog(lambda: False, stall_seconds=10_000, recovery_seconds=600)
    assert patient.fault(now + 599) is None
    assert "not become ready" in (patient.fault(now + 602) or "")
