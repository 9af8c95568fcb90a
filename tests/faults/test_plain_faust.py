"""The faults bite: what they do to plain Faust is counted and printed, and how much it is, is not judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Deployment
from tests.faults.blows import (
    KILLED,
    PAUSED,
    SLOW,
    WORKERS,
    kill_at_random,
    kill_behind_slow_broker,
    pause_beyond_session,
)
from tests.faults.broker import Broker
from tests.faults.plain_run import PlainRun
from tests.faults.report import Report

pytestmark = pytest.mark.real_kafka


def test_plain_faust_killed_at_random(deployment: Deployment, tmp_path: Path, report: Report) -> None:
    """F01: after random kills all is published, and of what plain Faust committed its loss can be counted."""
    with PlainRun(deployment, tmp_path, seed=101, changes=None, per_second=200, session_seconds=3.0) as run:
        run.begin(WORKERS)
        kill_at_random(run)
        outcome = run.measure()
    report.add_plain("F01", KILLED, outcome)
    assert outcome.published >= len(run.items)
    assert outcome.committed > 0
    assert outcome.lost <= outcome.committed


def test_plain_faust_paused_beyond_its_session(deployment: Deployment, tmp_path: Path, report: Report) -> None:
    """F06: after a pause beyond the session all is published, and plain Faust's loss can be counted."""
    with PlainRun(deployment, tmp_path, seed=601, changes=None, per_second=220, session_seconds=4.0) as run:
        run.begin(WORKERS)
        pause_beyond_session(run)
        outcome = run.measure()
    report.add_plain("F06", PAUSED, outcome)
    assert outcome.published >= len(run.items)
    assert outcome.committed > 0
    assert outcome.lost <= outcome.committed


def test_plain_faust_killed_behind_a_slow_broker(
    broker: Broker, breakable: Deployment, tmp_path: Path, report: Report
) -> None:
    """F11: after a kill behind a slow broker all is published, and plain Faust's loss can be counted."""
    told = broker.proxy.address
    with PlainRun(breakable, tmp_path, seed=11, changes=None, per_second=1000, partitions=2, worker_kafka=told) as run:
        run.begin(WORKERS)
        kill_behind_slow_broker(run, broker.proxy)
        run.until_published()
        broker.proxy.heal()
        outcome = run.measure()
    report.add_plain("F11", SLOW, outcome)
    assert outcome.published >= len(run.items)
    assert outcome.committed > 0
    assert outcome.lost <= outcome.committed
