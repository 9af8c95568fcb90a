"""What is said to be in the view is in the view, whatever is lost between the worker, Redis and Kafka."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agents.coverage import Coverage

START = -1


class CoverageIsTrue(RuleBasedStateMachine):
    """One partition and a Redis that keeps the offsets written to it; it may be wiped or fall back.

    The calls of the worker are those of agents/materialize.py: learn, write and claim, flush, doubt.
    """

    def __init__(self) -> None:
        super().__init__()
        self.coverage = Coverage()
        self.log_end = 0
        self.rows: set[int] = set()
        self.stored = START
        self.copy: tuple[set[int], int] = (set(), START)
        self.connection = 1
        self.written: list[tuple[int, int, int]] = []

    @rule(count=st.integers(1, 3), lands=st.booleans())
    def hand_over(self, count: int, lands: bool) -> None:
        """A batch is written to Redis, or misses; Kafka acknowledges it later."""
        first, self.log_end = self.log_end, self.log_end + count
        if lands:
            self.rows.update(range(first, self.log_end))
            self.written.append((first, self.log_end, self.connection))

    @rule()
    def acknowledged(self) -> None:
        if self.written:
            self.coverage.claim(*self.written.pop(0))

    @rule(count=st.integers(1, 4))
    def consume(self, count: int) -> None:
        self.coverage.end = self.log_end
        if self.coverage.behind:
            first = self.coverage.position
            reached = min(first + count, self.log_end)
            self.rows.update(range(first, reached))
            self.coverage.claim(first, reached, self.connection)

    @rule()
    def keep(self) -> None:
        """Learn over a new connection, or flush over the current one."""
        coverage = self.coverage
        if coverage.saved is None:
            self.connection += 1
            if self.stored == START:
                self.stored = 0
            else:
                coverage.learned(self.stored, self.connection)
        elif coverage.position > coverage.saved:
            if coverage.connection != self.connection:
                coverage.doubt()
                return
            sent = coverage.position
            if self.stored >= coverage.saved:
                self.stored = max(self.stored, sent)
            coverage.flushed(sent, self.stored)

    @rule()
    def check(self) -> None:
        if self.coverage.saved is not None and self.stored < self.coverage.saved:
            self.coverage.doubt()

    @rule()
    def flushall(self) -> None:
        """Somebody empties Redis; no connection breaks."""
        self.rows, self.stored = set(), START

    @rule()
    def save_copy(self) -> None:
        self.copy = (set(self.rows), self.stored)

    @rule()
    def restart_from_copy(self) -> None:
        self.rows, self.stored = set(self.copy[0]), self.copy[1]
        self.connection += 1

    @invariant()
    def progress_is_true(self) -> None:
        assert self.rows >= set(range(self.stored))

    def teardown(self) -> None:
        """When nothing more goes wrong, everything gets into the view."""
        for _ in range(6):
            self.check()
            self.keep()
            self.consume(self.log_end + 1)
        self.check()
        self.keep()
        assert self.coverage.complete
        assert self.stored == self.log_end and self.rows >= set(range(self.log_end))


CoverageIsTrue.TestCase.settings = settings(stateful_step_count=40, deadline=None)
TestCoverage = CoverageIsTrue.TestCase


def test_contiguous_claims_need_no_reading() -> None:
    """Claims that follow each other move the position, and nothing is ever behind."""
    coverage = Coverage()
    coverage.learned(0, 1)
    for first in range(0, 30, 3):
        coverage.claim(first, first + 3, 1)
        assert not coverage.behind
    assert coverage.position == 30


def test_gap_is_read_and_the_run_after_it_is_not() -> None:
    """Only what no claim covers is behind; the run of claims after the gap counts as soon as that is read."""
    coverage = Coverage()
    coverage.learned(0, 1)
    coverage.claim(5, 8, 1)
    coverage.claim(8, 9, 1)
    assert coverage.behind and coverage.position == 0
    coverage.claim(0, 5, 1)
    assert coverage.complete and coverage.position == 9
