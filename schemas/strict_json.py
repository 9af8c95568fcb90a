"""JSON from outside: read without guessing, or refused.

What common parsers let through in silence is refused here: NaN and Infinity, numbers that a float or 64 bits
cannot hold, a key that stands twice in one object, nesting deep enough to overflow a stack.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

import orjson

from schemas.canonical import INT_MAX, INT_MIN, canonical
from schemas.refusal import Refusal

# Possessive, and content with a string that has no end: so the time is linear whatever the text is.
_STRING: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKET: Final = re.compile(r"[\[\]{}]")


def nesting(text: str, enough: int) -> int:
    """Return how deep arrays and objects of a JSON text are nested (a scalar: 0), without parsing it.

    For a text with no more than `enough` opening brackets their number is returned, which is an upper bound.
    """
    opening = text.count("[") + text.count("{")
    if opening <= enough:
        return opening
    depth = 0
    deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        if bracket == "[" or bracket == "{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def check_depth(text: str, depth: int) -> None:
    """Refuse (too_deep) a JSON text that is nested deeper than depth, before anything parses it."""
    if nesting(text, depth) > depth:
        raise Refusal("too_deep", f"JSON is nested deeper than {depth}; flatten it or send it as a string")


def parse_json(text: str, depth: int) -> Any:
    """Parse a JSON text. Refusal: too_deep, or bad_value for anything that is not exactly one JSON value."""
    check_depth(text, depth)
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except Refusal:
        raise
    except ValueError as error:
        raise Refusal("bad_value", f"not JSON: {error}") from None


def canonical_json(text: str, depth: int) -> str:
    """Return the canonical form of a JSON text from outside. Refusal: too_deep, bad_value."""
    check_depth(text, depth)
    try:
        # What comes back as it went in has lost nothing on the way, whatever the parser is lax about.
        if canonical(orjson.loads(text)) == text:
            return text
    except ValueError:
        pass
    try:
        return canonical(parse_json(text, depth))
    except Refusal:
        raise
    except ValueError as error:
        raise Refusal("bad_value", str(error)) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Refusal("bad_value", "an object names a key twice; each key once")
    return result


def _integer(text: str) -> int:
    # Length first: to convert a million digits takes seconds.
    number = int(text) if len(text) <= 20 else INT_MAX + 1
    if not INT_MIN <= number <= INT_MAX:
        raise Refusal("bad_value", "an integer is beyond signed 64 bits; send it as a string")
    return number


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Refusal("bad_value", "a number is beyond what a double holds; send it as a string")
    return number


def _constant(text: str) -> float:
    raise Refusal("bad_value", f"{text} is no JSON value; send null or a string")
