"""Dead letters of a target: what it refused, with the reason, to be looked at, edited and delivered after all.

Topic `target-dead-letters`, key `<target>/<entity key>`: of each entity the newest state alone, for an older one must
not follow it. `redrive` above 0 asks the target's worker to deliver it; a null is the end of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import Field

from schemas.golden_record import GoldenRecord
from schemas.record import Long, Position, Record
from streams.delivery import Delivery
from streams.pending import Pending

FORCED = "force_sync"


class Letter(Record):
    """record: with the fields as the target gets them; None: deleted. position: in `records`. size: bytes of it.

    attempts: calls that had it. at_ms: when it was put away. read_until: offset up to which `records` had nothing
    newer. edited: somebody changed the fields.
    """

    target: str
    key: str
    position: Position
    generation: int
    reason: str
    attempts: int = 1
    at_ms: Long
    recorded_ms: Long
    size: int
    read_until: Long
    record: GoldenRecord | None
    edited: bool = False
    redrive: int = Field(0, ge=0)

    @property
    def delivery(self) -> Delivery:
        """What is delivered if it is driven again."""
        return Delivery(self.target, self.key, self.record, self.position, self.generation)


def letter_key(target: str, key: str) -> str:
    """Key of a letter on the topic."""
    return f"{target}/{key}"


def letter_of(item: Pending, reason: str, at_ms: int, read_until: int) -> Letter:
    """The letter of what was put away."""
    delivery = item.delivery
    return Letter(
        target=delivery.target,
        key=delivery.key,
        position=delivery.position,
        generation=delivery.generation,
        reason=reason,
        attempts=max(1, item.failures),
        at_ms=at_ms,
        recorded_ms=item.at_ms,
        size=item.size,
        read_until=read_until,
        record=delivery.record,
    )


def read_letter(value: bytes) -> Letter:
    """A letter from its bytes. Raises ValueError."""
    return Letter.model_validate(orjson.loads(value))


def as_value(letter: Letter) -> Mapping[str, Any]:
    """A letter as it is written."""
    return letter.model_dump()
