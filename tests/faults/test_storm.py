"""A rebalance storm: workers that come and go all the time hold back no partition for long."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import Deployment
from tests.faults.progress import Sample
from tests.faults.report import Report
from tests.faults.run import FaultRun

pytestmark = pytest.mark.real_kafka

ROUNDS = 8
#: Far more than a rebalance needs: a partition that stands that long is stuck.
STUCK_SECONDS = 30.0


def test_rebalance_storm(deployment: Deployment, tmp_path: Path, report: Report) -> None:
    """A third worker that comes and goes all the time, in order or killed, ready or not, stops no partition."""
    settings = {"session_seconds": 3.0, "batch_records": 30}
    with FaultRun(deployment, tmp_path, seed=501, changes=None, per_second=75, settings=settings) as run:
        run.begin(workers=2)
        for number in range(ROUNDS):
            third = run.start_worker()
            if number % 2:
                run.until(lambda: "Joined group" in run.log_of(third), "it does not join the group")  # noqa: B023
            else:
                run.until_ready()
            how = signal.SIGKILL if number % 4 > 1 else signal.SIGTERM
            assert run.stop_worker(third, how) in (0, -signal.SIGKILL), run.log_of(third)[-1500:]
        run.drain()
        stood = longest_standing(run.progress.samples)
        outcome = run.verify()
    what = f"a third worker comes and goes {ROUNDS} times"
    report.add("F05", what, outcome, f"no partition stood for more than {stood:.1f} s")
    assert run.codes() == []
    assert stood < STUCK_SECONDS
    assert outcome.stale == 0
    assert outcome.wrong == ()


def longest_standing(samples: Sequence[Sample]) -> float:
    """The longest time in seconds in which a partition had changes to resolve and committed none."""
    longest = 0.0
    for partition in range(len(samples[0].ends)):
        since, before = samples[0].at, -1
        for sample in samples:
            committed = sample.committed[partition]
            if committed != before or committed == sample.ends[partition]:
                since, before = sample.at, committed
            longest = max(longest, sample.at - since)
    return longest
