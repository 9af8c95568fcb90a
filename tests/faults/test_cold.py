"""All workers gone at once: whoever starts then has nothing but Kafka to go on."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.conftest import Deployment
from tests.faults.report import Report
from tests.faults.run import FaultRun
from tests.faults.waiting import until

pytestmark = pytest.mark.real_kafka

#: Of 2,000 changes: enough states to recover, and enough left to do.
DONE_BEFORE = 700


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_all_workers_killed_and_started_cold(
    store: str, deployment: Deployment, tmp_path: Path, report: Report
) -> None:
    """When all workers are killed in the middle of their work, those that start after them count nothing twice."""
    settings = {"session_seconds": 3.0, "batch_records": 30}
    stores = [{"store": store, "data_dir": tmp_path / name} for name in ("a", "b")]
    with FaultRun(deployment, tmp_path, seed=301, changes=2_000, per_second=200, settings=settings) as run:
        ours = [run.start_worker(settings=own) for own in stores]
        run.publish()
        until(lambda: run.progress.committed > DONE_BEFORE, "the work on the first changes")
        run.fault()
        for number in ours:
            assert run.stop_worker(number, signal.SIGKILL) == -signal.SIGKILL
        assert run.progress.committed < len(run.items), "killed too late to show anything"
        for own in stores:
            run.start_worker(settings=own)
        run.drain()
        outcome = run.verify()
    report.add("F03", "all workers killed, cold start", outcome, store)
    assert outcome.wrong == ()
