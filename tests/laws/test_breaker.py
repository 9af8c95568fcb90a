"""The circuit breaker: how long a target in trouble is left alone, and how much is tried at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.breaker import FAILURES_TO_OPEN, Breaker


@given(failures=st.integers(0, 40), jitter=st.floats(0, 1), retry_after_ms=st.none() | st.integers(0, 10**6))
def test_pauses_grow_to_a_limit_and_are_as_long_as_the_target_asks(
    failures: int, jitter: float, retry_after_ms: int | None
) -> None:
    """No pause is longer than the limit unless the target asks for it, and none is shorter than it asks."""
    breaker = Breaker(500, 30_000)
    for _ in range(failures):
        breaker = breaker.failed(0, jitter)
    pause_ms = breaker.failed(0, jitter, retry_after_ms).pause_ms(0)
    assert (retry_after_ms or 0) <= pause_ms <= max(30_000, retry_after_ms or 0)


def test_it_opens_after_failures_in_a_row_and_closes_with_a_success() -> None:
    """Open while it pauses, then half open for a call; batches are halved down to one delivery, and double again."""
    breaker = Breaker(8, 30_000)
    for number in range(1, FAILURES_TO_OPEN + 2):
        assert breaker.state(0) == ("closed" if number <= FAILURES_TO_OPEN else "open")
        breaker = breaker.failed(0, 1.0)
    assert (breaker.batch, breaker.state(breaker.open_until_ms)) == (1, "half_open")
    breaker = breaker.succeeded()
    assert (breaker.batch, breaker.state(0), breaker.pause_ms(0)) == (2, "closed", 0)
    assert breaker.succeeded().succeeded().succeeded().batch == 8


def test_it_stays_closed_where_failures_are_rare() -> None:
    """Failures count in a row alone."""
    breaker = Breaker(8, 30_000)
    for _ in range(10):
        breaker = breaker.failed(0, 0.5).succeeded()
    assert breaker.state(0) == "closed"
