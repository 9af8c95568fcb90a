"""The one order of values for `max`, `min` and `longest`: numbers below texts, anything else as its JSON text."""

from __future__ import annotations

from schemas.canonical import parse
from streams.entity import Write

Magnitude = tuple[int, int | float, str]


def magnitude(write: Write) -> Magnitude:
    """Sort key of a value: any number below any text, numbers by exact size, texts by code point."""
    value = parse(write.value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (0, value, "")
    return (1, 0, text_of(write))


def text_of(write: Write) -> str:
    """A text as it is, anything else as its canonical JSON."""
    return str(parse(write.value)) if write.value.startswith('"') else write.value
