"""The types that syncline.yaml may give a field, and whether a value has one: a closed and small set."""

from __future__ import annotations

from typing import Final, Literal

from schemas.canonical import parse
from schemas.rfc3339 import parse_time

ValueType = Literal["boolean", "integer", "number", "string", "timestamp", "array", "object"]

_BEGINNINGS: Final = {"[": "array", "{": "object", '"': "string", "t": "boolean", "f": "boolean"}


def has_type(text: str, wanted: str) -> bool:
    """Whether a value, as canonical JSON text, has a type. null has every type: it takes the value away.

    An integer is a number, and 1.0 is no integer; a timestamp is text in the form of RFC 3339 with a zone.
    """
    if text == "null":
        return True
    known = _BEGINNINGS.get(text[0])
    if known is None:
        return wanted == "number" or (wanted == "integer" and _is_whole(text))
    if wanted == "timestamp":
        return known == "string" and _is_time(text)
    return known == wanted


def _is_whole(text: str) -> bool:
    # As canonical JSON writes numbers, a float always has a point or an exponent.
    return "." not in text and "e" not in text


def _is_time(text: str) -> bool:
    try:
        parse_time(parse(text))
    except ValueError:
        return False
    return True
