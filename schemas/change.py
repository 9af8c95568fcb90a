"""The change event in its JSON form (SPEC section 2); change.avsc is its wire form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

from pydantic import ValidationError, field_validator, model_validator

from schemas.canonical import INT_MAX, canonical
from schemas.record import Clock, Long, Op, Record, Version
from schemas.refusal import DEFAULT_LIMITS, Limits, Refusal
from schemas.rfc3339 import parse_time
from schemas.rules import check_change
from schemas.strict_json import parse_json
from schemas.wire import WireChange

# A model says whether it is a change; how much is too much is configured, and checked when it is encoded.
_NO_LIMITS: Final = Limits(INT_MAX, INT_MAX, INT_MAX, INT_MAX, INT_MAX, INT_MAX)
# A value stands two levels below the line it comes in: in the line's object and in `fields` or `before`.
_LEVELS_ABOVE_VALUES: Final = 2
_REASON_OF_FIELD: Final = {
    "version": "bad_version",
    "seen": "bad_version",
    "op": "bad_op",
    "occurred_at": "bad_time",
}


class Change(Record):
    """One event of one source about one entity.

    occurred_at takes ms since the epoch or RFC 3339 with a zone and holds ms. event_id defaults to
    key@source@version, seen and before to null (not known), and the fields of a delete to {}.
    """

    event_id: str
    entity_type: str
    entity_id: str
    op: Op
    source: str
    version: Version
    occurred_at: Long
    seen: Clock | None = None
    before: dict[str, Any] | None = None
    fields: dict[str, Any]

    @property
    def key(self) -> str:
        """The entity key."""
        return f"{self.entity_type}:{self.entity_id}"

    def wire(self) -> WireChange:
        """Return the change as the engine holds it. ValueError: a value that is none (see canonical)."""
        return WireChange(
            self.key,
            self.entity_type,
            self.entity_id,
            self.event_id,
            self.op,
            self.source,
            self.version,
            self.occurred_at,
            self.seen,
            None if self.before is None else _texts("before", self.before),
            _texts("fields", self.fields),
        )

    @classmethod
    def fill(cls, partial: Mapping[str, Any], version: int, occurred_at: int) -> Self:
        """Make a change of what was published; version and occurred_at (ms) stand in where it has none.

        Raises Refusal with a message of one line.
        """
        whole = dict(partial)
        if whole.get("version") is None:
            whole["version"] = version
        if whole.get("occurred_at") is None:
            whole["occurred_at"] = occurred_at
        try:
            return cls.model_validate(whole)
        except ValidationError as error:
            raise _refusal(error) from None

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        whole = dict(data)
        if whole.get("event_id") is None:
            parts = (whole.get(name) for name in ("entity_type", "entity_id", "source", "version"))
            whole["event_id"] = "{}:{}@{}@{}".format(*parts)
        if whole.get("op") == "delete":
            whole.setdefault("fields", {})
        return whole

    @field_validator("occurred_at", mode="before")
    @classmethod
    def _milliseconds(cls, value: Any) -> Any:
        return parse_time(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _follows_the_rules(self) -> Self:
        for name in ("event_id", "entity_type", "entity_id", "source"):
            _encodable(name, getattr(self, name))
        for source in self.seen or ():
            _encodable("seen", source)
        check_change(self.wire(), _NO_LIMITS)
        return self


def parse_change_line(text: bytes, limits: Limits = DEFAULT_LIMITS) -> dict[str, Any]:
    """Parse one line of `syncline publish` into what `Change.fill` takes.

    Raises Refusal: too_large, not_utf8, too_deep, bad_value (also for a key that stands twice and for
    integers beyond 64 bits, which are never rounded), bad_shape where it is no object.
    """
    if len(text) > limits.change_bytes:
        raise Refusal("too_large", f"a line has {len(text)} bytes; at most {limits.change_bytes} are allowed")
    try:
        line = text.decode()
    except UnicodeDecodeError as error:
        raise Refusal("not_utf8", f"a line is not UTF-8 at byte {error.start}") from None
    change = parse_json(line, limits.depth + _LEVELS_ABOVE_VALUES)
    if not isinstance(change, dict):
        raise Refusal("bad_shape", f"a line is a JSON {type(change).__name__}; it must be an object")
    return change


def _texts(place: str, values: Mapping[str, Any]) -> dict[str, str]:
    texts = {}
    for name, value in values.items():
        _encodable(place, name)
        try:
            texts[name] = canonical(value)
        except ValueError as error:
            raise Refusal("bad_value", f"{place}.{name[:64]}: {error}", "check") from None
    return texts


def _encodable(place: str, text: str) -> None:
    """Refuse what JSON can name and UTF-8 cannot carry: a lone surrogate in a name or an id."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refusal("not_utf8", f"{place} has a lone surrogate; names and ids are UTF-8", "check") from None


def _refusal(error: ValidationError) -> Refusal:
    """Turn the first error of a validation into a refusal with a message of one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, Refusal):
        return cause
    place = ".".join(str(part) for part in first["loc"]) or "the change"
    reason = _REASON_OF_FIELD.get(str(first["loc"][0]) if first["loc"] else "", "bad_shape")
    return Refusal(reason, f"{place}: {first['msg']}", "check")
