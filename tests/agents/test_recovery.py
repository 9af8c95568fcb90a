"""Recovery tells how far it is, and starts again where Faust's would end for good."""

from __future__ import annotations

import asyncio

import faust
import pytest
from aiokafka.errors import KafkaConnectionError
from faust.tables.recovery import RebalanceAgain, ServiceStopped

from agents.recovery import LaneRecovery, LaneTables, Progress


class Reading:
    """A recovery as Progress sees it: what is left, what was read, what time it is."""

    def __init__(self, remaining: int) -> None:
        self.remaining, self.records, self.now = remaining, 0, 100.0
        self.progress = Progress(lambda: self.remaining, lambda: self.records, lambda: self.now)

    def read(self, offsets: int, records: int, seconds: float) -> None:
        """Go on."""
        self.remaining -= offsets
        self.records += records
        self.now += seconds


def test_progress_counts_offsets_and_records() -> None:
    """Per cent and the time left are of offsets, which are known before; the rate is of records, lately."""
    reading = Reading(1_000_000)
    reading.read(200_000, 100_000, seconds=2.0)
    assert reading.progress.due()
    assert reading.progress.line() == "200,000 of 1,000,000 offsets (20 %), 50,000 records/s, 8 s left"
    reading.read(400_000, 400_000, seconds=2.0)
    assert reading.progress.due()
    reading.read(200_000, 200_000, seconds=2.0)
    assert reading.progress.line() == "800,000 of 1,000,000 offsets (80 %), 150,000 records/s, 1 s left"
    reading.read(200_000, 200_000, seconds=1.0)
    assert reading.progress.last_line() == "900,000 records in 7.0 s, 128,571 records/s"


def test_progress_is_told_every_two_seconds() -> None:
    """Nothing is told of a recovery that is over in less."""
    reading = Reading(10)
    reading.read(1, 1, seconds=1.9)
    assert not reading.progress.due()
    reading.read(1, 1, seconds=0.2)
    assert reading.progress.due()
    assert not reading.progress.due()
    reading.read(1, 1, seconds=2.0)
    assert reading.progress.due()


def test_a_recovery_that_stands_still_says_so() -> None:
    """What is left takes no time that anybody knows while nothing is read, or nothing has to be."""
    reading = Reading(10)
    reading.read(0, 0, seconds=5.0)
    assert reading.progress.line() == "0 of 10 offsets (0 %), 0 records/s, no progress"
    assert Reading(0).progress.line() == "0 of 0 offsets (0 %), 0 records/s, no progress"


@pytest.fixture
async def recovery() -> LaneRecovery:
    """The recovery of an app that is not started."""
    app = faust.App("recovery-test", store="memory://", TableManager=LaneTables)
    return app.tables.recovery


async def test_a_question_without_an_answer_is_asked_again(recovery: LaneRecovery) -> None:
    """A step that takes too long, or fails because of Kafka, starts the recovery again."""

    async def refused() -> None:
        raise KafkaConnectionError("refused")

    for step, timeout in ((asyncio.Event().wait(), 0.01), (refused(), 10.0)):
        recovery.signal_recovery_start.clear()
        with pytest.raises(RebalanceAgain):
            await recovery._wait(step, timeout)
        assert recovery.signal_recovery_start.is_set()


async def test_a_worker_that_stops_starts_no_recovery(recovery: LaneRecovery) -> None:
    """A step that is broken off by the worker's end stays so."""
    await recovery.stop()
    with pytest.raises(ServiceStopped):
        await recovery._wait(asyncio.Event().wait(), 10.0)
    assert not recovery.signal_recovery_start.is_set()


async def test_a_recovery_that_was_overtaken_is_not_complete(recovery: LaneRecovery) -> None:
    """Faust takes a reading that a rebalance broke off for a finished one."""
    recovery.signal_recovery_start.set()
    with pytest.raises(RebalanceAgain):
        await recovery.on_recovery_completed(0)
    assert not recovery.completed.is_set()
