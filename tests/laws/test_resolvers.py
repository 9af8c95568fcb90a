"""Each resolver against what it means: one comprehension over the whole history (SPEC section 3, "Resolvers").

Two worlds in which the live writes are plain to see. In the blind one nobody had read anything, so every source's
newest write is live. In the informed one everybody had read all, so only the last write is.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.canonical import canonical
from streams.entity import Entity, absorb
from streams.merge import judge
from streams.policy import parse_policy
from streams.resolvers import RESOLVERS
from tests.laws.histories import KEY, VALUES, wire

PRIORITY = ["crm", "billing"]  # web is not listed, so it comes last
Row = dict[str, Any]


def rank(row: Row) -> int:
    return {"crm": 0, "billing": 1}.get(row["source"], 2)


def time(row: Row) -> tuple[bool, int]:
    return (row["op"] != "snapshot", row["occurred_at"])


def later(row: Row) -> Any:
    return (time(row), -rank(row), row["source"])


def stronger(row: Row) -> Any:
    known, at = time(row)
    return (rank(row), not known, -at, row["source"])


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def text(value: Any) -> str:
    return value if isinstance(value, str) else canonical(value)


def size(value: Any) -> Any:
    return (0, Fraction(value), "") if number(value) else (1, 0, text(value))


def by_size(rows: list[Row], choose: Callable[..., Any], measure: Callable[[Any], Any]) -> Any:
    there = [row for row in rows if row["value"] is not None] or rows
    extreme = choose(measure(row["value"]) for row in there)
    return max((row for row in there if measure(row["value"]) == extreme), key=later)["value"]


def total(rows: list[Row]) -> Any:
    numbers = [row["value"] for row in rows if number(row["value"])]
    exact = sum(map(Fraction, numbers))
    if not numbers:
        return None
    if all(isinstance(n, int) for n in numbers) and -(2**63) <= exact < 2**63:
        return int(exact)
    try:
        return float(exact)
    except OverflowError:
        return None


def distinct(values: list[Any]) -> list[Any]:
    texts = {canonical(value): value for value in values}
    return [texts[one] for one in sorted(texts)]


def union(rows: list[Row]) -> Any:
    there = [row["value"] for row in rows if row["value"] is not None]
    members = [one for value in there for one in (value if isinstance(value, list) else [value])]
    return distinct(members) if there else None


def siblings(rows: list[Row]) -> Any:
    values = distinct([row["value"] for row in rows if row["value"] is not None])
    return None if not values else values[0] if len(values) == 1 else values


SPECS: dict[str, Callable[[list[Row]], Any]] = {
    "last_update_wins": lambda rows: max(rows, key=later)["value"],
    "first_update_wins": lambda rows: min(rows, key=lambda r: (time(r), rank(r), r["source"]))["value"],
    "source_priority": lambda rows: min(rows, key=stronger)["value"],
    "authority": lambda rows: min((r for r in rows if r["value"] is not None), key=stronger, default={"value": None})[
        "value"
    ],
    "max": lambda rows: by_size(rows, max, size),
    "min": lambda rows: by_size(rows, min, size),
    "longest": lambda rows: by_size(rows, max, lambda value: len(text(value))),
    "union": union,
    "sum": total,
    "keep_siblings": siblings,
    "manual": lambda rows: max(rows, key=later)["value"],
}

blind_rows = st.lists(
    st.fixed_dictionaries(
        {
            "source": st.sampled_from(["crm", "billing", "web", "app"]),
            "op": st.sampled_from(["create", "update", "snapshot"]),
            "occurred_at": st.sampled_from([0, 500, 1000, 5000]),
            "value": VALUES,
        }
    ),
    min_size=1,
    max_size=6,
)


def golden_value(rows: list[Row], resolver: str, informed: bool, **rules: Any) -> tuple[str | None, list[str]]:
    """The engine's value of the one field after all rows, and what it says is contested; rules: of the entity type."""
    document = {"priority": PRIORITY, "entities": {"customer": {"resolver": resolver, **rules}}}
    policy = parse_policy(document).of("customer")
    entity, clock = Entity(), {}
    for row in rows:
        version = clock.get(row["source"], 0) + 1
        entity_type, _, entity_id = KEY.partition(":")
        change = {
            "event_id": f"{row['source']}-{version}",
            "entity_type": entity_type,
            "entity_id": entity_id,
            "op": row["op"],
            "source": row["source"],
            "version": version,
            "occurred_at": row["occurred_at"],
            "seen": dict(clock) if informed else None,
            "before": None,
            "fields": {"f": row["value"]},
        }
        clock[row["source"]] = version
        absorb(entity, wire(change))
    verdict = judge(entity, policy).fields["f"]
    return verdict.value, ["f"] if verdict.contested else []


def text_or_none(value: Any) -> str | None:
    return None if value is None else canonical(value)


def test_every_resolver_has_a_spec() -> None:
    """The table of resolvers and the table of specs name the same things."""
    assert set(SPECS) == set(RESOLVERS)


@pytest.mark.parametrize("resolver", sorted(SPECS))
@given(rows=blind_rows)
def test_blind_writes_are_decided_by_the_spec(resolver: str, rows: list[Row]) -> None:
    """Where nobody had read anything, the value is the spec over every source's newest write."""
    newest = list({row["source"]: row for row in rows}.values())
    value, contested = golden_value(rows, resolver, informed=False)
    assert value == text_or_none(SPECS[resolver](newest))
    if resolver == "last_update_wins":
        end = max(newest, key=later)
        newest = [row for row in newest if not _later_by_time(end, row) and not _dominated(newest, row)]
    disagree = len({canonical(row["value"]) for row in newest}) > 1
    assert bool(contested) == (disagree and resolver not in ("union", "sum"))


def _later_by_time(row: Row, other: Row) -> bool:
    if (row["op"] == "snapshot") != (other["op"] == "snapshot"):
        return other["op"] == "snapshot"
    return bool(row["occurred_at"] - other["occurred_at"] > 1000)


def _dominated(rows: list[Row], row: Row) -> bool:
    return any(_later_by_time(other, row) for other in rows if other is not row)


@pytest.mark.parametrize("resolver", sorted(set(SPECS) - {"sum", "authority"}))
@given(rows=blind_rows)
def test_informed_writes_follow_one_another(resolver: str, rows: list[Row]) -> None:
    """Where every writer had read all there was, the last write is the value, and nothing is contested."""
    value, contested = golden_value(rows, resolver, informed=True)
    assert value == text_or_none(SPECS[resolver](rows[-1:]))
    assert contested == []
