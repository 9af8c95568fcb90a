"""Laws of the hybrid logical clock."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncline.hybrid_clock import COUNTER_BITS, MAX_VERSION, START_BELOW, ClockAhead, HybridClock

TODAY_MS = 1_790_000_000_000
MOMENTS = st.integers(TODAY_MS, TODAY_MS + 1_000)


class SteppedClock:
    """A physical clock that shows what it is told to."""

    def __init__(self) -> None:
        self.ms = TODAY_MS

    def __call__(self) -> int:
        return self.ms


@given(st.lists(MOMENTS, min_size=1), st.integers(0, START_BELOW - 1))
def test_versions_rise_whatever_the_wall_clock_does(moments: list[int], start: int) -> None:
    """Each version is greater than the one before, though the physical clock stands still or goes back."""
    wall = SteppedClock()
    clock = HybridClock(wall, start)
    last = 0
    for wall.ms in moments:
        version = clock.tick()
        assert last < version <= MAX_VERSION
        assert version >> COUNTER_BITS >= wall.ms
        last = version


@given(MOMENTS, st.integers(0, (TODAY_MS + 1_000) << COUNTER_BITS))
def test_what_was_observed_is_overtaken(moment: int, observed: int) -> None:
    """A version given after another one was observed is greater than that one."""
    clock = HybridClock(lambda: moment)
    clock.observe(observed)
    assert clock.tick() > observed


@given(MOMENTS, st.integers(0, START_BELOW - 1))
def test_a_version_tells_its_time(moment: int, start: int) -> None:
    """The first version of a moment has that moment in its upper bits."""
    assert HybridClock(lambda: moment, start).tick() >> COUNTER_BITS == moment


def test_a_full_counter_carries_into_the_milliseconds() -> None:
    """More versions than one millisecond's counter holds still rise, and none is given twice."""
    clock = HybridClock(lambda: TODAY_MS, start=0)
    versions = [clock.tick() for _ in range((1 << COUNTER_BITS) + 10)]
    assert versions == sorted(set(versions))
    assert versions[-1] >> COUNTER_BITS == TODAY_MS + 1


def test_a_version_of_no_clock_is_not_gone_on_from() -> None:
    """A version that lies days ahead is refused with both numbers, and leaves the clock as it was."""
    clock = HybridClock(lambda: TODAY_MS, start=0)
    with pytest.raises(ClockAhead, match=f"{MAX_VERSION}.*give each change its version"):
        clock.observe(MAX_VERSION)
    assert clock.tick() == TODAY_MS << COUNTER_BITS


def test_threads_never_share_a_version() -> None:
    """Threads that draw from one clock at the same time get different versions."""
    clock = HybridClock()
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda _: [clock.tick() for _ in range(500)], range(4)))
    assert len({version for versions in drawn for version in versions}) == 2_000


def test_two_processes_begin_at_different_counters() -> None:
    """Clocks that were not told where their counters start hardly ever give the same version in one millisecond."""
    versions = {HybridClock(lambda: TODAY_MS).tick() for _ in range(20)}
    assert len(versions) > 15
