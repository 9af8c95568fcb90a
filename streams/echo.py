"""Echoes: what a system that is both target and source sends back because it was sent it (docs/ingest.md).

Such a system is sent a golden record and publishes it as a change of its own. As a write it would be wrong: nobody at
that system wanted anything, and yet the copy would stand against what the true writer says next, who never saw it.

The change carries the evidence itself: `in_reply_to`, the message that the system was sent. Each value that is the one
it was sent is no write, by the contract's own words ("a value equal to the same change's `before` is not a write", SPEC
section 3): a change of nothing but such values is an echo and is dropped. So the answer depends on the bytes of the
change alone. No state is asked, which in another order, or in a replay, might have moved on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from schemas.canonical import canonical
from schemas.change import Change
from schemas.refusal import Refusal

MARK: Final = "in_reply_to"


class Sent(NamedTuple):
    """What a system says it was sent of an entity. fields: field -> value, None for a deletion.

    clock: of the golden record, empty for a deletion. partial: fields that are not named are not known.
    """

    fields: Mapping[str, Any] | None
    clock: Mapping[str, Any]
    partial: bool

    def says(self, name: str, value: Any) -> bool:
        """Whether it named this value for a field; absent is null, as everywhere."""
        fields = self.fields or {}
        if name not in fields and (self.partial or self.fields is None):
            return False
        return canonical(fields.get(name)) == canonical(value)


def read_sent(reply: object, key: str) -> Sent:
    """Read `in_reply_to` of a change about the entity `key`. Raises Refusal bad_reply."""
    if not isinstance(reply, dict):
        raise _bad(f"it is a JSON {type(reply).__name__}; it must be the object that was delivered")
    if reply.get("key") != key:
        raise _bad(f"its key is not {key[:64]!r}, the entity of the change")
    fields, clock = reply.get("fields"), reply.get("clock") or {}
    if not isinstance(fields, dict | None) or not isinstance(clock, dict):
        raise _bad("its fields must be an object, or null for a deletion, and its clock an object")
    return Sent(fields, {} if fields is None else clock, reply.get("partial") is True)


def is_echo(change: Change, sent: Sent) -> bool:
    """Whether a change says nothing but what its source was sent. ValueError: what was sent is no JSON value."""
    if change.op == "delete":
        return sent.fields is None
    return sent.fields is not None and all(sent.says(name, value) for name, value in change.fields.items())


def informed(change: Mapping[str, Any], sent: Sent) -> dict[str, Any]:
    """The JSON form of a change that differs from what its source was sent: a write by one who had read that.

    `seen` becomes the clock and `before` the values that were sent, where the change has none of its own. What
    is equal to `before` is no write, so only what differs counts.
    """
    whole = dict(change)
    if whole.get("seen") is None and sent.clock:
        whole["seen"] = dict(sent.clock)
    if whole.get("before") is None and sent.fields is not None and whole.get("fields"):
        known = [name for name in whole["fields"] if name in sent.fields or not sent.partial]
        whole["before"] = {name: sent.fields.get(name) for name in known}
    return whole


def _bad(problem: str) -> Refusal:
    return Refusal("bad_reply", f"{MARK}: {problem}", "check")
