"""What is to be different about a target while its workers run: value of subject `target:<name>` on topic `control`.

All of it is a state, not an event, so that hearing it twice does nothing and a worker that starts later knows it.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field

from schemas.delivery_document import ModeDocument
from schemas.record import Record

Offset = Annotated[int, Field(ge=0)]


def _partition(value: object) -> object:
    # A JSON object's key is a text.
    return int(value) if isinstance(value, str) and value.isdigit() else value


Offsets = dict[Annotated[int, BeforeValidator(_partition)], Offset]


class Backfill(Record):
    """Everything before `until` (partition -> offset of `records`) is to be delivered again."""

    backfill_id: str
    until: Offsets
    paused: bool = False


class TargetOrders(Record):
    """paused: nothing is delivered. mode: in place of the file's, without its rules.

    released, cleared: partition -> offset of `records`; what was appended up to it goes now, or not at all.
    skipped: entity key -> offset; its states up to it are put away as dead letters.
    """

    paused: bool = False
    mode: ModeDocument | None = None
    released: Offsets = Field({})
    cleared: Offsets = Field({})
    skipped: dict[str, Offset] = Field({})
    backfill: Backfill | None = None

    @classmethod
    def of(cls, value: object) -> Self:
        """The orders in a value of topic `control`, None being none. Raises pydantic's ValidationError."""
        return cls.model_validate({} if value is None else value)


def subject(target: str) -> str:
    """The subject of a target on topic `control`."""
    return f"target:{target}"
