"""Commands become decisions on a worker: only when it has read all changes, and with what is not absorbed yet."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from agents.decisions import Decisions, Reading
from schemas.codec import decode_change
from schemas.refusal import Refusal
from streams.entity import absorb
from streams.entity_codec import encode_entity
from tests.laws.test_decisions import EDITS, MANUAL, NOW, history_of, resolution, state_of

KEY = b"customer:1"


def decisions(readings: Iterator[Reading | None], states: dict[bytes, bytes]) -> Decisions:
    """Decisions of a worker that is as far as the readings say, one at each look."""
    last: list[Reading | None] = []

    def reading(partition: int) -> Reading | None:
        last[:] = [next(readings, last[0] if last else None)]
        return last[0]

    return Decisions(lambda partition: states, reading, lambda: MANUAL, "", "", catch_up_seconds=0.2)


def stored() -> dict[bytes, bytes]:
    return {KEY: encode_entity(state_of(history_of(EDITS)), 0)}


def test_nothing_is_decided_before_all_changes_are_read() -> None:
    """After a takeover the former owner's decisions may be in `changes` alone: a command waits, and then is refused."""

    async def ask() -> None:
        behind = decisions(iter([None, Reading(3, 9)]), stored())
        with pytest.raises(Refusal) as caught:
            await behind.decide(0, KEY, resolution("ana"), NOW)
        assert (caught.value.reason, str(caught.value).split()[0]) == ("not_caught_up", "6")
        # What was the end at first must be reached, and no more: changes go on coming.
        ahead = decisions(iter([Reading(3, 9), Reading(9, 12)]), stored())
        assert await ahead.decide(0, KEY, resolution("ana"), NOW) is not None

    asyncio.run(ask())


def test_a_decision_counts_before_any_state_has_it_and_not_after_the_partition_is_gone() -> None:
    """The second command meets the first one's decision; the same one again does nothing; a new owner knows nothing."""

    async def ask() -> None:
        states = stored()
        ours = decisions(iter([Reading(2, 2)]), states)
        row = await ours.decide(0, KEY, resolution("ana"), NOW)
        assert row is not None and row.value is not None
        with pytest.raises(Refusal, match="steward:ana@"):
            await ours.decide(0, KEY, resolution("bo"), NOW)
        assert await ours.decide(0, KEY, resolution("ana"), NOW) is None  # the same command again
        change = decode_change(row.value)
        assert change.source == "steward:ana"
        ours.forget(0)
        assert await ours.decide(0, KEY, resolution("bo"), NOW) is not None

    asyncio.run(ask())


def test_what_states_have_by_now_is_not_kept() -> None:
    """Decisions wait only until the state has them."""

    async def ask() -> None:
        states = stored()
        ours = decisions(iter([Reading(2, 2)]), states)
        row = await ours.decide(0, KEY, resolution("ana"), NOW)
        assert row is not None and row.value is not None
        (waiting,) = ours._unabsorbed[0][KEY]
        history = history_of(EDITS)
        state = state_of(history)
        absorb(state, waiting)
        states[KEY] = encode_entity(state, 0)
        with pytest.raises(Refusal, match="steward:ana@"):
            await ours.decide(0, KEY, resolution("bo"), NOW)
        assert ours._unabsorbed[0][KEY] == []

    asyncio.run(ask())
