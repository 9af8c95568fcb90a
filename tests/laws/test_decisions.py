"""What commands of people become: laws of decisions, on any history and under any policy."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schemas.canonical import canonical
from schemas.change import Change
from schemas.command import Command
from schemas.refusal import Refusal
from streams.decisions import EXPIRY, decide
from streams.entity import Entity, absorb
from streams.entity_codec import encode_entity
from streams.merge import judge
from streams.open_conflicts import decisions, open_conflicts
from streams.policy import EntityPolicy, Policy, parse_policy
from streams.stewardship import pinned_until
from tests.laws.histories import FIELDS, KEY, VALUES, histories, policies, wire
from tests.laws.test_stewardship import outcome

NOW = 20_000
LATER = NOW + 60_000
MANUAL = parse_policy({"entities": {"customer": {"fields": {"email": {"resolver": "manual"}}}}})
EDITS = [("crm", 1, {"email": "a"}), ("web", 1, {"email": "b"})]


def history_of(edits: list[Any]) -> list[dict[str, Any]]:
    head = {"entity_type": "customer", "entity_id": "1", "op": "update", "seen": None, "before": None}
    return [
        {**head, "event_id": f"{source}@{version}", "source": source, "version": version, "occurred_at": 0, "fields": f}
        for source, version, f in edits
    ]


def state_of(history: list[dict[str, Any]]) -> Entity:
    entity = Entity()
    for change in history:
        absorb(entity, wire(change))
    return entity


def command(kind: str, name: str = "eve", **parts: Any) -> Command:
    head = {"command_id": f"{kind}-{name}", "kind": kind, "entity_type": "customer", "entity_id": "1"}
    return Command.model_validate({**head, "requested_by": name, "requested_at": NOW, "field": "email", **parts})


def decided(one: Command, history: list[Any], policy: Policy, unabsorbed: list[Change] | None = None) -> Change | None:
    waiting = [change.wire() for change in unabsorbed or ()]
    return decide(one, encode_entity(state_of(history), 0), waiting, policy, NOW)


def with_change(history: list[Any], change: Change | None) -> list[Any]:
    assert change is not None
    return [*history, change.model_dump()]


def refused(one: Command, history: list[Any], unabsorbed: list[Change] | None = None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        decided(one, history, MANUAL, unabsorbed)
    return caught.value


def counts(rules: EntityPolicy, field: str, value: Any) -> bool:
    """Whether the field's resolver would count such a value, as it does not count what is no state."""
    fits = None if field == "*" else rules.rule(field).resolver.fits
    return fits is None or value is None or fits(canonical(value))


@settings(max_examples=50)
@given(histories(), policies(), VALUES)
def test_a_resolution_closes_its_conflict(history: list[Any], document: Any, value: Any) -> None:
    """Whatever is open: decided, the field has the value that was chosen, and is in no conflict."""
    policy = parse_policy(document)
    rules = policy.of("customer")
    found = open_conflicts(KEY, state_of(history), rules)
    assume(found)
    for one in found:
        chosen = one.value != "true" if one.field == "*" else value
        if not counts(rules, one.field, chosen):
            continue
        resolution = command("resolve", field=one.field, value=chosen, conflict_id=one.conflict_id)
        after = with_change(history, decided(resolution, history, policy))
        left = open_conflicts(KEY, state_of(after), rules)
        if one.field == "*":
            assert one.field not in [other.field for other in left]
            assert judge(state_of(after), rules).existence.exists is chosen
        else:
            assert one.field not in [other.field for other in left]
            assert [write.dot.source for write in judge(state_of(after), rules).fields[one.field].live] == [
                "steward:eve"
            ]


@settings(max_examples=50)
@given(histories(), policies(), st.booleans())
def test_an_undo_of_any_resolution_is_its_contrary(history: list[Any], document: Any, by_another: bool) -> None:
    """What was open before a resolution is open again after its undo, by whomever, under the same id."""
    policy = parse_policy(document)
    rules = policy.of("customer")
    found = open_conflicts(KEY, state_of(history), rules)
    assume(found)
    for one in found:
        value = True if one.field == "*" else "chosen"
        if not counts(rules, one.field, value):
            continue
        resolution = command("resolve", field=one.field, value=value, conflict_id=one.conflict_id)
        after = with_change(history, decided(resolution, history, policy))
        undo = command("undo", "fay" if by_another else "eve", field=one.field, decision=resolution.command_id)
        back = with_change(after, decided(undo, after, policy))
        assert outcome(back, rules) == outcome(history, rules)
        assert one.conflict_id in [other.conflict_id for other in open_conflicts(KEY, state_of(back), rules)]


@settings(max_examples=50)
@given(histories(), policies(), st.sampled_from(FIELDS), VALUES)
def test_a_pin_ends_as_the_decision_it_would_have_been(
    history: list[Any], document: Any, field: str, value: Any
) -> None:
    """A pin says until when it holds; released, by its time or by hand, it is an ordinary decision under its dot."""
    policy = parse_policy(document)
    rules = policy.of("customer")
    entity = state_of(history)
    assume(judge(entity, rules).existence.exists and not rules.rule(field).resolver.totals)
    assume(counts(rules, field, value))
    pin = command("pin", field=field, value=value, until=LATER)
    try:
        change = decided(pin, history, policy)
    except Refusal as refusal:
        assume("is pinned by" not in str(refusal))
        raise
    after = with_change(history, change)
    (write,) = [write for write in state_of(after).fields[field] if write.dot.source == "steward:eve"]
    assert pinned_until(write) == LATER
    release = command("release", field=field, decision=pin.command_id, command_id=f"{EXPIRY}{pin.command_id}")
    ended = with_change(after, decided(release, after, policy))
    assert change is not None and change.seen is not None
    plain = change.model_copy(update={"seen": {k: v for k, v in change.seen.items() if k != "*pinned"}})
    assert outcome(ended, rules) == outcome(with_change(history, plain), rules)
    assert decided(release, ended, policy) is None


