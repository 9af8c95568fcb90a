"""Sanity of the oracle itself: small cases whose answer SPEC gives by hand, and independence of order."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import pytest

from tests.oracle import canonical, conflicts, golden

KEY = "customer:1"
T = 1_700_000_000_000


def change(source: str, version: int, at: int, fields: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "event_id": f"{KEY}@{source}@{version}",
        "entity_type": "customer",
        "entity_id": "1",
        "op": "update",
        "source": source,
        "version": version,
        "occurred_at": T + at,
        "seen": None,
        "before": None,
        "fields": fields or {},
    } | more


def customer(**entity: Any) -> dict[str, Any]:
    return {"priority": ["crm", "billing", "web"], "entities": {"customer": entity}}


def test_canonical_json_is_that_of_the_contract() -> None:
    """Floats print as ECMAScript prints them, integers exactly, keys by code point, bad is refused."""
    texts = {
        1e16: "10000000000000000.0",
        1e21: "1e+21",
        1e-7: "1e-7",
        1e-6: "0.000001",
        -0.0: "0.0",
        5e-324: "5e-324",
        123.456: "123.456",
        -2.5e25: "-2.5e+25",
        2**53 + 1: "9007199254740993",
    }
    assert {value: canonical(value) for value in texts} == texts
    assert canonical({"\U0001f600": 1, "\uffff": True, "a": [None, 1.0, "\n\x1fé"]}) == (
        '{"a":[null,1.0,"\\n\\u001fé"],"\uffff":true,"\U0001f600":1}'
    )
    for bad in (float("nan"), float("inf"), 2**63, "\ud800"):
        with pytest.raises(ValueError):
            canonical(bad)


def test_evidence_beats_time() -> None:
    """A source that has seen or replaced a value overwrites it, however early its clock says it wrote."""
    first = change("crm", 1, 9_000, {"tier": "a"}, seen={})
    informed = change("web", 1, 0, {"tier": "b"}, seen={"crm": 1})
    replacing = change("web", 1, 9_000, {"tier": "b"}, before={"tier": "a"})
    too_early = change("web", 1, 0, {"tier": "b"}, before={"tier": "a"})
    assert golden([first, informed])[KEY].fields == {"tier": "b"}
    assert golden([first, replacing])[KEY].contested == ()
    assert golden([first, too_early])[KEY].contested == ("tier",)


@pytest.mark.parametrize(
    ("entry", "value", "contested"),
    [
        ({}, 7, ("f",)),
        ({"resolver": "first_update_wins"}, "x", ("f",)),
        ({"resolver": "source_priority", "order": ["web"]}, 7, ("f",)),
        ({"resolver": "authority"}, "x", ("f",)),
        ({"resolver": "max"}, "x", ("f",)),
        ({"resolver": "min"}, 7, ("f",)),
        ({"resolver": "longest"}, 7, ("f",)),
        ({"resolver": "union"}, ["x", 7], ()),
        ({"resolver": "sum"}, 7, ()),
        ({"resolver": "keep_siblings"}, ["x", 7], ("f",)),
        ({"resolver": "manual"}, 7, ("f",)),
    ],
)
def test_each_resolver_on_one_conflict(entry: dict[str, Any], value: Any, contested: tuple[str, ...]) -> None:
    """Two blind writes within the window are decided by the field's resolver, in either order."""
    changes = [change("crm", 1, 0, {"f": "x"}), change("web", 1, 900, {"f": 7})]
    policy = customer(fields={"f": entry})
    record = golden(changes, policy)[KEY]
    assert (record.fields, record.contested) == ({"f": value}, contested)
    assert record.pending == (contested if entry.get("resolver") == "manual" else ())
    assert golden(changes[::-1], policy)[KEY] == record


def test_sum_is_exact_and_ignores_stewards_and_what_is_no_number() -> None:
    """Totals add exactly; a float total is rounded once; a person's write and a text do not count."""
    totals = {"crm": 2**53 + 1, "web": 2, "billing": "9"}
    parts = [change(source, 1, 0, {"f": total}) for source, total in totals.items()]
    decision = change("steward:ann", 1, 0, {"f": 5}, seen={"crm": 1})
    policy = customer(fields={"f": {"resolver": "sum"}})
    assert golden([*parts, decision], policy)[KEY].fields == {"f": 2**53 + 3}
    huge = [change("crm", 1, 0, {"f": 1e308}), change("web", 1, 0, {"f": 1e308})]
    assert golden(huge, policy)[KEY].fields == {}


@pytest.mark.parametrize(
    ("on_delete", "exists"),
    [("update_wins", True), ("delete_wins", False), ("last_update_wins", False), ("source_priority", True)],
)
def test_a_contested_existence_is_decided_by_on_delete(on_delete: str, exists: bool) -> None:
    """A touch and a tombstone that know nothing of each other are a conflict on `*`."""
    changes = [change("crm", 1, 0, {"f": 1}, seen={}), change("web", 1, 500, op="delete", seen={})]
    record = golden(changes, customer(on_delete=on_delete))[KEY]
    assert (record.exists, record.contested) == (exists, ("*",))
    assert record.fields == ({"f": 1} if exists else {})


def test_a_cycle_of_existence_goes_by_last_update() -> None:
    """Where every touch and every tombstone is dominated all count as live, and on_delete does not."""
    changes = [
        change("crm", 1, 10, op="delete", seen={"billing": 1}),
        change("crm", 2, 40, {"f": 1}, seen={}),
        change("web", 1, 20, {"f": 2}, seen={}),
        change("web", 2, 30, op="delete", seen={"crm": 2}),
        change("billing", 1, 25, {"f": 3}, seen={"web": 2}),
    ]
    record = golden(changes, customer(on_delete="delete_wins"))[KEY]
    assert (record.exists, record.contested) == (True, ("*",))
    changes[3]["occurred_at"] = T + 50
    assert not golden(changes, customer(on_delete="update_wins"))[KEY].exists
    assert golden(changes[:4], customer(on_delete="update_wins"))[KEY].contested == ()


