"""Explanations agree with the judgement, and say which rule decided."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from streams.entity import Entity, absorb
from streams.explain import AGREES, LEFT_OUT, LOSES, OVERRULED, PART, WINS, WITHDRAWN, Reason, explain, span
from streams.merge import judge
from streams.policy import parse_policy
from tests.laws.histories import histories, policies, wire

T0 = 1_790_000_000_000


def state_of(history: list[dict[str, Any]]) -> Entity:
    entity = Entity()
    for change in history:
        absorb(entity, wire(change))
    return entity


def change(source: str, version: int, at_ms: int, op: str = "update", **more: Any) -> dict[str, Any]:
    """A change of customer:1 in its JSON form."""
    head = {"event_id": f"{source}@{version}", "entity_type": "customer", "entity_id": "1", "op": op, "source": source}
    return {**head, "version": version, "occurred_at": T0 + at_ms, "seen": None, "before": None, "fields": {}, **more}


def reason(history: list[dict[str, Any]], field: str, **rules: Any) -> Reason:
    """Why the field is as it is, under a policy with these rules for customers."""
    policy = parse_policy({"priority": ["crm", "billing", "web"], "entities": {"customer": rules}})
    return next(found for found in explain(state_of(history), policy.of("customer")) if found.field == field)


@given(histories(), policies())
def test_an_explanation_tells_of_every_write_what_the_judgement_made_of_it(history: list[Any], document: Any) -> None:
    """Winners are the writes that make the value, losers are live, what is overruled is not, each with a reason."""
    policy = parse_policy(document).of("customer")
    entity = state_of(history)
    judgement = judge(entity, policy)
    reasons = explain(entity, policy)
    assert [found.field for found in reasons] == ["*", *sorted(entity.fields)]
    assert reasons[0].value == ("true" if judgement.existence.exists else "false")
    for found in reasons[1:]:
        verdict = judgement.fields[found.field]
        standings = {account.write.dot.source: account.standing for account in found.accounts}
        written = [write for write in entity.fields[found.field] if not write.dot.by_clock]
        assert len(standings) == len(found.accounts) == len(written)
        for account in found.accounts:
            makes, lives = account.write in verdict.made_by, account.write in verdict.live
            assert makes is (account.standing in (WINS, PART))
            if not makes:
                assert (account.standing in (AGREES, LOSES)) <= lives
                assert (account.standing in (OVERRULED, WITHDRAWN)) <= (not lives)
            reasoned = account.standing in (LOSES, OVERRULED, WITHDRAWN)
            assert bool(account.because) is reasoned or account.standing == LEFT_OUT
        assert found.why
        assert "\n" not in found.why


def test_priority_is_named() -> None:
    """A live loser of source_priority is told that the other source ranks before its own."""
    history = [change("web", 1, 5_000, fields={"tier": "a"}), change("crm", 1, 0, fields={"tier": "b"})]
    found = reason(history, "tier", fields={"tier": {"resolver": "source_priority"}})
    assert (found.value, found.rule, found.contested) == ('"b"', "source_priority", True)
    assert found.why == "crm@1 stands over web@1: crm@1 is preferred: crm ranks before web"


def test_a_reader_overrules_what_it_had_read() -> None:
    """An informed write stands over the one that its seen covers, without a conflict."""
    history = [
        change("crm", 1, 0, fields={"tier": "a"}),
        change("web", 1, 1, seen={"crm": 1}, fields={"tier": "b"}),
    ]
    found = reason(history, "tier", fields={"tier": {"resolver": "source_priority"}})
    assert not found.contested
    assert [(account.standing, account.because) for account in found.accounts] == [
        (WINS, ""),
        (OVERRULED, "web@1 had read crm@1 (its seen covers that)"),
    ]


def test_a_replaced_value_is_evidence() -> None:
    """A write whose before is the other's value is told to have replaced it."""
    history = [
        change("crm", 1, 0, fields={"tier": "a"}),
        change("web", 1, 1, before={"tier": "a"}, fields={"tier": "b"}),
    ]
    assert "web@1 replaced that value of crm@1 (its before)" in reason(history, "tier").why


def test_time_is_named_with_its_distance() -> None:
    """Where only time is left, the explanation says that nothing was known, and how much later the winner is."""
    history = [change("crm", 1, 0, fields={"tier": "a"}), change("web", 1, 90_000, fields={"tier": "b"})]
    assert (
        "web@1 knew nothing of crm@1 and is 1.5 min later, beyond the convergence window" in reason(history, "tier").why
    )


def test_a_snapshot_counts_as_older() -> None:
    """A write stands over a snapshot whatever the times say, and the explanation says why."""
    history = [
        change("crm", 1, 90_000, op="snapshot", fields={"tier": "a"}),
        change("web", 1, 0, fields={"tier": "b"}),
    ]
    assert "no snapshot as crm@1 is" in reason(history, "tier").why


