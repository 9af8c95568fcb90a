"""Waiting for what a fault test cannot hurry: a condition, a worker that must end by itself, records to be in Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tests.faults.load import Feed, Item
from tests.faults.run import PATIENCE_SECONDS, FaultRun
from tests.faults.worker import Worker


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen in {PATIENCE_SECONDS:g} s"
        time.sleep(0.1)


def published(run: FaultRun, items: Sequence[Item]) -> None:
    """Publish these, besides what the run publishes, and wait until Kafka has them."""
    feed = Feed(run.deployment.kafka, run.deployment.topic_prefix, items, per_second=1000)
    feed.start()
    feed.join()
    assert feed.failure is None


def ended(worker: Worker) -> int:
    """Wait until it has ended by itself, and return its code. The worker must be released by the supervisor."""
    try:
        until(lambda: worker.code is not None, f"the end of the worker with the log {worker.log}")
    finally:
        code = worker.end()
    return code
