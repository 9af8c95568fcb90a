"""The faults bite: what they do to plain Faust, which is not judged but must have been measured."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.conftest import Deployment
from tests.faults.plain_run import PlainRun
from tests.faults.report import Report

pytestmark = pytest.mark.real_kafka

SESSION_SECONDS = 3.0


def test_plain_faust_killed_at_random(deployment: Deployment, tmp_path: Path, report: Report) -> None:
    """Random kills under load: what plain Faust's table and sink lack afterwards, or hold twice, is counted."""
    chance = random.Random(1)
    with PlainRun(
        deployment, tmp_path, seed=101, changes=5_000, per_second=200, session_seconds=SESSION_SECONDS
    ) as run:
        for _ in range(4):
            time.sleep(chance.uniform(2.0, 4.0))
            run.kill_worker(chance.randrange(2))
        outcome = run.measure()
    report.add_plain("F01", "a random worker is killed", outcome)


def test_plain_faust_paused_beyond_its_session(deployment: Deployment, tmp_path: Path, report: Report) -> None:
    """A worker stopped beyond its session: what plain Faust lacks afterwards, or holds twice, is counted."""
    with PlainRun(
        deployment, tmp_path, seed=601, changes=5_000, per_second=300, session_seconds=SESSION_SECONDS
    ) as run:
        run.pause_worker(0)
        time.sleep(SESSION_SECONDS + 4.0)
        run.resume_worker(0)
        outcome = run.measure()
    report.add_plain("F06", "a worker is stopped beyond its session", outcome)
