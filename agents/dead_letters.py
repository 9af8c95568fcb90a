"""A refused record as it goes to `dead-letters`: the bytes as received, and why, where and what in headers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from streams.effects import DeadLetter

#: Kafka Connect's own header names, so that its tools can read our dead letters.
CONNECT = "__connect.errors."

#: Stands in `exception.class.name`, where Connect has a Java class.
REFUSAL_CLASS = "schemas.refusal.Refusal"


class Received(Protocol):
    """What a dead letter needs of a consumed record."""

    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


class Row(NamedTuple):
    """One record to send."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]] = []  # noqa: RUF012  (shared and never changed; aiokafka wants a list)


def dead_letter_row(topic: str, partition: int, record: Received, letter: DeadLetter) -> Row:
    """The record for `dead-letters`. Null stays null, and the headers that came with it stay in front."""
    told = {
        "topic": topic,
        "partition": str(partition),
        "offset": str(record.offset),
        "stage": letter.stage,
        "exception.class.name": REFUSAL_CLASS,
        "exception.message": letter.message,
    }
    ours = [(CONNECT + name, text.encode(errors="replace")) for name, text in told.items()]
    return Row(
        record.key,
        record.value,
        [*record.headers, *ours, ("syncline-reason", letter.reason.encode(errors="replace"))],
    )
