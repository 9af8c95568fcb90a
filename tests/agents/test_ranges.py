"""Where a partition is read from, by what the group committed, what the table reflects, and what Kafka still has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.ranges import Start, TopicRecreated, start_of

NUMBERS = st.integers(0, 50)


@pytest.mark.parametrize(
    ("committed", "applied", "log_start", "start"),
    [
        (None, -1, 0, Start(0, False, None)),
        (None, -1, 7, Start(7, False, None)),  # a new group on an old topic has lost nothing
        (None, 20, 0, Start(0, False, None)),  # the group was deleted: all again, which changes nothing
        (None, 4, 7, Start(7, False, (5, 7))),
        (21, 20, 0, Start(21, False, None)),
        (15, 20, 0, Start(15, False, None)),
        (40, 20, 0, Start(21, True, None)),
        (40, -1, 0, Start(0, True, None)),
        (40, -1, 9, Start(9, True, (0, 9))),
        (15, 20, 18, Start(18, False, (15, 18))),
        (15, 20, 15, Start(15, False, None)),
    ],
)
def test_the_start(committed: int | None, applied: int, log_start: int, start: Start) -> None:
    """A commit ahead of the table is taken back, and what was deleted unread is named, from the first to the last."""
    assert start_of(committed, applied, log_start, 50) == start


@given(committed=st.none() | NUMBERS, applied=st.integers(-1, 49), log_start=NUMBERS)
def test_nothing_is_skipped_in_silence(committed: int | None, applied: int, log_start: int) -> None:
    """What lies between the table and the start is reported as lost, and the start is one that Kafka has."""
    start = start_of(committed, applied, log_start, 50)
    assert start.offset >= log_start
    if applied >= 0 or committed is not None:
        unread = set(range(applied + 1, start.offset))
        assert unread <= (set() if start.lost is None else set(range(*start.lost)))


def test_a_topic_made_anew_is_refused() -> None:
    """A table that reflects more than the topic has belongs to another topic of that name."""
    with pytest.raises(TopicRecreated, match=r"up to offset 9, but the topic ends before offset 9"):
        start_of(None, 9, 0, 9)
