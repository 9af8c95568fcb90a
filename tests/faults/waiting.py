"""Waiting for what comes by itself: the end of a worker, and records beside the load to be in Kafka."""

from __future__ import annotations

from collections.abc import Sequence

from tests.faults.load import Feed, Item
from tests.faults.run import FaultRun
from tests.faults.worker import Worker

PER_SECOND = 1000.0


def published(run: FaultRun, items: Sequence[Item]) -> None:
    """Publish these, and wait until Kafka has them."""
    feed = Feed(run.deployment.kafka, run.deployment.topic_prefix, iter(list(items)), PER_SECOND, run.items)
    feed.start()
    feed.join()
    assert feed.failure is None


def ended(run: FaultRun, worker: Worker) -> int:
    """Wait until it has ended by itself, and return its code. The supervisor must have released it before."""
    try:
        run.until(lambda: worker.code is not None, f"the worker with the log {worker.log} has not ended")
    finally:
        code = worker.end()
    return code
