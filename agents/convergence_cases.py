"""Hypothesis' part of the convergence check: histories to try a resolver on, and the search for a small one."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from agents.user_functions import source_of
from schemas.change import Change

SOURCES = ("crm", "billing", "web", "steward:ana")
MOST_CONSTANTS = 50
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.0, 1.0, 1.5, 2**53 + 1])
TEXTS = st.text(st.sampled_from("ab1 é"), max_size=3)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
ARRAYS = st.lists(SCALARS, max_size=3)
OBJECTS = st.dictionaries(st.sampled_from("kl"), SCALARS, max_size=2)


def histories(entity_type: str, field: str, function: Callable[..., Any]) -> st.SearchStrategy[list[Change]]:
    """Short histories of one entity. The values of one are alike, as a field's are, or of all kinds; where the
    function names values, of those.
    """
    kinds = [NUMBERS, TEXTS, ARRAYS, OBJECTS, SCALARS | ARRAYS | OBJECTS]
    constants = _constants(function)
    if constants:
        kinds.insert(0, st.sampled_from(constants))
    return st.sampled_from(kinds).flatmap(
        lambda values: st.lists(_changes(entity_type, field, values), min_size=2, max_size=5)
    )


def smallest_failure(
    cases: st.SearchStrategy[Any], examine: Callable[[Any], None], failure: type[Exception], examples: int
) -> None:
    """Raises what `examine` raises for the smallest of the cases for which it does; always the same cases."""
    last: list[Exception] = []

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def search(case: Any) -> None:
        try:
            examine(case)
        except failure as found:
            last[:] = [found]
            raise

    try:
        search()
    except Flaky:
        # It did not fail again: that is what was looked for.
        raise last[0] from None


@st.composite
def _changes(draw: st.DrawFn, entity_type: str, field: str, values: st.SearchStrategy[Any]) -> Change:
    source = draw(st.sampled_from(SOURCES))
    version = draw(st.integers(1, 3))
    op = draw(st.sampled_from(["update", "update", "update", "create", "snapshot", "delete"]))
    return Change(
        event_id=f"{source}-{version}",
        entity_type=entity_type,
        entity_id="1",
        op=op,
        source=source,
        version=version,
        occurred_at=draw(st.sampled_from([0, 1, 60_000])),
        seen=draw(st.none() | st.none() | st.dictionaries(st.sampled_from(SOURCES), st.integers(0, 3), max_size=2)),
        before=None,
        fields={} if op == "delete" else {field: draw(values)},
    )


def _constants(function: Callable[..., Any]) -> list[Any]:
    """Numbers and texts that stand in the function's module: what it looks for is likely among them."""
    found: dict[str, Any] = {}
    for node in ast.walk(ast.parse(source_of(function))):
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str) and len(str(node.value)) < 40:
            found.setdefault(repr(node.value), node.value)
    return list(found.values())[:MOST_CONSTANTS]
