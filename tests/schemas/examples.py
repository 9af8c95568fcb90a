"""Changes for the tests of schemas/: one plain one, and Hypothesis strategies for all the others."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from schemas.canonical import INT_MAX, INT_MIN
from schemas.change import Change

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
SCALARS = (
    st.none() | st.booleans() | st.integers(INT_MIN, INT_MAX) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
FIELD_NAMES = TEXT.filter(lambda name: name not in ("", "*"))
FIELDS = st.dictionaries(FIELD_NAMES, VALUES, max_size=6)
VERSIONS = st.integers(1, INT_MAX)


def plain(**changed: Any) -> dict[str, Any]:
    """The JSON form of an unremarkable change, with what the test is about changed."""
    return {
        "event_id": "e-1",
        "entity_type": "customer",
        "entity_id": "42",
        "op": "update",
        "source": "crm",
        "version": 7,
        "occurred_at": 1_790_000_000_000,
        "seen": {"crm": 6, "web": 3},
        "before": {"name": "Ada", "note": None},
        "fields": {"name": "Ada L.", "age": 36, "score": 1.5, "tags": ["a", {"b": None}], "vip": True},
    } | changed


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """Any change that keeps to the rules."""
    op = draw(st.sampled_from(("create", "update", "delete", "snapshot")))
    return Change(
        event_id=draw(TEXT.filter(bool)),
        entity_type=draw(st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)),
        entity_id=draw(TEXT.filter(bool)),
        op=op,
        source=draw(TEXT.filter(bool)),
        version=draw(VERSIONS),
        occurred_at=draw(st.integers(INT_MIN, INT_MAX)),
        seen=draw(st.none() | st.dictionaries(TEXT, st.integers(0, INT_MAX), max_size=4)),
        before=draw(st.none() | FIELDS),
        fields={} if op == "delete" else draw(FIELDS),
    )
