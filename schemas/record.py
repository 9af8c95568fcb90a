"""What the models of all records share: strictness, the parts that stand in several, the Value type."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from schemas.canonical import INT_MAX, INT_MIN, canonical

Op = Literal["create", "update", "delete", "snapshot"]


class Record(BaseModel):
    """A frozen model that takes nothing for something else: no unknown field, no "1" or true for 1."""

    # Inputs stay out of messages, since those end up in logs.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


def _checked(value: Any) -> Any:
    canonical(value)
    return value


Value = Annotated[Any, AfterValidator(_checked)]
Long = Annotated[int, Field(ge=INT_MIN, le=INT_MAX)]
Int = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Version = Annotated[int, Field(gt=0, le=INT_MAX)]
Clock = dict[str, Annotated[int, Field(ge=0, le=INT_MAX)]]


class Dot(Record):
    """Names a change (SPEC section 1)."""

    source: str
    version: Version


class Provenance(Record):
    """The change that a value comes from. occurred_at in ms since the epoch."""

    source: str
    version: Version
    occurred_at: Long
    event_id: str


class Position(Record):
    """Where a change stands on Kafka. topic: its full name."""

    topic: str
    partition: Int
    offset: Long
