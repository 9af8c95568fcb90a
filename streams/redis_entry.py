"""An entry of a Redis Stream as a change in its JSON form.

An entry is a list of field-value pairs, all of them bytes. Either the field `change` has the whole change as JSON, or
there is a field for each part of it (SPEC section 2), with JSON in those that are no plain text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from schemas.change import parse_change_line
from schemas.refusal import Limits, Refusal
from schemas.strict_json import parse_json

WHOLE: Final = b"change"
KEY, VALUE = b"key", b"value"
TEXTS: Final = frozenset({"event_id", "entity_type", "entity_id", "op", "source"})
JSONS: Final = frozenset({"seen", "before", "fields", "in_reply_to"})
NUMBERS: Final = frozenset({"version", "occurred_at"})
_LEVELS_ABOVE_VALUES: Final = 2  # as in a line: an object, and in it `fields`


def read_entry(entry: Mapping[bytes, bytes], limits: Limits) -> dict[str, Any]:
    """The change that an entry carries, in its JSON form, unchecked. Raises Refusal."""
    if WHOLE in entry:
        if len(entry) > 1:
            raise Refusal("bad_shape", "an entry with the field change has no other field")
        return parse_change_line(entry[WHOLE], limits)
    size = sum(map(len, entry.values()))
    if size > limits.change_bytes:
        raise Refusal("too_large", f"an entry has {size} bytes; at most {limits.change_bytes} are allowed")
    return {name: _part(name, text, limits) for name, text in (_decoded(*pair) for pair in entry.items())}


def foreign_parts(entry: Mapping[bytes, bytes]) -> tuple[bytes | None, bytes]:
    """Key and value of an entry in a foreign envelope: its fields `key`, which may be missing, and `value`.

    Debezium Server writes them so (`message.format=extended`). Raises Refusal bad_shape.
    """
    if VALUE not in entry:
        raise Refusal("bad_shape", "an entry in another format has a field value, and may have a field key")
    return entry.get(KEY), entry[VALUE]


def entry_id(raw: bytes) -> tuple[int, int]:
    """Milliseconds and sequence number of an entry's id, as they are compared."""
    milliseconds, _, sequence = raw.partition(b"-")
    return int(milliseconds), int(sequence)


def _part(name: str, text: str, limits: Limits) -> Any:
    if name in JSONS:
        return parse_json(text, limits.depth + _LEVELS_ABOVE_VALUES)
    if name in NUMBERS and text.lstrip("-").isdecimal():
        return parse_json(text, 0)
    if name in NUMBERS | TEXTS:
        return text
    known = ", ".join(sorted(TEXTS | JSONS | NUMBERS))
    raise Refusal("bad_shape", f"an entry has the field {name[:64]!r}; it has change alone, or of these: {known}")


def _decoded(name: bytes, text: bytes) -> tuple[str, str]:
    try:
        return name.decode(), text.decode()
    except UnicodeDecodeError as error:
        raise Refusal("not_utf8", f"an entry has a field that is not UTF-8 at byte {error.start}") from None
