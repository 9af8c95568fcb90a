"""Faults of the broker and of the way to it: whatever becomes of a worker, nothing is lost and nothing counts twice."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from agents.ending import EX_SOFTWARE
from tests.conftest import Deployment
from tests.faults.blows import SLOW, WORKERS, kill_behind_slow_broker
from tests.faults.broker import Broker
from tests.faults.report import Report
from tests.faults.run import FaultRun

pytestmark = pytest.mark.real_kafka

#: More than a send may last, and than a session.
PAUSE_SECONDS = 20.0
#: A request to Kafka may last for the session, 6 s, and 10 s; the broker is silent for longer.
REQUEST_SECONDS, BLACK_SECONDS = 16.0, 20.0
#: One change each, so that a worker that has begun with a backlog is not done with it before anybody looks.
SMALL_BATCHES = {"batch_records": 1, "send_seconds": 3.0}


def with_backlog(run: FaultRun) -> int:
    """Publish everything, start a worker, and return its number when it is in the middle of that."""
    run.publish()
    run.until_published()
    number = run.start_worker()
    run.until_progress()
    assert run.progress.committed < len(run.items), "nothing is left to do"
    return number


def test_broker_killed_and_paused(broker: Broker, breakable: Deployment, tmp_path: Path, report: Report) -> None:
    """F09: a broker killed and started again three times, and paused for 20 s, under load: nothing is lost."""
    settings = {"send_seconds": 5.0}
    with FaultRun(breakable, tmp_path, seed=9, changes=None, per_second=100, settings=settings) as run:
        run.begin(WORKERS)
        for _ in range(3):
            run.fault()
            broker.server.kill()
            time.sleep(1.0)
            broker.server.start()
            run.until_recovered()
        run.fault()
        broker.server.pause()
        time.sleep(PAUSE_SECONDS)
        broker.server.resume()
        run.drain()
        outcome = run.verify()
    report.add("F09", f"broker killed 3 times, paused {PAUSE_SECONDS:g} s", outcome)
    assert 0 not in run.codes()
    assert outcome.wrong == ()


def test_broker_down_longer_than_a_send_may_last(
    broker: Broker, breakable: Deployment, tmp_path: Path, report: Report
) -> None:
    """F10: a worker whose sends get no answer in time ends and commits nothing; back again, all is right."""
    with FaultRun(breakable, tmp_path, seed=10, changes=4000, per_second=8000, settings=SMALL_BATCHES) as run:
        worker = run.workers[with_backlog(run)]
        run.fault()
        broker.server.kill()
        run.until(lambda: worker.code is not None, "the worker has not ended")
        assert worker.code == EX_SOFTWARE, run.log_of(0)[-2000:]
        broker.server.start()
        run.drain()
        outcome = run.verify()
    report.add("F10", "broker down longer than a send may last", outcome)
    assert outcome.wrong == ()


def test_slow_broker_and_killed_worker(broker: Broker, breakable: Deployment, tmp_path: Path, report: Report) -> None:
    """F11: a worker that waits 0.6 s for every answer is killed in the middle of its work: nothing is lost."""
    with FaultRun(
        breakable, tmp_path, seed=11, changes=None, per_second=1000, partitions=2, worker_kafka=broker.proxy.address
    ) as run:
        run.begin(WORKERS)
        kill_behind_slow_broker(run, broker.proxy)
        run.drain()
        broker.proxy.heal()
        outcome = run.verify()
    report.add("F11", SLOW, outcome)
    assert outcome.wrong == ()


def test_black_broker_during_recovery(broker: Broker, breakable: Deployment, tmp_path: Path, report: Report) -> None:
    """F12: when the broker falls silent in a recovery, the worker ends or completes it, and is never idle after."""
    settings = {"recovery_seconds": 60.0, "request_seconds": REQUEST_SECONDS}
    told = broker.proxy.address
    with FaultRun(
        breakable, tmp_path, seed=12, changes=None, per_second=300, settings=settings, worker_kafka=told
    ) as run:
        run.begin(1)
        run.until(lambda: run.progress.committed > 1000, "there are not enough states to recover")
        run.stop_worker(0)
        broker.proxy.delay(0.1)
        second = run.start_worker()
        run.until(lambda: "Restoring state from changelog" in run.log_of(second), "no recovery began")
        run.fault()
        broker.proxy.half_open()
        assert "Worker ready" not in run.log_of(second)
        time.sleep(BLACK_SECONDS)
        broker.proxy.heal()
        run.drain()
        outcome = run.verify()
    report.add("F12", f"broker silent for {BLACK_SECONDS:g} s in a recovery", outcome)
    assert 0 not in run.codes()
    assert outcome.wrong == ()


def test_sigterm_under_load(broker: Broker, breakable: Deployment, tmp_path: Path, report: Report) -> None:
    """F22: SIGTERM under load, once and twice in a row, ends a worker in order with code 0: nothing is lost."""
    with FaultRun(breakable, tmp_path, seed=22, changes=None, per_second=300) as run:
        run.publish()
        for terms in (1, 2):
            number = run.start_worker()
            run.until_progress()
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
    settings = {**SMALL_BATCHES, "rebalance_seconds": 20.0}  # half of that for a worker that is told to stop
    with FaultRun(breakable, tmp_path, seed=23, changes=4000, per_second=8000, settings=settings) as run:
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