def test_a_group_goes_to_one_source() -> None:
    """A field that its group lost is told so, and by which field the group was won."""
    history = [
        change("crm", 1, 0, fields={"street": "1"}),
        change("crm", 2, 300, fields={"zip": "1"}),
        change("web", 1, 100, fields={"street": "2", "zip": "2"}),
    ]
    found = reason(history, "street", field_groups={"postal": ["street", "zip"]})
    assert (found.value, found.rule) == ('"1"', "last_update_wins, group postal")
    assert found.why == "crm@1 stands over web@1: group postal goes to crm as a whole, for its zip"


def test_a_union_names_all_its_parts() -> None:
    """A merged value is told to be made of its writes, and is no conflict."""
    history = [change("crm", 1, 0, fields={"tags": ["a"]}), change("web", 1, 1, fields={"tags": ["b"]})]
    found = reason(history, "tags", fields={"tags": {"resolver": "union"}})
    assert (found.value, found.contested) == ('["a","b"]', False)
    assert found.why == "made of crm@1 and web@1"


def test_a_field_that_waits_for_a_person_is_pending() -> None:
    """A manual field in conflict says that its value is provisional."""
    history = [change("crm", 1, 0, fields={"email": "a"}), change("web", 1, 1, fields={"email": "b"})]
    found = reason(history, "email", fields={"email": {"resolver": "manual"}})
    assert (found.contested, found.pending) == (True, True)


@given(histories(), policies())
def test_what_the_rule_itself_would_choose_is_what_stands(history: list[Any], document: Any) -> None:
    """Among what all rules would choose, the choice of the rule in force is the judgement's, but for a group's."""
    policy = parse_policy(document).of("customer")
    entity = state_of(history)
    judgement = judge(entity, policy)
    existence, *fields = explain(entity, policy)
    assert existence.others[existence.rule] == existence.value
    for found in fields:
        if policy.rule(found.field).group is None:
            assert found.others[found.rule] == judgement.fields[found.field].value


def test_what_other_rules_would_choose() -> None:
    """Each rule chooses from the same writes by itself."""
    history = [change("crm", 1, 0, fields={"tier": "b"}), change("web", 1, 5_000, fields={"tier": "a"})]
    found = reason(history, "tier", fields={"tier": {"resolver": "manual"}})
    assert {name: found.others[name] for name in ("last_update_wins", "source_priority", "max", "keep_siblings")} == {
        "last_update_wins": '"a"',
        "source_priority": '"b"',
        "max": '"b"',
        "keep_siblings": '["a","b"]',
    }


def test_a_pin_and_a_withdrawal_are_named() -> None:
    """A write that a pin overrules is told so, and so is a decision that was taken back."""
    pin = change("steward:ana", 2, 0, seen={"*pinned": 2}, fields={"tier": "a"})
    informed = change("web", 1, 9_000, seen={"steward:ana": 2}, fields={"tier": "b"})
    found = reason([pin, informed], "tier")
    assert found.why == "steward:ana@2 stands over web@1: steward:ana@2 is pinned, whatever web writes"
    undo = change("steward:bo", 1, 0, seen={"*steward:ana": 2, "*steward:bo": 1}, fields={"tier": None})
    found = reason([pin, informed, undo], "tier")
    assert (found.value, found.why) == ('"b"', "web@1 is the only write")
    assert [account.standing for account in found.accounts] == [WINS, WITHDRAWN, WITHDRAWN]


def test_existence_in_conflict_names_the_rule() -> None:
    """A delete and an update that did not know of each other are decided by on_delete, which is named."""
    history = [
        change("crm", 1, 0, fields={"tier": "a"}),
        change("crm", 2, 1_000, op="delete"),
        change("web", 1, 1_200, fields={"tier": "b"}),
    ]
    found = reason(history, "*")
    assert (found.value, found.contested) == ("true", True)
    assert found.why == "an update and a delete did not know of each other: update_wins decides for web@1"
    assert reason(history, "*", on_delete="delete_wins").value == "false"


def test_a_deleted_entity_says_who_deleted_it() -> None:
    """An informed delete leaves no conflict, and the fields are absent with their last reason."""
    history = [change("web", 1, 0, fields={"tier": "a"}), change("crm", 1, 10, op="delete", seen={"web": 1})]
    found = reason(history, "*")
    assert (found.value, found.contested) == ("false", False)
    assert found.why == "deleted: the delete crm@1 had read web@1 (its seen covers that)"
    assert reason(history, "tier").value is None


@pytest.mark.parametrize(("ms", "text"), [(0, "0 ms"), (999, "999 ms"), (1_500, "1.5 s"), (3_600_000, "1 h")])
def test_spans_are_readable(ms: int, text: str) -> None:
    """A length of time has one unit, and no digit too many."""
    assert span(ms) == text
