"""The laws of pins, of their release, and of undo: whatever the history, the policy and the order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.canonical import canonical
from schemas.change import Change
from schemas.refusal import Refusal
from streams.entity import Entity, absorb
from streams.golden import document, golden
from streams.merge import judge, rejudge
from streams.policy import EntityPolicy, parse_policy
from tests.laws.histories import FIELDS, STEWARDS, VALUES, histories, policies, wire

ANA, BO = STEWARDS
NOBODY_ELSE = "steward:eve"


def state_of(history: list[dict[str, Any]]) -> Entity:
    entity = Entity()
    for change in history:
        absorb(entity, wire(change))
    return entity


def by_steward(
    source: str, version: int, fields: dict[str, Any], seen: dict[str, int], op: str = "update"
) -> dict[str, Any]:
    """A change of a steward in its JSON form."""
    head = {"event_id": f"{source}@{version}", "entity_type": "customer", "entity_id": "1", "op": op, "source": source}
    return {**head, "version": version, "occurred_at": 1500, "seen": seen, "before": None, "fields": fields}


def of_sources(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [change for change in history if change["source"] not in STEWARDS]


def outcome(history: list[dict[str, Any]], policy: EntityPolicy) -> tuple[str | None, list[str], list[str]]:
    """The golden record without its clock."""
    entity = state_of(history)
    record = golden(entity, judge(entity, policy), policy)
    return document(record) if record.exists else None, record.contested, record.pending


@given(histories(), policies(), st.sampled_from(FIELDS), VALUES.filter(lambda value: value is not None))
def test_a_pin_stands_whatever_sources_write(history: list[Any], document: Any, field: str, value: Any) -> None:
    """A pinned field has the pin's value alone, whatever any source wrote, had read or deleted, before or after.

    What the resolver takes from nobody, as a value that is no state, it does not take from a person either.
    """
    policy = parse_policy(document).of("customer")
    entity = state_of([*of_sources(history), by_steward(ANA, 3, {field: value}, {"*pinned": 3})])
    verdict = judge(entity, policy).fields[field]
    resolver = policy.rule(field).resolver
    if resolver.totals:
        assert all(not write.dot.by_steward for write in verdict.made_by)
    elif resolver.fits is not None and not resolver.fits(canonical(value)):
        assert ANA not in [write.dot.source for write in verdict.live]
    else:
        assert [write.dot.source for write in verdict.live] == [ANA]
        assert not verdict.contested
        assert verdict.value is not None


@given(histories(), policies(), st.booleans())
def test_a_pinned_existence_stands(history: list[Any], document: Any, exists: bool) -> None:
    """An entity that is pinned to exist, or to be deleted, is so without a conflict, whatever sources do."""
    policy = parse_policy(document).of("customer")
    pin = by_steward(ANA, 3, {}, {"*pinned": 3}, "update" if exists else "delete")
    existence = judge(state_of([*of_sources(history), pin]), policy).existence
    assert (existence.exists, existence.contested) == (exists, False)


@given(histories(), policies(), st.sampled_from(FIELDS), VALUES)
def test_a_released_pin_is_an_ordinary_decision(history: list[Any], document: Any, field: str, value: Any) -> None:
    """After its release a pin is the decision that it would have been without it, under the same dot."""
    policy = parse_policy(document).of("customer")
    seen = {"crm": 2, "web": 1}
    pin = by_steward(NOBODY_ELSE, 6, {field: value}, {**seen, "*pinned": 6})
    release = by_steward(NOBODY_ELSE, 5, {field: value}, {"*released": 6})
    decision = by_steward(NOBODY_ELSE, 6, {field: value}, seen)
    assert outcome([release, *history, pin], policy) == outcome([*history, decision], policy)


@given(histories(), policies(), st.sampled_from(("update", "delete")))
def test_a_released_existence_is_an_ordinary_decision(history: list[Any], document: Any, op: str) -> None:
    """A release gives existence back as it gives a field back."""
    policy = parse_policy(document).of("customer")
    pin = by_steward(NOBODY_ELSE, 6, {}, {"crm": 2, "*pinned": 6}, op)
    release = by_steward(NOBODY_ELSE, 5, {}, {"*released": 6}, op)
    decision = by_steward(NOBODY_ELSE, 6, {}, {"crm": 2}, op)
    assert outcome([*history, pin, release], policy) == outcome([*history, decision], policy)


@given(
    histories(),
    policies(),
    st.sampled_from(FIELDS),
    VALUES,
    st.dictionaries(st.sampled_from(("crm", "web")), st.integers(0, 5)),
)
def test_an_undone_decision_is_as_if_it_had_never_been(
    history: list[Any], document: Any, field: str, value: Any, seen: dict[str, int]
) -> None:
    """Whatever was decided, pinned or not, and whatever came before and after: undone, it leaves nothing behind."""
    policy = parse_policy(document).of("customer")
    decision = by_steward(NOBODY_ELSE, 6, {field: value}, {**seen, "*pinned": 6})
    undo = by_steward(NOBODY_ELSE, 7, {field: None}, {f"*{NOBODY_ELSE}": 7})
    by_another = by_steward("steward:fay", 1, {field: None}, {f"*{NOBODY_ELSE}": 6, "*steward:fay": 1})
    for taken_back in (undo, by_another):
        assert outcome([taken_back, *history, decision], policy) == outcome(history, policy)


@given(histories(), policies(), st.sampled_from(("update", "delete")), st.booleans())
def test_an_undone_decision_about_existence_is_as_if_it_had_never_been(
    history: list[Any], document: Any, op: str, pinned: bool
) -> None:
    """A person's delete, or word that it exists, leaves nothing behind when it is undone, in no field either."""
    policy = parse_policy(document).of("customer")
    decision = by_steward(NOBODY_ELSE, 6, {}, {"crm": 3, "web": 3, **({"*pinned": 6} if pinned else {})}, op)
    undo = by_steward("steward:fay", 1, {}, {f"*{NOBODY_ELSE}": 6, "*steward:fay": 1})
    assert outcome([*history, decision, undo], policy) == outcome(history, policy)


