"""Workers that are killed, at random and at each boundary between two effects, lose nothing."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import Deployment
from tests.faults.crashing_worker import BOUNDARIES, CRASHED
from tests.faults.report import Report
from tests.faults.run import FaultRun

pytestmark = pytest.mark.real_kafka

KILLS = 8
BETWEEN_KILLS = (2.0, 4.0)
#: Small batches, so that many boundaries are passed in a short run.
SMALL = {"session_seconds": 3.0, "batch_records": 30}

#: At which passing of the boundary either worker is gone. Commits are fewer: there is one for each half second.
TIMES = {"after_commit": ("1", "1")}


def test_workers_killed_at_random(deployment: Deployment, tmp_path: Path, report: Report) -> None:
    """However often a random worker is killed under load, each change counts exactly once in every place."""
    chance = random.Random(1)
    with FaultRun(deployment, tmp_path, seed=101, changes=6_000, per_second=120, settings=SMALL) as run:
        for _ in range(2):
            run.start_worker()
        run.until_ready()
        run.publish()
        run.until_progress()
        for number in range(KILLS):
            if number % 2 == 0:
                run.until_progress()  # every second kill meets a worker at work, the others one that recovers
            time.sleep(chance.uniform(*BETWEEN_KILLS))
            run.kill_worker(chance.randrange(2))
        run.drain()
        outcome = run.verify()
    report.add("F01", "a random worker is killed every 2 to 4 s, 8 times", outcome)
    assert run.codes().count(-signal.SIGKILL) == KILLS
    assert outcome.wrong == ()


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_worker_gone_at_a_boundary(boundary: str, deployment: Deployment, tmp_path: Path, report: Report) -> None:
    """A worker that ends between two effects of a batch has left nothing half done for the next owner."""
    seed = 200 + BOUNDARIES.index(boundary)
    with FaultRun(deployment, tmp_path, seed=seed, changes=1_500, per_second=300, settings=SMALL) as run:
        run.publish()
        for times in TIMES.get(boundary, ("2", "6")):
            run.start_worker(["-m", "tests.faults.crashing_worker", boundary, times])
        run.drain()
        outcome = run.verify()
    report.add("F02", "a worker is gone at each of 7 boundaries between two effects", outcome, label=boundary)
    assert run.codes().count(CRASHED) == 2, run.log_of(0)[-1500:]
    assert outcome.wrong == ()
