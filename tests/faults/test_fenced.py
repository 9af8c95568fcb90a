"""A worker that stands still between its last question to the group and Kafka's socket: only Kafka can refuse it."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from agents.ending import EX_SOFTWARE
from tests.conftest import Deployment
from tests.faults.report import Report
from tests.faults.run import FaultRun

pytestmark = pytest.mark.real_kafka

SETTINGS = {"session_seconds": 3.0, "batch_records": 30}


def test_a_request_that_comes_after_the_new_owner(deployment: Deployment, tmp_path: Path, report: Report) -> None:
    """States that a replaced worker's socket sends late are refused; nothing older ever follows something newer."""
    with FaultRun(deployment, tmp_path, seed=611, changes=3_000, per_second=150, settings=SETTINGS) as run:
        zombie = run.start_worker(["-m", "tests.faults.stopping_worker", "12"])
        process = psutil.Process(run.workers[zombie].pid)
        run.until_ready()
        run.publish()
        run.until(lambda: process.status() == psutil.STATUS_STOPPED, "it has not stopped")
        run.fault()
        run.start_worker()
        for _ in range(3):  # each partition has records of the new owner by then
            run.until_progress()
        run.resume_worker(zombie)
        run.drain()
        outcome = run.verify()
        log = run.log_of(zombie)
    report.add("F06c", "a worker is stopped when its request is about to go out, and goes on as a zombie", outcome)
    assert run.codes() == [EX_SOFTWARE], log[-1500:]
    assert outcome.stale == 0
    assert outcome.wrong == ()
