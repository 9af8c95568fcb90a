"""Faults of the broker and of the way to it: whatever becomes of a worker, nothing is lost and nothing counts twice."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.ending import EX_SOFTWARE
from tests.conftest import Deployment
from tests.faults.broker import Broker
from tests.faults.report import Report
from tests.faults.run import FaultRun

pytestmark = pytest.mark.real_kafka

PATIENCE_SECONDS = 60.0
#: More than broker_request_timeout (agents/app.py), which no setting makes shorter.
BLACK_SECONDS = 45.0
#: Small ones, so that some are under way at any moment in which a backlog is worked off.
SMALL_BATCHES = {"batch_records": 10, "send_seconds": 3.0}


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen in {PATIENCE_SECONDS:g} s"
        time.sleep(0.05)


def committed(run: FaultRun) -> int:
    """How many offsets were committed when the group was last asked."""
    return sum(run.progress.samples[-1].committed) if run.progress.samples else 0


def with_backlog(run: FaultRun) -> int:
    """Publish everything, start a worker, and return its number when it is in the middle of that."""
    run.publish()
    until(lambda: not run.feed.is_alive(), "the end of publishing")
    number = run.start_worker()
    until(lambda: committed(run), "a first commit")
    return number


def test_broker_killed_and_paused(broker: Broker, breakable: Deployment, tmp_path: Path, report: Report) -> None:
    """F09: a broker killed and started again three times, and paused for 20 s, under load: nothing is lost."""
    settings = {"send_seconds": 5.0}
    with FaultRun(breakable, tmp_path, seed=9, changes=6000, per_second=100, settings=settings) as run:
        run.start_worker()
        run.start_worker()
        run.until_ready()
        run.publish()
        for _ in range(3):
            time.sleep(3.0)
            assert run.feed.is_alive()
            run.fault()
            broker.server.kill()
            time.sleep(1.0)
            broker.server.start()
        time.sleep(3.0)
        assert run.feed.is_alive()
        run.fault()
        broker.server.pause()
        time.sleep(20.0)
        broker.server.resume()
        run.drain()
        assert 0 not in {code for _, code in run.supervisor.codes}
        outcome = run.verify()
    report.add("F09", "broker killed 3 times, paused 20 s", outcome)
    assert outcome.wrong == ()


def test_broker_down_longer_than_a_send_may_last(
    broker: Broker, breakable: Deployment, tmp_path: Path, report: Report
) -> None:
    """F10: a worker whose sends get no answer in time ends and commits nothing; back again, all is right."""
    with FaultRun(breakable, tmp_path, seed=10, changes=4000, per_second=8000, settings=SMALL_BATCHES) as run:
        worker = run.workers[with_backlog(run)]
        run.fault()
        broker.server.kill()
        assert committed(run) < len(run.items), "killed too late to show anything"
        until(lambda: worker.code is not None, "the end of the worker")
        assert worker.code == EX_SOFTWARE, run.log_of(0)[-2000:]
        broker.server.start()
        run.drain()
        outcome = run.verify()
    report.add("F10", "broker down longer than a send may last", outcome)
    assert outcome.wrong == ()


def test_slow_broker_and_killed_worker(broker: Broker, breakable: Deployment, tmp_path: Path, report: Report) -> None:
    """F11: a worker that waits 0.6 s for every answer is killed in the middle of its work: nothing is lost."""
    with FaultRun(
        breakable, tmp_path, seed=11, changes=8000, per_second=1000, partitions=2, worker_kafka=broker.proxy.address
    ) as run:
        number = run.start_worker()
        run.start_worker()
        run.until_ready()
        broker.proxy.delay(0.3)
        run.publish()
        for _ in range(2):
            run.until_progress()
        run.kill_worker(number)
        run.drain()
        broker.proxy.heal()
        outcome = run.verify()
    report.add("F11", "0.6 s for every answer, worker killed", outcome)
    assert outcome.wrong == ()


def test_black_broker_during_recovery(broker: Broker, breakable: Deployment, tmp_path: Path, report: Report) -> None:
    """F12: when the broker falls silent in a recovery, the worker ends or completes it, and is never idle after."""
    settings = {"recovery_seconds": 60.0}
    told = broker.proxy.address
    with FaultRun(
        breakable, tmp_path, seed=12, changes=7000, per_second=100, settings=settings, worker_kafka=told
    ) as run:
        first = run.start_worker()
        run.publish()
        until(lambda: committed(run) > 500, "enough states to recover")
        run.stop_worker(first)
        broker.proxy.delay(0.1)
        second = run.start_worker()
        until(lambda: "Restoring state from changelog" in run.log_of(second), "the recovery")
        run.fault()
        broker.proxy.half_open()
        assert "Worker ready" not in run.log_of(second)
        time.sleep(BLACK_SECONDS)
        broker.proxy.heal()
        run.drain()
        assert 0 not in {code for _, code in run.supervisor.codes}
        outcome = run.verify()
    report.add("F12", "broker silent for 45 s in a recovery", outcome)
    assert outcome.wrong == ()


def test_sigterm_under_load(broker: Broker, breakable: Deployment, tmp_path: Path, report: Report) -> None:
    """F22: SIGTERM under load, once and twice in a row, ends a worker in order with code 0: nothing is lost."""
    with FaultRun(breakable, tmp_path, seed=22, changes=5000, per_second=300) as run:
        run.publish()
        for terms in (1, 2):
            number = run.start_worker()
            before = committed(run)
            until(lambda: committed(run) > before, "any progress")  # noqa: B023
            assert run.feed.is_alive()
            worker = run.supervisor.release(number)
            for _ in range(terms - 1):
                worker.send(signal.SIGTERM)
                time.sleep(0.1)
            assert worker.end(signal.SIGTERM) == 0, run.log_of(number)[-2000:]
        run.start_worker()
        run.drain()
        outcome = run.verify()
    report.add("F22", "SIGTERM, once and twice, under load", outcome)
    assert outcome.wrong == ()


def test_sigterm_while_the_broker_is_down(
    broker: Broker, breakable: Deployment, tmp_path: Path, report: Report
) -> None:
    """F22: SIGTERM while the broker is down ends a worker by itself, its work under way or not: nothing is lost."""
    with FaultRun(breakable, tmp_path, seed=23, changes=4000, per_second=8000, settings=SMALL_BATCHES) as run:
        busy = run.supervisor.release(with_backlog(run))
        broker.server.kill()
        assert busy.end(signal.SIGTERM) in (0, EX_SOFTWARE), run.log_of(0)[-2000:]
        broker.server.start()
        run.start_worker()
        run.drain()
        idle = run.supervisor.release(1)
        broker.server.kill()
        assert idle.end(signal.SIGTERM) in (0, EX_SOFTWARE), run.log_of(1)[-2000:]
        broker.server.start()
        outcome = run.verify()
    report.add("F22", "SIGTERM, once and twice, under load", outcome, "while the broker is down")
    assert outcome.wrong == ()
