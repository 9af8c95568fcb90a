"""Times that no clock should show: refused or harmless, the same in a replay, and the entity stays writable."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.canonical import INT_MAX, INT_MIN
from schemas.change import Change
from schemas.codec import encode_change
from schemas.policy_document import DEFAULT_MAX_FUTURE_MS, DEFAULT_WINDOW_MS
from streams.effects import BatchEffects
from streams.resolvers import RESOLVERS
from tests.laws.histories import KEY
from tests.laws.test_batch import Record, change, replay, resolve

NOW = 1_790_000_000_000
YEAR_2999 = 32_472_144_000_000
LIMIT = NOW + DEFAULT_MAX_FUTURE_MS
#: What is written this long after the last poison that is let in comes after it, whatever the poison says.
LATER = DEFAULT_MAX_FUTURE_MS + DEFAULT_WINDOW_MS + 1
REFUSED = {"one ms over the limit": LIMIT + 1, "year 2999": YEAR_2999, "nanoseconds": NOW * 10**6, "the end": INT_MAX}
TAKEN = {"the limit": LIMIT, "one ms under it": LIMIT - 1, "now": NOW, "1970": 0, "before 1970": -1, "first": INT_MIN}
POISONS = {**REFUSED, **TAKEN}


def record(offset: int, append_time_ms: int = NOW, **parts: Any) -> Record:
    return Record(offset, encode_change(Change(**change(**parts))), KEY.encode(), append_time_ms)


def values(effects: BatchEffects) -> str | None:
    """The document of the view's last row."""
    return effects.view[-1].doc


@pytest.mark.parametrize("name", POISONS)
def test_only_what_is_over_the_limit_is_refused(name: str) -> None:
    """A time more than max_future ahead of the append time is clock_skew, for each kind of change; no other is."""
    parts = [{"fields": {"f": 1}}, {"op": "create"}, {"op": "delete"}, {"op": "snapshot", "fields": {"f": 1}}]
    for part in parts:
        effects = resolve([record(0, occurred_at=POISONS[name], **part)])
        assert [letter.reason for letter in effects.dead_letters] == ["clock_skew"] * (name in REFUSED)


POISON = st.fixed_dictionaries(
    {
        "source": st.sampled_from(["evil", "worse"]),
        "version": st.integers(1, 3) | st.just(INT_MAX),
        "occurred_at": st.sampled_from(sorted(POISONS.values())),
        "op": st.sampled_from(["create", "update", "snapshot", "delete"]),
    }
)


def poisoned(poisons: list[dict[str, Any]], shifts_ms: Iterable[int] = itertools.repeat(0)) -> list[Record]:
    """A log of them. shifts_ms: how long after NOW each is appended."""
    return [
        record(at, NOW + shift_ms, **poison, fields={} if poison["op"] == "delete" else {"f": "poison"})
        for at, (poison, shift_ms) in enumerate(zip(poisons, shifts_ms, strict=False))
    ]


@given(st.lists(POISON, max_size=6))
def test_an_entity_stays_writable(poisons: list[dict[str, Any]]) -> None:
    """Who writes once the clock has passed what is let in wins over all poison, without knowing of any."""
    log = poisoned(poisons)
    honest = record(len(log), NOW + LATER, occurred_at=NOW + LATER, fields={"f": "honest"})
    assert values(resolve([*log, honest])) == '{"f":"honest"}'


@given(st.lists(POISON, min_size=1, max_size=6), st.sampled_from(sorted(RESOLVERS)))
def test_who_has_read_the_poison_wins_at_once(poisons: list[dict[str, Any]], resolver: str) -> None:
    """Who had read what the poison left replaces it under every resolver that picks one write, whatever its time."""
    log = poisoned(poisons)
    seen = {"evil": INT_MAX, "worse": INT_MAX}
    honest = record(len(log), NOW, occurred_at=NOW, seen=seen, fields={"f": "honest"})
    found = values(resolve([*log, honest], {"resolver": resolver}))
    if RESOLVERS[resolver].pick is not None:
        assert found == '{"f":"honest"}'


@given(st.lists(st.tuples(POISON, st.integers(-2, 2)), max_size=8), st.sets(st.integers(0, 8)))
def test_a_replay_decides_the_same(poisons: list[tuple[dict[str, Any], int]], cuts: set[int]) -> None:
    """The guard goes by the append time in the record: a replay, cut anyhow, refuses and keeps the same."""
    log = poisoned([poison for poison, _ in poisons], [shift_ms for _, shift_ms in poisons])
    log.append(record(len(log), NOW + LATER, occurred_at=NOW, fields={"f": "honest"}))
    live = replay(log, cuts, None)
    assert live.rows == replay(log, set(), None).rows
    refused = [place for place, (poison, shift_ms) in enumerate(poisons) if poison["occurred_at"] > LIMIT + shift_ms]
    assert [letter.place for letter in resolve(log).dead_letters] == refused