@given(histories(), policies(), st.sampled_from(FIELDS), VALUES)
def test_a_decision_after_an_undo_stands(history: list[Any], document: Any, field: str, value: Any) -> None:
    """A steward whose decision was taken back may decide again, and that counts as a first decision would."""
    policy = parse_policy(document).of("customer")
    first = by_steward(NOBODY_ELSE, 6, {field: "x"}, {"*pinned": 6})
    undo = by_steward(NOBODY_ELSE, 7, {field: None}, {f"*{NOBODY_ELSE}": 7})
    again = by_steward(NOBODY_ELSE, 8, {field: value}, {"crm": 9})
    assert outcome([first, undo, again, *history], policy) == outcome([again, *history], policy)


@pytest.mark.parametrize("source", ["*pinned", "*crm", "*steward:ana"])
def test_no_source_has_a_reserved_name(source: str) -> None:
    """What a steward's `seen` says under `*` can be no source's."""
    change = {"entity_type": "customer", "entity_id": "1", "op": "update", "source": source, "fields": {}}
    with pytest.raises(Refusal, match="reserved") as refused:
        Change.fill(change, 1, 0)
    assert refused.value.reason == "bad_source"


def test_a_source_cannot_pin() -> None:
    """In the `seen` of a source `*pinned` says nothing."""
    policy = parse_policy(None).of("customer")
    crm = {**by_steward("crm", 3, {"email": "a"}, {"*pinned": 3, "*web": 9}), "occurred_at": 0}
    web = {**by_steward("web", 1, {"email": "b"}, {"crm": 3}), "occurred_at": 0}
    assert outcome([crm, web], policy) == ('{"email":"b"}', [], [])


def test_a_deletion_taken_back_brings_its_fields_into_the_judgement() -> None:
    """The judgement that is brought up to date change by change has the fields again that the deletion had buried."""
    policy = parse_policy(None).of("customer")
    created = {**by_steward("crm", 1, {"name": "Ann"}, {}), "op": "create"}
    deletion = by_steward(ANA, 6, {}, {"crm": 1}, "delete")
    undo = by_steward(BO, 1, {}, {f"*{ANA}": 6, f"*{BO}": 1})
    entity = Entity()
    judgement = judge(entity, policy)
    for change in (created, deletion, undo):
        rejudge(judgement, entity, policy, absorb(entity, wire(change)))
    assert judgement.existence.exists
    assert judgement.fields["name"].value == '"Ann"'


@pytest.mark.parametrize("turned", [False, True])
def test_a_touch_taken_back_is_judged_at_once(turned: bool) -> None:
    """An entity that only a person made to exist exists no more when that is undone, whichever comes first."""
    policy = parse_policy({}).of("customer")
    history = [by_steward(ANA, 10, {}, {}), by_steward(ANA, 9, {}, {f"*{ANA}": 10})]
    entity = Entity()
    judgement = judge(entity, policy)
    for change in reversed(history) if turned else history:
        rejudge(judgement, entity, policy, absorb(entity, wire(change)))
        assert judgement.existence.exists == judge(entity, policy).existence.exists
    assert not judgement.existence.exists
