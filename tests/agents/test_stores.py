"""The contract of a store of states: each of them does what a dict does, and tells how far it goes."""

from __future__ import annotations

import tempfile
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agents.ranges import APPLIED_KEY, POLICY_KEY
from agents.states import Home, MemoryStates, PartitionStates, fold, why_outdated
from tests.agents.counting_kernel import empty_state, position_of
from tests.agents.homes import HOMES

KEYS = tuple(b"customer:%d" % number for number in range(6))
STATES = st.binary(min_size=1, max_size=20)
BATCHES = st.dictionaries(st.sampled_from(KEYS), STATES, max_size=4)
CHANGES = st.dictionaries(st.sampled_from(KEYS), st.none() | STATES, max_size=4)
IN_FLIGHT = 3


def held(states: PartitionStates) -> dict[bytes, bytes | None]:
    """All that is stored."""
    return {key: states.get(key) for key in states}


def records(*given: tuple[int, bytes | None, bytes | None]) -> list[Any]:
    """Records of the changelog: (offset, key, value)."""
    return [SimpleNamespace(offset=offset, key=key, value=value) for offset, key, value in given]


class StatesAgainstDict(RuleBasedStateMachine):
    """Batches are stored, acknowledged in their order, replaced by recovery, and survive what they are to survive."""

    store: str
    outlives_a_close: bool

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(prefix="syncline-states-")
        self.home = HOMES[self.store](Path(self.directory.name))
        self.states = self.home.open(0)
        self.visible: dict[bytes, bytes] = {}
        self.acknowledged: dict[bytes, bytes] = {}
        self.in_flight: deque[list[tuple[bytes, bytes]]] = deque()

    @precondition(lambda self: len(self.in_flight) < IN_FLIGHT)
    @rule(batch=BATCHES)
    def store_batch(self, batch: dict[bytes, bytes]) -> None:
        self.in_flight.append(list(batch.items()))
        self.states.store(self.in_flight[-1])
        self.visible |= batch

    @precondition(lambda self: self.in_flight)
    @rule()
    def acknowledge_the_oldest(self) -> None:
        batch = self.in_flight.popleft()
        self.states.keep(batch)
        self.acknowledged |= dict(batch)
        self.states.contained += len(batch)
        self.states.applied += 1

    @precondition(lambda self: not self.in_flight)
    @rule(changes=CHANGES)
    def recover(self, changes: dict[bytes, bytes | None]) -> None:
        known = self.states.known(changes)
        assert {key: known.get(key) for key in changes} == {key: self.visible.get(key) for key in changes}
        self.states.replace(changes)
        for key, state in changes.items():
            for expected in (self.visible, self.acknowledged):
                expected.pop(key, None)
                expected |= {} if state is None else {key: state}

    @rule(text=st.none() | st.binary(max_size=3).map(bytes.hex).map(str.encode))
    def be_decided_by(self, text: bytes | None) -> None:
        self.states.deciders = text

    @rule(most=st.integers(1, 4), batch=BATCHES)
    def walk(self, most: int, batch: dict[bytes, bytes]) -> None:
        there, seen = set(self.visible), set()
        for chunk in self.states.key_chunks(most):
            assert len(chunk) <= most
            seen.update(chunk)
            if len(self.in_flight) < IN_FLIGHT:
                self.store_batch(batch)
        assert there <= seen <= set(self.visible)

    @rule()
    def clear(self) -> None:
        self.states.clear()
        self._nothing_is_left()

    @rule()
    def close_and_open(self) -> None:
        ways = (self.states.contained, self.states.applied, self.states.deciders)
        self.states.close()
        self.states = self.home.open(0)
        if self.outlives_a_close:
            assert (self.states.contained, self.states.applied, self.states.deciders) == ways
            self.visible = dict(self.acknowledged)
            self.in_flight.clear()
        else:
            self._nothing_is_left()

    def _nothing_is_left(self) -> None:
        assert (self.states.contained, self.states.contained_at, self.states.applied) == (-1, 0.0, -1)
        assert self.states.deciders is None
        self.visible, self.acknowledged = {}, {}
        self.in_flight.clear()

    @invariant()
    def agrees_with_the_dict(self) -> None:
        assert held(self.states) == self.visible
        for key in KEYS:
            assert self.states.get(key) == self.visible.get(key)
            assert (key in self.states) == (key in self.visible)

    def teardown(self) -> None:
        self.states.close()
        self.directory.cleanup()


class MemoryAgainstDict(StatesAgainstDict):
    """The store in memory."""

    store, outlives_a_close = "memory", False


class RocksdbAgainstDict(StatesAgainstDict):
    """The store in RocksDB."""

    store, outlives_a_close = "rocksdb", True


TestMemory = MemoryAgainstDict.TestCase
TestRocksdb = RocksdbAgainstDict.TestCase
# Each step of it opens and closes databases.
TestRocksdb.settings = settings(max_examples=25, stateful_step_count=20)


def test_the_state_that_reflects_more_stays(home: Home) -> None:
    """An older state that lies behind a newer one in the changelog changes nothing; an equal one is taken."""
    states = home.open(0)
    states.replace({b"a:1": b"7 kept", b"a:2": b"7 kept"})
    log = records((0, b"a:1", b"5 late"), (1, b"a:2", b"7 again"), (2, b"a:3", b"9 new"), (3, b"a:3", b"8 late"))
    changes, applied, _ = fold(log, states, position_of)
    assert changes == {b"a:2": b"7 again", b"a:3": b"9 new"}
    assert applied == 9


def test_what_is_no_state_of_an_entity_is_not_stored(home: Home) -> None:
    """A null removes, two keys say how far the table is and by which policies, and a gap says nothing."""
    states = home.open(0)
    states.replace({b"a:1": b"7 kept"})
    log = records((0, b"a:1", None), (1, b"a:1", b"3 anew"), (2, APPLIED_KEY, empty_state(0, 12)), (3, None, None))
    log += records((4, POLICY_KEY, b"{}"))
    changes, applied, deciders = fold(log, states, position_of)
    assert changes == {b"a:1": b"3 anew"}
    assert (applied, deciders) == (12, b"{}")
    assert fold(records((0, b"a:1", None)), states, position_of).changes == {b"a:1": None}


@pytest.mark.parametrize(
    ("log_start", "log_end", "now", "why"),
    [
        (0, 10, 5000.0, None),
        (0, 11, 1099.0, None),
        (10, 11, 1099.0, None),
        (0, 11, 1101.0, "nulls"),
        (0, 11, 999.0, "nulls"),
        (11, 12, 1050.0, "what lay between is gone"),
        (0, 9, 1050.0, "made anew"),
    ],
)
def test_states_are_read_anew_where_reading_on_is_not_enough(
    log_start: int, log_end: int, now: float, why: str | None
) -> None:
    """States up to offset 9, of second 1000: a log that lost what they lack, or its nulls, cannot bring them up to
    date; one that has nothing after them needs not."""
    states = MemoryStates()
    states.contained, states.contained_at = 9, 1000.0
    found = why_outdated(states, log_start, log_end, tombstone_seconds=100.0, now=now)
    assert (found is None) if why is None else why in (found or "")


def test_nothing_is_never_outdated() -> None:
    """An empty store reads all of any log."""
    assert why_outdated(MemoryStates(), 5, 9, tombstone_seconds=0.0, now=0.0) is None
