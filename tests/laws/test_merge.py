"""The laws of the state: a join-semilattice, whatever the history and whatever the policy (SPEC section 3)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.conflicts import find
from streams.entity import Entity, absorb, join
from streams.entity_codec import decode_entity, encode_entity
from streams.merge import judge, rejudge
from streams.policy import parse_policy
from tests import oracle
from tests.laws.histories import KEY, histories, policies, wire
from tests.laws.portraits import portrait, verdict


def state_of(history: list[dict[str, Any]]) -> Entity:
    entity = Entity()
    for change in history:
        absorb(entity, wire(change))
    return entity


@given(histories(), st.randoms(use_true_random=False))
def test_any_order_and_any_duplication_end_in_one_state(history: list[dict[str, Any]], random: Any) -> None:
    """Shuffling a history and delivering parts of it again changes nothing about the state."""
    again = history + random.choices(history, k=len(history))
    random.shuffle(again)
    assert portrait(state_of(again)) == portrait(state_of(history))


@given(histories(5), histories(5), histories(5))
def test_join_is_a_semilattice(a: list[Any], b: list[Any], c: list[Any]) -> None:
    """Join is commutative, associative and idempotent, and absorbing a change is joining it."""
    x, y, z = state_of(a), state_of(b), state_of(c)
    assert portrait(join(x, y)) == portrait(join(y, x))
    assert portrait(join(join(x, y), z)) == portrait(join(x, join(y, z)))
    assert portrait(join(x, x)) == portrait(x)
    assert portrait(join(x, y)) == portrait(state_of(a + b))


@given(histories(), policies(), st.randoms(use_true_random=False))
def test_any_order_ends_in_one_golden_record(history: list[Any], document: Any, random: Any) -> None:
    """Under every policy, the golden record and its provenance follow from the set of changes alone."""
    policy = parse_policy(document).of("customer")
    expected = state_of(history)
    shuffled = list(history)
    random.shuffle(shuffled)
    actual = state_of(shuffled)
    assert verdict(actual, judge(actual, policy), policy) == verdict(expected, judge(expected, policy), policy)


@given(histories(), policies())
def test_judging_what_moved_equals_judging_all(history: list[Any], document: Any) -> None:
    """After each change, the judgement brought up to date equals a judgement made anew."""
    policy = parse_policy(document).of("customer")
    entity = Entity()
    judgement = judge(entity, policy)
    for change in history:
        rejudge(judgement, entity, policy, absorb(entity, wire(change)))
        assert verdict(entity, judgement, policy) == verdict(entity, judge(entity, policy), policy)


@given(histories(12))
def test_a_stored_state_is_the_state(history: list[Any]) -> None:
    """A state read back from its bytes is the same, and goes on as the same."""
    entity = state_of(history[:-1])
    entity.offset = 7
    restored = decode_entity(encode_entity(entity, 3))
    assert portrait(restored) == portrait(entity)
    assert restored.offset == 7
    absorb(restored, wire(history[-1]))
    assert portrait(restored) == portrait(state_of(history))
    assert restored.stewarded == state_of(history).stewarded


@given(histories(), policies())
def test_golden_records_are_those_of_the_plain_implementation(history: list[Any], document: Any) -> None:
    """The engine agrees with a second implementation that was written from SPEC.md alone."""
    rules = parse_policy(document).of("customer")
    entity = state_of(history)
    expected = oracle.golden(history, document).get(KEY)
    exists, fields, clock, contested, pending = verdict(entity, judge(entity, rules), rules)
    if expected is None:
        assert not exists
        return
    assert exists == expected.exists
    assert {name: value for name, (value, _) in fields.items()} == {
        name: oracle.canonical(value) for name, value in expected.fields.items()
    }
    assert {name: dots for name, (_, dots) in fields.items()} == {
        name: [tuple(dot) for dot in dots] for name, dots in expected.provenance.items()
    }
    assert (tuple(contested), tuple(pending)) == (expected.contested, expected.pending)
    assert clock == expected.clock


@given(histories(), policies())
def test_conflicts_are_those_of_the_plain_implementation(history: list[Any], document: Any) -> None:
    """Each change brings the conflicts that the plain implementation finds, of the same kind and outcome."""
    rules = parse_policy(document).of("customer")
    entity = Entity()
    judgement = judge(entity, rules)
    found = []
    for change in map(wire, history):
        absorbed = absorb(entity, change)
        revision = rejudge(judgement, entity, rules, absorbed)
        found += find(revision, judgement, entity, change, rules)
    actual = [
        {
            "conflict_id": conflict.conflict_id,
            "key": KEY,
            "field": conflict.field,
            "kind": conflict.kind,
            "outcome": conflict.outcome,
            "winner": None if conflict.winner is None else (conflict.winner.dot.source, conflict.winner.dot.version),
            "value": "null" if conflict.value is None else conflict.value,
            "candidates": sorted(
                (w.dot.source, w.dot.version, w.dot.occurred_at, w.value) for w in conflict.candidates
            ),
            "cause": (conflict.change.source, conflict.change.version),
        }
        for conflict in found
    ]
    assert _by_cause(actual) == _by_cause([_plain(record) for record in oracle.conflicts(history, document)])


def _by_cause(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Several records of one change come in no order of their own."""
    return sorted(records, key=lambda record: (record["cause"], record["conflict_id"], str(record)))


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    return {
        **record,
        "winner": None if record["winner"] is None else tuple(record["winner"]),
        "value": oracle.canonical(record["value"]),
        "candidates": sorted((s, v, at, oracle.canonical(value)) for s, v, at, value in record["candidates"]),
        "cause": tuple(record["cause"]),
    }


BLIND = {"event_id": "e", "entity_type": "customer", "entity_id": "1", "op": "update", "version": 1}
BLIND |= {"seen": None, "before": None}


@pytest.mark.parametrize(("apart_ms", "contested"), [(999, True), (1000, True), (1001, False)])
def test_the_window_itself_is_within_it(apart_ms: int, contested: bool) -> None:
    """Blind writes exactly a convergence window apart are in conflict; one ms more, and the later dominates."""
    early = {**BLIND, "source": "crm", "occurred_at": 0, "fields": {"email": "a"}}
    late = {**BLIND, "source": "web", "occurred_at": apart_ms, "fields": {"email": "b"}}
    entity, policy = state_of([early, late]), parse_policy({"convergence_window": "1s"}).of("customer")
    email = judge(entity, policy).fields["email"]
    assert (email.contested, email.value) == (contested, '"b"')
