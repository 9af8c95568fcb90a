"""The faults bite: what they do to plain Faust is counted and printed, and how much it is, is not judged."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.conftest import Deployment
from tests.faults.broker import Broker
from tests.faults.plain_run import PlainRun
from tests.faults.report import Report

pytestmark = pytest.mark.real_kafka

SESSION_SECONDS = 3.0


def test_plain_faust_killed_at_random(deployment: Deployment, tmp_path: Path, report: Report) -> None:
    """F01: after random kills all is published, and of what plain Faust committed its loss can be counted."""
    chance = random.Random(1)
    with PlainRun(
        deployment, tmp_path, seed=101, changes=5_000, per_second=200, session_seconds=SESSION_SECONDS
    ) as run:
        for _ in range(4):
            time.sleep(chance.uniform(2.0, 4.0))
            run.kill_worker(chance.randrange(2))
        outcome = run.measure()
    report.add_plain("F01", "a random worker is killed", outcome)
    assert outcome.published >= len(run.items)
    assert outcome.committed > 0
    assert outcome.lost <= outcome.committed


def test_plain_faust_paused_beyond_its_session(deployment: Deployment, tmp_path: Path, report: Report) -> None:
    """F06: after a pause beyond the session all is published, and plain Faust's loss can be counted."""
    with PlainRun(
        deployment, tmp_path, seed=601, changes=5_000, per_second=300, session_seconds=SESSION_SECONDS
    ) as run:
        run.pause_worker(0)
        time.sleep(SESSION_SECONDS + 4.0)
        run.resume_worker(0)
        outcome = run.measure()
    report.add_plain("F06", "a worker is stopped beyond its session", outcome)
    assert outcome.published >= len(run.items)
    assert outcome.committed > 0
    assert outcome.lost <= outcome.committed


def test_plain_faust_killed_behind_a_slow_broker(
    broker: Broker, breakable: Deployment, tmp_path: Path, report: Report
) -> None:
    """F11: after a kill behind a slow broker all is published, and plain Faust's loss can be counted."""
    with PlainRun(
        breakable,
        tmp_path,
        seed=11,
        changes=8_000,
        per_second=1_000,
        session_seconds=6.0,
        partitions=2,
        worker_kafka=broker.proxy.address,
    ) as run:
        broker.proxy.delay(0.3)
        for _ in range(2):
            run.until_progress()
        run.kill_worker(0)
        run.until_published()
        broker.proxy.heal()
        outcome = run.measure()
    report.add_plain("F11", "0.6 s for every answer, worker killed", outcome)
    assert outcome.published >= len(run.items)
    assert outcome.committed > 0
    assert outcome.lost <= outcome.committed
