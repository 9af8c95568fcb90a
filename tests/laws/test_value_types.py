"""Fields with a type, and keep_siblings with a limit: what is let in, and what is kept."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.canonical import canonical
from schemas.value_types import ValueType, has_type
from streams.policy import PolicyError, parse_policy
from streams.resolvers import keeping_siblings
from tests.laws.histories import VALUES
from tests.laws.test_batch import change, log_of, resolve
from tests.laws.test_resolvers import golden_value, later

TIMES = ("2026-01-31T12:00:00Z", "2026-01-31t12:00:00.5+01:00")
NO_TIMES = ("", "now", "2026-01-31", "2026-01-31T12:00:00", "2026-02-30T12:00:00Z", '"', "\ud7ff")
PYTHON: dict[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "array": (list,),
    "object": (dict,),
}


@given(VALUES, st.sampled_from(sorted(PYTHON)))
def test_a_value_has_the_type_that_it_has_in_json(value: Any, wanted: str) -> None:
    """Each kind of value has its own type; an integer is a number, a truth is none, and null has every type."""
    is_ = value is None or (isinstance(value, PYTHON[wanted]) and (wanted == "boolean" or not isinstance(value, bool)))
    assert has_type(canonical(value), wanted) == is_


@pytest.mark.parametrize("text", [*TIMES, *NO_TIMES])
def test_a_timestamp_is_text_that_is_a_moment(text: str) -> None:
    """RFC 3339 with a zone; a number is no moment, since nobody knows its unit."""
    assert has_type(canonical(text), "timestamp") == (text in TIMES)
    assert has_type(canonical(text), "string")
    assert not has_type("1760000000000", "timestamp")
    assert has_type("null", "timestamp")


OF_FIELD = {"fields": {"age": {"type": "integer"}}}
OF_GROUP = {"field_groups": {"g": {"fields": ["age"], "type": "integer"}}}


@pytest.mark.parametrize("body", [OF_FIELD, OF_GROUP])
def test_another_type_is_refused_and_the_next_change_resolved(body: dict[str, Any]) -> None:
    """A change with a value of another type is one dead letter, whoever wrote it; null and what was before pass."""
    history = [
        change(version=1, fields={"age": "old", "name": "Ann"}),
        change(version=2, fields={"age": 1.0}),
        change(version=3, source="steward:ana", seen={}, fields={"age": True}),
        change(version=4, fields={"age": 7}, before={"age": "old"}),
        change(version=5, fields={"age": None, "other": "any"}),
    ]
    effects = resolve(log_of(history), document={"entities": {"customer": body}})
    assert [(letter.place, letter.reason) for letter in effects.dead_letters] == [(n, "wrong_type") for n in range(3)]
    assert effects.counts["refused:wrong_type"] == 3
    assert effects.counts["applied"] == 2
    assert "old" not in "".join(letter.message for letter in effects.dead_letters)
    other = resolve(log_of([change(fields={"age": "x"})]), document={"entities": {"order": body}})
    assert other.counts["applied"] == 1


TAKES = {
    "sum": {"integer", "number"},
    "union": {"array"},
    "longest": {"string", "array", "object"},
    "max": {"integer", "number", "string", "timestamp", "boolean"},
    "min": {"integer", "number", "string", "timestamp", "boolean"},
}


@pytest.mark.parametrize("value_type", get_args(ValueType))
@pytest.mark.parametrize("resolver", [*sorted(TAKES), "last_update_wins", "keep_siblings", "manual"])
def test_a_resolver_is_refused_on_a_type_that_it_makes_nothing_of(resolver: str, value_type: str) -> None:
    """Whether it is the field's own, its group's, or that of its entity type."""
    field = {"fields": {"f": {"type": value_type, "resolver": resolver}}}
    of_type = {"resolver": resolver, "fields": {"f": {"type": value_type}}}
    for body in (field, of_type):
        document = {"entities": {"customer": body}}
        if value_type in TAKES.get(resolver, set(get_args(ValueType))):
            assert parse_policy(document).of("customer").types == {"f": value_type}
            continue
        with pytest.raises(PolicyError, match=rf"entities.customer.fields.f.type: '{resolver}' takes .*{value_type}"):
            parse_policy(document)


SOURCES = ("crm", "billing", "web", "app")
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "source": st.sampled_from(SOURCES),
            "op": st.sampled_from(["update", "snapshot"]),
            "occurred_at": st.sampled_from([0, 500, 1000]),
            "value": st.sampled_from([None, 1, 2, "a", "b", [1]]),
        }
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda row: row["source"],
)


@given(ROWS, st.integers(1, 4), st.randoms())
def test_the_latest_values_are_kept(rows: list[dict[str, Any]], most: int, chance: Any) -> None:
    """Beyond max_siblings those that were written last stay, in whatever order they came; the conflict stays one."""
    newest: dict[str, Any] = {}
    for row in sorted((row for row in rows if row["value"] is not None), key=later):
        newest.pop(canonical(row["value"]), None)
        newest[canonical(row["value"])] = row
    kept = sorted(list(newest)[-most:])
    expected = None if not kept else kept[0] if len(kept) == 1 else f"[{','.join(kept)}]"
    shuffled = chance.sample(rows, len(rows))
    value, contested = golden_value(shuffled, "keep_siblings", informed=False, max_siblings=most)
    assert value == expected
    assert contested == golden_value(rows, "keep_siblings", informed=False)[1]


def test_one_limit_is_one_resolver() -> None:
    """Two policies with the same limit decide alike, and another limit is another rule."""
    one, same, other = (parse_policy({"entities": {"a": {"max_siblings": n}}}).of("a") for n in (2, 2, 3))
    assert one.decides_like(same)
    assert one.decides_like(other)  # nothing here keeps siblings
    keeping = [{"entities": {"a": {"resolver": "keep_siblings", "max_siblings": n}}} for n in (2, 2, 3)]
    one, same, other = (parse_policy(document).of("a") for document in keeping)
    assert one.decides_like(same)
    assert not one.decides_like(other)
    assert keeping_siblings(2) == one.default.resolver
