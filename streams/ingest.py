"""What arrives from one source becomes a change of topic `changes`: completed, checked and encoded.

Everything follows from the bytes and from where they were recorded, so what is read again after a crash becomes the
same change, with the same version and event id, and the merge takes it for the duplicate that it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from schemas.change import Change, parse_change_line
from schemas.codec import encode_change
from schemas.fast import decode_change
from schemas.refusal import Limits, Refusal
from schemas.strict_json import parse_json
from streams.echo import MARK, informed, is_echo, read_sent
from streams.envelopes import Envelope

FRAME: Final = 0
#: An envelope holds a row twice, and may hold its schema; what it says of a change has the limits of a change.
ENVELOPE_SHARE: Final = 4
ENVELOPE_LEVELS: Final = 8


class Stamp(NamedTuple):
    """What stands in where a change does not say. version: None where there is none to give.

    occurred_at: ms since the epoch, None where nobody recorded a time.
    """

    source: str
    version: int | None
    occurred_at: int | None


class Dropped(Enum):
    """What arrived and adds nothing: sent back as it was sent, or a mark for the log's own compaction."""

    ECHO = "echo"
    TOMBSTONE = "tombstone"


class Taken(NamedTuple):
    """A change for topic `changes`. near_miss: it came as a reply, and differs from what its source was sent."""

    key: bytes
    value: bytes
    near_miss: bool = False


def take_record(value: bytes | None, stamp: Stamp, limits: Limits) -> Taken | Dropped:
    """Take a record's value: our Avro framing if its first byte is 0x00, else a JSON object.

    Raises Refusal.
    """
    if value is None:
        raise Refusal("null_value", "the record has no value; a deletion is a change whose op is delete")
    if value[:1] == bytes([FRAME]):
        change = decode_change(value, limits)
        _check_source(change.source, stamp.source)
        return Taken(change.key.encode(), value)
    return take_form(parse_change_line(value, limits), stamp, limits)


def take_form(form: Mapping[str, Any], stamp: Stamp, limits: Limits) -> Taken | Dropped:
    """Take a change in its JSON form, which may lack source, version, time and event id.

    Raises Refusal.
    """
    whole = dict(form)
    reply = whole.pop(MARK, None)
    change = _fill(whole, stamp)
    if reply is None:
        return Taken(change.key.encode(), encode_change(change, limits))
    try:
        sent = read_sent(reply, change.key)
        if is_echo(change, sent):
            return Dropped.ECHO
    except Refusal:
        raise
    except ValueError as error:
        raise Refusal("bad_reply", f"{MARK}: {error}", "check") from None
    return Taken(change.key.encode(), encode_change(_fill(informed(whole, sent), stamp), limits), near_miss=True)


def take_foreign(
    key: bytes | None, value: bytes | None, envelope: Envelope, stamp: Stamp, limits: Limits
) -> Taken | Dropped:
    """Take a record in a foreign envelope; one without a value is a tombstone. Raises Refusal."""
    if value is None:
        return Dropped.TOMBSTONE
    return take_form(envelope(_json(key, limits) if key else None, _json(value, limits)), stamp, limits)


def _json(text: bytes, limits: Limits) -> Any:
    most = ENVELOPE_SHARE * limits.change_bytes
    if len(text) > most:
        raise Refusal("too_large", f"an envelope has {len(text)} bytes; at most {most} are allowed")
    try:
        return parse_json(text.decode(), limits.depth + ENVELOPE_LEVELS)
    except UnicodeDecodeError as error:
        raise Refusal("not_utf8", f"an envelope is not UTF-8 at byte {error.start}") from None


def _fill(form: Mapping[str, Any], stamp: Stamp) -> Change:
    whole = dict(form)
    if whole.get("source") is None:
        whole["source"] = stamp.source
    if whole.get("version") is None and stamp.version is None:
        raise Refusal("bad_version", "the change has no version, and none follows from where it is recorded", "check")
    if whole.get("occurred_at") is None and stamp.occurred_at is None:
        raise Refusal("bad_time", "the change has no occurred_at, and the record has no time", "check")
    change = Change.fill(whole, stamp.version or 0, stamp.occurred_at or 0)
    _check_source(change.source, stamp.source)
    return change


def _check_source(named: str, expected: str) -> None:
    if named != expected:
        raise Refusal("foreign_source", f"source is {named[:64]!r}; what comes here is from {expected!r}", "check")
