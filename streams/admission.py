"""Whether a change may enter: its key, its source and its clock (SPEC sections 3 and 5)."""

from __future__ import annotations

from typing import Final

from schemas.refusal import Refusal
from schemas.rules import CLOCK
from schemas.value_types import has_type
from schemas.wire import WireChange
from streams.entity import STEWARD_PREFIX
from streams.policy import Policy

# Messages travel in headers of dead letters, beside the bytes as received: a name from outside is cut.
SHOWN_CHARACTERS: Final = 64


NULL_KEY: Final = "the record has no key; it must be entity_type:entity_id"


def entity_key(key: bytes) -> str:
    """The entity key of a record. Raises Refusal not_utf8."""
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise Refusal("not_utf8", f"the record's key is not UTF-8 at byte {error.start}", "check") from error


def _is_ours(source: str) -> bool:
    return source == CLOCK or source.startswith(STEWARD_PREFIX)


def admit(change: WireChange, key: str, append_time_ms: int, policy: Policy) -> None:
    """Passes a change or raises Refusal key_mismatch, unknown_source, clock_skew or wrong_type.

    append_time_ms is when Kafka appended the record, so that a replay decides as the first run did.
    """
    if change.key != key:
        raise Refusal(
            "key_mismatch",
            f"the record's key {key[:SHOWN_CHARACTERS]!r} is not {change.key[:SHOWN_CHARACTERS]!r},"
            " the entity key of the change in it",
            "check",
        )
    sources = policy.sources
    if sources is not None and change.source not in sources and not _is_ours(change.source):
        raise Refusal(
            "unknown_source",
            f"source {change.source[:SHOWN_CHARACTERS]!r} is not declared; the policy has {', '.join(sorted(sources))}",
            "check",
        )
    ahead_ms = change.occurred_at - append_time_ms
    most_ms = policy.max_future_ms_of.get(change.source, policy.max_future_ms)
    if ahead_ms > most_ms:
        raise Refusal(
            "clock_skew",
            f"occurred_at {change.occurred_at} is {ahead_ms} ms ahead of the append time {append_time_ms};"
            f" at most {most_ms} ms are allowed",
            "check",
        )
    types = policy.of(change.entity_type).types
    if types:
        _check_types(change, types)


def _check_types(change: WireChange, types: dict[str, str]) -> None:
    """What the writer replaced is not looked at: it may be of a time before the type."""
    for name, text in change.fields.items():
        wanted = types.get(name)
        if wanted is not None and not has_type(text, wanted):
            raise Refusal(
                "wrong_type",
                f"fields.{name[:SHOWN_CHARACTERS]} is no {wanted}, which it must be by the policy",
                "check",
            )
