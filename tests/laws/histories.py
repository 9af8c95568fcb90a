"""Hypothesis strategies: histories of one entity, and policies to judge them by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from hypothesis import strategies as st

from schemas.canonical import canonical
from schemas.policy_document import OnDelete
from schemas.rules import CLOCK
from schemas.wire import WireChange
from streams.resolvers import RESOLVERS

SOURCES = ("crm", "billing", "web", "steward:ana", "steward:bo")
FIELDS = ("email", "name", "tags")
KEY = "customer:1"

# Values on which languages, codecs and careless comparisons disagree.
VALUES = st.sampled_from(
    [
        *(None, True, False, 0, 1, 2, 2**53 + 1, 2**63 - 1, 0.0, -0.0, 1.0, 1.5, 1e16, 1e21, 1e-7, 1e308),
        *("", "1", "a", "b", "\u00e9", "\U0001f600", "null", "ab\n"),
        *([], [1], [1.0, "a"], ["a", "b"], ["b"], {}, {"k": 1}, {"k": [True, None]}),
    ]
)
TIMES = st.sampled_from([-5, 0, 1, 500, 1000, 1001, 2002, 3003, 10_000])
STEWARDS = SOURCES[3:]
# What only a steward's `seen` can say: its write of that version is pinned, or is so no longer; what one decided is
# withdrawn.
RESERVED = ("*pinned", "*released", *(f"*{name}" for name in STEWARDS))
# With parameters, and for no group.
OTHERS: list[dict[str, Any]] = [
    {"resolver": "forward_only", "states": ["a", "b", "1"]},
    {"resolver": "forward_only", "transitions": {"a": ["b", "1"], "": ["1"]}},
    {"resolver": "stock"},
    {"resolver": "stock", "floor": 2.5},
]
CLOCKS = st.dictionaries(st.sampled_from(SOURCES), st.integers(0, 5), max_size=3)


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    """One change in its JSON form; versions and times are few, so that dots are reused and times are equal."""
    source = draw(st.sampled_from((*SOURCES, *SOURCES, CLOCK)))
    version = draw(st.integers(1, 4))
    op = draw(st.sampled_from(["create", "update", "update", "update", "delete", "snapshot"]))
    fields = {} if op == "delete" else draw(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3))
    before = draw(st.none() | st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=2))
    seen = draw(st.none() | CLOCKS)
    if source == CLOCK:
        # Of time nothing else can be said.
        op, before, seen = "update", None, None
        fields = draw(st.dictionaries(st.sampled_from(FIELDS), st.none(), min_size=1, max_size=3))
    if source in STEWARDS and draw(st.booleans()):
        seen = {**(seen or {}), **draw(st.dictionaries(st.sampled_from(RESERVED), st.integers(0, 5), max_size=2))}
    event_id = f"{source}-{version}" if draw(st.booleans()) else draw(st.sampled_from(["e1", "e2"]))
    return {
        "event_id": event_id,
        "entity_type": "customer",
        "entity_id": "1",
        "op": op,
        "source": source,
        "version": version,
        "occurred_at": draw(TIMES),
        "seen": seen,
        "before": before,
        "fields": fields,
    }


def rules(names: Sequence[str] = tuple(sorted(RESOLVERS))) -> st.SearchStrategy[dict[str, Any]]:
    """A resolver by name, or one with parameters."""
    scores = st.dictionaries(st.sampled_from(SOURCES[:3]), st.sampled_from([1, 0.9, 0.5, 0.25]), min_size=1)
    trust = scores.flatmap(
        lambda given: st.builds(
            lambda half_life: {"resolver": "trust", "scores": given, "half_life": half_life},
            st.dictionaries(st.sampled_from(sorted(given)), st.sampled_from(["1s", "3s", 700])),
        )
    )
    return st.sampled_from([{"resolver": name} for name in names] + ([] if "sum" not in names else OTHERS)) | trust


def histories(max_size: int = 8) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(changes(), min_size=1, max_size=max_size)


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    """A policy file's mapping: any resolver anywhere, orders that leave sources out, groups, every on_delete."""
    orders = st.lists(st.sampled_from(SOURCES[:3]), unique=True, max_size=3)
    grouped = draw(st.sampled_from([(), ("email", "name"), FIELDS]))
    picking = sorted(name for name, resolver in RESOLVERS.items() if resolver.grouped)
    entity: dict[str, Any] = {
        **draw(rules(picking) if grouped else rules()),
        "on_delete": draw(st.sampled_from(get_args(OnDelete))),
        "fields": {
            name: {**draw(rules()), "order": draw(orders)}
            for name in FIELDS
            if name not in grouped and draw(st.booleans())
        },
    }
    if grouped:
        group = {"fields": list(grouped), **draw(rules(picking)), "order": draw(orders)}
        entity["field_groups"] = {"group": group}
    return {
        "priority": draw(orders),
        "convergence_window": draw(st.sampled_from(["1s", "0s", "5s"])),
        "entities": {"customer": entity},
    }


def wire(change: dict[str, Any]) -> WireChange:
    """The change as the engine holds it."""
    before = change["before"]
    return WireChange(
        key=f"{change['entity_type']}:{change['entity_id']}",
        entity_type=change["entity_type"],
        entity_id=change["entity_id"],
        event_id=change["event_id"],
        op=change["op"],
        source=change["source"],
        version=change["version"],
        occurred_at=change["occurred_at"],
        seen=change["seen"],
        before=None if before is None else {name: canonical(value) for name, value in before.items()},
        fields={name: canonical(value) for name, value in change["fields"].items()},
    )
