"""Canonical JSON (SPEC section 1): the one text of a value, in which values are compared, hashed and sorted.

UTF-8, object keys sorted by code point, no white space, integers exact and within signed 64 bits, floats
as ECMAScript prints them with `.0` added where that has neither point nor exponent. -0.0 is 0.0.
"""

from __future__ import annotations

import math
from typing import Any, Final

import orjson

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
# Far above any limit on nesting that a deployment sets, far below what overflows a C stack.
NESTING_CEILING: Final = 200


def canonical(value: object) -> str:
    """Return the canonical JSON text of a value made of None, bool, int, float, str, list and dict.

    Raises ValueError, never with the value in it: NaN, infinity, a lone surrogate, an integer beyond
    signed 64 bits, a key that is no string, any other type (also tuples and subclasses), nesting deeper
    than NESTING_CEILING.
    """
    if type(value) is str:
        return canonical_string(value)
    if type(value) is int:
        return _int_text(value)
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if type(value) is float:
        return canonical_float(value)
    if _plain(value, 0):
        try:
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
        except TypeError as error:
            raise ValueError(_SURROGATE) from error
    parts: list[str] = []
    _write(value, parts)
    return "".join(parts)


def parse(text: str) -> Any:
    """Return the Python value of a text that `canonical` made (for any other text: strict_json)."""
    return orjson.loads(text)


_SURROGATE: Final = "a string has a lone surrogate; only text that UTF-8 can carry is a value"


def canonical_string(text: str) -> str:
    """Return the canonical JSON text of a string. ValueError: a lone surrogate."""
    try:
        return orjson.dumps(text).decode()
    except TypeError as error:
        raise ValueError(_SURROGATE) from error


def canonical_float(value: float) -> str:
    """Return the canonical JSON text of a float, e.g. `1.0`, `1e+21`, `1e-7`. ValueError: NaN, infinity."""
    if not math.isfinite(value):
        raise ValueError("a float is NaN or infinite; only finite numbers are values")
    if value == 0.0:
        return "0.0"
    text = orjson.dumps(value).decode()
    # orjson and ECMAScript write the same digits and differ only in when they turn to an exponent.
    mark = text.find("e")
    if mark < 0:
        return text
    return _with_exponent(text[:mark], int(text[mark + 1 :]))


def _with_exponent(mantissa: str, exponent: int) -> str:
    sign = ""
    if mantissa[0] == "-":
        sign = "-"
        mantissa = mantissa[1:]
    digits = mantissa.replace(".", "")
    count = len(digits)
    point = exponent + 1
    if 0 < point <= 21:
        if count <= point:
            return sign + digits + "0" * (point - count) + ".0"
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    tail = "e+" + str(exponent) if exponent > 0 else "e" + str(exponent)
    if count == 1:
        return sign + digits + tail
    return sign + digits[0] + "." + digits[1:] + tail


def _int_text(value: int) -> str:
    if INT_MIN <= value <= INT_MAX:
        return str(value)
    raise ValueError("an integer is beyond signed 64 bits; send it as a string")


def _plain(value: object, depth: int) -> bool:
    """Tell whether orjson writes this array or object canonically, which it does unless there is a float.

    What must be refused raises ValueError here already, so `_write` need not look again.
    """
    if depth > NESTING_CEILING:
        raise ValueError(f"a value is nested deeper than {NESTING_CEILING}; flatten it")
    plain = True
    if type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise ValueError(f"an object key is a {type(key).__name__}; keys are strings")
            if not _plain_item(item, depth):
                plain = False
        return plain
    if type(value) is list:
        for item in value:
            if not _plain_item(item, depth):
                plain = False
        return plain
    raise ValueError(f"a value is a {type(value).__name__}; it must be null, bool, int, float, str, list or dict")


def _plain_item(item: object, depth: int) -> bool:
    kind = type(item)
    if kind is str or item is None or kind is bool:
        return True
    if type(item) is int:
        _int_text(item)
        return True
    if type(item) is float:
        return False
    return _plain(item, depth + 1)


def _write(value: object, parts: list[str]) -> None:
    """Append the text of a value that `_plain` has walked through without refusing it."""
    if type(value) is dict:
        opening = "{"
        for key in sorted(value):
            parts.append(opening)
            parts.append(canonical_string(key))
            parts.append(":")
            _write(value[key], parts)
            opening = ","
        parts.append("{}" if opening == "{" else "}")
    elif type(value) is list:
        opening = "["
        for item in value:
            parts.append(opening)
            _write(item, parts)
            opening = ","
        parts.append("[]" if opening == "[" else "]")
    else:
        parts.append(canonical(value))
