"""Canonical JSON (SPEC section 1)."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import canonical as module
from schemas.canonical import NESTING_CEILING, canonical, canonical_float, parse
from tests.schemas.examples import TEXT, VALUES

# Bit patterns and texts as RFC 8785 lists them, with the `.0` that SPEC section 1 adds to whole numbers.
FLOATS = [
    (0.0, "0.0"),
    (-0.0, "0.0"),
    (1.0, "1.0"),
    (-1.0, "-1.0"),
    (0.1, "0.1"),
    (5e-324, "5e-324"),
    (-5e-324, "-5e-324"),
    (1.7976931348623157e308, "1.7976931348623157e+308"),
    (9007199254740992.0, "9007199254740992.0"),
    (295147905179352830000.0, "295147905179352830000.0"),
    (1e16, "10000000000000000.0"),
    (999999999999999900000.0, "999999999999999900000.0"),
    (1e21, "1e+21"),
    (9.999999999999997e22, "9.999999999999997e+22"),
    (0.0001, "0.0001"),
    (0.00001, "0.00001"),
    (0.000001, "0.000001"),
    (0.0000012, "0.0000012"),
    (1e-7, "1e-7"),
    (1.5e-9, "1.5e-9"),
    (333333333.3333333, "333333333.3333333"),
    (-1e21, "-1e+21"),
]


@pytest.mark.parametrize(("value", "text"), FLOATS)
def test_floats_print_as_in_ecmascript(value: float, text: str) -> None:
    """A float prints as in ECMAScript, with .0 where it has neither point nor exponent."""
    assert canonical(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_read_back_as_itself(value: float) -> None:
    """The text of a float names that float, and has a point or an exponent."""
    text = canonical_float(value)
    assert float(text) == value
    assert "." in text or "e" in text
    assert type(parse(text)) is float


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", '"a"'),
        ("", '""'),
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (1, "1"),
        (2**53 + 1, "9007199254740993"),
        (2**63 - 1, "9223372036854775807"),
        (-(2**63), "-9223372036854775808"),
        ([], "[]"),
        ({}, "{}"),
        ([1.0, {}], "[1.0,{}]"),
        ({"b": 1, "a": [None, True]}, '{"a":[null,true],"b":1}'),
        ({"b": 1.5, "a": {}}, '{"a":{},"b":1.5}'),
        ('\x00\x1f\x7f"\\/\b\n\u2028é', '"\\u0000\\u001f\x7f\\"\\\\/\\b\\n\u2028é"'),
    ],
)
def test_values_have_one_text(value: Any, text: str) -> None:
    """Each kind of value has the text that SPEC section 1 gives it."""
    assert canonical(value) == text


def test_keys_sort_by_code_point() -> None:
    """An astral character sorts after U+FFFF, as code points do and UTF-16 does not, on both ways."""
    assert canonical({"\U0001f600": 1, "\uffff": 2}) == '{"\uffff":2,"\U0001f600":1}'
    assert canonical({"\U0001f600": 1, "\uffff": 2.5}) == '{"\uffff":2.5,"\U0001f600":1}'


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        2**63,
        -(2**63) - 1,
        "secret\ud800",
        (1, 2),
        {1: "secret"},
        b"secret",
        {"a": {"secret\udfff"}},
        object(),
    ],
)
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v], lambda v: {"k": v, "f": 1.5}])
def test_what_is_no_value_is_refused(value: Any, wrap: Any) -> None:
    """What JSON or 64 bits cannot say is a ValueError, at any depth, and its message does not repeat it."""
    with pytest.raises(ValueError, match=r"^an? ") as caught:
        canonical(wrap(value))
    assert "secret" not in str(caught.value)


def test_a_lone_surrogate_in_a_key_is_refused() -> None:
    """A key that UTF-8 cannot carry is refused on both ways through."""
    for value in ({"\ud800": 1}, {"\ud800": 1.5}):
        with pytest.raises(ValueError, match="surrogate"):
            canonical(value)


def test_nesting_has_a_ceiling() -> None:
    """A value nested beyond the ceiling, or one that holds itself, is refused and no stack overflows."""
    deep: list[Any] = []
    for _ in range(NESTING_CEILING):
        deep = [deep]
    canonical(deep)
    with pytest.raises(ValueError, match="nested"):
        canonical([deep])
    knot: list[Any] = []
    knot.append(knot)
    with pytest.raises(ValueError, match="nested"):
        canonical(knot)


@given(VALUES)
def test_the_two_ways_agree(value: Any) -> None:
    """What orjson is trusted to write is what the slow way writes, and it reads back as the same value."""
    parts: list[str] = []
    module._write(value, parts)
    text = canonical(value)
    assert "".join(parts) == text
    assert canonical(parse(text)) == text
    assert canonical(json.loads(text)) == text


@given(st.dictionaries(TEXT, VALUES, max_size=5))
def test_the_order_of_keys_does_not_matter(value: dict[str, Any]) -> None:
    """Two objects with the same entries have the same text."""
    assert canonical(dict(reversed(list(value.items())))) == canonical(value)
