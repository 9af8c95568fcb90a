"""All workers gone at once: whoever starts then has nothing but Kafka, and what they left on the disk, to go on."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.conftest import Deployment
from tests.faults.report import Report
from tests.faults.run import FaultRun

pytestmark = pytest.mark.real_kafka

WORKERS = range(2)
#: Enough states to recover.
CHANGES_BEFORE = 1000


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_all_workers_killed_and_started_cold(
    store: str, deployment: Deployment, tmp_path: Path, report: Report
) -> None:
    """When all workers are killed in the middle of their work, those that start after them count nothing twice."""
    settings = {"session_seconds": 3.0, "batch_records": 30}
    stores = [{"store": store, "data_dir": tmp_path / f"states-{number}"} for number in WORKERS]
    with FaultRun(deployment, tmp_path, seed=301, changes=None, per_second=200, settings=settings) as run:
        ours = [run.start_worker(settings=own) for own in stores]
        run.publish()
        run.until(lambda: run.progress.committed > CHANGES_BEFORE, "the first changes are not resolved")
        run.fault()
        assert [run.stop_worker(number, signal.SIGKILL) for number in ours] == [-signal.SIGKILL] * len(WORKERS)
        for own in stores:
            run.start_worker(settings=own)
        run.until_recovered()
        run.drain()
        outcome = run.verify()
    report.add("F03", "all workers killed, cold start, once with each store", outcome, store)
    assert run.codes() == []
    assert outcome.wrong == ()
