"""The watchdog knows a worker that hangs from one that works."""

from __future__ import annotations

from time import monotonic

from agents.watchdog import Watchdog


def test_faults() -> None:
    """A loop that stands still and a recovery that never ends are faults; anything shorter is none."""
    watchdog = Watchdog(lambda: True, stall_seconds=30, recovery_seconds=600, progress_seconds=120)
    now = monotonic()
    assert watchdog.fault(now + 29) is None
    assert "stood still" in (watchdog.fault(now + 32) or "")
    patient = Watchdog(lambda: False, stall_seconds=10_000, recovery_seconds=600, progress_seconds=120)
    assert patient.fault(now + 599) is None
    assert "is not ready" in (patient.fault(now + 602) or "")


def test_a_recovery_that_goes_on_is_no_fault() -> None:
    """However long a recovery takes: only the time counts in which it reads nothing."""
    restored = 0
    watchdog = Watchdog(
        lambda: False, lambda: restored, stall_seconds=10_000, recovery_seconds=600, progress_seconds=120
    )
    now = monotonic()
    restored = 1
    watchdog.beat(now + 500)
    watchdog.beat(now + 1000)
    assert watchdog.fault(now + 1099) is None
    assert watchdog.fault(now + 1101) is not None


def test_no_progress_with_records_waiting_is_a_fault() -> None:
    """What waits and gets no further is a fault; what gets further, is done, or had nothing to do, is none."""
    watchdog = Watchdog(lambda: True, stall_seconds=10_000, recovery_seconds=600, progress_seconds=120)
    now = monotonic()
    watchdog.note({"a": 1, "b": 5}, now)
    watchdog.note({"a": 1, "b": 6}, now + 100)
    assert watchdog.fault(now + 119) is None
    assert "a: no progress" in (watchdog.fault(now + 121) or "")
    watchdog.note({"b": 6}, now + 121)
    assert watchdog.fault(now + 219) is None
    watchdog.note({"a": 1}, now + 230)
    assert watchdog.fault(now + 349) is None
    assert watchdog.fault(now + 351) is not None
