"""Workers that stand still: beyond their session they are replaced and send nothing stale."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from agents.ending import EX_SOFTWARE
from tests.conftest import Deployment
from tests.faults.blows import PAUSED, WORKERS, pause_beyond_session
from tests.faults.report import Report
from tests.faults.run import FaultRun

pytestmark = pytest.mark.real_kafka

SETTINGS = {"session_seconds": 4.0, "batch_records": 30}
SHORT_PAUSES, SHORT_SECONDS, BETWEEN_SECONDS = 10, 1.0, 0.5


def test_worker_stopped_beyond_its_session(deployment: Deployment, tmp_path: Path, report: Report) -> None:
    """A zombie that goes on ends itself or joins anew; nothing older than what its successor wrote comes after that."""
    with FaultRun(deployment, tmp_path, seed=601, changes=None, per_second=220, settings=SETTINGS) as run:
        run.begin(WORKERS)
        pause_beyond_session(run)
        run.drain()
        outcome = run.verify()
    report.add("F06", PAUSED, outcome)
    assert set(run.codes()) <= {EX_SOFTWARE}
    assert outcome.stale == 0
    assert outcome.wrong == ()


def test_worker_stopped_before_it_sends(deployment: Deployment, tmp_path: Path, report: Report) -> None:
    """A worker that stands still between its last look at its membership and the send does not send that any more."""
    with FaultRun(deployment, tmp_path, seed=603, changes=None, per_second=200, entities=50, settings=SETTINGS) as run:
        run.begin(1)
        zombie = run.start_worker(["-m", "tests.faults.crashing_worker", "before_changelog", "6", "stop"])
        worker = run.workers[zombie]
        run.until(lambda: worker.stopped, "the worker does not stand still")
        run.fault()
        run.until_recovered()
        run.resume_worker(zombie)
        run.until(lambda: worker.code is not None, "the zombie has not ended")
        run.drain()
        outcome = run.verify()
    report.add("F06", PAUSED, outcome, "before it sends")
    assert run.codes() == [EX_SOFTWARE]
    assert outcome.stale == 0
    assert outcome.wrong == ()


def test_short_pauses(deployment: Deployment, tmp_path: Path, report: Report) -> None:
    """Ten pauses of a second, well within the session, move no partition and change nothing."""
    with FaultRun(deployment, tmp_path, seed=602, changes=None, per_second=150) as run:
        run.begin(WORKERS)
        before = generations(run)
        for pause in range(SHORT_PAUSES):
            run.pause_worker(pause % WORKERS)
            time.sleep(SHORT_SECONDS)
            run.resume_worker(pause % WORKERS)
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
