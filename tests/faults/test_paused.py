"""Workers that stand still: beyond their session they are replaced and send nothing stale."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from agents.ending import EX_SOFTWARE
from tests.conftest import Deployment
from tests.faults.report import Report
from tests.faults.run import FaultRun

pytestmark = pytest.mark.real_kafka

SESSION_SECONDS = 4.0
BEYOND_SESSION_SECONDS = SESSION_SECONDS + 4.0
SHORT_PAUSES, SHORT_SECONDS, BETWEEN_SECONDS = 10, 1.0, 0.5


def test_worker_stopped_beyond_its_session(deployment: Deployment, tmp_path: Path, report: Report) -> None:
    """A zombie that goes on ends itself or joins anew; nothing older than what its successor wrote comes after that."""
    settings = {"session_seconds": SESSION_SECONDS, "batch_records": 30}
    with FaultRun(deployment, tmp_path, seed=601, changes=5_000, per_second=220, settings=settings) as run:
        for _ in range(2):
            run.start_worker()
        run.until_ready()
        run.publish()
        run.until_progress()
        for number in range(2):  # each is the zombie once, and the other its successor
            run.fault()
            run.pause_worker(number)
            time.sleep(BEYOND_SESSION_SECONDS)
            run.resume_worker(number)
            run.until_progress()
        run.drain()
        outcome = run.verify()
    report.add("F06", "a worker is stopped for its session and 4 s, then goes on; each once", outcome)
    assert set(run.codes()) <= {EX_SOFTWARE}
    assert outcome.stale == 0
    assert outcome.wrong == ()


def test_short_pauses(deployment: Deployment, tmp_path: Path, report: Report) -> None:
    """Ten pauses of a second, well within the session, move no partition and change nothing."""
    with FaultRun(deployment, tmp_path, seed=602, changes=2_400, per_second=150) as run:
        for _ in range(2):
            run.start_worker()
        run.until_ready()
        before = generations(run)
        run.publish()
        for pause in range(SHORT_PAUSES):
            run.pause_worker(pause % 2)
            time.sleep(SHORT_SECONDS)
            run.resume_worker(pause % 2)
            time.sleep(BETWEEN_SECONDS)
        run.drain()
        after = generations(run)
        outcome = run.verify()
    report.add("F06b", "10 pauses of 1 s", outcome)
    assert after == before
    assert run.codes() == []
    assert outcome.wrong == ()


def generations(run: FaultRun) -> list[str]:
    """The group's generations that the workers joined, in their order; each is a rebalance."""
    logs = "".join(run.log_of(number) for number in run.workers)
    return re.findall(r"Joined group '.*' \(generation (\d+)\)", logs)