def test_a_steward_decides_and_a_later_informed_change_passes() -> None:
    """A decision drops what it saw; a write that saw the decision overwrites it; it is no touch."""
    changes = [change("crm", 1, 0, {"f": 1}), change("web", 1, 10, {"f": 2})]
    decision = change("steward:ann", 1, 20, {"f": 3}, seen={"crm": 1, "web": 1})
    policy = customer(resolver="manual")
    assert golden(changes, policy)[KEY].pending == ("f",)
    assert golden([*changes, decision], policy)[KEY].fields == {"f": 3}
    later = change("web", 2, 5, {"f": 4}, seen={"steward:ann": 1})
    assert golden([*changes, decision, later], policy)[KEY].fields == {"f": 4}
    assert not golden([decision], policy)[KEY].known


def test_a_group_takes_its_contested_fields_from_one_source() -> None:
    """The members in conflict come from the source the group picks, the others stay as they are."""
    changes = [
        change("crm", 1, 0, {"street": "A", "city": "X", "zip": "1"}),
        change("web", 1, 10, {"street": "B", "zip": "1"}),
        change("billing", 1, 5, {"city": "Y"}),
    ]
    record = golden(changes, customer(field_groups={"postal": ["street", "city", "zip"]}))[KEY]
    assert record.fields == {"street": "B", "city": "Y", "zip": "1"}
    assert record.contested == ("city", "street")


def test_more_than_64_replaced_values_count_what_is_older_than_the_oldest_as_replaced() -> None:
    """When all places are taken a write not after the oldest kept replacement counts as replaced."""
    many = [change("crm", v, 10_000 * v, {"f": v}, before={"f": v - 1}) for v in range(1, 66)]
    policy = customer(resolver="source_priority")
    early = change("web", 1, 20_000, {"f": "never seen"})
    late = change("web", 1, 20_001, {"f": "never seen"})
    assert golden([*many, early], policy)[KEY].contested == ()
    assert golden([*many, late], policy)[KEY].contested == ("f",)


def test_a_conflict_record_names_its_writes() -> None:
    """The record has id, kind, outcome, winner and every candidate; a duplicate adds none."""
    changes = [change("crm", 1, 0, {"f": 1}), change("web", 1, 10, {"f": 2})]
    name = canonical([KEY, "f", [["crm", 1], ["web", 1]]])
    assert conflicts([*changes, changes[0]]) == [
        {
            "conflict_id": hashlib.sha256(name.encode()).hexdigest()[:32],
            "key": KEY,
            "field": "f",
            "kind": "ambiguous_order",
            "outcome": "apply_remote",
            "winner": ["web", 1],
            "value": 2,
            "candidates": [["crm", 1, T, 1], ["web", 1, T + 10, 2]],
            "cause": ["web", 1],
        }
    ]


def test_a_record_brought_back_by_time_alone_is_recorded() -> None:
    """A blind later update of a deleted record is recorded; an informed one and a snapshot are not."""
    deleted = [change("crm", 1, 0, {"f": 1}), change("crm", 2, 10, op="delete")]
    blind = change("web", 1, 5_000, {"f": 2})
    [record] = conflicts([*deleted, blind])
    assert (record["field"], record["kind"]) == ("*", "update_recently_deleted")
    assert (record["outcome"], record["winner"]) == ("apply_remote", ["web", 1])
    assert conflicts([*deleted, blind | {"seen": {"crm": 2}}]) == []
    assert conflicts([*deleted, change("crm", 3, 5_000, {"f": 2})]) == []


def random_change(rng: random.Random) -> dict[str, Any]:
    source = rng.choice(["crm", "billing", "web", "steward:ann"])
    values = [None, True, 1, 1.0, 2, -3, "a", "bb", [], ["a", 1], {"k": 1}]
    clock = {name: rng.randint(1, 4) for name in ("crm", "billing", "web") if rng.random() < 0.5}
    return change(
        source,
        rng.randint(1, 4),
        rng.choice([0, 500, 1_000, 2_000, 4_000]),
        {name: rng.choice(values) for name in "fgh" if rng.random() < 0.5},
        op=rng.choice(["create", "update", "update", "delete", "snapshot"]),
        seen=rng.choice([None, None, clock]),
        before=rng.choice([None, {name: rng.choice(values) for name in "fgh" if rng.random() < 0.7}]),
    )


@pytest.mark.parametrize("on_delete", ["update_wins", "delete_wins", "last_update_wins", "source_priority"])
def test_order_and_duplicates_do_not_matter(on_delete: str) -> None:
    """Any order and any duplication of any history, reused dots included, give the same golden record."""
    rng = random.Random(on_delete)
    names = ["last_update_wins", "first_update_wins", "source_priority", "authority", "max", "min", "longest"]
    names += ["union", "sum", "keep_siblings", "manual"]
    for _ in range(150):
        fields = {"f": {"resolver": rng.choice(names)}}
        policy = customer(on_delete=on_delete, fields=fields, field_groups={"pair": ["g", "h"]})
        changes = [random_change(rng) for _ in range(rng.randint(1, 9))]
        again = changes + rng.sample(changes, len(changes) // 2)
        rng.shuffle(again)
        assert golden(again, policy) == golden(changes, policy)
        contested = golden(changes, policy)[KEY].contested
        assert set(contested) <= {record["field"] for record in conflicts(changes, policy)}