def resolution(name: str, value: str = "a", **parts: Any) -> Command:
    (conflict,) = open_conflicts(KEY, state_of(history_of(EDITS)), MANUAL.of("customer"))
    return command("resolve", name, value=value, conflict_id=conflict.conflict_id, **parts)


def test_the_second_of_two_stewards_sees_the_first_ones_decision() -> None:
    """A decision that is published and in no state yet counts: the second is refused and told what stands."""
    history = history_of(EDITS)
    first = decided(resolution("ana"), history, MANUAL)
    assert first is not None
    refusal = refused(resolution("bo", "b"), history, [first])
    assert refusal.reason == "superseded"
    assert str(refusal) == f"email is in no conflict any more: steward:ana@{first.version} stands"


def test_a_command_that_comes_again_decides_nothing_again() -> None:
    """A decision that is in the state, or on its way to it, is known by its command."""
    history = history_of(EDITS)
    first = decided(resolution("ana"), history, MANUAL)
    assert first is not None
    assert decided(resolution("ana"), history, MANUAL, [first]) is None
    assert decided(resolution("ana"), with_change(history, first), MANUAL) is None


def test_a_superseded_conflict_is_refused_with_what_is_open_now() -> None:
    """A conflict that got another candidate is another one, and the refusal names it and who is in it."""
    history = history_of([*EDITS, ("crm", 2, {"email": "c"})])
    (now,) = open_conflicts(KEY, state_of(history), MANUAL.of("customer"))
    refusal = refused(resolution("ana"), history)
    assert refusal.reason == "superseded"
    assert str(refusal) == f"email is in another conflict by now: {now.conflict_id}, among crm@2, web@1"


def test_a_pin_on_what_was_not_seen_is_refused() -> None:
    """Who pins a value that was written anew meanwhile is told by whom."""
    refusal = refused(command("pin", value="x", until=LATER, seen={"crm": 1}), history_of(EDITS))
    assert (refusal.reason, str(refusal)) == ("superseded", "email was written since it was looked at, by web@1")


def test_what_cannot_be_decided_is_refused() -> None:
    """Totals, unknown entities, deleted ones, another's pin, and ends that are over: each refused with the reason."""
    history = history_of(EDITS)
    pin = decided(command("pin", "ana", value="x", until=LATER), history, MANUAL)
    assert "is pinned by steward:ana" in str(
        refused(command("pin", value="y", until=LATER), history, [pin] if pin else [])
    )
    assert "would have ended" in str(refused(command("pin", value="y", until=NOW), history))
    deleted = [*history, {**history[0], "version": 9, "op": "delete", "fields": {}, "seen": {"crm": 1, "web": 1}}]
    assert "is deleted" in str(refused(command("pin", value="y", until=LATER), deleted))
    assert "pins nothing" in str(refused(command("release"), history))
    assert "no decision" in str(refused(command("undo", decision="never"), history))
    with pytest.raises(Refusal, match="never been written"):
        decide(resolution("ana"), None, [], MANUAL, NOW)
    states = parse_policy(
        {"entities": {"customer": {"fields": {"email": {"resolver": "forward_only", "states": ["new", "paid"]}}}}}
    )
    with pytest.raises(Refusal, match="email: the value is none of the field's states"):
        decided(command("pin", value="payed", until=LATER), history, states)
    totals = parse_policy({"entities": {"customer": {"fields": {"email": {"resolver": "sum"}}}}})
    with pytest.raises(Refusal, match="a total is corrected by its source"):
        decided(command("pin", value=1, until=LATER), history, totals)


def test_a_decision_that_would_be_refused_as_a_change_is_refused_at_once() -> None:
    """Limits are looked at before anything is published, so that nothing is half done."""
    tight = parse_policy(
        {"limits": {"value_bytes": 10}, "entities": {"customer": {"fields": {"email": {"resolver": "manual"}}}}}
    )
    with pytest.raises(Refusal) as caught:
        decided(resolution("ana", "x" * 20), history_of(EDITS), tight)
    assert caught.value.reason == "value_too_large"
    small = parse_policy(
        {"limits": {"state_bytes": 150}, "entities": {"customer": {"fields": {"email": {"resolver": "manual"}}}}}
    )
    with pytest.raises(Refusal) as caught:
        decided(resolution("ana", "x" * 200), history_of(EDITS), small)
    assert caught.value.reason == "state_too_large"


def test_a_decision_names_the_conflict_that_it_decided() -> None:
    """What stands of people's decisions can be listed with the field and the command."""
    history = history_of(EDITS)
    one = resolution("ana")
    after = state_of(with_change(history, decided(one, history, MANUAL)))
    (found,) = decisions(after)
    assert (found[0], found[1].dot.event_id) == ("email", f"resolve/{one.conflict_id}/{one.command_id}")
