"""Workers that do nothing any more and keep their partitions: the watchdog ends them, and others go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.ending import EX_SOFTWARE
from tests.conftest import Deployment
from tests.faults.report import Report
from tests.faults.run import FaultRun
from tests.faults.stuck_worker import STANDS
from tests.faults.waiting import ended

pytestmark = pytest.mark.real_kafka

#: How it stands -> the setting of the watchdog that is made short for it, and the reason that it must give.
CASES = {
    "loop blocked": ("SYNCLINE_STALL_SECONDS", "the event loop has stood still"),
    "recovery dead": ("SYNCLINE_RECOVERY_SECONDS", "the worker is not ready, and its recovery has read nothing"),
    "nothing acknowledged": ("SYNCLINE_PROGRESS_SECONDS", "whose records are unfinished: no progress"),
}
SOON = "6"


@pytest.mark.parametrize("how", CASES)
def test_worker_that_stands_still(how: str, deployment: Deployment, tmp_path: Path, report: Report) -> None:
    """A worker that stands still is ended with its reason, and another worker does what it left."""
    setting, reason = CASES[how]
    settings = {"session_seconds": 3.0, "batch_records": 30}
    with FaultRun(deployment, tmp_path, seed=701, changes=None, per_second=120, settings=settings) as run:
        run.start_worker()
        run.until_ready()
        stuck = run.start_worker(["-m", "tests.faults.stuck_worker", how], {setting: SOON})
        worker = run.supervisor.release(stuck)
        run.until(lambda: "Joined group" in run.log_of(stuck), "it does not join the group")
        run.publish()
        run.until(lambda: STANDS in run.log_of(stuck), "it does not stand still")
        run.fault()
        assert ended(run, worker) == EX_SOFTWARE
        run.until_recovered()
        run.drain()
        outcome = run.verify()
    report.add("F07", "a worker stands still: loop blocked, recovery dead, nothing acknowledged", outcome, how)
    assert reason in run.log_of(stuck).splitlines()[-1]
    assert run.codes() == []
    assert outcome.wrong == ()
