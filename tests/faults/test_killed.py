"""Workers that are killed, at random and at each boundary between two effects, lose nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.conftest import Deployment
from tests.faults.blows import KILLED, KILLS, WORKERS, kill_at_random
from tests.faults.crashing_worker import BOUNDARIES, CRASHED
from tests.faults.report import Report
from tests.faults.run import FaultRun

pytestmark = pytest.mark.real_kafka

#: Small batches, so that many boundaries are passed in a short run.
SMALL = {"session_seconds": 3.0, "batch_records": 30}

#: At which passing of the boundary either worker is gone. Commits are fewer: there is one for each half second.
TIMES = {"after_commit": ("1", "1")}


def test_workers_killed_at_random(deployment: Deployment, tmp_path: Path, report: Report) -> None:
    """However often a random worker is killed under load, each change counts exactly once in every place."""
    with FaultRun(deployment, tmp_path, seed=101, changes=None, per_second=200, settings=SMALL) as run:
        run.begin(WORKERS)
        kill_at_random(run)
        run.drain()
        outcome = run.verify()
    report.add("F01", KILLED, outcome)
    assert run.codes().count(-signal.SIGKILL) == KILLS
    assert outcome.wrong == ()


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_worker_gone_at_a_boundary(boundary: str, deployment: Deployment, tmp_path: Path, report: Report) -> None:
    """A worker that ends between two effects of a batch has left nothing half done for the next owner."""
    seed = 200 + BOUNDARIES.index(boundary)
    with FaultRun(deployment, tmp_path, seed=seed, changes=None, per_second=300, settings=SMALL) as run:
        run.publish()
        for times in TIMES.get(boundary, ("2", "6")):
            run.start_worker(["-m", "tests.faults.crashing_worker", boundary, times])
        run.until(lambda: run.codes().count(CRASHED) == 2, "the workers are not gone")
        run.drain()
        outcome = run.verify()
    report.add("F02", "a worker is gone at each of 7 boundaries between two effects", outcome, label=boundary)
    assert outcome.wrong == ()
