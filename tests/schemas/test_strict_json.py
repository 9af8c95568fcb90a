"""JSON from outside: a line of publish, and the text of an array or object on the wire."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from schemas.canonical import canonical
from schemas.change import parse_change_line
from schemas.refusal import Limits, Refusal
from schemas.strict_json import canonical_json, nesting, parse_json
from tests.schemas.examples import VALUES

LINES = [
    (b'{"a":1,"a":2}', "bad_value"),
    (b'{"fields":{"a":{"b":1,"b":1}}}', "bad_value"),
    (b'{"a":NaN}', "bad_value"),
    (b'{"a":Infinity}', "bad_value"),
    (b'{"a":-Infinity}', "bad_value"),
    (b'{"a":1e400}', "bad_value"),
    (b'{"a":1180591620717411303424}', "bad_value"),
    (b'{"a":9223372036854775808}', "bad_value"),
    (b'{"a":' + b"9" * 100_000 + b"}", "bad_value"),
    (b'{"a":', "bad_value"),
    (b"", "bad_value"),
    (b'{"a":1} x', "bad_value"),
    (b"[1]", "bad_shape"),
    (b"7", "bad_shape"),
    (b'{"a":"\xff"}', "not_utf8"),
    (b'{"a":"\xed\xa0\x80"}', "not_utf8"),
    (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep"),
    (b'{"a":' + b"[" * 100_000, "too_deep"),
    (b" " * 300_000, "too_large"),
]


@pytest.mark.parametrize(("line", "reason"), LINES)
def test_a_bad_line_is_refused(line: bytes, reason: str) -> None:
    """A line that common parsers round, merge or choke on is refused with its reason."""
    with pytest.raises(Refusal) as caught:
        parse_change_line(line)
    assert caught.value.reason == reason


def test_integers_of_64_bits_stay_exact() -> None:
    """The ends of 64 bits and 2**53+1 come back as themselves."""
    line = b'{"a":9223372036854775807,"b":-9223372036854775808,"c":9007199254740993,"d":1.0}'
    assert canonical(parse_change_line(line)) == line.decode()


@pytest.mark.parametrize(("depth", "refused"), [(32, False), (33, True)])
def test_the_limit_on_depth_is_one_of_values(depth: int, refused: bool) -> None:
    """A value of the allowed depth may stand in a line, whose own two levels do not count."""
    line = b'{"fields":{"a":' + b"[" * depth + b"]" * depth + b"}}"
    if not refused:
        assert parse_change_line(line)
        return
    with pytest.raises(Refusal) as caught:
        parse_change_line(line, Limits(depth=32))
    assert caught.value.reason == "too_deep"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"b":1, "a":2}', '{"a":2,"b":1}'),
        ("[1E2, -0.0, 1e0]", "[100.0,0.0,1.0]"),
        ('["\\u0061"]', '["a"]'),
        ('{"a":[1.5,{}]}', '{"a":[1.5,{}]}'),
        ("18446744073709551615.0", "18446744073709552000.0"),
    ],
)
def test_json_text_becomes_canonical(text: str, expected: str) -> None:
    """JSON in another spelling is brought to the one text of its value."""
    assert canonical_json(text, 32) == expected


@pytest.mark.parametrize(
    "text", ["", "[", "{'a':1}", '{"a":1,"a":1}', "[18446744073709551616]", "[NaN]", '["\\ud800"]', "[1]]"]
)
def test_what_is_no_json_is_refused(text: str) -> None:
    """Text that is not exactly one JSON value is bad_value."""
    with pytest.raises(Refusal) as caught:
        canonical_json(text, 32)
    assert caught.value.reason == "bad_value"


@given(VALUES)
def test_canonical_text_is_left_as_it_is(value: Any) -> None:
    """A canonical text passes unchanged and parses to its value."""
    text = canonical(value)
    assert canonical_json(text, 32) == text
    assert canonical(parse_json(text, 32)) == text


def test_brackets_in_strings_do_not_count() -> None:
    """Only brackets outside of strings nest, whatever quotes and escapes the strings hold."""
    assert nesting('["[[[", "\\"[[", {"a]":"}"}]', 1) == 2


@pytest.mark.parametrize("text", ['["' + '\\"' * 500_000, '"' * 500_001, "\\" * 500_000])
def test_quotes_without_an_end_are_walked_once(text: str) -> None:
    """Quotes and escapes that never close are walked once; a walk for each would take hours."""
    assert nesting("[" * 40 + text, 32) == 40 + text.startswith("[")
