"""Decoded entities are held within a limit, and those that are asked for stay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.entity import Entity
from streams.entity_codec import encode_entity
from streams.held import Held, HeldEntities
from streams.policy import parse_policy

POLICY = parse_policy(None).of("customer")
STATE = encode_entity(Entity(), 0)
LIMIT = 10 * Held(STATE, POLICY).size()


@given(st.lists(st.integers(0, 40), max_size=300))
def test_held_within_the_limit(asked: list[int]) -> None:
    """Of any sequence of entities what is held fits in the limit, and is what was put there."""
    entities, put = HeldEntities(), {}
    for number in asked:
        key = str(number).encode()
        held = entities.find(key)
        assert held is None or held is put[key]
        if held is None:
            held = put[key] = Held(STATE, POLICY)
            entities.add(key, held)
        entities.trim(LIMIT)
    assert sum(entities.find(key) is not None for key in put) <= 10


@given(st.lists(st.integers(1, 100), max_size=300))
def test_what_is_asked_for_stays(others: list[int]) -> None:
    """An entity that is asked for again and again is never let go, whatever comes between."""
    entities = HeldEntities()
    busy = Held(STATE, POLICY)
    entities.add(b"busy", busy)
    for number in others:
        assert entities.find(b"busy") is busy
        if entities.find(str(number).encode()) is None:
            entities.add(str(number).encode(), Held(STATE, POLICY))
        entities.trim(LIMIT)


def test_a_state_that_grows_pushes_others_out() -> None:
    """The limit is of bytes: one large state leaves room for fewer."""
    entities = HeldEntities()
    for number in range(10):
        entities.add(str(number).encode(), Held(STATE, POLICY))
    entities.trim(LIMIT)
    large = entities.find(b"9")
    assert large is not None
    before = large.size()
    large.stored = STATE + bytes(LIMIT // 2)
    entities.grew(large.size() - before)
    entities.trim(LIMIT)
    assert entities.find(b"9") is large
    assert [entities.find(str(number).encode()) is not None for number in range(9)] == [False] * 5 + [True] * 4
